"""Images of one's own: a folder with one sub-folder per class becomes a stream, without a line of code for it.

    python own_images.py [FOLDER]     FOLDER/<class name>/<any name>.png

Without a folder, one is filled with plain shapes first.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import lamm_cl
from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator


def draw_shapes(folder: Path, each: int = 12) -> None:
    """Write a few pictures of circles, squares, crosses and triangles."""
    random = np.random.default_rng(0)
    for name in ("circle", "square", "cross", "triangle"):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            picture = Image.new("RGB", (48, 48), tuple(int(c) for c in random.integers(0, 60, 3)))
            pen, colour = ImageDraw.Draw(picture), tuple(int(c) for c in random.integers(150, 255, 3))
            x, y = (int(v) for v in random.integers(8, 16, 2))
            box = (x, y, x + 24, y + 24)
            if name == "circle":
                pen.ellipse(box, fill=colour)
            elif name == "square":
                pen.rectangle(box, fill=colour)
            elif name == "cross":
                pen.line(box, fill=colour, width=5)
                pen.line((x + 24, y, x, y + 24), fill=colour, width=5)
            else:
                pen.polygon([(x, y + 24), (x + 24, y + 24), (x + 12, y)], fill=colour)
            picture.save(folder / name / f"{number:03}.png")


def main(folder: Path) -> None:
    if not folder.is_dir():
        draw_shapes(folder)
    benchmark = lamm_cl.base_to_novel({"folder": str(folder)}, shots=4, seed=1)
    matrix = AccuracyMatrix()
    strategy = lamm_cl.LAMM(
        backbone=lamm_cl.load_clip("tiny"),
        class_names=benchmark.class_names,
        shots=4,
        train_epochs=5,
        evaluator=evaluator(matrix),
    )
    for experience in benchmark.train_stream:
        strategy.train(experience)
        strategy.eval(benchmark.test_stream)
    print("classes:", ", ".join(benchmark.class_names))
    print("own label space:", matrix.matrices()["own"].round(3).tolist())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="lamm_cl_shapes_")) / "shapes"))
