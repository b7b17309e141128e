"""The methods as Avalanche strategies, for a script of one's own.

    strategy = LAMM(backbone=load_clip(), class_names=names, shots=16, train_epochs=50, plugins=[ReplayPlugin()])

All constructors are one, which reads the options of its method from the registry.
"""

import inspect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, get_type_hints

from avalanche.training.plugins.evaluation import default_evaluator

from lamm_cl.methods.lamm import SUFFIX
from lamm_cl.strategies.build import StrategyOptions, learner_of
from lamm_cl.strategies.settings import defaults_of, sort_options
from lamm_cl.strategies.strategy import LearnerStrategy

if TYPE_CHECKING:
    from lamm_cl.clip.backbone import ClipBackbone

_AVALANCHE = ("optimizer", "eval_every", "peval_mode")


class Named(LearnerStrategy):
    """A strategy that builds the model of its method.

    Abstract: use a subclass, or make one with `class MyMethod(Named, method="my_method")`.
    """

    method_name: ClassVar[str]

    def __init_subclass__(cls, *, method: str = "", **kwargs: Any) -> None:
        # Avalanche's hook is left out: its wrapper refuses options that no signature spells out one by one.
        if method:
            cls.method_name = method
            cls.__signature__ = _signature(method)
        elif "__init__" in vars(cls):
            cls.__signature__ = None

    def __init__(
        self,
        *,
        backbone: "ClipBackbone",
        class_names: Sequence[str],
        shots: int = 16,
        device: str = "cpu",
        plugins: Iterable[Any] | None = None,
        evaluator: Any = default_evaluator,
        lamm: bool = False,
        **options: Unpack[StrategyOptions],
    ) -> None:
        """Make the strategy.

        Args:
            backbone: Frozen CLIP.
            class_names: Name of every class of the stream, in the order of the labels.
            shots: Training images a class, which LAMM's weight of L_WC depends on.
            device: Where to train.
            plugins: Avalanche plugins.
            evaluator: Avalanche's evaluation plugin.
            lamm: Whether labels are learned as well (the `+lamm` form of the method).
            **options: `train_mb_size`, `train_epochs`, `eval_mb_size` and other parts of the recipe; the method's
                own options; the fields of `Settings`; `optimizer`, `eval_every`, `peval_mode`, `class_templates`.

        Raises:
            UsageError: For an unknown option, with the nearest match, or a value that cannot be.
        """
        name = self.method_name + SUFFIX if lamm else self.method_name
        chosen = sort_options(name, backbone.name, options, (*_AVALANCHE, "class_templates"))
        templates = chosen.rest.pop("class_templates", None)
        super().__init__(
            model=learner_of(name, backbone, class_names, shots, chosen, class_templates=templates),
            recipe=chosen.recipe,
            device=device,
            plugins=plugins,
            evaluator=evaluator,
            settings=chosen.settings,
            **chosen.rest,
        )


# Named itself has passed Avalanche's hook, as a subclass of LearnerStrategy.
Named.__init__ = Named.__init__.__wrapped__  # type: ignore[method-assign,attr-defined]


def _signature(method: str) -> inspect.Signature:
    """Return what a constructor accepts, for help() and editors."""
    common = [p for p in inspect.signature(Named.__init__).parameters.values() if p.kind is p.KEYWORD_ONLY]
    known = {p.name for p in common}
    own = {**defaults_of(method), "optimizer": None, "eval_every": -1, "peval_mode": "epoch", "class_templates": None}
    hints = get_type_hints(StrategyOptions)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])
        for name, default in own.items()
        if name not in known
    ]
    return inspect.Signature([*common, *more])


class ZeroShot(Named, method="zero_shot"):
    """CLIP with hand-written templates: nothing trains (Radford et al., ICML 2021)."""


class CoOp(Named, method="coop"):
    """Learned context words (Zhou et al., IJCV 2022)."""


class CoCoOp(Named, method="cocoop"):
    """Context words that depend on the image (Zhou et al., CVPR 2022)."""


class LAMM(Named, method="lamm"):
    """A trainable embedding for every class name; each experience adds its own (Gao et al., AAAI 2024)."""


class VPT(Named, method="vpt"):
    """Learned tokens in the image tower (Jia et al., ECCV 2022, on CLIP)."""


class LanguagePrompting(Named, method="language_prompting"):
    """Learned tokens in every layer of the text tower (Khattak et al., CVPR 2023)."""


class IVLP(Named, method="ivlp"):
    """Independent learned tokens in both towers (Khattak et al., CVPR 2023)."""


class MaPLe(Named, method="maple"):
    """Learned text tokens that make the image tokens (Khattak et al., CVPR 2023)."""


class ALIGN(Named, method="align"):
    """Several prompts in both towers, matched by optimal transport (Wang et al., NeurIPS 2023)."""


class CLIPLoRA(Named, method="clip_lora"):
    """Learned low-rank deltas of the attention matrices (Zanella and Ben Ayed, CVPRW 2024)."""


class CLIPAdapter(Named, method="clip_adapter"):
    """A learned map of image features (Gao et al., IJCV 2024)."""


class TipAdapter(Named, method="tip_adapter"):
    """A cache of training features beside the text (Zhang et al., ECCV 2022)."""


class TipAdapterF(Named, method="tip_adapter_f"):
    """The same with trained keys (Zhang et al., ECCV 2022)."""


class SimpleCIL(Named, method="simplecil"):
    """Class means; nothing trains (Zhou et al., IJCV 2024)."""


class RanPAC(Named, method="ranpac"):
    """Ridge regression on random features (McDonnell et al., NeurIPS 2023)."""


class ACIL(Named, method="acil"):
    """Ridge regression on a random buffer layer (Zhuang et al., NeurIPS 2022)."""


class RAIL(Named, method="rail"):
    """Ridge regression, gated by zero-shot CLIP (Xu et al., NeurIPS 2024)."""
