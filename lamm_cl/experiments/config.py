"""An experiment as a YAML file says it: read, checked, and every error reported at once.

Nothing here imports torch: `lamm-cl validate` and wrong use answer at once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lamm_cl.experiments import known
from lamm_cl.experiments.problems import Key, Problem, from_pydantic, raise_all, unknown_name
from lamm_cl.experiments.yaml_file import Document, as_methods

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=80)]
Positive = Annotated[int, Field(ge=1)]


class Part(BaseModel):
    """Base of every part of a config: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Backbone(Part):
    """Which CLIP: its name, the tag or file of its weights, and the precision it computes in."""

    name: str
    pretrained: str | None = None
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"


class Protocol(Part):
    """How data sets become a stream and test sets."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Method(Part):
    """A method with its options; `label` is what the tables call it."""

    label: Name
    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Override(Part):
    """Options that apply only to some runs: those that match every entry of `when`."""

    class When(Part):
        """What a run must be; a list means any of its entries."""

        dataset: str | list[str] | None = None
        method: str | list[str] | None = None
        backbone: str | list[str] | None = None
        shots: int | str | list[int | str] | None = None

        def matches(self, **run: Any) -> bool:
            """Whether a run with these values is meant."""
            for name, value in run.items():
                wanted = getattr(self, name)
                if wanted is not None and value not in (wanted if isinstance(wanted, list) else [wanted]):
                    return False
            return True

    when: When = When()
    options: dict[str, Any]


class Evaluation(Part):
    """What is measured beside the accuracy matrix.

    Attributes:
        before_training: Also score the test sets before the first stage (stage 0).
        per_class: Also one accuracy per class.
        calibration: Also the expected calibration error.
        confusion: Also the confusion matrix, in the record.
    """

    before_training: bool = True
    per_class: bool = False
    calibration: bool = False
    confusion: bool = False


class Slurm(Part):
    """How to ask a SLURM cluster for one worker.

    Attributes:
        partition: Of the cluster; None takes its default.
        time: Minutes that one job may take.
        gpus: GPUs of one job.
        cpus: Processor cores of one job.
        memory_gb: Memory of one job; None takes the cluster's default.
        jobs: Jobs of the array that run at one time.
        requeues: How often a job that met its time limit is queued again; after preemption it always is.
        account: To be charged.
        qos: Quality of service.
        constraint: Features that the node must have.
        extra: Further `#SBATCH` settings by name.
    """

    partition: str | None = None
    time: Positive = 240
    gpus: Annotated[int, Field(ge=0)] = 0
    cpus: Positive = 1
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    jobs: Positive = 8
    requeues: Annotated[int, Field(ge=0)] = 10
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    extra: dict[str, Any] = Field(default_factory=dict)


class ExperimentConfig(Part):
    """A whole experiment; `configs/README.md` explains each key.

    Attributes:
        experiment: Its name, which also names its directory.
        protocol: See `lamm-cl list protocols`.
        datasets: Names, or mappings that describe one's own data.
        methods: In the order of the tables.
        backbones: One or more.
        shots: Training images per class; "full" for all of them.
        seeds: One run each.
        device: `cpu`, `cuda`, `cuda:N`, or `auto` for a GPU where there is one.
        threads: Of the computation of one run; part of the run's identity, since it changes the last digit.
        root: Directory of the data sets.
        cache: Directory of cached image features; False for none.
        jobs: Worker processes; None for one a core.
        loggers: Avalanche loggers by name, with their options.
        evaluation: What is measured.
        overrides: Options for some runs only, the last one that matches wins.
        checkpoint_minutes: A run saves its state at the first epoch end after so many minutes.
        max_runs: A larger grid asks for `--yes`.
        slurm: For `--executor slurm`.
    """

    experiment: Name
    protocol: Protocol
    datasets: Annotated[list[str | dict[str, Any]], Field(min_length=1)]
    methods: Annotated[list[Method], Field(min_length=1)]
    backbones: Annotated[list[Backbone], Field(min_length=1)] = [Backbone(name="tiny")]
    shots: Annotated[list[Positive | Literal["full"]], Field(min_length=1)] = [16]
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)] = [1, 2, 3]
    device: Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "cpu"
    threads: Positive = 1
    root: str | None = None
    cache: str | bool | None = None
    jobs: Positive | None = None
    loggers: dict[Literal["tensorboard", "wandb", "csv", "text"], dict[str, Any]] = {}
    evaluation: Evaluation = Evaluation()
    overrides: list[Override] = []
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 5.0
    max_runs: Positive = 500
    slurm: Slurm = Slurm()


FILE_KEYS = tuple(name if name != "backbones" else "backbone" for name in ExperimentConfig.model_fields)


def read_config(path: Path | str, assignments: Sequence[str] = ()) -> ExperimentConfig:
    """Read and check a config file.

    Args:
        path: The YAML file.
        assignments: `key=value` texts that change it.

    Raises:
        UsageError: One message with everything that is wrong, each with its line or its `--set`.
    """
    document = Document.read(Path(path))
    for assignment in assignments:
        document.set(assignment)
    return check(document, default_name=Path(path).stem)


def check(document: Document, default_name: str) -> ExperimentConfig:
    """Return the config that a document holds.

    Raises:
        UsageError: With every problem of the document.
    """
    problems = list(document.problems)
    data = document.data
    for key in data:
        if key not in FILE_KEYS:
            problems.append(Problem((key,), unknown_name("key", key, FILE_KEYS)))
    plain = _normal_form(data, default_name)
    config = None
    try:
        config = ExperimentConfig.model_validate(plain)
    except ValidationError as error:
        problems += [_as_in_file(problem) for problem in from_pydantic(error, (), _keys())]
    problems += _repetitions(data)
    problems += _protocol_problems(plain.get("protocol"))
    problems += _dataset_problems(plain.get("datasets"))
    problems += _backbone_problems(plain.get("backbones"))
    problems += _method_problems(plain.get("methods"))
    problems += _override_problems(plain.get("overrides"), plain.get("methods"))
    raise_all(document.name, problems, document.place)
    assert config is not None
    return config


# -- from what a file may say to one form --------------------------------------------------------------------------


def _normal_form(data: Mapping[str, Any], default_name: str) -> dict[str, Any]:
    plain = {key: value for key, value in data.items() if key in FILE_KEYS and value is not None}
    plain.setdefault("experiment", default_name)
    if isinstance(plain["experiment"], int | float):
        plain["experiment"] = str(plain["experiment"])
    for key in ("datasets", "shots", "seeds"):
        if key in plain and not isinstance(plain[key], list):
            plain[key] = [plain[key]]
    if isinstance(plain.get("datasets"), list):
        named = [known.dataset_name(entry) if isinstance(entry, str) else None for entry in plain["datasets"]]
        plain["datasets"] = [name or entry for name, entry in zip(named, plain["datasets"], strict=True)]
    if "backbone" in plain:
        given = plain.pop("backbone")
        plain["backbones"] = [_as_mapping(entry) for entry in (given if isinstance(given, list) else [given])]
    if "protocol" in plain:
        plain["protocol"] = _split_protocol(plain["protocol"])
    if "methods" in plain:
        plain["methods"] = _method_list(plain["methods"])
    if "loggers" in plain:
        plain["loggers"] = {
            name: {} if options in (None, True) else options
            for name, options in _as_loggers(plain["loggers"]).items()
            if options is not False
        }
    return plain


def _as_mapping(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _as_loggers(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return dict.fromkeys(map(str, value if isinstance(value, list) else [value]))


def _split_protocol(value: Any) -> Any:
    value = _as_mapping(value)
    if not isinstance(value, dict):
        return value
    options = {key: option for key, option in value.items() if key != "name"}
    return {**({"name": value["name"]} if "name" in value else {}), "options": options}


def _method_list(value: Any) -> Any:
    methods = as_methods(value)
    if not isinstance(methods, dict):
        return methods
    entries = []
    for label, given in methods.items():
        options = dict(given) if isinstance(given, dict) else {} if given is None else given
        name = options.pop("method", label) if isinstance(options, dict) else label
        entries.append({"label": label, "name": name, "options": options})
    return entries


def _as_in_file(problem: Problem) -> Problem:
    """Call a key what the file calls it: `backbones` -> `backbone`, and options directly below their owner."""
    key = tuple("backbone" if part == "backbones" else part for part in problem.key)
    if key[:1] == ("protocol",):
        key = tuple(part for part in key if part != "options")
    return Problem(key, problem.text)


def _keys() -> dict[Key, Sequence[str]]:
    """Named keys of every place that pydantic checks, for the nearest match."""
    places: dict[Key, Sequence[str]] = {
        (): FILE_KEYS,
        ("evaluation",): tuple(Evaluation.model_fields),
        ("slurm",): tuple(Slurm.model_fields),
    }
    for index in range(100):
        places["backbones", index] = tuple(Backbone.model_fields)
        places["overrides", index] = tuple(Override.model_fields)
        places["overrides", index, "when"] = tuple(Override.When.model_fields)
    return places


# -- what the names mean -------------------------------------------------------------------------------------------


def _repetitions(data: Mapping[str, Any]) -> list[Problem]:
    problems = []
    for key in ("datasets", "methods", "backbone", "shots", "seeds"):
        entries = data.get(key)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            if entry in entries[:index]:
                problems.append(Problem((key, index), f"{entry!r} is listed twice."))
    return problems


def _protocol_problems(protocol: Any) -> list[Problem]:
    if not isinstance(protocol, dict) or not isinstance(protocol.get("name"), str):
        return []
    name, options = protocol["name"], protocol.get("options") or {}
    if name not in known.protocol_names():
        return [Problem(("protocol",), unknown_name("protocol", name, known.protocol_names()))]
    return _options_problems(known.protocol_options(name), options, ("protocol",))


def _dataset_problems(datasets: Any) -> list[Problem]:
    problems = []
    for index, entry in enumerate(datasets if isinstance(datasets, list) else ()):
        if isinstance(entry, str) and known.dataset_name(entry) is None:
            problems.append(Problem(("datasets", index), unknown_name("data set", entry, known.dataset_names())))
        elif isinstance(entry, dict):
            problems += [Problem(("datasets", index), text) for text in known.own_data_problems(entry)]
    return problems


def _backbone_problems(backbones: Any) -> list[Problem]:
    problems = []
    for index, entry in enumerate(backbones if isinstance(backbones, list) else ()):
        name = entry.get("name") if isinstance(entry, dict) else None
        text = known.backbone_problem(name) if isinstance(name, str) else None
        if text:
            problems.append(Problem(("backbone", index, "name"), text))
    return problems


def _method_problems(methods: Any) -> list[Problem]:
    problems = []
    for entry in methods if isinstance(methods, list) else ():
        key = ("methods", entry["label"])
        name, options = entry["name"], entry["options"]
        text = known.method_problem(name)
        if text:
            problems.append(Problem(key, text))
        elif isinstance(options, dict):
            problems += _options_problems(known.method_options(name), options, key)
        else:
            problems.append(Problem(key, f"takes a mapping of options, not {options!r}."))
    return problems


def _override_problems(overrides: Any, methods: Any) -> list[Problem]:
    """Check an override's options against every method that it can meet."""
    problems = []
    entries = [
        entry for entry in (methods if isinstance(methods, list) else ()) if not known.method_problem(entry["name"])
    ]
    for index, override in enumerate(overrides if isinstance(overrides, list) else ()):
        options = override.get("options") if isinstance(override, dict) else None
        if not isinstance(options, dict):
            continue
        when = override.get("when") or {}
        wanted = when.get("method") if isinstance(when, dict) else None
        wanted = [wanted] if isinstance(wanted, str) else wanted
        met = [entry for entry in entries if wanted is None or entry["label"] in wanted]
        for entry in met[:1] if wanted is None else met:
            problems += _options_problems(known.method_options(entry["name"]), options, ("overrides", index, "options"))
    return problems


def _options_problems(model: type[BaseModel], options: Mapping[str, Any], key: Key) -> list[Problem]:
    try:
        model.model_validate(options)
    except ValidationError as error:
        return from_pydantic(error, key, {(): tuple(model.model_fields)})
    return []
