"""What users may write for a backbone's name. Imports neither torch nor open_clip, which take seconds."""

from collections.abc import Callable, Collection

from lamm_cl.errors import UsageError, nearest

EMBEDDED = "tiny"
FOREIGN = ("local-dir:", "hf-hub:")


def split_name(
    name: str, pretrained: str | None, known: Callable[[], Collection[str]], example: str = "pretrained='openai'"
) -> tuple[str, str | None]:
    """Return open_clip's name and the weights from what a user may write: `ViT-B/16`, `ViT-B-16/openai`.

    `known` returns the names of open_clip's architectures; `example` is how the user writes weights.

    Raises:
        UsageError: no such architecture; names the nearest.
    """
    if name == EMBEDDED or name.startswith(FOREIGN):
        return name, pretrained
    choices = known()
    head, _, tag = name.rpartition("/")
    if name.replace("/", "-") in choices:
        return name.replace("/", "-"), pretrained
    if head.replace("/", "-") in choices:
        if pretrained not in (None, tag):
            raise UsageError(f"backbone {name!r} names the weights {tag!r}, and pretrained={pretrained!r} others.")
        return head.replace("/", "-"), tag
    by_lower = {choice.lower(): choice for choice in (*choices, EMBEDDED)}
    guess = by_lower.get(nearest(name, sorted(by_lower)) or "")
    hint = f" Did you mean {guess!r}?" if guess else ""
    raise UsageError(
        f"unknown backbone {name!r}.{hint} It must be 'tiny' or one of the {len(choices)} architectures that "
        f"`lamm-cl list backbones` shows, e.g. 'ViT-B-16-quickgelu' with {example}."
    )
