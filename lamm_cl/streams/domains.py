"""Orders of data sets: MTIL's and X-TAIL's two by name, or any."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from lamm_cl.errors import UsageError, unknown


class Named(Protocol):
    """Whatever has a name."""

    @property
    def name(self) -> str:
        """Its name."""
        ...


D = TypeVar("D", bound=Named)

_FIRST = (
    "fgvc_aircraft",
    "caltech101",
    "cifar100",
    "dtd",
    "eurosat",
    "oxford_flowers",
    "food101",
    "mnist",
    "oxford_pets",
    "stanford_cars",
    "sun397",
)
_SECOND = (9, 6, 7, 8, 5, 10, 0, 1, 3, 4, 2)
DOMAIN_ORDERS: dict[str, tuple[str, ...]] = {
    # Zheng et al. (ZSCL), ICCV 2023, section 5.1: alphabetical, and a random one.
    "mtil-1": _FIRST,
    "mtil-2": tuple(_FIRST[k] for k in _SECOND),
    # Xu et al. (RAIL), NeurIPS 2024: MTIL's two without CIFAR-100.
    "x-tail": tuple(name for name in _FIRST if name != "cifar100"),
    "x-tail-2": tuple(_FIRST[k] for k in _SECOND if _FIRST[k] != "cifar100"),
}
ORDER_NAMES = ("given", "alphabetical", *DOMAIN_ORDERS)


def domains_of(order: str) -> tuple[str, ...]:
    """Return the data sets of a named order.

    Raises:
        UsageError: for an unknown order.
    """
    if order not in DOMAIN_ORDERS:
        raise unknown("order of data sets", order, ORDER_NAMES)
    return DOMAIN_ORDERS[order]


def sequence(datasets: Sequence[D], order: str | Sequence[str] = "given") -> list[D]:
    """Put data sets in order.

    Args:
        datasets: the data sets, each once.
        order: "given"; "alphabetical"; a name of `DOMAIN_ORDERS`, of which `datasets` may be a part; or the names
            of all `datasets`, each once.

    Raises:
        UsageError: for an unknown order, a data set that the order does not name, or a list that is no permutation.
    """
    by_name = {dataset.name: dataset for dataset in datasets}
    if len(by_name) < len(datasets):
        names = [dataset.name for dataset in datasets]
        raise UsageError(f"data set {next(n for n in names if names.count(n) > 1)!r} is given twice.")
    if isinstance(order, str):
        if order == "given":
            return list(datasets)
        if order == "alphabetical":
            return [by_name[name] for name in sorted(by_name, key=str.casefold)]
        listed = domains_of(order)
        strangers = [name for name in by_name if name not in listed]
        if strangers:
            raise UsageError(
                f"order {order!r} has no place for {', '.join(strangers)}; it orders {', '.join(listed)}. "
                "Use order: given, or a list of names."
            )
        return [by_name[name] for name in listed if name in by_name]
    if not isinstance(order, Sequence):
        raise UsageError(
            f"order must be one of {', '.join(ORDER_NAMES)}, or the names of all data sets, not {order!r}."
        )
    if sorted(map(str, order)) != sorted(by_name):
        raise UsageError(
            f"order {list(order)} is not a permutation of the data sets {', '.join(by_name)}; name each exactly once."
        )
    return [by_name[str(name)] for name in order]
