"""How many layers get prompts, on towers of any height."""

from lamm_cl.errors import UsageError


def depth_for(asked: int | None, default: int, layers: int, option: str) -> int:
    """Return the number of layers that get prompts.

    Args:
        asked: the user's choice, or None.
        default: the paper's choice, for towers of 12 layers; shorter towers get the same share.
        layers: layers of the tower.
        option: the option's name, for the message.

    Raises:
        UsageError: more layers are asked for than there are.
    """
    if asked is None:
        return default if layers >= 12 else max(1, round(layers * default / 12))
    if layers and asked > layers:
        raise UsageError(f"{option}={asked} is more than the {layers} layers of this backbone")
    return asked
