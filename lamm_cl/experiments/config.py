"""An experiment as a YAML file says it: read and checked without torch, all errors at once; and its JSON schema."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    model_validator,
)

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.errors import UsageError
from lamm_cl.experiments import fields, imports
from lamm_cl.experiments.document import Document, Problem
from lamm_cl.experiments.fields import Reading, read_by, several
from lamm_cl.experiments.names import applicable, method_options, protocol_options
from lamm_cl.methods.registry import method_names
from lamm_cl.methods.values import DEVICE, NAME, Key, Values, findings
from lamm_cl.strategies.settings import PrecisionName
from lamm_cl.streams.orders import DOMAIN_ORDERS
from lamm_cl.streams.protocols import PROTOCOLS

# Digits are a name as they were written, unlike true, 1e5 and 0x10.
_AS_TEXT = BeforeValidator(lambda value: str(value) if type(value) is int else value)
Name = Annotated[str, StringConstraints(pattern=NAME, max_length=80)]
Positive = Annotated[int, Field(ge=1)]
LoggerName = Literal["tensorboard", "wandb", "csv", "text"]


class Backbone(Values):
    """Which CLIP: its name, the tag or file of its weights, the precision it computes in, its images' resizing."""

    name: str = "tiny"
    pretrained: str | None = None
    precision: PrecisionName = "fp32"
    resize_mode: Literal["shortest", "longest", "squash"] | None = None


class Protocol(Values):
    """How data sets become a stream and test sets."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Method(Values):
    """A method with its options; `label` is what the tables call it."""

    label: Name
    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Override(Values):
    """Options that apply only to some runs: those that match every entry of `when`."""

    class When(Values):
        """What a run must be; a list means any of its entries."""

        dataset: str | list[str] | None = None
        method: str | list[str] | None = None
        backbone: str | list[str] | None = None
        shots: int | str | list[int | str] | None = None

        def matches(self, **run: Any) -> bool:
            """Whether a run with these values is meant."""
            given = {name: getattr(self, name) for name in run}
            wanted = {name: one if isinstance(one, list) else [one] for name, one in given.items() if one is not None}
            return all(run[name] in some for name, some in wanted.items())

    when: When = When()
    options: dict[str, Any]


class Evaluation(Values):
    """What is measured beside the accuracy matrix."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    before_training: bool = True
    """Also score the test sets before the first stage (stage 0)."""
    per_class: bool = False
    """Also one accuracy per class."""
    calibration: bool = False
    """Also the expected calibration error."""
    confusion: bool = False
    """Also the confusion matrix, in the record."""


class Slurm(Values):
    """How to ask a SLURM cluster for one worker."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    partition: str | None = None
    """Partition of the cluster [its default]."""
    time: Positive = 240
    """Minutes that one job may take."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of one job."""
    cpus: Positive = 1
    """Processor cores of one job."""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    """Memory of one job, in GB [the cluster's default]."""
    jobs: Positive = 8
    """Jobs of the array that run at one time."""
    requeues: Annotated[int, Field(ge=0)] = 10
    """How often a job that met its time limit is queued again; after preemption it always is."""
    account: str | None = None
    """Account to be charged."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Features that the node must have."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further `#SBATCH` settings by name."""


