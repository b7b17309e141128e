"""What users choose, in Python or in YAML: one model of each option, and one wording of what is wrong with it."""

import json
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from lamm_cl.errors import UsageError, check_known, nearest, unknown_name

MOST = 1_000_000
Key = tuple[str | int, ...]
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"
DEVICE = r"^(auto|cpu|cuda(:\d+)?)$"
_PATTERNS = {
    NAME: "a name of letters (a to z), digits and _ . + - that begins with a letter or digit",
    DEVICE: "cpu, cuda, cuda:N or auto",
}
_TYPES = {int: "a whole number", float: "a number", str: "text"}
# What pydantic calls the kinds of its findings, and what they want.
_WANTED = {
    "string_type": "text",
    "dict_type": "a mapping of keys",
    "model_": "a mapping of keys",
    "list_type": "a list",
    "tuple_type": "a list",
    "bool_": "true or false",
    "int_": "a whole number",
    "float_": "a number",
}
_KIND = re.compile(r"(constrained-\w+|(literal|list|dict|tuple)\[.*\]|str|int|float|bool|none)")


class Values(BaseModel):
    """Base of what users choose: a boolean is no number and no name, in no field and in no list.

    pydantic takes booleans for numbers: `shots: true` would train on one image a class.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_in_disguise(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        wanted = [text for kind, text in _TYPES.items() if kind in kinds]
        listed = value if isinstance(value, list | tuple) else [value]
        if wanted and not kinds & {bool, Any} and any(isinstance(one, bool) for one in listed):
            raise PydanticCustomError("boolean", "should be {wanted}", {"wanted": " or ".join(wanted)})
        return value

    @classmethod
    def read(cls, owner: str, options: Mapping[str, Any]) -> Self:
        """Return the values that Python code gives by keyword.

        Args:
            owner: Whose options they are, for messages.
            options: By name.

        Raises:
            UsageError: An unknown option, with the nearest one, or wrong values.
        """
        check_known(f"option of {owner}", options, cls.model_fields)
        try:
            return cls.model_validate(dict(options))
        except ValidationError as error:
            found = [f"option {'.'.join(map(str, key))} of {owner}: {text}" for key, text in findings(error).items()]
            raise UsageError(" ".join(found)) from None


def _kinds(annotation: Any) -> set[Any]:
    """Return the plain types in an annotation: those of `list[int | str] | None` are int, str and NoneType."""
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return set()  # true equals none of the choices that there are
    if origin is Annotated:
        return _kinds(inside[0])
    if origin is Callable:
        return {Any}
    return {kind for one in inside for kind in _kinds(one)} if inside else {annotation}


def findings(error: ValidationError, keys: Mapping[Key, Sequence[str]] | None = None) -> dict[Key, str]:
    """Say in plain words what pydantic found, by the path of the value.

    Args:
        error: What validation raised.
        keys: For each place that takes named keys, their names; 0 stands for any place in a list.
    """
    texts: dict[Key, list[str]] = {}
    said: dict[Key, Any] = {}
    hints: dict[Key, str] = {}
    for found in error.errors(include_url=False):
        # Where several kinds of value are right, pydantic adds the kind that it tried last to the path.
        key: Key = tuple(part for part in found["loc"] if not (isinstance(part, str) and _KIND.fullmatch(part)))
        if found["type"] == "extra_forbidden":
            text = unknown_name(
                "key", key[-1], (keys or {}).get(tuple(0 if isinstance(one, int) else one for one in key[:-1]), ())
            )
        elif key[-1:] == ("[key]",):
            key = key[:-1]
            text = unknown_name("key", key[-1], _choices(found))
        elif found["type"] == "missing":
            text = "is missing."
        elif found["type"] in ("too_short", "too_long"):
            text = _length(found["ctx"])
        else:
            text = _plain(found)
            said[key] = found.get("input")
            if found["type"] == "literal_error" and (guess := nearest(str(said[key]), _choices(found))):
                hints[key] = f" Did you mean {guess!r}?"
        texts.setdefault(key, []).append(text)
    return {
        key: " or ".join(dict.fromkeys(wrong))
        + (f" ({_what_it_says(said[key], wrong)}).{hints.get(key, '')}" if key in said else "")
        for key, wrong in texts.items()
    }


def _choices(found: Mapping[str, Any]) -> list[str]:
    return re.findall("'([^']*)'", str(found.get("ctx", {}).get("expected", "")))


def _length(said: Mapping[str, Any]) -> str:
    if said["actual_length"] == 0:
        return "is empty."
    wanted = f"at least {said['min_length']}" if "min_length" in said else f"at most {said['max_length']}"
    return f"should have {wanted} entries, and has {said['actual_length']}."


def _plain(found: Mapping[str, Any]) -> str:
    kind = str(found["type"])
    if kind == "string_pattern_mismatch":
        pattern = found["ctx"]["pattern"]
        return f"should be {_PATTERNS.get(pattern, f'text like {pattern}')}"
    for start, wanted in _WANTED.items():
        if kind.startswith(start):
            return f"should be {wanted}"
    message = str(found["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")
    return message.replace("Input should", "should").replace("String should", "should").replace("a valid ", "a ")


def _what_it_says(value: Any, wrong: Iterable[str]) -> str:
    plain = (
        json.dumps(value, ensure_ascii=False, default=repr) if isinstance(value, bool | list | dict) else repr(value)
    )
    text = f"it says {'nothing' if value is None else plain if len(plain) <= 60 else plain[:57] + '...'}"
    unquoted = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, int | float)]
    return text + (", in quotes it would be text" if unquoted and any("text" in one for one in wrong) else "")
