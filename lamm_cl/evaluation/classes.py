"""Which classes the data of an Avalanche experience have, however its benchmark was made."""

from typing import Any

from lamm_cl.errors import UsageError


def classes_of(experience: Any) -> tuple[int, ...]:
    """Return the classes of an experience, ascending: those that it names, else those of its data."""
    named = getattr(experience, "classes_in_this_experience", None)
    if named is not None:
        return tuple(sorted(map(int, named)))
    stream = getattr(experience.origin_stream, "name", "?")
    return classes_in(experience.dataset, f"experience {experience.current_experience} of the stream {stream!r}")


def classes_in(dataset: Any, what: str) -> tuple[int, ...]:
    """Return the classes of a data set's labels, ascending.

    Args:
        dataset: An Avalanche data set.
        what: How to call it in messages.

    Raises:
        UsageError: It does not know its labels.
    """
    targets = getattr(dataset, "targets", None)
    if targets is None:
        raise UsageError(
            f"{what}: its data do not know their labels. Make the data set with Avalanche's as_classification_dataset, "
            "from one that has `targets`, a list with a label for each image."
        )
    return tuple(sorted({int(y) for y in getattr(targets, "uniques", targets)}))
