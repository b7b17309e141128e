"""Pre-train `tiny` and write the weights that ship: `python -m benchmarks.tiny_clip`."""

import argparse
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch

from lamm_cl.clip.tiny import WEIGHTS_FILE

from .evaluate import PROMPTS, digits, drawn, summary
from .pack import pack
from .pretrain import Recipe, Student, pretrain


def parse() -> tuple[Recipe, Path]:
    """Read the command line; without options it is the recipe of the shipped weights."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.tiny_clip", description=__doc__)
    options.add_argument("--out", type=Path, default=WEIGHTS_FILE, help="file to write (default: the shipped one)")
    for name in ("seed", "steps", "batch", "warmup"):
        options.add_argument(f"--{name}", type=int, default=getattr(Recipe, name))
    options.add_argument("--rate", type=float, default=Recipe.rate, help="peak learning rate")
    given = vars(options.parse_args())
    out = given.pop("out")
    return Recipe(**given), out


def report(student: Student) -> None:
    """Print the numbers of the README."""
    model, tokenizer = student.model, student.tokenizer
    print(f"learned logit scale {model.logit_scale.exp().item():.2f}")
    print("zero-shot accuracy in percent: all classes, first half, second half")
    sets = [(f"digits, {part} half", digits(model, part)) for part in ("choice", "test")]
    for name, pictures in sets:
        for prompt in PROMPTS:
            print(f"  {name:20s} {prompt!r:38s} {summary(model, tokenizer, pictures, prompt)}")
    for split in ("val", "test"):
        line = summary(model, tokenizer, drawn(model, split))
        print(f"  {'glyphs, ' + split:20s} {PROMPTS[0]!r:38s} {line}")


def main() -> None:
    recipe, out = parse()
    torch.set_num_threads(1)  # sums in another order would give other weights
    versions = f"torch {torch.__version__}, numpy {np.__version__}, pillow {PIL.__version__}"
    print(f"{recipe}\n{versions}, {platform.machine()}", flush=True)
    wall, cpu = time.perf_counter(), time.process_time()
    choice: list[Any] = []

    def look(student: Student) -> str:
        choice[:] = choice or [digits(student.model, "choice")]
        return "digits, choice half " + summary(student.model, student.tokenizer, choice[0])

    student = pretrain(recipe, lambda line: print(line, flush=True), look)
    print(f"{time.perf_counter() - wall:.0f} s of wall time, {time.process_time() - cpu:.0f} s of one core")
    size = pack(student, out, recipe)
    print(f"{out}: {size} bytes, {len(student.token_ids)} of {len(student.position)} token rows")
    report(student)


if __name__ == "__main__":
    main()
