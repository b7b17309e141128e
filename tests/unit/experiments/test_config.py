import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import environment, grid, grid_size, settings
from lamm_cl.methods import simplecil
from lamm_cl.methods.registry import METHODS
from lamm_cl.strategies.settings import sort_options

Write = Callable[..., Path]


def error_of(path: Path, *sets: str) -> str:
    with pytest.raises(UsageError) as caught:
        grid(read_config(path, sets))
    return str(caught.value)


def test_a_config_expands_to_its_grid(write_config: Write) -> None:
    runs = grid(read_config(write_config(datasets=["digits", "glyphs"], shots=[1, 16], methods=["coop", "maple+lamm"])))
    assert len(runs) == len({run.run_id for run in runs}) == 2 * 2 * 2 * 2
    assert [str(run) for run in runs[:3]] == [
        "coop on digits, tiny, 1 shots, seed 1",
        "coop on digits, tiny, 1 shots, seed 2",
        "coop on digits, tiny, 16 shots, seed 1",
    ]
    assert runs[0].experiment == "try"


def test_one_thing_may_stand_without_its_list(write_config: Write) -> None:
    text = "protocol: few_shot\ndatasets: Digits\nmethods: coop\nseeds: 3\nshots: full\nbackbone: {name: tiny}\n"
    (run,) = grid(read_config(write_config(text)))
    assert (run.dataset, run.label, run.seed, run.shots, run.backbone) == ("digits", "coop", 3, "full", "tiny")


def test_options_come_from_recipe_and_backbone_unless_given(write_config: Write) -> None:
    methods = {"coop": {"lr": 1e-3}, "coop-long": {"method": "coop", "epochs": 7}}
    first, second = grid(read_config(write_config(methods=methods, seeds=[1])))
    assert (first.options["lr"], first.options["momentum"]) == (1e-3, 0.9)
    assert (second.label, second.method, second.options["epochs"]) == ("coop-long", "coop", 7)
    assert first.options["epochs"] != 7
    assert second.columns()["method"] == "coop-long"


def test_yaml_numbers_without_a_dot_are_numbers(write_config: Write) -> None:
    path = write_config("protocol: few_shot\ndatasets: [digits]\nmethods: {coop: {lr: 1e-3}}\n")
    assert grid(read_config(path))[0].options["lr"] == 0.001


def test_overrides_apply_to_some_runs(write_config: Write) -> None:
    path = write_config(
        datasets=["digits", "glyphs"],
        methods=["coop", "lamm"],
        overrides=[{"when": {"dataset": "glyphs", "method": ["coop"]}, "options": {"lr": 0.5}}],
    )
    rates = {(run.dataset, run.label): run.options["lr"] for run in grid(read_config(path))}
    assert rates["glyphs", "coop"] == 0.5
    assert 0.5 not in {rate for key, rate in rates.items() if key != ("glyphs", "coop")}
    assert len(grid(read_config(path, ["overrides.0.when.dataset=eurosat"]))) == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"when": {"dataset": "glyph"}, "options": {}}, "overrides.0.when.dataset: unknown data set 'glyph'. Did you"),
        ({"when": {"method": "lam"}, "options": {}}, "overrides.0.when.method: unknown method 'lam'. Did you"),
        ({"when": {"backbone": "tinny"}, "options": {}}, "overrides.0.when.backbone: unknown backbone 'tinny'"),
        ({"when": {"methods": "lamm"}, "options": {}}, "overrides.0.when.methods: unknown key 'methods'. Did you"),
        ({"when": {"method": "lamm"}, "options": {"lrr": 1}}, "overrides.0.options.lrr: unknown key 'lrr'. Did you"),
        ({"when": {"method": "lamm"}}, "overrides.0.options: is missing"),
        ({"when": {"shots": 1}, "options": {"templates": "a {}."}}, "Said of lamm; `when: {method: ...}` names the"),
        ({"when": {"method": None}, "options": {"template": "a {}."}}, "Said of zero_shot; `when: {method: ...}`"),
    ],
)
def test_wrong_overrides(write_config: Write, override: dict[str, Any], message: str) -> None:
    assert message in error_of(write_config(overrides=[override]))


def test_protocols_over_several_data_sets_take_them_all(write_config: Write) -> None:
    runs = grid(read_config(write_config(protocol="multi_domain", datasets=["digits", "glyphs"], seeds=[1])))
    assert [(run.dataset, len(run.datasets)) for run in runs] == [("digits+glyphs", 2)] * 2


