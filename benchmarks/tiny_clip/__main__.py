"""Pre-train `tiny`: `python -m benchmarks.tiny_clip`."""

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import lamm_cl.clip.tiny
import lamm_cl.clip.tiny.architecture

from .evaluate import PROMPTS, accuracies, digits
from .pack import pack
from .pretrain import Recipe, pretrain

SHIPPED = Path(lamm_cl.clip.tiny.__file__).with_name("tiny.safetensors")


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.tiny_clip", description=__doc__)
    options.add_argument("--out", type=Path, default=SHIPPED, help="weights file to write (default: the shipped one)")
    for name, default in asdict(Recipe()).items():
        if name not in ("version", "largest_scale"):
            options.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    given = vars(options.parse_args())
    out = given.pop("out")
    recipe = Recipe(**given)
    torch.set_num_threads(1)
    began = time.perf_counter()
    choice: list[Any] = []

    def look(model: Any) -> str:
        choice[:] = choice or [digits(model, "choice")]
        return "digits (choice half) {:.1f} | {:.1f} {:.1f}".format(*accuracies(model, tokenizer, choice[0]))

    tokenizer = lamm_cl.clip.tiny.architecture.build_tokenizer()
    print(recipe, flush=True)
    student = pretrain(recipe, lambda line: print(line, flush=True), look)
    size = pack(student, out, {key: str(value) for key, value in asdict(recipe).items()})
    print(f"{out}: {size} bytes, {len(student.token_ids)} token rows, {time.perf_counter() - began:.0f} s in all")
    for part in ("choice", "test"):
        pictures = digits(student.model, part)
        for prompt in PROMPTS:
            scores = accuracies(student.model, student.tokenizer, pictures, prompt)
            print(f"{part:6s} {prompt!r:40s} " + " ".join(f"{score:5.1f}" for score in scores))


if __name__ == "__main__":
    main()
