"""From the labels of data sets to the columns of a benchmark."""

from collections.abc import Sequence

from lamm_cl.data.items import Dataset
from lamm_cl.errors import UsageError

Columns = tuple[int, ...]  # column of each label


def one_column_each(datasets: Sequence[Dataset]) -> list[Columns]:
    """Give every class of every data set a column of its own, also where two data sets share a class name.

    X-TAIL counts in the same way (Xu et al., NeurIPS 2024): the union of the class lists, one after another.
    """
    columns, start = [], 0
    for dataset in datasets:
        end = start + len(dataset.class_names)
        columns.append(tuple(range(start, end)))
        start = end
    return columns


def onto_columns_of(source: Dataset, variant: Dataset) -> Columns:
    """Find the column, in `source`, of every class of `variant` (the right 200 of 1000, for ImageNet-A and -R).

    Classes are matched by their identifiers (WordNet) where both data sets have them, since two classes of ImageNet
    may share a name; else by name.

    Raises:
        UsageError: names the classes of the variant that the source does not have, or that it has twice.
    """
    by_id = bool(source.class_ids) and bool(variant.class_ids)
    known = source.class_ids if by_id else source.class_names
    wanted = variant.class_ids if by_id else variant.class_names
    places: dict[str, list[int]] = {}
    for label, key in enumerate(known):
        places.setdefault(key, []).append(label)
    foreign = [key for key in wanted if key not in places]
    if foreign:
        raise UsageError(
            f"domain_generalization: {len(foreign)} of the {len(wanted)} classes of {variant.name} are not classes of "
            f"{source.name}: {', '.join(foreign[:5])}{', ...' if len(foreign) > 5 else ''}. "
            "Variants must be test sets of the source's own classes; for other data sets use cross_dataset."
        )
    return tuple(_next_place(places, key, source, variant) for key in wanted)


def _next_place(places: dict[str, list[int]], key: str, source: Dataset, variant: Dataset) -> int:
    labels = places[key]
    if len(labels) == 1:
        return labels[0]
    if variant.class_names == source.class_names:
        return labels.pop(0)  # the same list in the same order: the first of two goes to the first of two
    raise UsageError(
        f"domain_generalization: {source.name} has {len(labels)} classes called {key!r}, so it cannot be told which "
        f"one {variant.name} means. Give both data sets class identifiers, or different names."
    )
