"""The family is read from the model; the shipped table agrees with models and is up to date."""

import json
import logging
import subprocess
import sys
from types import SimpleNamespace

import open_clip
import pytest
import torch
from open_clip.hf_model import HFTextEncoder
from torch import nn

from lamm_cl.clip import families
from lamm_cl.clip.blocks import FrozenBlock
from lamm_cl.clip.families import FAMILIES, family_of, native_vision, require_text, table
from lamm_cl.errors import UsageError


def test_coca_and_hugging_face_are_known_and_refused(small):
    coca = open_clip.CoCa.__new__(open_clip.CoCa)
    nn.Module.__init__(coca)
    assert family_of(coca).letter == "G"
    model = small(custom=True)
    model.text = HFTextEncoder.__new__(HFTextEncoder)
    nn.Module.__init__(model.text)
    assert family_of(model).letter == "H"
    for letter in "GH":
        with pytest.raises(UsageError, match=rf"'mine' is of family {letter} .*Use one of the families A to F"):
            require_text(FAMILIES[letter], "mine")
    for letter in "ABCDEF":
        require_text(FAMILIES[letter], "mine")


def test_a_text_tower_of_no_family_is_refused(small):
    with pytest.raises(UsageError, match="a causal mask that is read at 'first'"):
        family_of(small(custom=True, text={"pool_type": "first"}))


@pytest.fixture
def maker():
    return pytest.importorskip("benchmarks.families", reason="the table's maker is not part of an installed wheel")


def test_the_table_is_up_to_date(maker):
    shipped = json.loads(families.TABLE.read_text(encoding="utf-8"))
    if shipped["open_clip"] != open_clip.__version__:
        pytest.skip("the table was made from another version of open_clip")
    assert maker.build() == shipped
    assert maker.main(["--check"]) == 0


SOME = ["ViT-B-32-quickgelu", "RN50", "convnext_tiny", "EVA02-B-16", "ViTamin-S", "PE-Core-T-16-384", "coca_base"]
MORE = ["MobileCLIP-S1", "ViT-L-14-CLIPA", "ViT-B-16-SigLIP", "ViT-B-16-SigLIP2", "ViT-L-14-worldwide"]


@pytest.mark.parametrize("name", [*SOME, *MORE])
def test_the_table_agrees_with_the_model(name):
    [row] = [row for row in table() if row["name"] == name]
    logging.disable(logging.WARNING)
    try:
        with torch.device("meta"):
            model = open_clip.create_model(name, device="meta")
    finally:
        logging.disable(logging.NOTSET)
    family = family_of(model)
    assert (row["family"], row["text_methods"]) == (family.letter, family.text)
    if family.text:
        plain = all(FrozenBlock.supports(block) for block in families.text_module(model).transformer.resblocks)
        assert row["exact_engine"] == (family.exact and plain)
        assert row["vision_prompts"] == native_vision(model.visual)


def test_only_weights_with_the_right_activation_are_listed():
    rows = {row["name"]: row for row in table()}
    assert "openai" in rows["ViT-B-16-quickgelu"]["pretrained"]
    assert "openai" not in rows["ViT-B-16"]["pretrained"]
    assert "laion2b_s34b_b88k" in rows["ViT-B-16"]["pretrained"]


def test_reading_the_table_imports_nothing_slow():
    script = (
        "import sys; from lamm_cl.clip.families import table; table(); "
        "print([m for m in ('torch', 'open_clip', 'numpy', 'avalanche') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_the_command_writes_what_is_missing(maker, tmp_path, monkeypatch, capsys):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{maker.BEGIN}\nold\n{maker.END}\nafter\n")
    monkeypatch.setattr(maker, "TABLE", tmp_path / "families.json")
    monkeypatch.setattr(maker, "PAGE", readme)
    assert maker.main(["--check"]) == 1
    assert "old" in readme.read_text()
    assert maker.main([]) == 0
    assert maker.main(["--check"]) == 0
    assert readme.read_text().startswith("before\n")
    assert readme.read_text().endswith("\nafter\n")
    assert "| ViT-B-16 | A | yes | yes | yes |" in readme.read_text()
    assert json.loads((tmp_path / "families.json").read_text())["open_clip"] == open_clip.__version__
    assert "wrote" in capsys.readouterr().out


def test_pooling_is_found_in_flat_and_nested_models(small):
    assert families.text_pool(small()) == "argmax"
    assert families.text_pool(small(custom=True, text={"pool_type": "eos", "eos_id": 49407})) == "eos"
    assert families.text_pool(SimpleNamespace()) == "none"
