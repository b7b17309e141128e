"""The one kind of error that tells a user what to change."""

import contextlib
import difflib
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any


class UsageError(ValueError):
    """Wrong use: what is wrong, where, and what to do, in one message. The command line exits with 2.

    Attributes:
        option: Which option is wrong, where it is one.
    """

    option: str | None = None


@contextlib.contextmanager
def about(option: str) -> Iterator[None]:
    """Mark what is refused inside as said of an option."""
    try:
        yield
    except UsageError as error:
        error.option = error.option or option
        raise


def refusal(work: Callable[..., object], *given: Any, **options: Any) -> UsageError | None:
    """Return the error of wrong use that a call raises, None where it raises none."""
    try:
        work(*given, **options)
    except UsageError as error:
        return error
    return None


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice that looks most like `name`, or None when none is near."""
    by_lower = {choice.lower(): choice for choice in choices}
    return next((by_lower[one] for one in difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)), None)


def unknown_name(kind: str, name: object, choices: Iterable[str]) -> str:
    """Say that a name is none of `choices`: names the nearest match and all choices."""
    names = sorted(choices)
    guess = nearest(str(name), names)
    hint = f" Did you mean {guess!r}?" if guess else ""
    return f"unknown {kind} {str(name)!r}.{hint} Choices: {', '.join(names)}."


def unknown(kind: str, name: object, choices: Iterable[str]) -> UsageError:
    """Build the error for a name that is none of `choices`."""
    return UsageError(unknown_name(kind, name, choices))


def check_known(kind: str, names: Iterable[object], choices: Collection[str]) -> None:
    """Raise the error for the first of some names that is none of `choices`."""
    for name in names:
        if name not in choices:
            raise unknown(kind, name, choices)