def test_a_named_order_of_data_sets_need_not_list_them(write_config: Write) -> None:
    text = "protocol: {name: multi_domain, order: x-tail}\nmethods: [lamm]\nseeds: 1\n"
    (run,) = grid(read_config(write_config(text)))
    assert len(run.datasets) == 10
    assert run.datasets[:2] == ("fgvc_aircraft", "caltech101")
    assert "datasets: is missing" in error_of(write_config(text.replace("x-tail", "given")))


def test_own_data_is_called_by_its_name_or_folder(write_config: Write) -> None:
    runs = grid(read_config(write_config(datasets=[{"folder": "/x/birds"}, {"csv": "a.csv", "name": "ants"}])))
    assert [run.dataset for run in runs[::4]] == ["birds", "ants"]


def test_all_errors_come_at_once_with_line_and_nearest_match(write_config: Write) -> None:
    path = write_config(
        """\
experiment: try me
protocol: {name: class_incremental, stepz: 3}
datasets: [digit, {folder: x, csv: y, fodler: z}]
methods:
  lam: {lr: 0.1}
  maple+lamm: {prompt_dpth: 3, lr: -1}
  coop: 3
backbone: {name: ViT-B-61, precison: fp32}
shots: [0]
sedes: [1]
seeds: [1, 1]
max_runs: many
seeds: [2]
"""
    )
    text = error_of(path)
    for part in (
        f"{path} has 15 errors:",
        "line 13, seeds: is given twice, on lines 11 and 13.",
        "line 10, sedes: unknown key 'sedes'. Did you mean 'seeds'?",
        "line 1, experiment:",
        "line 2, protocol.stepz: unknown key 'stepz'. Did you mean 'steps'?",
        "line 3, datasets.0: unknown data set 'digit'. Did you mean 'digits'?",
        "line 3, datasets.1: unknown key of a data set 'fodler'. Did you mean 'folder'?",
        "line 3, datasets.1: a data set of one's own needs either 'folder' or 'csv'.",
        "line 5, methods.lam: unknown method 'lam'. Did you mean 'lamm'?",
        "line 6, methods.maple+lamm.prompt_dpth: unknown key 'prompt_dpth'. Did you mean 'prompt_depth'?",
        "line 6, methods.maple+lamm.lr: should be greater than 0 (it says -1)",
        "line 7, methods.coop: takes a mapping of options, not 3.",
        "line 8, backbone.precison: unknown key 'precison'. Did you mean 'precision'?",
        "line 8, backbone.name: unknown backbone 'ViT-B-61'. Did you mean 'ViT-B-16'?",
        "line 9, shots.0: should be greater than or equal to 1 or should be 'full' (it says 0).",
        "line 12, max_runs: should be a whole number",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a config is a mapping of keys"),
        ("- a\n- b", "a config is a mapping of keys"),
        ("a: [1, 2", "line 1: not YAML"),
        ("a: 1\nb: 'x\n", "not YAML"),
        ("a: \x01", "not YAML"),
        ("a: &a [*a]", "expand without end"),
        ("experiment: 2024-01-01\nprotocol: few_shot\ndatasets: [digits]\nmethods: [lamm]", "is read as a date"),
        ("datasets: [digits]\nmethods: [lamm]", "line 1, protocol: is missing."),
        ("protocol: few_shot\ndatasets: []\nmethods: [lamm]", "datasets: is empty: the experiment would expand to no"),
        ("protocol: few_shot\ndatasets: [digits]\nmethods: {}", "methods: is empty"),
        ("protocol: few_shot\ndatasets: [digits]\nmethods:", "methods: is missing"),
        ("protocol: few_shot\ndatasets: [digits, digits]\nmethods: [lamm]", "datasets.1: 'digits' is listed twice"),
        ("protocol: few_shot\ndatasets: [digits]\nmethods: [lamm, lamm]", "methods.1: 'lamm' is listed twice"),
        ("protocol: few_shot\ndatasets: [digits, DIGITS]\nmethods: [lamm]", "asks for one run twice"),
        ("protocol: few_shot\ndatasets: [digits]\nmethods: {lamm: , l2: {method: lamm}}", "asks for one run twice"),
        ("protocol: few_shots\ndatasets: [digits]\nmethods: [lamm]", "unknown protocol 'few_shots'. Did you mean"),
        ("protocol: 3\ndatasets: [digits]\nmethods: [lamm]", "line 1, protocol:"),
        ("protocol: few_shot\ndatasets: [digits]\nmethods: [lamm]\ndevice: gpu", "line 4, device:"),
        ("protocol: few_shot\ndatasets: [digits]\nmethods: [lamm]\nloggers: [tensorbord]", "loggers"),
        ("protocol: few_shot\ndatasets: [digits]\nmethods: [lamm]\nslurm: {partion: x}", "Did you mean 'partition'?"),
        ("protocol: few_shot\ndatasets: [digits]\nmethods: [lamm]\nevaluation: {per_clas: true}", "'per_class'?"),
        ("protocol: few_shot\ndatasets: [digits]\nmethods: [lamm]\nseeds: [-1]", "seeds.0:"),
    ],
)
def test_wrong_files(write_config: Write, text: str, message: str) -> None:
    path = write_config(text or " ")
    assert message in error_of(path)
    assert str(path) in error_of(path) or "asks for one run twice" in message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "there is no config file" in error_of(tmp_path / "absent.yaml")
    assert "cannot read" in error_of(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"experiment: caf\xe9\n")
    assert "is not a text file in UTF-8 (byte 15)" in error_of(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    ("assignment", "seen"),
    [
        ("methods.lamm.lr=0.01", lambda run: run.options["lr"] == 0.01),
        ("methods.lamm.lr=1e-2", lambda run: run.options["lr"] == 0.01),
        ("datasets=[glyphs]", lambda run: run.dataset == "glyphs"),
        ("datasets.0=glyphs", lambda run: run.dataset == "glyphs"),
        ("backbone=tiny", lambda run: run.backbone == "tiny"),
        ("backbone.precision=bf16", lambda run: run.precision == "bf16"),
        ("backbone.resize_mode=squash", lambda run: run.determines()["backbone"]["resize_mode"] == "squash"),
        ("seeds=7", lambda run: run.seed == 7),
        ("protocol={name: class_incremental, steps: 5}", lambda run: run.protocol_options == {"steps": 5}),
        ("evaluation.per_class=true", lambda run: run.evaluation["per_class"] is True),
        ("methods=lamm", lambda run: run.label == "lamm"),
        ("experiment=17", lambda run: run.experiment == "17"),
    ],
)
def test_set_changes_the_config(write_config: Write, assignment: str, seen: Callable[[Any], bool]) -> None:
    runs = grid(read_config(write_config(methods=["lamm"]), [assignment]))
    assert all(seen(run) for run in runs)


