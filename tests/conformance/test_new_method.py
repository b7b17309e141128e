"""A method that a user adds in one file passes the conformance tests of the methods that came with the package."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from lamm_cl.methods.registry import METHODS

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "benchmarks" / "examples"
# Name of the method and its file, and how many lines it may have.
FILES = {"confidence_penalty": 40, "gaussian_replay": 60}


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    for name in FILES:
        module(EXAMPLES / f"{name}.py")
    yield
    for name in FILES:
        METHODS.pop(name)


CONFORMANCE = module(HERE / "test_methods.py")
STRATEGIES = module(HERE / "test_strategies.py")
CHECKS = [
    "test_logits_have_a_column_a_class",
    "test_a_class_alone_scores_as_among_others",
    "test_trains_and_improves",
    "test_initialisation_depends_on_the_seed_alone",
    "test_grows_and_freezes",
    "test_features_replace_images_where_the_tower_is_frozen",
    "test_label_space_restricts_the_loss",
]
FORMS = [form for name in FILES for form in (name, f"{name}+lamm", f"{name}+kg") if form != "gaussian_replay+kg"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("check", CHECKS)
def test_passes_conformance(check: str, form: str, tiny: Any) -> None:
    getattr(CONFORMANCE, check)(form, tiny)


@pytest.mark.parametrize("form", FORMS)
def test_saves_and_loads(form: str, tiny: Any, tmp_path: Path) -> None:
    CONFORMANCE.test_saves_and_loads_bitwise(form, tiny, tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_resumes_to_the_bit(name: str, tiny: Any) -> None:
    import lamm_cl

    digits = lamm_cl.base_to_novel("digits", shots=2, seed=1)

    def build(method: str, **options: Any) -> Any:
        return lamm_cl.build_strategy(method, tiny, digits, **{**STRATEGIES.OPTIONS, **options})

    digits.source.set_backbone(tiny)
    images = torch.stack([digits.test_stream[0].dataset[i][0] for i in range(6)])
    run = STRATEGIES.train_whole(name, build, digits, images)
    STRATEGIES.check_resuming(run, build(name, features="memory"), digits)


@pytest.mark.parametrize("name", FILES)
def test_is_a_short_file(name: str) -> None:
    code = (EXAMPLES / f"{name}.py").read_text().split('if __name__ == "__main__"')[0]
    assert sum(1 for line in code.splitlines() if line.strip()) < FILES[name]


def test_rehearsal_makes_older_classes_compete(tiny: Any) -> None:
    """Gaussian replay trains among the classes of both stages, and forgets less than the new images alone do there."""
    import lamm_cl
    from lamm_cl.evaluation.plugins import AccuracyMatrix, evaluator

    digits, found = lamm_cl.base_to_novel("digits", shots=16, seed=1), {}
    for rehearse in (True, False):
        matrix = AccuracyMatrix(digits)
        space = "own" if rehearse else "seen"
        strategy = lamm_cl.build_strategy(
            "gaussian_replay", tiny, digits, evaluator=evaluator(matrix), train_label_space=space
        )
        if not rehearse:
            strategy.model.rehearsal = None
        strategy.train(digits.train_stream)
        assert strategy.columns == tuple(range(10))
        strategy.eval(digits.test_stream)
        found[rehearse] = matrix.matrices()["all"][-1]
    assert found[True][0] > found[False][0]
