"""Values that no run could work with are refused with the file, before a worker starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lamm_cl.data.load import load_dataset
from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import grid, settings

Write = Callable[..., Path]


def refused(path: Path, *sets: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_config(path, sets)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("threads=1025", "threads: should be less than or equal to 1024"),
        ("threads=100000000000000000000", "threads: should be less than or equal to 1024"),
        ("methods.coop.lr=.inf", "methods.coop.lr: should be"),
        ("methods.coop.lr=.nan", "methods.coop.lr: should be"),
        ("methods.coop.lr=1e308", "methods.coop.lr: should be less than or equal to 1000000"),
        ("methods.coop.weight_decay=.inf", "methods.coop.weight_decay: should be"),
        ("methods.coop.epochs=1000000000000000000", "methods.coop.epochs: should be less than or equal to 1000000"),
        ("methods.coop.n_ctx=1000000000", "methods.coop.n_ctx: should be less than or equal to 77"),
        ("methods.coop.n_ctx=-1", "methods.coop.n_ctx: should be greater than or equal to 0"),
        ("checkpoint_minutes=.inf", "checkpoint_minutes: should be a finite number"),
        ("loggers.csv.x=1", "--set loggers.csv.x=1, loggers.csv: takes no options; write csv: true."),
        ("loggers.tensorboard.x=1", "loggers.tensorboard: takes no options"),
        ("slurm.memory_gb=.inf", "slurm.memory_gb: should be a finite number"),
    ],
)
def test_numbers_without_sense(write_config: Write, assignment: str, message: str) -> None:
    assert message in refused(write_config(methods=["coop"]), assignment)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("acil", {"gamma": 0.5}, "line 6, methods.acil.gamma: has no effect on acil, which takes no training steps"),
        ("zero_shot", {"epochs": 3}, "its own options are: templates, text."),
        ("rail", {"steps_per_shot": 3}, "methods.rail.steps_per_shot: has no effect on rail"),
        ("tip_adapter", {"lr": 0.1, "batch_size": 2}, "methods.tip_adapter.batch_size: has no effect"),
    ],
)
def test_a_recipe_for_a_method_that_takes_no_steps(
    write_config: Write, method: str, options: dict[str, Any], message: str
) -> None:
    assert message in refused(write_config(methods={method: options}))


def test_an_override_for_several_methods_passes_those_by_that_take_no_steps(write_config: Write) -> None:
    several = {"methods": ["zero_shot", "acil", "coop"], "seeds": [1]}
    plain = {run.method: run for run in grid(read_config(write_config(**several)))}
    changed = grid(read_config(write_config(**several, overrides=[{"options": {"epochs": 3}}])))
    assert plain["acil"].options["batch_size"] == 128  # its id holds the recipe as before
    assert [run.method for run in changed if run.run_id != plain[run.method].run_id] == ["coop"]
    only = write_config(**several, overrides=[{"when": {"method": ["zero_shot", "acil"]}, "options": {"epochs": 3}}])
    assert "overrides.0.options.epochs: has no effect on zero_shot" in refused(only)


@pytest.mark.parametrize(("entries", "message"), [([1], "at least 2 entries, and has 1"), ([1, 2, 3], "at most 2 ")])
def test_lists_of_the_wrong_length_say_the_length(write_config: Write, entries: list[int], message: str) -> None:
    found = refused(write_config(methods={"tip_adapter": {"search_scale": entries}}))
    assert f"methods.tip_adapter.search_scale: should have {message}" in found
    assert "is empty: the experiment would expand to no run" in refused(write_config(methods=[]))


def test_methods_keep_their_own_lower_limits(write_config: Write) -> None:
    assert "greater than or equal to 1" in refused(write_config(methods={"maple": {"n_ctx": 0}}))
    assert "greater than or equal to 2" in refused(write_config(methods={"align": {"n_prompts": 1}}))


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"steps": 0}, "protocol.steps: should be greater than or equal to 1"),
        ({"steps": -1}, "protocol.steps: should be greater than or equal to 1"),
        ({"steps": 11}, "line 3, protocol.steps: 11 steps need at least 11 classes, but there are 10"),
        ({"base": 11, "increment": 1}, "protocol.base: base: 11 classes in the first step, but there are only 10"),
        ({"base": 5}, "`base` and `increment` go together"),
        ({"steps": 5, "base": 5, "increment": 1}, "protocol.steps: class_incremental: give either `steps`, or"),
        ({"order": ["no", 1, 2]}, "an order has labels or class names, not both: 'no' is text and 1 a number."),
        ({"order": "shufled"}, "protocol.order: unknown class order 'shufled'. Did you mean 'shuffled'?"),
        ({"order": [1, 2, 3]}, "protocol.order: class order is not a permutation of the 10 classes"),
        ({"evaluate": "set3"}, "protocol.evaluate: unknown evaluation set 'set3'"),
        ({"evaluate": []}, "protocol.evaluate: evaluation sets: none given"),
        ({"order_seed": -1}, "protocol.order_seed: should be greater than or equal to 0"),
    ],
)
def test_steps_that_the_data_do_not_have(write_config: Write, protocol: dict[str, Any], message: str) -> None:
    assert message in refused(write_config(protocol={"name": "class_incremental", **protocol}))


def test_order_and_evaluation_are_refused_together(write_config: Write) -> None:
    said = refused(write_config(protocol={"name": "class_incremental", "order": "abc", "evaluate": "abc"}))
    assert "has 2 errors" in said
    assert "unknown class order 'abc'" in said
    assert "unknown evaluation set 'abc'" in said


def test_the_data_set_that_does_not_fit_is_named(write_config: Write) -> None:
    config = write_config(protocol={"name": "class_incremental", "steps": 11}, datasets=["digits", "glyphs"])
    assert "ask for fewer steps. Said of digits." in refused(config)


@pytest.mark.parametrize(
    ("protocol", "datasets", "message"),
    [
        ({"name": "multi_domain", "order": "mtil-9"}, ["digits", "glyphs"], "protocol.order: unknown order of data"),
        ({"name": "multi_domain", "order": "mtil-1"}, ["digits", "glyphs"], "protocol.order: order 'mtil-1' has no"),
        ({"name": "multi_domain", "order": ["digits"]}, ["digits", "glyphs"], "is not a permutation of the data sets"),
        ({"name": "multi_domain", "evaluate": "dtd"}, ["digits", "glyphs"], "protocol.evaluate: unknown evaluation"),
        ({"name": "cross_dataset"}, ["digits"], "datasets: cross_dataset takes at least 2 data sets, not 1"),
        ({"name": "multi_domain"}, ["digits"], "datasets: multi_domain takes at least 2 data sets, not 1"),
        ({"name": "few_shot"}, [{"folder": [1]}], "datasets.0: folder must be a path, not [1]."),
        ({"name": "few_shot"}, [{"csv": 3}], "datasets.0: csv must be a path, not 3."),
        ({"name": "few_shot"}, [{"csv": "g.csv", "root": 3}], "datasets.0: root must be a path, not 3."),
        ({"name": "few_shot"}, [{"csv": "g.csv", "flip": 3, "template": "x"}], "flip must be true or false, not 3"),
        ({"name": "few_shot"}, [{"name": "digit", "flip": True}], "datasets.0: unknown data set 'digit'. Did you"),
        ({"name": "few_shot"}, [{"name": "digits", "rename": {}}], "rename is for data of one's own only"),
        ({"name": "few_shot"}, [{"name": "digits", "flip": "no"}], "flip must be true or false, not 'no'"),
    ],
)
def test_data_that_the_protocol_cannot_take(
    write_config: Write, protocol: dict[str, Any], datasets: list[Any], message: str
) -> None:
    assert message in refused(write_config(protocol=protocol, datasets=datasets))


@pytest.mark.parametrize(
    ("protocol", "datasets"),
    [
        ({"name": "class_incremental", "steps": 10}, ["digits"]),
        ({"name": "class_incremental", "base": 4, "increment": 4, "evaluate": "set3"}, ["digits"]),
        ({"name": "class_incremental", "order": ["zero", "one"]}, ["digits"]),  # names are known to the data only
        ({"name": "class_incremental", "steps": 500, "order": [2, 0, 1]}, [{"folder": "photos"}]),
        ({"name": "class_incremental", "base": 2, "increment": 1, "evaluate": "set9"}, [{"folder": "photos"}]),
        ({"name": "domain_generalization", "evaluate": "imagenet_r"}, ["imagenet"]),
        ({"name": "domain_generalization"}, ["digits"]),
        ({"name": "domain_generalization"}, ["imagenet_r", {"csv": "variant.csv"}]),
        ({"name": "base_to_new", "evaluate": "new"}, ["digits", {"folder": "photos"}]),
        ({"name": "cross_dataset", "evaluate": ["ants"]}, ["imagenet", {"csv": "list.csv", "name": "ants"}]),
    ],
)
def test_what_may_be_right_passes(write_config: Write, protocol: dict[str, Any], datasets: list[Any]) -> None:
    assert grid(read_config(write_config(protocol=protocol, datasets=datasets)))


def test_a_root_that_is_no_path_is_refused_where_data_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("path,class_name\n")
    with pytest.raises(UsageError, match=r"root must be a path, not \[1\]"):
        load_dataset({"csv": str(tmp_path / "g.csv"), "root": [1]})


def test_options_of_a_data_set_belong_to_the_directory(write_config: Write) -> None:
    plain = settings(read_config(write_config(datasets=["digits"])), "cpu")
    turned = settings(read_config(write_config(datasets=[{"name": "digits", "flip": True}])), "cpu")
    assert (plain["datasets.digits"], turned["datasets.digits"]) == ({}, {"flip": True})


def test_a_data_set_of_the_catalogue_may_have_options(write_config: Write) -> None:
    data = [{"name": "Digits", "flip": True, "scale": [0.5, 1]}, {"name": "Glyphs"}]
    first, second = grid(read_config(write_config(datasets=data, methods=["coop"], seeds=[1])))
    assert first.datasets == ({"name": "digits", "flip": True, "scale": [0.5, 1]},)
    assert (first.dataset, second.datasets) == ("digits", ("glyphs",))