def test_set_on_a_protocol_that_is_only_named(write_config: Write) -> None:
    path = write_config(protocol="class_incremental")
    assert grid(read_config(path, ["protocol.steps=5"]))[0].protocol_options == {"steps": 5}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("methods.lamm.lr", "write it as key=value"),
        ("=3", "write it as key=value"),
        ("seeds=[1", "--set seeds=[1, line 1: not YAML"),
        ("methods.cocop.lr=1", "this config has no method 'cocop'; it has zero_shot, lamm."),
        ("methods.lamm.lrr=1", "--set methods.lamm.lrr=1, methods.lamm.lrr: unknown key 'lrr'. Did you mean 'lr'?"),
        ("seeds.0=-1", "--set seeds.0=-1, seeds.0: should be greater than or equal to 0 (it says -1)."),
        ("seeds.9=1", "'9' is no position in a list of 2"),
        ("seeds.\N{SUPERSCRIPT TWO}=1", "is no position in a list of 2"),
        (f"seeds.{'9' * 5000}=1", "is no position in a list of 2"),
        ("threads.x=1", "threads is 2 and has no keys below it"),
        ("seeds.0.1=3", "seeds.0 is 1 and has no keys below it"),
        ("seeds=2020-99-99", "seeds: cannot be read (month must be in 1..12"),
        (f"seeds={'9' * 5000}", "seeds: cannot be read (Exceeds the limit"),
        (f"seeds={'[' * 3000}", "nested too deep"),
        ("datasets=[{folder: x, name: 2020-01-01}]", "datasets.0.name: is read as a date; put it in quotes"),
        ("datasets=[&a {folder: *a}]", "expand without end"),
        ("methods={coop: {}, coop: {}}", "methods.coop: is given twice."),
        ("methods=[coop, {coop: {lr: 1}}]", "methods.1: 'coop' is listed twice"),
        ("treads=1", "--set treads=1, treads: unknown key 'treads'. Did you mean 'threads'?"),
        ("seeds=[]", "--set seeds=[], seeds: is empty"),
    ],
)
def test_wrong_sets(write_config: Write, assignment: str, message: str) -> None:
    assert message in error_of(write_config(threads=2), assignment)


