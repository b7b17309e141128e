"""What leaves the project: text features for plain open_clip, and the image side as a program."""

import re
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

import lamm_cl
from lamm_cl.errors import UsageError

NAMES = ["zero", "one", "two"]
README = Path(lamm_cl.__file__).parent / "methods" / "README.md"
LINES = re.findall(r"<!-- plain open_clip -->\n\n```python\n(.*?)```", README.read_text(), re.DOTALL)[0]


@pytest.mark.parametrize("method", ["zero_shot", "coop", "lamm", "coop+lamm", "kgcoop", "tcp"])
def test_ten_lines_of_open_clip_say_the_same(
    method: str, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    model = lamm_cl.build_model(method, tiny, NAMES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    getattr(model, "forget_features", lambda: None)()
    model.export_text("text.safetensors")
    digits = lamm_cl.load_dataset("digits")
    picture = digits.open(digits.test[0])
    picture.save("picture.png")
    made = (tiny.model, None, tiny.preprocess)  # open_clip has no embedded backbone: this is its model of it
    monkeypatch.setattr(open_clip, "create_model_and_transforms", lambda name, pretrained: made)
    found: dict[str, Any] = {}
    exec(compile(LINES, "README.md", "exec"), found)
    assert len([line for line in LINES.splitlines() if line]) <= 10
    assert found["about"]["model"] == "tiny"
    with torch.no_grad():
        expected = model(tiny.preprocess(picture)[None])
    torch.testing.assert_close(found["scale"] * found["image"] @ found["text"].T, expected, rtol=1e-4, atol=1e-4)
    assert capsys.readouterr().out.split()[-1] == NAMES[int(expected.argmax())]


@pytest.mark.parametrize("method", ["maple", "cocoop", "clip_adapter", "ranpac", "simplecil", "align"])
def test_what_scores_by_more_is_refused(method: str, tiny: Any, tmp_path: Path) -> None:
    options = {"M": 16} if method == "ranpac" else {}
    with pytest.raises(UsageError, match="more than text features"):
        lamm_cl.build_model(method, tiny, NAMES, **options).export_text(tmp_path / "text.safetensors")


def test_the_image_side_is_a_program(tiny: Any, tmp_path: Path) -> None:
    lamm_cl.export_images(tiny, tmp_path / "images.pt2")
    program = torch.export.load(str(tmp_path / "images.pt2")).module()
    for batch in (1, 5):
        images = torch.randn(batch, 3, *tiny.image_size)
        torch.testing.assert_close(program(images), tiny.encode_images(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="Did you mean 'onnx'"):
        lamm_cl.export_images(tiny, tmp_path / "x", form="onxx")
    with pytest.raises(UsageError, match=r"model\.backbone"):
        lamm_cl.export_images(lamm_cl.build_model("coop", tiny, NAMES), tmp_path / "x")  # type: ignore[arg-type]


def test_onnx_says_the_same(tiny: Any, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    lamm_cl.export_images(tiny, tmp_path / "images.onnx", form="onnx")
    images = torch.randn(3, 3, *tiny.image_size)
    (found,) = runtime.InferenceSession(str(tmp_path / "images.onnx")).run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), tiny.encode_images(images), rtol=1e-4, atol=1e-4)


def test_the_scale_says_that_it_is_exponentiated(tiny: Any) -> None:
    assert torch.equal(tiny.exp_logit_scale, tiny.model.logit_scale.exp())
    assert tiny.logit_scale is tiny.exp_logit_scale
    given = lamm_cl.FeatureBackbone(torch.eye(2), logit_scale=50.0)
    assert float(given.logit_scale) == float(given.exp_logit_scale) == 50
