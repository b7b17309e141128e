"""The way in: from names and numbers to a benchmark."""

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from lamm_cl.data.items import Dataset
from lamm_cl.data.load import load_dataset
from lamm_cl.errors import UsageError, about, check_known
from lamm_cl.streams.layout import Drawing, Layout, check, require_pictures, restrict_evaluation
from lamm_cl.streams.orders import DOMAIN_ORDERS
from lamm_cl.streams.protocols import VARIANTS, Protocol, find_protocol

if TYPE_CHECKING:
    from lamm_cl.clip.backbone import ClipBackbone
    from lamm_cl.streams.benchmark import Benchmark

DataSpec = str | Mapping[str, Any] | Dataset


class ProtocolOptions(TypedDict, total=False):
    """Options of all protocols, see `lamm_cl.streams.protocols`."""

    steps: int | None
    base: int | None
    increment: int | None
    order: str | Sequence[int] | Sequence[str] | Mapping[Literal["numpy", "file"], int | str]
    order_seed: int


class StreamOptions(ProtocolOptions, total=False):
    """Those, and which test sets to keep, and whether to ask the disk for every image."""

    evaluate: Sequence[str] | None
    check_images: bool


def base_to_novel(
    dataset: DataSpec = "digits",
    shots: int | None = 16,
    seed: int = 1,
    root: str | None = None,
    backbone: "ClipBackbone | None" = None,
    **options: Unpack[StreamOptions],
) -> "Benchmark":
    """Make the stream Set1, Set2: the first and the second half of the classes, trained one after the other.

    It is protocol `class_incremental` with two steps; its two experiences are the papers' base and new classes.

    Args:
        dataset: a name, a description of your own data, or a loaded data set.
        shots: training images per class; None for all.
        seed: which images are drawn, and their training views.
        root: folder of the data sets.
        backbone: see `build_stream`.
        **options: see `build_stream` and `lamm_cl.streams.protocols.class_incremental`.

    Returns:
        An Avalanche `CLScenario` with `train_stream` and `test_stream`.
    """
    return build_stream("class_incremental", dataset, shots, seed, root, backbone, **options)


def build_stream(
    protocol: str,
    datasets: DataSpec | Sequence[DataSpec] = (),
    shots: int | str | None = 16,
    seed: int = 1,
    root: str | None = None,
    backbone: "ClipBackbone | None" = None,
    **options: Unpack[StreamOptions],
) -> "Benchmark":
    """Make the benchmark of a protocol.

    Args:
        protocol: few_shot, base_to_new, class_incremental, cross_dataset, domain_generalization or multi_domain.
        datasets: one or several of: name, description of your own data (see `load_dataset`), loaded data set.
        shots: training images per class; None or "full" for all of them.
        seed: which images are drawn, and their training views.
        root: folder of the data sets.
        backbone: whose image transforms to use; can be given later with `benchmark.source.set_backbone`.
        **options: those of the protocol (see `lamm_cl.streams.protocols`), and `evaluate`: names of the test sets to
            keep, where not all are wanted; `check_images=False` to go without asking the disk whether every image that
            the benchmark uses is there.

    Raises:
        UsageError: for anything that cannot work, missing images among it, before any picture is read.
    """
    layout = build_layout(protocol, datasets, shots, seed, root, **options)
    from lamm_cl.streams.benchmark import assemble  # Avalanche takes seconds to import: after the checks

    return assemble(layout, _shots(shots), seed, backbone)


def build_layout(
    protocol: str,
    datasets: DataSpec | Sequence[DataSpec] = (),
    shots: int | str | None = 16,
    seed: int = 1,
    root: str | None = None,
    *,
    evaluate: Sequence[str] | None = None,
    check_images: bool = True,
    **options: Unpack[ProtocolOptions],
) -> Layout:
    """Do what `build_stream` does, short of torch and Avalanche: for checks and listings."""
    chosen = find_protocol(protocol)
    known = options_of(chosen)
    check_known(f"option of protocol {protocol}", options, known)
    drawing = Drawing(_shots(shots), seed)
    layout = chosen.build(_load(chosen, datasets, root, options.get("order")), drawing, **options)
    if evaluate is not None:
        with about("evaluate"):
            layout = restrict_evaluation(layout, [evaluate] if isinstance(evaluate, str) else list(evaluate))
    check(layout)
    if check_images:
        require_pictures(layout)
    return layout


def options_of(protocol: Protocol) -> dict[str, Any]:
    """Return the options of a protocol with their defaults, read from its builder; `evaluate` is common to all."""
    parameters = inspect.signature(protocol.build).parameters.values()
    own = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    return {**own, "evaluate": None}


def _shots(shots: int | str | None) -> int | None:
    if shots is None or shots == "full":
        return None
    if isinstance(shots, bool) or not isinstance(shots, int) or shots < 1:
        raise UsageError(f'shots must be a whole number of at least 1, or "full" for all images, not {shots!r}.')
    return shots


def _load(
    protocol: Protocol, datasets: DataSpec | Sequence[DataSpec], root: str | None, order: object
) -> list[Dataset]:
    listed = [datasets] if isinstance(datasets, str | Mapping | Dataset) else list(datasets)
    if not listed and protocol.name == "multi_domain" and isinstance(order, str) and order in DOMAIN_ORDERS:
        listed = list(DOMAIN_ORDERS[order])
    loaded = _load_all(listed, root)
    names = [dataset.name for dataset in loaded]
    if protocol.name == "domain_generalization" and names == ["imagenet"]:
        loaded += _load_all(VARIANTS, root)
    n, least = len(loaded), protocol.at_least
    if least == 1 and n != 1:
        raise UsageError(f"{protocol.name} takes exactly one data set, not {n}.")
    if n < least and not (n == 1 and protocol.alone):
        raise UsageError(f"{protocol.name} takes at least {least} data sets, not {n}.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{protocol.name}: data set {twice!r} is given twice.")
    return loaded


def _load_all(specs: Sequence[DataSpec], root: str | None) -> list[Dataset]:
    """Load data sets; what is said of the first that fails also names the others that do."""
    loaded: list[Dataset] = []
    failed: list[tuple[str, UsageError]] = []
    for one in specs:
        try:
            loaded.append(one if isinstance(one, Dataset) else load_dataset(one, root))
        except UsageError as error:
            failed.append((str(one.get("name") or dict(one)) if isinstance(one, Mapping) else str(one), error))
    if len(failed) == 1:
        raise failed[0][1]
    if failed:
        others = ", ".join(name for name, _ in failed[1:])
        raise UsageError(f"{failed[0][1]} {len(failed) - 1} more cannot be read: {others}.")
    return loaded
