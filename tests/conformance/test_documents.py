"""Tables in the documents are what the files in `results/` say, and the README's Python runs."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results_tables", ROOT / "benchmarks" / "results.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


RESULTS = load()


@pytest.mark.parametrize("document", RESULTS.BLOCKS)
def test_tables_do_not_drift(document: str) -> None:
    text = (ROOT / document).read_text()
    assert RESULTS.filled(text, RESULTS.BLOCKS[document]) == text, "run: python -m benchmarks.results tables"


@pytest.mark.parametrize("name", RESULTS.RESULTS)
def test_results_say_what_made_them(name: str) -> None:
    about = json.loads((ROOT / "results" / name / "about.json").read_text())
    assert about["command"].startswith("lamm-cl run configs/")
    assert re.fullmatch(r"[0-9a-f]{40}", about["commit"])
    assert about["failed"] == 0
    assert about["uncommitted_changes"] is False
    frame = RESULTS.frame(name)
    assert frame["run_id"].nunique() == about["runs"]
    assert set(frame["status"]) == {"done"}


@pytest.mark.parametrize("document", ["README.md", "lamm_cl/methods/README.md", "lamm_cl/data/README.md"])
def test_python_blocks_run(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        if "import json, open_clip" in block:
            continue  # tests/unit/methods/test_export.py
        exec(compile(block, document, "exec"), {})


def test_twelve_lines_take_a_model_from_training_to_use() -> None:
    block = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    _, *lines = [line for line in block.splitlines() if line]
    assert len(lines) == 12
    steps = ("train(", "eval(", "save_learner(", "load_model(", "add_classes(", "fit_stage(", "predict(")
    places = [next(k for k, line in enumerate(lines) if step in line) for step in steps]
    assert places == sorted(places)


def test_links_and_pictures_exist() -> None:
    for document in (ROOT / "README.md", *ROOT.glob("lamm_cl/*/README.md"), ROOT / "benchmarks" / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert target.startswith("http") or (document.parent / target).exists(), f"{document}: {target}"


def test_the_page_names_every_variable_of_the_package() -> None:
    package = ROOT / "lamm_cl"
    text = "".join(path.read_text() for path in package.rglob("*.py"))
    page = (package / "cli" / "README.md").read_text()
    assert sorted(name for name in set(re.findall(r"(?<!_)LAMM_CL_[A-Z_]+", text)) if f"`{name}`" not in page) == []
