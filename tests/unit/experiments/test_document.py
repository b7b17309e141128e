"""Plain values are read as YAML 1.2 reads them, and what version 1.1 reads otherwise is refused with its line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.document import Document
from lamm_cl.experiments.grid import grid

Write = Callable[..., Path]
TEXT = "protocol: few_shot\nmethods: [zero_shot]\ndatasets: [digits]\nseeds: [1]\n"


def refused(path: Path, *sets: str) -> str:
    with pytest.raises(UsageError) as caught:
        grid(read_config(path, sets))
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [  # the right values are those of the tables in YAML 1.2.2, section 10.3.2
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e3", 1000.0),
        ("12e03", 12000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-2E+05", -2e5),
        ("01.5", 1.5),
        ("-.Inf", float("-inf")),
        ("TRUE", True),
        ("False", False),
        ("Null", None),
        ("~", None),
        ("", None),
        ("y", "y"),
        ("nan", "nan"),
        ("None", "None"),
        ("NA", "NA"),
        ("=", "="),
        ("１６", "１６"),
        ("'016'", "016"),
        ('"no"', "no"),
        ("!!str 1:30", "1:30"),
        ("!!float 3", 3.0),
    ],
)
def test_values_of_yaml_1_2(written: str, value: Any) -> None:
    document = Document(f"a: {written}\n", "x.yaml")
    assert not document.problems
    assert (document.data["a"], isinstance(document.data["a"], bool)) == (value, isinstance(value, bool))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("016", "016 begins with a zero"),
        ("08", "08 begins with a zero"),
        ("-010", "-010 begins with a zero"),
        ("!!int 016", "016 begins with a zero"),
        ("1:30", "1:30 is 90 in YAML 1.1 and text in YAML 1.2"),
        ("190:20:30.5", "is 685230.5 in YAML 1.1"),
        ("1_000", "1_000 is 1000 in YAML 1.1"),
        ("1_0.5", "1_0.5 is 10.5 in YAML 1.1"),
        ("0b101", "0b101 is 5 in YAML 1.1"),
        ("-0x10", "-0x10 is -16 in YAML 1.1"),
        ("yes", "yes is true in YAML 1.1 and text in YAML 1.2: write true if that is meant, or put it in quotes"),
        ("Off", "Off is false in YAML 1.1"),
        ("2024-01-01", "is read as a date; put it in quotes"),
        ("!!bool yes", "'yes' is no bool of YAML 1.2"),
        ("!!int 1_000", "'1_000' is no int of YAML 1.2"),
    ],
)
def test_what_the_versions_read_differently_is_a_problem(written: str, message: str) -> None:
    (problem,) = Document(f"x: 1\na: {written}\n", "x.yaml").problems
    assert message in problem.text


def test_keys_are_what_is_written() -> None:
    words = ("yes", "no", "on", "016", "1e5", "null", "true", "0x10", "1:30", "2024-01-01")
    document = Document("".join(f"{word}: x\n" for word in words), "x.yaml")
    assert (tuple(document.data), document.problems) == (words, [])


@pytest.mark.parametrize("written", ["016", "1:30", "1_000", "0b10", "yes", "true", "2024-01-01", "'1:30'"])
@pytest.mark.parametrize("key", ["shots", "seeds", "threads", "jobs", "max_runs"])
def test_no_such_number_starts_a_run(write_config: Write, key: str, written: str) -> None:
    text = TEXT.replace("seeds: [1]\n", "") + f"{key}: {written}\n"
    assert f"line 4, {key}: " in refused(write_config(text))
    assert f"--set {key}={written}, {key}" in refused(write_config(TEXT), f"{key}={written}")


def test_numbers_of_other_bases_are_their_values(write_config: Write) -> None:
    (run,) = grid(read_config(write_config(TEXT + "shots: 0x10\n"), ["seeds=0o17"]))
    assert (run.shots, run.seed) == (16, 15)


def test_only_the_more_telling_of_two_errors_is_said(write_config: Write) -> None:
    path = write_config(TEXT.replace("[zero_shot]", "{lamm: {epochs: yes, lr: on}}"))
    said = refused(path)
    assert "line 2, methods.lamm.epochs: should be a whole number (it says 'yes')." in said
    assert "line 2, methods.lamm.lr: should be a number (it says 'on')." in said
    assert "YAML" not in said


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("shots: true", "line 5, shots: should be a whole number"),
        ("shots: [1, true]", "line 5, shots: should be a whole number"),
        ("slurm: {time: true}", "line 5, slurm.time: should be a whole number (it says true)."),
        ("slurm: {memory_gb: true}", "line 5, slurm.memory_gb: should be a number (it says true)."),
        ("checkpoint_minutes: true", "line 5, checkpoint_minutes: should be a number (it says true)."),
        ("overrides: [{when: {shots: true}, options: {}}]", "overrides.0.when.shots: should be a whole number"),
        ("overrides: [{options: {weight_decay: true}}]", "overrides.0.options.weight_decay: should be a number"),
    ],
)
def test_a_boolean_is_no_number(write_config: Write, key: str, message: str) -> None:
    assert message in refused(write_config(TEXT + key + "\n"))


def test_a_boolean_is_no_number_of_any_method_or_protocol(write_config: Write) -> None:
    from lamm_cl.experiments.names import method_options
    from lamm_cl.methods.registry import method_names

    for name in method_names():
        for option, field in method_options(name).model_fields.items():
            if {"int", "float"} & set(str(field.annotation).replace("|", " ").replace("'", " ").split()) or (
                field.annotation in (int, float)
            ):
                said = refused(write_config(methods={name: {option: True}}))
                assert f"methods.{name}.{option}: should be a" in said
    for option in ("steps", "base", "increment", "order_seed", "order"):
        said = refused(write_config(protocol={"name": "class_incremental", option: True}))
        assert f"protocol.{option}: should be a" in said


def test_a_whole_number_may_have_a_point(write_config: Write) -> None:
    (run,) = grid(read_config(write_config(TEXT + "shots: 2.0\n")))
    assert (run.shots, type(run.shots)) == (2, int)


@pytest.mark.parametrize("empty", ["", " ", "\t", "# nothing"])
def test_a_set_without_a_value_is_an_error(write_config: Write, empty: str) -> None:
    said = refused(write_config(TEXT + "shots: 1\n"), f"shots={empty}")
    assert "there is no value after the `=`" in said
    assert len(grid(read_config(write_config(TEXT), ["shots=null"]))) == 1
