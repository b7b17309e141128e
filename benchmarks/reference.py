"""The API reference: every public name with its signature and docstring, as a static folder.

python -m benchmarks.reference docs_html        # what `make docs` does
"""

import sys
from pathlib import Path

import lamm_cl


def main(folder: Path) -> None:
    import pdoc

    for name in lamm_cl.__all__:  # pdoc looks for names that are there, and ours come on first use
        vars(lamm_cl)[name] = getattr(lamm_cl, name)
    pdoc.render.configure(docformat="google")
    pdoc.pdoc("lamm_cl", output_directory=folder)
    print(folder / "index.html")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