class ExperimentConfig(Values, BaseModel):
    """A whole experiment; `configs/README.md` explains each key."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    experiment: Annotated[Name, _AS_TEXT]
    """Name of the experiment and of its directory [the file's name]."""
    protocol: Annotated[Protocol, read_by(fields.read_protocol)]
    """How data sets become a stream and test sets; options stand beside the name."""
    datasets: Annotated[list[str | dict[str, Any]], Field(min_length=1), read_by(fields.read_datasets)]
    """One run each, or all in one; own data as a mapping. An order of multi_domain may name them instead."""
    imports: Annotated[dict[str, str], Field(alias="import")] = {}
    """Python files (from the config's folder) or modules to import first, one or several."""
    methods: Annotated[list[Method], Field(min_length=1), read_by(fields.read_methods)]
    """A list of names, or a mapping from name to options; `method` in the options names a variant's method."""
    backbones: Annotated[list[Backbone], Field(min_length=1, alias="backbone"), read_by(fields.read_backbones)] = [
        Backbone(name="tiny")
    ]
    """Which CLIP, one or several."""
    shots: Annotated[list[Positive | Literal["full"]], Field(min_length=1), several("shots")] = [16]
    """Training images per class, one or several numbers, or "full"."""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1), several("seeds")] = [1, 2, 3]
    """One run each."""
    device: Annotated[str, StringConstraints(pattern=DEVICE)] = "cpu"
    """`cpu`, `cuda`, `cuda:N`, or `auto` for a GPU where there is one."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads of the computation of one run; part of the run's identity, since it changes the last digit."""
    deterministic: bool = False
    """Take the deterministic form of every operation, so that a GPU repeats its bits."""
    root: str | None = None
    """Directory of the data sets."""
    cache: str | bool | None = None
    """Directory of cached image features [$LAMM_CL_CACHE or ~/.cache/lamm_cl/features]; false for none."""
    jobs: Positive | None = None
    """Worker processes [one a core]."""
    num_workers: Annotated[int, Field(ge=0, le=1024)] | None = None
    """Processes that read the images of a run [none on the CPU; on a GPU its share of the cores]."""
    graph: Literal["auto", "never"] = "auto"
    """`auto` records the training steps of a GPU as CUDA graphs where a method's steps are alike; `never`."""
    loggers: Annotated[dict[LoggerName, dict[str, Any]], read_by(fields.read_loggers)] = {}
    """Avalanche loggers by name, with their options."""
    evaluation: Evaluation = Evaluation()
    """What is measured."""
    save: Literal["prompts"] | None = None
    """`prompts` keeps what each run has learned beside its record, for `lamm_cl.load_model` [nothing]."""
    overrides: Annotated[list[Override], read_by(fields.read_overrides)] = []
    """Options for some runs only, the last one that matches wins."""
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 5.0
    """A run saves its state at the first epoch end after so many minutes."""
    max_runs: Positive = 1500
    """A larger grid asks for `--yes`; the papers' largest table has 1980 runs."""
    slurm: Slurm = Slurm()
    """How jobs are asked for with `--executor slurm`."""

    _folder: Path = PrivateAttr(default_factory=Path.cwd)
    _notes: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Take the data sets from a named order of `multi_domain`, which has them."""
        protocol = data.get("protocol")
        named = protocol if isinstance(protocol, dict) and protocol.get("name") == "multi_domain" else {}
        listed = DOMAIN_ORDERS.get(str(named.get("order")))
        return {"datasets": list(listed), **data} if listed else data

    @property
    def folder(self) -> Path:
        """Where relative paths in it start from: the folder of its file."""
        return self._folder

    @property
    def notes(self) -> list[str]:
        """What its author should know of how it was read."""
        return self._notes


FILE_KEYS = (*(info.alias or name for name, info in ExperimentConfig.model_fields.items()), "plugins")
# The keys of every place that has some; 0 stands for any place in a list.
_KEYS: dict[Key, Sequence[str]] = {
    (): FILE_KEYS,
    ("evaluation",): tuple(Evaluation.model_fields),
    ("slurm",): tuple(Slurm.model_fields),
    ("backbone", 0): tuple(Backbone.model_fields),
    ("overrides", 0): tuple(Override.model_fields),
    ("overrides", 0, "when"): tuple(Override.When.model_fields),
}


def read_config(path: Path | str, assignments: Sequence[str] = ()) -> ExperimentConfig:
    """Read and check a config file as assignments change it; one `UsageError` says all that is wrong, and where."""
    path = Path(path)
    document = Document.read(path)
    for assignment in assignments:
        document.set(assignment)
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "-", path.stem).strip("-._+")[:80]
    data = {"experiment": plain or "experiment"} | {key: one for key, one in document.data.items() if one is not None}
    imported, trouble = _import(data.get("import", []), path.parent)
    document.refuse(trouble)  # without what is imported, what follows would be guesswork
    reading = Reading(path.parent, data.pop("plugins", None))
    config, problems = None, []
    try:
        config = ExperimentConfig.model_validate(data | {"import": imported}, context=reading)
    except ValidationError as error:
        problems = [_said(key, text, reading, data) for key, text in findings(error, _KEYS).items()]
    problems += reading.problems
    places = {document.place(problem.key) for problem in problems}
    said = [one for one in document.problems if not (one.doubt and document.place(one.key) in places)]
    document.refuse([*said, *problems])
    assert config is not None
    config._folder, config._notes = path.absolute().parent, reading.notes
    return config


def _said(key: Key, text: str, reading: Reading, data: Mapping[str, Any]) -> Problem:
    """Return what pydantic says in the words of the file, in which a method's place is its label."""
    if len(key) == 1 and key[0] not in FILE_KEYS:
        text = _elsewhere(str(key[0]), data[str(key[0])], reading) or text
    if key[:1] == ("methods",) and len(key) > 1:
        label = reading.labels[int(key[1])]
        key = ("methods", label if isinstance(label, str) else key[1])
    return Problem(key, text.replace("is empty.", "is empty: the experiment would expand to no run."))