def test_a_set_names_methods_that_are_not_text(write_config: Write) -> None:
    assert "this config has no method 'coop'; it has 7." in error_of(write_config(methods=[7]), "methods.coop.lr=1")


def test_a_set_too_long_to_read_is_shortened(write_config: Write) -> None:
    assert len(error_of(write_config(), f"seeds={'9' * 5000}")) < 1000


def test_aliases_without_end_are_said_once(write_config: Write) -> None:
    assert error_of(write_config("a: &a [*a]")).count("try.yaml") == 1


def test_settings_name_what_a_directory_must_keep(write_config: Write) -> None:
    small = settings(read_config(write_config(seeds=[1])), "cpu")
    large = settings(read_config(write_config(seeds=[1, 2, 3], shots=[1, 2])), "cpu")
    assert small == large
    assert settings(read_config(write_config(threads=2)), "cpu") != small


def test_the_environment_is_where_runs_work(write_config: Write) -> None:
    place = environment(read_config(write_config(root="/data", cache=False, loggers=["csv"])))
    assert (place.root, place.cache, place.loggers) == ("/data", False, {"csv": {}})


def test_reading_a_config_imports_nothing_heavy(write_config: Write) -> None:
    code = f"""
import sys
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import grid
import lamm_cl.cli.run, lamm_cl.cli.main, lamm_cl.experiments.run
grid(read_config({str(write_config())!r}))
print([name for name in ("torch", "avalanche", "open_clip", "pandas", "submitit") if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_pure_half_precision_is_for_prompts(write_config: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "simplecil", simplecil.METHOD)
    backbone = {"name": "tiny", "precision": "pure_fp16"}
    assert grid(read_config(write_config(backbone=backbone, methods=["lamm"])))[0].precision == "pure_fp16"
    said = error_of(write_config(backbone=backbone, methods=["lamm", "simplecil"]))
    assert "methods.simplecil: does not compute in pure_fp16: only methods that have prompts" in said
    assert read_config(write_config(methods=["simplecil"]))


def test_runs_that_tables_could_not_tell_apart_are_refused(write_config: Write) -> None:
    data = [{"folder": "/a/birds"}, {"folder": "/b/birds"}]
    assert "tables could not tell apart: zero_shot on birds" in error_of(write_config(datasets=data))
    backbones = [{"name": "tiny"}, {"name": "tiny", "precision": "bf16"}]
    assert "tables could not tell apart" in error_of(write_config(backbone=backbones))
    backbones = [{"name": "tiny"}, {"name": "tiny", "resize_mode": "squash"}]
    assert "tables could not tell apart" in error_of(write_config(backbone=backbones))


def test_a_backbone_has_one_name(write_config: Write) -> None:
    ids = set()
    for backbone in ("ViT-B/16/openai", "ViT-B-16/openai", {"name": "ViT-B-16", "pretrained": "openai"}):
        (run,) = grid(read_config(write_config(backbone=backbone, methods=["coop"], seeds=[1])))
        assert (run.backbone, run.pretrained) == ("ViT-B-16", "openai")
        ids.add(run.run_id)
    assert len(ids) == 1


def test_the_files_name_becomes_the_experiments(write_config: Write) -> None:
    assert read_config(write_config(name="my first try.yaml")).experiment == "my-first-try"
    assert read_config(write_config(name="_.yaml")).experiment == "experiment"
    assert read_config(write_config(name="z" * 250 + ".yaml")).experiment == "z" * 80


def test_the_size_of_a_grid_is_known_without_making_it(write_config: Write) -> None:
    path = write_config(datasets=["digits", "glyphs"], shots=[1, 2, 4])
    config = read_config(path)
    assert grid_size(config) == len(grid(config)) == 24
    huge = {key: list(range(1, 2001)) for key in ("seeds", "shots")}
    assert grid_size(read_config(write_config(**huge))) == 8_000_000


def test_a_renamed_option_may_have_its_old_name(write_config: Write) -> None:
    overrides = [{"when": {"method": "coop"}, "options": {"label_space": "all"}}]
    config = read_config(write_config(methods={"lamm": {"label_space": "seen"}, "coop": {}}, overrides=overrides))
    assert config.notes == [
        "methods.lamm.label_space is called train_label_space now",
        "overrides.0.options.label_space is called train_label_space now",
    ]
    assert {run.method: run.options["train_label_space"] for run in grid(config)} == {"lamm": "seen", "coop": "all"}
    with pytest.warns(FutureWarning, match="label_space is called train_label_space now"):
        assert sort_options("lamm", "tiny", {"label_space": "seen"}).settings.train_label_space == "seen"
