"""Options that take no boolean for a number or a name."""

import typing
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

_WANTED = {int: "a whole number", float: "a number", str: "text"}


class Values(BaseModel):
    """Base of what users choose: a boolean is no number and no name, in no field and in no list.

    pydantic takes booleans for numbers: `shots: true` would train on one image a class.
    """

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_in_disguise(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        wanted = [text for kind, text in _WANTED.items() if kind in kinds]
        listed = value if isinstance(value, list | tuple) else [value]
        if wanted and not kinds & {bool, Any} and any(isinstance(one, bool) for one in listed):
            raise PydanticCustomError("boolean", "should be {wanted}", {"wanted": " or ".join(wanted)})
        return value


def _kinds(annotation: Any) -> set[Any]:
    """Return the plain types in an annotation: those of `list[int | str] | None` are int, str and NoneType."""
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return set()  # true equals none of the choices that there are
    if origin is Annotated:
        return _kinds(inside[0])
    return {kind for one in inside for kind in _kinds(one)} if inside else {annotation}