def _elsewhere(name: str, value: Any, reading: Reading) -> str | None:
    """Say where a key belongs that stands at the top and is a key of something below; None where it is of nothing."""
    plain = json.dumps(value, default=str)
    written = f"{name}: {plain if len(plain) < 40 else '...'}"
    owners: dict[str, tuple[type[BaseModel], str]]
    owners = {"evaluation": (Evaluation, ""), "slurm": (Slurm, ""), "backbone": (Backbone, "name: ..., ")}
    if reading.protocol:
        protocol = reading.protocol[0]
        owners["protocol"] = (protocol_options(protocol), f"name: {protocol}, ")
    for owner, (model, before) in owners.items():
        if name in model.model_fields and name != "name":
            return f"belongs to {owner}: write `{owner}: {{{before}{written}}}`, or {owner}.{name} with --set."
    with_it = [one["label"] for one in reading.methods if name in method_options(one["name"]).model_fields]
    if not with_it:
        return None
    every = all(one["label"] in with_it or not applicable(one["name"], {name: value}) for one in reading.methods)
    text = f"is an option of methods: write it below one of them, or methods.{with_it[0]}.{name} with --set"
    return f"{text}; for all of them: `overrides: [{{options: {{{written}}}}}]`." if every else f"{text}."


def _import(entries: Any, folder: Path) -> tuple[dict[str, str], list[Problem]]:
    """Import what a config names, and return where each is with the digest of its content."""
    found, problems = {}, []
    for index, entry in enumerate(entries if isinstance(entries, list) else [entries]):
        try:
            if not isinstance(entry, str):
                raise UsageError(f"takes Python files (my_methods.py) and names of modules, not {entry!r}.")
            place = imports.find(entry, folder)
            found[place] = next(iter(imports.load([place]).values()))
        except UsageError as error:
            problems.append(Problem(("import", index), str(error)))
    return found, problems


# -- the schema --------------------------------------------------------------------------------------------------------


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of a config file, so that editors complete keys and underline mistakes."""
    parts = {model.__name__.lower(): _schema(model) for model in (Evaluation, Slurm, Backbone, Override)}
    parts |= {f"method.{name}": _schema(method_options(name)) for name in method_names()}
    parts |= {f"protocol.{name}": _schema(protocol_options(name)) for name in PROTOCOLS}
    whole = _schema(ExperimentConfig)["properties"]
    text = "Avalanche plugins for every method that names none itself, with their options."
    whole["plugins"] = {**parts["method.zero_shot"]["properties"]["plugins"], "description": text}
    loggers = get_args(LoggerName)
    logged = _closed({name: {"anyOf": [{"type": ["null", "boolean", "object"]}]} for name in loggers})
    special = {
        "protocol": _protocol(),
        "datasets": _one_or_several({"anyOf": [_names(CATALOGUE), {"type": "object"}]}),
        "methods": _methods(),
        "backbone": _one_or_several({"anyOf": [{"type": "string"}, {"$ref": "#/$defs/backbone"}]}),
        "import": _one_or_several({"type": "string"}),
        "shots": _one_or_several({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "full"}]}),
        "seeds": _one_or_several({"type": "integer", "minimum": 0}),
        "evaluation": {"$ref": "#/$defs/evaluation"},
        "slurm": {"$ref": "#/$defs/slurm"},
        "loggers": {"anyOf": [_one_or_several(_names(loggers)), logged]},
        "overrides": {"type": "array", "items": {"$ref": "#/$defs/override"}},
    }
    properties = {key: {**special.get(key, whole[key]), "description": whole[key]["description"]} for key in FILE_KEYS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An experiment of lamm_cl",
        **_closed(properties, required=["protocol", "methods"]),
        "$defs": parts,
    }


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's schema with what it refers to put in place."""
    made = model.model_json_schema()
    parts = made.pop("$defs", {})

    def inline(value: Any) -> Any:
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).removeprefix("#/$defs/")
            if name in parts:
                return inline({**parts[name], **{key: item for key, item in value.items() if key != "$ref"}})
            return {key: inline(item) for key, item in value.items()}
        return [inline(item) for item in value] if isinstance(value, list) else value

    result: dict[str, Any] = inline(made)
    result.pop("description", None)
    return result


def _one_or_several(item: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}


def _closed(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **more, "additionalProperties": False}


def _names(names: Iterable[str]) -> dict[str, Any]:
    return {"type": "string", "enum": sorted(names)}


def _protocol() -> dict[str, Any]:
    """Return the schema of `protocol`: a name, or a mapping whose other keys depend on the name."""
    cases = []
    for name in PROTOCOLS:
        own = protocol_options(name).model_fields
        keys = {key: {"$ref": f"#/$defs/protocol.{name}/properties/{key}"} for key in own}
        cases.append(_closed({"name": {"const": name}, **keys}, required=["name"]))
    return {"anyOf": [_names(PROTOCOLS), *cases]}


def _methods() -> dict[str, Any]:
    names = method_names()
    options = {name: {"anyOf": [{"type": "null"}, {"$ref": f"#/$defs/method.{name}"}]} for name in names}
    variant = {"type": "object", "properties": {"method": _names(names)}, "required": ["method"]}
    several = {"type": "object", "properties": options, "additionalProperties": variant, "minProperties": 1}
    return {"anyOf": [_one_or_several(_names(names)), several]}
