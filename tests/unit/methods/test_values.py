"""A boolean is no number and no text among the options of methods and strategies, as Python or as a config gives it."""

from typing import Any

import pytest
from pydantic import ValidationError

import lamm_cl
from lamm_cl.data.load import load_dataset
from lamm_cl.errors import UsageError
from lamm_cl.methods.values import Values
from lamm_cl.strategies.settings import Settings


class Chosen(Values):
    """One field of every kind."""

    whole: int | None = None
    several: list[int | str] | int = 1
    real: float = 1.0
    pair: tuple[float, float] = (0.0, 1.0)
    name: str = ""
    flag: bool = False
    free: Any = None
    mixed: bool | int = 1


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("whole", True, "should be a whole number"),
        ("several", [1, False], "should be a whole number or text"),
        ("real", False, "should be a number"),
        ("pair", (0, True), "should be a number"),
        ("name", True, "should be text"),
    ],
)
def test_booleans_in_disguise_are_refused(field: str, value: Any, wanted: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Chosen(**{field: value})
    (error,) = caught.value.errors()
    assert (error["loc"], error["msg"]) == ((field,), wanted)


def test_booleans_stay_where_they_belong() -> None:
    chosen = Chosen(flag=True, free=[True], mixed=True, whole=2.0)
    assert (chosen.flag, chosen.free, chosen.mixed, chosen.whole) == (True, [True], True, 2)


def test_python_calls_refuse_them_as_well(tiny: Any) -> None:
    with pytest.raises(UsageError, match="option n_ctx of coop: should be a whole number"):
        lamm_cl.build_model("coop", tiny, class_names=["a", "b"], n_ctx=True)
    for wrong in (True, "full", 1.5):
        with pytest.raises(UsageError, match=f"shots is a number of training images a class, not {wrong!r}"):
            lamm_cl.build_model("lamm", tiny, class_names=["a", "b"], shots=wrong)
    for options in ({"seed": True}, {"eval_mb_size": True}, {"freeze_context_after": True}):
        with pytest.raises(UsageError, match=f"option {next(iter(options))} of a strategy: should be a whole number"):
            Settings.read("a strategy", options)
    with pytest.raises(UsageError, match="scale must be two shares"):
        load_dataset({"name": "digits", "scale": [True, True]})
