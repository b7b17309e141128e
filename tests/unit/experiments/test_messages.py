"""Messages about a config use its own keys and plain words, none of the checking library's."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import read_config

Write = Callable[..., Path]
START = "protocol: few_shot\ndatasets: [digits]\nmethods: [coop]\n"


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_config(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("overrides: [{when: 3, options: {}}]", "line 4, overrides.0.when: should be a mapping of keys (it says 3)."),
        ("overrides: [3]", "line 4, overrides.0: should be a mapping of keys (it says 3)."),
        ("overrides: {when: {}}", 'line 4, overrides: should be a list (it says {"when": {}}).'),
        ("evaluation: [per_class]", 'line 4, evaluation: should be a mapping of keys (it says ["per_class"]).'),
        ("evaluation: {per_class: 3}", "line 4, evaluation.per_class: should be true or false (it says 3)."),
        ("slurm: 3", "line 4, slurm: should be a mapping of keys (it says 3)."),
        ("slurm: {extra: 3}", "line 4, slurm.extra: should be a mapping of keys (it says 3)."),
        ("loggers: {tensorbord: true}", "line 4, loggers.tensorbord: unknown key 'tensorbord'. Did you mean 'tens"),
        ("loggers: {csv: 3}", "line 4, loggers.csv: should be a mapping of keys (it says 3)."),
        ("backbone: [3]", "line 4, backbone.0: should be a mapping of keys (it says 3)."),
        ("backbone: {name: tiny, pretrained: {a: 1}}", 'line 4, backbone.pretrained: should be text (it says {"a": 1}'),
        ("device: gpu", "line 4, device: should be cpu, cuda, cuda:N or auto (it says 'gpu')."),
        ("experiment: a b", "line 4, experiment: should be a name of letters (a to z), digits and _ . + - that begins"),
        (f"experiment: {'a' * 81}", "line 4, experiment: should have at most 80 characters (it says 'aaa"),
        ("threads: 1.5", "line 4, threads: should be a whole number (it says 1.5)."),
        ("threads: many", "line 4, threads: should be a whole number (it says 'many')."),
        ("checkpoint_minutes: soon", "line 4, checkpoint_minutes: should be a number (it says 'soon')."),
        ("root: 7", "line 4, root: should be text (it says 7, in quotes it would be text)."),
        ("root: [a]", 'line 4, root: should be text (it says ["a"]).'),
    ],
)
def test_types(write_config: Write, line: str, message: str) -> None:
    assert message in refused(write_config(f"{START}{line}\n"))


@pytest.mark.parametrize(
    ("line", "message", "advised"),
    [
        (
            "per_class: true",
            "belongs to evaluation: write `evaluation: {per_class: true}`, or evaluation.per_class",
            "",
        ),
        ("gpus: 1", "belongs to slurm: write `slurm: {gpus: 1}`, or slurm.gpus with --set.", ""),
        ("evaluate: [test]", 'belongs to protocol: write `protocol: {name: few_shot, evaluate: ["test"]}`, or', ""),
        ("precision: bf16", 'belongs to backbone: write `backbone: {name: ..., precision: "bf16"}`, or backbone.', ""),
        ("n_ctx: 4", "is an option of methods: write it below one of them, or methods.coop.n_ctx with --set; for", ""),
        ("epochs: 1", "for all of them: `overrides: [{options: {epochs: 1}}]`.", "overrides: [{options: {epochs: 1}}]"),
    ],
)
def test_a_key_that_stands_too_high_is_told_its_place(
    write_config: Write, line: str, message: str, advised: str
) -> None:
    assert message in refused(write_config(f"{START}{line}\n"))
    if advised:
        read_config(write_config(f"{START}{advised}\n"))


def test_all_methods_are_advised_only_where_all_have_the_option(write_config: Write) -> None:
    start = START.replace("[coop]", "[zero_shot, coop, lamm]")
    assert "for all of them" in refused(write_config(f"{start}epochs: 1\n"))  # zero_shot takes no steps: passed by
    assert "methods.lamm.lambda_kd with --set." in refused(write_config(f"{start}lambda_kd: 1\n"))
    read_config(write_config(f"{start}overrides: [{{options: {{epochs: 1}}}}]\n"))


@pytest.mark.parametrize(
    "methods", ["3", "true", "[3]", "[[coop]]", "{coop: 3}", "{x: {method: 3}}", "{x: {method: []}}"]
)
def test_methods_of_a_wrong_kind_are_refused_also_beside_overrides(write_config: Write, methods: str) -> None:
    text = START.replace("[coop]", methods) + "overrides: [{when: {method: coop}, options: {lr: 1}}]\n"
    said = refused(write_config(text))
    assert "line 3, methods" in said
    assert not any(word in said for word in ("instance of", "[key]", "label", "pydantic", "valid"))
