"""Wrong use of the Python API ends in one message, as in a config."""

import ast
from pathlib import Path
from typing import Any

import pytest

import lamm_cl
from lamm_cl.errors import UsageError

NAMES = ["zero", "one"]


@pytest.fixture(scope="module")
def stream() -> Any:
    return lamm_cl.base_to_novel("digits", shots=1, seed=1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda tiny, stream, model: lamm_cl.build_strategy(model, tiny, stream), "a method is meant by its name"),
        (lambda tiny, stream, model: lamm_cl.build_strategy("lamm", model, stream), "knows it as model.backbone"),
        (lambda tiny, stream, model: lamm_cl.build_strategy("lamm", "tiny", stream), r"load_clip\('tiny'\)"),
        (lambda tiny, stream, model: lamm_cl.build_strategy("lamm", tiny, "digits"), "with a train_stream"),
        (lambda tiny, stream, model: lamm_cl.build_model(model, tiny, NAMES), "a method is meant by its name"),
        (lambda tiny, stream, model: lamm_cl.build_model("lamm", model, NAMES), "takes a backbone, not PromptedCLIP"),
        (lambda tiny, stream, model: lamm_cl.build_model("lamm", tiny, "zero"), r"write \['zero'\]"),
        (lambda tiny, stream, model: lamm_cl.fit_stage("lamm", [], []), "takes a model first"),
        (lambda tiny, stream, model: lamm_cl.fit_stage(model, ["a.png"], ["zero"]), "images are pictures"),
        (lambda tiny, stream, model: lamm_cl.fit_stage(model, picture(), ["ten"]), "unknown class 'ten'"),
        (lambda tiny, stream, model: lamm_cl.load_learner("x.safetensors", model), "takes a model first"),
    ],
)
def test_is_said_in_one_message(call: Any, said: str, tiny: Any, stream: Any) -> None:
    model = lamm_cl.build_model("lamm", tiny, NAMES)
    with pytest.raises(UsageError, match=said):
        call(tiny, stream, model)


def picture() -> list[Any]:
    digits = lamm_cl.load_dataset("digits")
    return [digits.open(digits.test[0])]


def test_evaluating_classes_that_a_grown_model_lacks(tiny: Any, stream: Any) -> None:
    settings = lamm_cl.build_strategy("lamm", tiny, stream, epochs=1)
    small = lamm_cl.build_model("lamm", tiny, list(stream.class_names[:5]), learn=False)
    strategy = lamm_cl.LearnerStrategy(model=small, recipe=settings.recipe)
    strategy.train(stream.train_stream[0])
    with pytest.raises(UsageError, match="holds class 9, but the model was built with 5 class names"):
        strategy.eval(stream.test_stream)


def test_type_checkers_see_every_name() -> None:
    tree = ast.parse(Path(lamm_cl.__file__).read_text())
    seen = {name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names}
    assert set(lamm_cl.__all__) - {"__version__"} <= seen
