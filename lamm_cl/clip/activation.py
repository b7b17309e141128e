"""QuickGELU or GELU: weights that were trained with the other activation load without a word and are wrong."""

import logging

from lamm_cl.clip.weights import Weights
from lamm_cl.errors import UsageError

LOG = logging.getLogger("lamm_cl")


def other_name(name: str) -> str | None:
    """Return the same architecture with the other activation, where open_clip has one."""
    from open_clip import list_models

    other = name.removesuffix("-quickgelu") if name.endswith("-quickgelu") else f"{name}-quickgelu"
    return other if other in list_models() else None


def listed_elsewhere(name: str, tag: str) -> bool:
    """Whether the tag is listed only for the same architecture with the other activation."""
    from open_clip.pretrained import is_pretrained_cfg

    other = other_name(name)
    return other is not None and bool(is_pretrained_cfg(other, tag))


def check_activation(name: str, pretrained: str, wanted: bool, needed: bool, why: str) -> None:
    """Refuse weights that were trained with the other activation.

    Args:
        name: the architecture.
        pretrained: the tag or file, for the message.
        wanted: whether the architecture computes QuickGELU.
        needed: whether the weights were trained with it.
        why: how one knows, for the message.

    Raises:
        UsageError: the two differ; names the architecture to use instead.
    """
    if wanted == needed:
        return
    words = {True: "QuickGELU", False: "GELU"}
    other = other_name(name)
    instead = f"use the name {other!r}" if other else "use an architecture with that activation"
    raise UsageError(
        f"QuickGELU mismatch: the weights {pretrained!r} were trained with {words[needed]} ({why}), and {name!r} "
        f"computes {words[wanted]}; the features would be wrong. Instead, {instead}."
    )


def check_file_activation(name: str, wanted: bool, weights: Weights, said: bool | None) -> None:
    """Check a file's activation; where nothing tells and both kinds exist, log what was assumed.

    Args:
        name: the architecture.
        wanted: whether the architecture computes QuickGELU.
        weights: the file's content.
        said: what the user says of it, if anything.

    Raises:
        UsageError: architecture, file and user don't agree.
    """
    known, why = weights.quick_gelu, weights.told_by
    if said is not None and known is not None and said != known:
        raise UsageError(f"quick_gelu={said} contradicts the file {weights.file}: {why}.")
    if known is None and said is not None:
        known, why = said, f"quick_gelu={said} was given"
    if known is not None:
        check_activation(name, str(weights.file), wanted, known, why)
    elif not wanted and other_name(name):
        LOG.warning(
            "%s does not tell which activation its weights were trained with; %r computes GELU. Weights of OpenAI, "
            "DFN and MetaCLIP need %r. Give quick_gelu=False if GELU is right.",
            weights.file,
            name,
            other_name(name),
        )
