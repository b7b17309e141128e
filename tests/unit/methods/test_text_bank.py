"""The text bank: ensembles and sentences by class name, from Python and from a config."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import lamm_cl
from lamm_cl import build_model
from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import environment, grid
from lamm_cl.methods import text_bank
from lamm_cl.prompts.ensembles import ENSEMBLES

NAMES = ["zero", "one", "two"]
SENTENCES = {"zero": ["a round digit", "a {}."], "one": ["a stroke"], "two": ["a swan", "a {}, written", "a curve"]}


def features(tiny: Any, texts: list[str]) -> torch.Tensor:
    found: torch.Tensor = tiny.encode_text(texts)
    return F.normalize(found.mean(0), dim=-1)


def expected(tiny: Any) -> torch.Tensor:
    return torch.stack([features(tiny, [t.replace("{}", n) for t in SENTENCES[n]]) for n in NAMES])


@pytest.mark.parametrize("method", ["zero_shot", "rapf", "engine"])
def test_sentences_stand_for_their_class(method: str, tiny: Any) -> None:
    model: Any = build_model(method, tiny, NAMES, text={"descriptions": SENTENCES})
    x = torch.zeros(1, tiny.width(model.takes)) + 1
    found = model._output(x, None, None, training=False).text[:, 0]
    torch.testing.assert_close(found, expected(tiny), atol=1e-4, rtol=1e-4)


def test_an_ensemble_is_the_mean_of_its_templates(tiny: Any) -> None:
    assert {name: len(set(some)) for name, some in ENSEMBLES.items()} == {
        "imagenet7": 7,
        "cifar18": 18,
        "imagenet60": 60,
        "ucf48": 48,
    }
    x = F.normalize(torch.ones(1, tiny.embed_dim), dim=-1)
    model: Any = build_model("zero_shot", tiny, NAMES, text={"ensemble": "cifar18"}, templates="a {}.")
    texts = ENSEMBLES["cifar18"]
    found = torch.stack([features(tiny, [t.replace("{}", n) for t in texts]) for n in NAMES])
    torch.testing.assert_close(model.output(x).text[:, 0], found, atol=1e-4, rtol=1e-4)
    same: Any = build_model("zero_shot", tiny, NAMES, templates=list(texts))
    assert torch.equal(same(x), model(x))


def test_learned_names_need_their_place(tiny: Any) -> None:
    with pytest.raises(UsageError, match=r"write \{\} for the name"):
        build_model("zero_shot+lamm", tiny, NAMES, text={"descriptions": SENTENCES})
    placed = {name: [f"a drawing of {{}}, {i}"] for i, name in enumerate(NAMES)}
    model: Any = build_model("zero_shot+lamm", tiny, NAMES, text={"descriptions": placed})
    assert torch.isfinite(model(F.normalize(torch.ones(1, tiny.embed_dim), dim=-1))).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({}, "takes ensemble or descriptions, one of the two"),
        ({"ensemble": "cifar18", "descriptions": SENTENCES}, "one of the two"),
        ({"ensemble": "imagenet8"}, "'imagenet7', 'cifar18', 'imagenet60' or 'ucf48'"),
        ({"descriptions": {"zero": ["a"], "one": ["a"]}}, "has nothing on 'two'"),
        ({"descriptions": {**SENTENCES, "three": ["a"], "four": ["a"]}}, "has what is no class, 'three' and 1 more"),
        ({"descriptions": {**SENTENCES, "two": []}}, "each class with at least one"),
        ({"descriptions": "nowhere.json"}, "nowhere.json: cannot be read"),
    ],
)
def test_what_is_wrong_is_said(text: Any, message: str, tiny: Any) -> None:
    with pytest.raises(UsageError, match=message):
        build_model("zero_shot", tiny, NAMES, text=text)


@pytest.mark.parametrize("content", ["{", "[]", '{"zero": "a"}', '{"zero": []}', '{"zero": [""]}'])
def test_a_file_of_another_form_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "texts.json").write_text(content)
    with pytest.raises(UsageError, match=r"texts\.json: (must hold|is no JSON)"):
        text_bank.sentences(text_bank.Text(descriptions=str(tmp_path / "texts.json")), NAMES)
    with pytest.raises(UsageError, match=r"texts\.json: (must hold|is no JSON)"):
        text_bank.read_pairs(str(tmp_path / "texts.json"))


CONFIG = """
protocol: class_incremental
datasets: [digits]
seeds: [1]
methods:
  zero_shot: {text: {descriptions: texts.json}}
  engine: {epochs: 1, pairs: sub/pairs.json}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config, and files of sentences beside it."""
    names = lamm_cl.load_dataset("digits").class_names
    (tmp_path / "sub").mkdir()
    (tmp_path / "texts.json").write_text(json.dumps({name: [f"a {name}"] for name in names}))
    pairs = {a: {b: [f"{a}, no {b}"] for b in names if b != a} for a in names}
    (tmp_path / "sub" / "pairs.json").write_text(json.dumps(pairs))
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path / "config.yaml"


def test_what_a_file_holds_makes_the_run_not_where_it_lies(config: Path, tmp_path: Path) -> None:
    before = [spec.run_id for spec in grid(read_config(config))]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in ("texts.json", "config.yaml"):
        (elsewhere / file).write_bytes((tmp_path / file).read_bytes())
    (elsewhere / "sub").mkdir()
    (elsewhere / "sub" / "pairs.json").write_bytes((tmp_path / "sub" / "pairs.json").read_bytes())
    assert [spec.run_id for spec in grid(read_config(elsewhere / "config.yaml"))] == before
    (tmp_path / "texts.json").write_text('{"zero": ["other"]}')
    after = [spec.run_id for spec in grid(read_config(config))]
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_a_file_that_changes_after_planning_stops_the_run(config: Path) -> None:
    read = read_config(config)
    options = environment(read).found(grid(read)[0].options)
    text = text_bank.Text(**options["text"])
    names = lamm_cl.load_dataset("digits").class_names
    assert text_bank.sentences(text, names)[0] == [f"a {names[0]}"]
    (config.parent / "texts.json").write_text("{}")
    with pytest.raises(UsageError, match="has changed since the run was planned"):
        text_bank.sentences(text, names)


def test_a_run_without_a_text_keeps_its_id(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("protocol: class_incremental\ndatasets: [digits]\nmethods: [zero_shot]\n")
    assert "text" not in grid(read_config(tmp_path / "config.yaml"))[0].options


def test_a_config_with_files_runs_and_a_wrong_file_is_found_first(
    config: Path, tmp_path: Path, lamm_cl_in: Any
) -> None:
    said = lamm_cl_in(tmp_path / "sub", "run", config, "--out", tmp_path / "out", "--jobs", "1")
    assert said.returncode == 0, said
    assert (tmp_path / "out" / "runs.csv").is_file()
    (tmp_path / "texts.json").write_text('{"zero": ["a"]}')
    said = lamm_cl_in(tmp_path / "sub", "run", config, "--out", tmp_path / "other", "--jobs", "1")
    assert said.returncode == 2
    assert "texts.json: has nothing on" in said.stderr
    assert not (tmp_path / "other").exists()
