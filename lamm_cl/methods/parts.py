"""The parts of the algebra by name. Nothing here imports torch: a part's class is imported when the part is built."""

import importlib
from dataclasses import dataclass, replace
from typing import Any, Self

# The columns of the table of methods.
SLOTS = (
    "context",
    "labels",
    "deep prompts",
    "delta",
    "adapter",
    "head",
    "fusion",
    "memory",
    "objective",
    "consolidation",
)
_TOGETHER = ("head", "objective")  # several parts of one slot act together there; elsewhere an option chooses


@dataclass(frozen=True)
class Part:
    """One choice for one slot of the algebra: `PART(...)` builds it.

    Attributes:
        slot: one of `SLOTS`.
        name: what the table of methods calls it.
        home: module and class, as "package.module:Class"; empty for a part that a method builds by itself.
        learns: the towers in which it learns something: "text", "image".
        unprojected: whether it takes image features before CLIP's projection.
    """

    slot: str
    name: str
    home: str = ""
    learns: tuple[str, ...] = ()
    unprojected: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Build the part."""
        return self.load()(*args, **kwargs)

    def load(self) -> Any:
        """Import the part's class."""
        module, _, name = self.home.partition(":")
        return getattr(importlib.import_module(module), name)

    def called(self, name: str, **changes: Any) -> Self:
        """Return the same part under another name, where a method uses a special form of it."""
        return replace(self, name=name, **changes)


def row(parts: tuple[Part, ...]) -> dict[str, str]:
    """Return a method's row of the table: what it has in each slot."""
    found = {}
    for slot in SLOTS:
        names = list(dict.fromkeys(part.name for part in parts if part.slot == slot))
        found[slot] = (" + " if slot in _TOGETHER else " or ").join(names) or "-"
    return found


# What a method is made of.
PARTS = Part("", "parts", "lamm_cl.methods.composed:Parts")
WORDING = Part("", "wording", "lamm_cl.prompts.wording:Wording")
PAIR_TEXTS = Part("", "sentences that tell classes apart", "lamm_cl.prompts.pair_texts:PairTexts")
TEXT_BANK = Part("", "text bank", "lamm_cl.prompts.wording:TextBank")
TEXT, BOTH = ("text",), ("text", "image")

FIXED_TEMPLATE = Part("context", "fixed template", "lamm_cl.prompts.context:FixedContext")
LEARNED_CONTEXT = Part("context", "learned", "lamm_cl.prompts.context:LearnedContext", TEXT)
CLASS_CONTEXT = Part("context", "learned per class", "lamm_cl.prompts.context:ClassSpecificContext", TEXT)
CONDITIONED_CONTEXT = Part("context", "learned, image-conditioned", "lamm_cl.prompts.context:ConditionedContext", TEXT)
CLASS_AWARE_CONTEXT = Part("context", "learned, class-aware tokens", "lamm_cl.prompts.context:ClassAwareContext", TEXT)

NAMES = Part("labels", "fixed", "lamm_cl.prompts.labels:FixedLabels")
LEARNED_LABELS = Part("labels", "learned", "lamm_cl.prompts.labels:LearnedLabels", TEXT)

INDEPENDENT_PROMPTS = Part("deep prompts", "text and vision", "lamm_cl.prompts.deep:IndependentDeep", BOTH)
COUPLED_PROMPTS = Part("deep prompts", "text -> vision", "lamm_cl.prompts.deep:CoupledDeep", BOTH)

DELTAS = Part("delta", "low-rank", "lamm_cl.prompts.deltas:Deltas", BOTH)

COSINE = Part("head", "cosine to text", "lamm_cl.prompts.matching:Cosine")
TRANSPORT = Part("head", "optimal transport", "lamm_cl.prompts.matching:Transport")

PROTOTYPES = Part("head", "prototypes", "lamm_cl.methods.prototypes:Prototypes")
RANDOM_LAYER = Part("adapter", "random ReLU layer", "lamm_cl.methods.ridge:RandomLayer")
RIDGE = Part("head", "ridge", "lamm_cl.methods.ridge:Ridge")
KERNEL_RIDGE = Part("head", "kernel ridge", "lamm_cl.methods.cache:KernelRidge")
GAUSSIAN_DISCRIMINANT = Part(
    "head",
    "Gaussian discriminant",
    "lamm_cl.methods.prototypes:GaussianDiscriminant",
    unprojected=True,
)
MIXED_PROTOTYPES = Part("head", "mixed prototypes", "lamm_cl.methods.prototypes:MixedPrototypes")
CACHE = Part("head", "cache", "lamm_cl.methods.cache:Cache")
CROSS_MODAL = Part("head", "cross-modal attention", "lamm_cl.methods.cross_modal:CrossModal")
VISUAL_CLASSIFIER = Part("head", "visual classifier", "lamm_cl.methods.visual_classifier:VisualClassifier")
SUM = Part("fusion", "sum")
RERANK = Part("fusion", "rerank", "lamm_cl.methods.fusion:Rerank")
GATE = Part("fusion", "gate by the text", "lamm_cl.methods.fusion:Gate")

BOTTLENECK = Part("adapter", "bottleneck MLP", "lamm_cl.methods.adapters:Bottleneck")
BRIDGE = Part("adapter", "bridge layer", "lamm_cl.methods.adapters:Bridge", unprojected=True)
STAGE_SUM = Part("adapter", "sum of linear maps, both sides", "lamm_cl.methods.adapters:StageSum")
LINEAR = Part("adapter", "linear", "lamm_cl.methods.adapters:Linear")

STATISTICS = Part("memory", "class statistics", "lamm_cl.methods.statistics:ClassStatistics")
FEATURE_MEMORY = Part("memory", "training features", "lamm_cl.methods.cache:FeatureMemory")
NOISY_MEANS = Part("memory", "noisy class means", "lamm_cl.methods.rehearsal:NoisyMeans")
GAUSSIANS = Part("memory", "class Gaussians", "lamm_cl.methods.rehearsal:Gaussians")

EXEMPLARS = Part("memory", "exemplars", "lamm_cl.methods.rehearsal:Exemplars")

CROSS_ENTROPY = Part("objective", "CE", "lamm_cl.methods.objective:Objective")
GRADIENT_PROJECTION = Part("objective", "gradient projection", "lamm_cl.methods.terms:GradientProjection")
REFERENCE = Part("objective", "distance to a reference", "lamm_cl.methods.terms:Reference")
HIERARCHICAL = Part("objective", "hierarchical", "lamm_cl.methods.terms:Hierarchical")
CONTRAST = Part("objective", "contrast in the batch", "lamm_cl.methods.terms:Contrast")
DESCRIBED = Part("objective", "sentences and second views", "lamm_cl.methods.terms:Described")
NEIGHBOURS = Part("objective", "hinge on neighbours", "lamm_cl.methods.terms:Neighbours")

SINGULAR_FUSION = Part("consolidation", "fusion in the singular basis", "lamm_cl.methods.consolidation:SingularFusion")

EPOCH_AVERAGE = Part("consolidation", "average over epochs", "lamm_cl.methods.consolidation:EpochAverage")

# A prompted CLIP that says nothing else has these.
PLAIN = (NAMES, COSINE, CROSS_ENTROPY)
