"""Weights in files of people's own: read in every form, refused where they do not fit."""

import open_clip
import pytest
import torch

from lamm_cl.clip.load import load_clip
from lamm_cl.errors import UsageError
from tests.unit.clip.weight_files import never, saved

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.mark.parametrize("form", ["safetensors", "bare", "checkpoint"])
@pytest.mark.parametrize("custom", [False, True])
def test_local_files_load_without_network(listed, small, tmp_path, form, custom, monkeypatch):
    if custom:
        config = open_clip.factory._MODEL_CONFIGS[listed]
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, listed, config | {"custom_text": True})
    # A flat file fits a model with a text tower of its own: open_clip renames.
    model = small(seed=5)
    file = saved(model, tmp_path / "weights.pt", form)
    backbone = load_clip(listed, str(file), quick_gelu=False, reach=never)
    images = torch.randn(2, 3, 32, 32)
    expected = model.eval().encode_image(images, normalize=True)
    torch.testing.assert_close(backbone.encode_images(images), expected)
    assert backbone.pretrained == str(file)


def test_files_that_do_not_fit_name_what_differs(listed, small, tmp_path):
    wide = saved(small(vision={"width": 32}), tmp_path / "wide.pt", "bare")
    with pytest.raises(UsageError, match=r"does not fit small-ViT: visual.\w+ is \(.*\), expected \(.*and \d+ more"):
        load_clip(listed, wide)
    state = small().state_dict()
    del state["visual.proj"]
    torch.save(state | {"extra.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(UsageError, match=r"visual.proj is missing; extra.weight is not part of it"):
        load_clip(listed, tmp_path / "other.pt")
    state = small().state_dict()
    state["visual.proj"][0, 0] = float("nan")
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(UsageError, match=r"visual.proj has values that are not finite"):
        load_clip(listed, tmp_path / "nan.pt")


class Runs:
    """An object whose unpickling runs code."""

    def __reduce__(self):
        return eval, ("1 + 1",)


def test_files_that_are_no_weights(listed, tmp_path):
    with pytest.raises(UsageError, match=r"none.pt does not exist"):
        load_clip(listed, tmp_path / "none.pt")
    with pytest.raises(UsageError, match=r"is a folder, not a file"):
        load_clip(listed, str(tmp_path))
    (tmp_path / "junk.pt").write_bytes(b"junk" * 100)
    (tmp_path / "junk.safetensors").write_bytes(b"junk" * 100)
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save({"state_dict": {}}, tmp_path / "nothing.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"weight": Runs()}, tmp_path / "code.pt")
    for name in ("junk.pt", "junk.safetensors", "empty.pt", "code.pt"):
        with pytest.raises(UsageError, match=f"{name} can't be read"):
            load_clip(listed, tmp_path / name)
    for name in ("nothing.pt", "list.pt"):
        with pytest.raises(UsageError, match="holds no state dict"):
            load_clip(listed, tmp_path / name)
