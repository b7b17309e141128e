"""From a layout to an Avalanche benchmark.

Put together by hand: Avalanche's `class_incremental_benchmark` drops the classes that do not divide evenly, and wants
the same classes in every stream, which test-only sets do not have.
"""

from collections.abc import Iterable
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.scenarios import CLScenario
from avalanche.benchmarks.scenarios.supervised import with_classes_timeline
from avalanche.benchmarks.utils import DataAttribute, TaskAwareSupervisedClassificationDataset
from avalanche.benchmarks.utils.utils import ConstantSequence

from lamm_cl.streams.layout import EvaluationPlan, Layout
from lamm_cl.streams.source import ImageSource

if TYPE_CHECKING:
    from lamm_cl.clip.backbone import ClipBackbone


class Benchmark(CLScenario):
    """An Avalanche benchmark that knows its classes and how it is evaluated.

    Batches are (x, y, index, t): image or feature, column, position in `source`, task label (always 0).
    Experiences carry `name`, `class_names`, `columns` and `dataset_name` besides Avalanche's own attributes.

    Attributes:
        train_stream, test_stream: Avalanche streams; `val_stream` too where there are validation images.
        class_names: one per column, over all data sets.
        templates: one prompt template per column.
        source: all pictures.
        plan: what is evaluated, in which label spaces.
        protocol: name of the protocol.
        dataset_names: the data sets.
        class_lists: class names and prompt template of each data set.
        data_fingerprint: hex digest of class names and splits; no file is read for it.
        split: "official", "embedded" or "own"; with several data sets, the weakest.
        synthetic: whether any data set is drawn by code.
        shots: training images per class, None for all.
        seed: data seed.
        notes: what a reader of the results must know.
        numbered: data sets whose classes are called by numbers.
    """

    def __init__(
        self, streams: Iterable[Any], layout: Layout, source: ImageSource, shots: int | None, seed: int
    ) -> None:
        super().__init__(list(streams))
        self.source = source
        self.plan: EvaluationPlan = layout.plan
        self.protocol = layout.protocol
        self.class_names = layout.class_names
        self.templates = layout.templates
        self.class_lists = tuple((dataset.class_names, dataset.template) for dataset in layout.datasets)
        self.dataset_names = tuple(dataset.name for dataset in layout.datasets)
        self.data_fingerprint = layout.fingerprint
        self.split = layout.split
        self.synthetic = any(dataset.synthetic for dataset in layout.datasets)
        self.notes = layout.notes
        self.numbered = layout.numbered
        self.shots, self.seed = shots, seed
        self._used = sum(len(part.samples) for part in (*layout.train, *layout.test))
        for stream in self.streams.values():
            stream.benchmark = self

    @cached_property
    def content_fingerprint(self) -> str:
        """Hex digest of the bytes of all training and test images: it tells copies of a data set apart.

        Reads each file that no feature cache has asked about yet, once.

        Raises:
            UsageError: an image cannot be read.
        """
        return self.source.fingerprint(range(self._used))  # validation images come last


def assemble(layout: Layout, shots: int | None, seed: int, backbone: "ClipBackbone | None" = None) -> Benchmark:
    """Make the Avalanche benchmark of a layout; no picture is read."""
    # val last: see `Benchmark.content_fingerprint`
    streams = {"train": layout.train, "test": layout.test, **({"val": layout.val} if layout.val else {})}
    flat = [(sample, kind == "train") for kind, parts in streams.items() for part in parts for sample in part.samples]
    source = ImageSource(layout.datasets, flat, seed, backbone)
    whole, places = as_dataset(source), iter(range(len(source)))  # dealt out to the parts in their order
    pieces = {
        kind: [whole.subset(list(islice(places, len(one.samples)))) for one in parts] for kind, parts in streams.items()
    }
    scenario = with_classes_timeline(benchmark_from_datasets(**pieces))
    for kind, parts in streams.items():
        for experience, part in zip(scenario.streams[kind], parts, strict=True):
            experience.name, experience.dataset_name, experience.columns = part.name, part.dataset, part.own
            experience.class_names = tuple(layout.class_names[column] for column in part.own)
    return Benchmark(scenario.streams.values(), layout, source, shots, seed)


def as_dataset(source: ImageSource) -> Any:
    """Return all pictures of a source as one Avalanche data set of (x, y, index, t)."""
    n = len(source)
    return TaskAwareSupervisedClassificationDataset(
        [source],
        data_attributes=[
            DataAttribute(source.targets, "targets"),
            DataAttribute(list(range(n)), "index", use_in_getitem=True),
            DataAttribute(ConstantSequence(0, n), "targets_task_labels", use_in_getitem=True),  # t stays last
        ],
    )
