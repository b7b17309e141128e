"""The protocols: from data sets to the layout of a benchmark. No torch, no Avalanche.

Few-shot images are always drawn over the whole data set and only then dealt out to steps, as the papers' codes do
(`generate_fewshot_dataset` before `subsample_classes`): the 16 images of a class are the same in every protocol.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

from pydantic import Field

from lamm_cl.data.items import Dataset
from lamm_cl.errors import UsageError, about, unknown
from lamm_cl.streams import orders as dealing
from lamm_cl.streams.layout import Columns, Drawing, Layout, LayoutBuilder, onto_columns_of
from lamm_cl.streams.orders import sequence

Count = Annotated[int, Field(ge=1, le=100_000)]
VARIANTS = ("imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r")

# What each option of a protocol means, by its name and, where protocols differ, by theirs before it.
MEANINGS = {
    "steps": "number of steps, as equal as can be; default: 2",
    "base": "classes of the first step, with increment in place of steps",
    "increment": "classes of each later step",
    "order": "of classes: dataset, alphabetical, shuffled, a list, {numpy: SEED or seed}, or {file: PATH}",
    "order_seed": "of shuffled; 1993 is the order of iCaRL",
    "evaluate": "names of the test sets to keep; default: all",
    "multi_domain.order": "of data sets: given, alphabetical, mtil-1, mtil-2, x-tail, x-tail-2, or a list",
}


class Protocol(NamedTuple):
    """A named way to turn data sets into a benchmark."""

    build: Callable[..., Layout]  # of (data sets, drawing, *, options)
    title: str  # one line for people
    source: str  # where it is from
    at_least: int = 1  # data sets that it takes; 1 means exactly one
    alone: bool = False  # the source without any variant will do, so that a config can be tried on one small data set

    @property
    def name(self) -> str:
        """What configs call it."""
        return self.build.__name__


def few_shot(datasets: Sequence[Dataset], drawing: Drawing) -> Layout:
    """Train on all classes at once, test on the full test set."""
    return _from_the_first("few_shot", datasets, drawing)


def base_to_new(datasets: Sequence[Dataset], drawing: Drawing) -> Layout:
    """Train on the first half of the classes, test on both halves."""
    n = len(datasets[0].class_names)
    base, new = dealing.split(range(n), dealing.even_sizes(n, 2))
    builder = LayoutBuilder("base_to_new", datasets)
    builder.train_on(0, drawing, [base], ["base"])
    builder.test_on(0, [0, None], [base, new], ["base", "new"])
    return builder.layout()


def class_incremental(
    datasets: Sequence[Dataset],
    drawing: Drawing,
    *,
    steps: Count | None = None,
    base: Count | None = None,
    increment: Count | None = None,
    order: str | list[int] | list[str] | dealing.Source = "dataset",
    order_seed: Annotated[int, Field(ge=0, lt=2**32)] = dealing.ORDER_SEED,
) -> Layout:
    """Train on the classes step by step: Set1, Set2 (LAMM's Table 2), or B-m Inc-n in any number of steps.

    Either in `steps` of equal size (default 2), the first ones one class larger where it does not divide; or `base`
    classes first and `increment` in every further step, where what is left over makes a last, smaller one. `order` and
    `order_seed` are those of `lamm_cl.streams.orders.class_order`.
    """
    names = datasets[0].class_names
    with about("order"):
        ordered = dealing.class_order(names, order, order_seed, drawing.seed)
    parts = dealing.split(ordered, step_sizes(len(names), steps, base, increment))
    titles = [f"set{k + 1}" for k in range(len(parts))]
    builder = LayoutBuilder("class_incremental", datasets)
    builder.train_on(0, drawing, parts, titles)
    builder.test_on(0, range(len(parts)), parts, titles)
    return builder.layout()


def step_sizes(
    classes: int, steps: int | None = None, base: int | None = None, increment: int | None = None
) -> tuple[int, ...]:
    """Return how many classes each step of `class_incremental` has.

    Raises:
        UsageError: The options contradict each other, or ask for more classes than there are.
    """
    if base is None and increment is None:
        with about("steps"):
            return dealing.even_sizes(classes, 2 if steps is None else steps)
    with about("steps" if steps is not None else "increment" if base is None else "base"):
        if steps is not None:
            raise UsageError("class_incremental: give either `steps`, or `base` and `increment`, not both.")
        if base is None or increment is None:
            raise UsageError("class_incremental: `base` and `increment` go together (B-base Inc-increment).")
        return dealing.base_and_increments(classes, base, increment)


def cross_dataset(datasets: Sequence[Dataset], drawing: Drawing) -> Layout:
    """Train on the first data set, test on it and on all others."""
    return _from_the_first("cross_dataset", datasets, drawing)


def domain_generalization(datasets: Sequence[Dataset], drawing: Drawing) -> Layout:
    """Train on the first data set, test on it and on variants, whose classes are among its classes."""
    source, *variants = datasets
    columns = [tuple(range(len(source.class_names)))]
    columns += [onto_columns_of(source, variant) for variant in variants]
    return _from_the_first("domain_generalization", datasets, drawing, columns)


def _from_the_first(
    protocol: str, datasets: Sequence[Dataset], drawing: Drawing, columns: Sequence[Columns] | None = None
) -> Layout:
    builder = LayoutBuilder(protocol, datasets, columns)
    builder.train_on(0, drawing)
    for k in range(len(datasets)):
        builder.test_on(k, trained_in=[0 if k == 0 else None])
    return builder.layout()


def multi_domain(datasets: Sequence[Dataset], drawing: Drawing, *, order: str | list[str] = "given") -> Layout:
    """Train on one data set after another, in an order of `sequence`, test on all of them after each.

    With shots None, all training images are drawn: MTIL's own setting.
    """
    with about("order"):
        ordered = sequence(datasets, order)
    builder = LayoutBuilder("multi_domain", ordered)
    for k in range(len(ordered)):
        builder.train_on(k, drawing)
        builder.test_on(k, trained_in=[k])
    return builder.layout()


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(few_shot, "all classes at once, full test set", "CoOp, IJCV 2022, Figure 3"),
        Protocol(base_to_new, "train on base, test on base and new", "CoCoOp, CVPR 2022, Table 1"),
        Protocol(
            class_incremental,
            "Set1, Set2, ... one after another (B-m Inc-n)",
            "LAMM, AAAI 2024, Table 2; iCaRL, CVPR 2017",
        ),
        Protocol(cross_dataset, "train on one, test on others", "CoCoOp, CVPR 2022, Table 2", 2),
        Protocol(
            domain_generalization, "train on one, test on its variants", "CoOp, IJCV 2022, Table 1", 2, alone=True
        ),
        Protocol(multi_domain, "one data set after another (MTIL, X-TAIL)", "ZSCL, ICCV 2023; RAIL, NeurIPS 2024", 2),
    )
}


def find_protocol(name: str) -> Protocol:
    """Return a protocol by name.

    Raises:
        UsageError: names the protocols there are.
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
