"""What the table of methods says is what each method is composed of."""

import re
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from lamm_cl import build_model
from lamm_cl.errors import UsageError
from lamm_cl.methods import parts
from lamm_cl.methods.registry import get_method, method_names

NAMES = ["zero", "one", "two"]
# Options that together compose every part that a method names.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "coop": [{}, {"csc": True}],
    "ranpac": [{"M": 8}],
    "acil": [{"buffer_size": 8}],
    "rail": [{"hidden": 8}, {"form": "dual"}],
    "engine": [{}, {"pairs": {a: {b: ["a", "b"] for b in NAMES if b != a} for a in NAMES}}],
}
# These are in every prompted CLIP, or inside another part.
SILENT = {"Deep", "ClassVectors", "SharedAttention"}


def classes(model: nn.Module) -> Iterator[type]:
    """The classes that a learner is composed of: its modules, and what compares and what is minimised."""
    yield from (type(module) for module in list(model.modules())[1:])
    made = getattr(model, "parts", None)
    if made is not None:
        if hasattr(model, "matching"):
            yield type(made.matching)
        if made.objective.ce is None:
            yield type(made.objective)
        yield type(made.objective.projection)
        yield type(made.exemplars)
        terms = [made.objective.ce, *(term for term, _ in made.objective.terms.values())]
        yield from (type(term.__self__) for term in terms if hasattr(term, "__self__"))


@pytest.mark.parametrize("method", method_names())
def test_declared_parts_are_those_composed(method: str, tiny: Any) -> None:
    described = get_method(method)
    named = {part.load() for part in described.parts if part.home}
    known = {part.load() for part in vars(parts).values() if isinstance(part, parts.Part) and part.home}
    found: set[type] = set()
    for options in VARIANTS.get(method.split("+")[0], [{}]):
        found |= set(classes(build_model(method, tiny, NAMES, **options)))
    strange = found - known
    assert {kind.__name__ for kind in strange if kind.__module__.startswith("lamm_cl")} <= SILENT
    found &= known
    if not described.trains:
        found.discard(parts.CROSS_ENTROPY.load())
    assert found == named


@pytest.mark.parametrize("part", [p for p in vars(parts).values() if isinstance(p, parts.Part) and p.slot])
def test_every_part_is_of_some_method(part: parts.Part) -> None:
    used = {(one.slot, one.home or one.name) for name in method_names() for one in get_method(name).parts}
    assert part.slot in parts.SLOTS
    assert (part.slot, part.home or part.name) in used


def refusal(name: str) -> str | None:
    try:
        get_method(name)
    except UsageError as error:
        return str(error)
    return None


@pytest.mark.parametrize("method", method_names(plus=False))
def test_any_two_forms_meet_or_say_why_not(method: str, tiny: Any) -> None:
    endings = sorted({name.partition("+")[2] for name in method_names()} - {""})
    options = VARIANTS.get(method, [{}])[0]
    for first, second in permutations(endings, 2):
        name = f"{method}+{first}+{second}"
        if reason := refusal(name):
            assert re.search(r": leave \+[a-z]+ out$", reason)
            continue
        assert build_model(name, tiny, NAMES, **options).method == name


def test_rows_say_what_a_reader_needs() -> None:
    assert get_method("rail").row == {
        "context": "fixed template",
        "labels": "fixed",
        "deep prompts": "-",
        "delta": "-",
        "adapter": "random ReLU layer",
        "head": "cosine to text + ridge or kernel ridge",
        "fusion": "gate by the text",
        "memory": "class statistics or training features",
        "objective": "-",
        "consolidation": "-",
    }
    assert get_method("tip_adapter_f+lamm").row["labels"] == "learned"
    assert get_method("tip_adapter_f+lamm").row["objective"] == "CE + hierarchical"


def test_the_documented_table_is_what_the_command_line_prints() -> None:
    text = (Path(parts.__file__).parent / "README.md").read_text(encoding="utf-8")
    block = text.split("<!-- methods: begin -->")[1].split("<!-- methods: end -->")[0].strip().splitlines()
    rows = [(f"`{name}`", *get_method(name).row.values()) for name in method_names(plus=False)]
    assert [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in block[2:]] == rows
    assert block[0] == f"| method | {' | '.join(parts.SLOTS)} |"
