"""From a name, or a description of one's own data, to a `Dataset`."""

from lamm_cl.data import embedded
from lamm_cl.data.items import Dataset, ViewOptions
from lamm_cl.errors import unknown


def load_dataset(name: str, root: str | None = None, check_images: bool = False) -> Dataset:
    """Load a data set by name."""
    if name != "digits":
        raise unknown("data set", name, ["digits"])
    # Mirrored or closely cropped digits are other symbols or none.
    views = ViewOptions(scale=(0.6, 1.0), flip=False)
    parts = embedded.digits_items()
    return Dataset(
        name="digits",
        class_names=embedded.DIGIT_NAMES,
        train=parts["train"],
        val=parts["val"],
        test=parts["test"],
        split="embedded",
        views=views,
    )
