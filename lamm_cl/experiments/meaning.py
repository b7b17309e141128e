"""What the names in a config mean, and whether they mean anything."""

import warnings
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from lamm_cl.data.own_names import FORMULA, is_formula
from lamm_cl.errors import UsageError, unknown_name
from lamm_cl.experiments import known
from lamm_cl.experiments.problems import Problem, from_pydantic
from lamm_cl.experiments.rehearsal import stream_problems
from lamm_cl.methods.training import Training
from lamm_cl.methods.values import Key


def meaning_problems(data: Mapping[str, Any], plain: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with the names and options of a config.

    Args:
        data: The file's content.
        plain: The same in normal form, as far as it goes.
    """
    streams = [*_protocol_problems(plain.get("protocol")), *_dataset_problems(plain.get("datasets"))]
    return [
        *_repetitions(data),
        *(streams or _stream_problems(plain.get("protocol"), plain.get("datasets"))),
        *_backbone_problems(plain.get("backbones")),
        *_method_problems(plain.get("methods")),
        *_precision_problems(plain.get("backbones"), plain.get("methods")),
        *_logger_problems(plain.get("loggers")),
        *_override_problems(plain.get("overrides"), plain),
    ]


def _repetitions(data: Mapping[str, Any]) -> list[Problem]:
    problems = []
    for key in ("datasets", "methods", "backbone", "shots", "seeds"):
        given = data.get(key)
        entries = given if isinstance(given, list) else []
        if key == "methods":  # one with options and one without would become one
            entries = [next(iter(entry)) if isinstance(entry, dict) and len(entry) == 1 else entry for entry in entries]
        for index, entry in enumerate(entries):
            if entry in entries[:index] and not isinstance(entry, bool):  # true would equal 1
                problems.append(Problem((key, index), f"{entry!r} is listed twice."))
    return problems


def _protocol_problems(protocol: Any) -> list[Problem]:
    if not isinstance(protocol, dict) or not isinstance(protocol.get("name"), str):
        return []
    name, options = protocol["name"], protocol.get("options") or {}
    if name not in known.protocol_names():
        return [Problem(("protocol",), unknown_name("protocol", name, known.protocol_names()))]
    order = options.get("order") if isinstance(options, dict) else None
    listed = order if isinstance(order, list) else []
    problems = [
        Problem(("protocol", "order", place), "in an order, what is neither a label nor text stands in quotes.")
        for place, entry in enumerate(listed)
        if not isinstance(entry, str) and type(entry) is not int  # 1e5, 0x10 and true may be names
    ]
    word = next((entry for entry in listed if isinstance(entry, str)), None)
    number = next((entry for entry in listed if not isinstance(entry, str)), None)
    if not problems and word is not None and number is not None:
        text = f"an order has labels or class names, not both: {word!r} is text and {number} a number."
        problems = [Problem(("protocol", "order"), f"{text} Put class names that are numbers in quotes.")]
    return problems or _options_problems(known.protocol_options(name), options, ("protocol",))


def _dataset_problems(datasets: Any) -> list[Problem]:
    problems = []
    for index, entry in enumerate(datasets if isinstance(datasets, list) else ()):
        if isinstance(entry, str) and known.dataset_name(entry) is None:
            problems.append(Problem(("datasets", index), unknown_name("data set", entry, known.dataset_names())))
        elif isinstance(entry, dict):
            problems += [Problem(("datasets", index), text) for text in known.described_data_problems(entry)]
    return problems


def _stream_problems(protocol: Any, datasets: Any) -> list[Problem]:
    """Check protocol and data sets together, once each of them is right by itself."""
    if not isinstance(protocol, dict) or not isinstance(datasets, list):
        return []
    if protocol.get("name") not in known.protocol_names() or not all(isinstance(one, str | dict) for one in datasets):
        return []
    options = known.protocol_options(protocol["name"]).model_validate(protocol.get("options") or {}).model_dump()
    return stream_problems(protocol["name"], options, [known.shown_name(one) for one in datasets])


def _backbone_problems(backbones: Any) -> list[Problem]:
    problems = []
    for index, entry in enumerate(backbones if isinstance(backbones, list) else ()):
        name = entry.get("name") if isinstance(entry, dict) else None
        text = known.backbone_problem(name) if isinstance(name, str) else None
        if text:
            problems.append(Problem(("backbone", index, "name"), text))
        for key in ("name", "pretrained"):
            value = entry.get(key) if isinstance(entry, dict) else None
            if isinstance(value, str) and is_formula(value):
                problems.append(Problem(("backbone", index, key), f"{value!r} {FORMULA}, a path with ./ before it."))
    return problems


def _method_problems(methods: Any) -> list[Problem]:
    problems = []
    for entry in methods if isinstance(methods, list) else ():
        key = ("methods", entry["label"])
        name, options = entry["name"], entry["options"]
        if not isinstance(name, str):
            continue
        text = known.method_problem(name)
        if text:
            problems.append(Problem(key, text))
        elif isinstance(options, dict):
            problems += _recipe_problems(name, options, key)
            problems += _options_problems(known.method_options(name), known.applicable(name, options), key)
            problems += _plugin_problems(options.get("plugins"), key)
        else:
            problems.append(Problem(key, f"takes a mapping of options, not {options!r}."))
    return problems


def _recipe_problems(name: str, options: Mapping[str, Any], key: Key) -> list[Problem]:
    """Refuse settings of a recipe for a method that takes no steps; an override for several methods passes it by."""
    own = ", ".join(sorted(set(known.method_options(name).model_fields) - set(Training.model_fields)))
    text = f"has no effect on {name}, which takes no training steps; its own options are: {own or 'none'}."
    left = {one: value for one, value in options.items() if one not in known.applicable(name, options)}
    return [*(Problem((*key, one), text) for one in left), *_options_problems(Training, left, key)]


def _precision_problems(backbones: Any, methods: Any) -> list[Problem]:
    listed = backbones if isinstance(backbones, list) else []
    if not any(isinstance(entry, dict) and entry.get("precision") == "pure_fp16" for entry in listed):
        return []
    text = "does not compute in pure_fp16: only methods that have prompts and nothing else do."
    entries = [one for one in methods if not known.method_problem(one["name"])] if isinstance(methods, list) else []
    return [Problem(("methods", one["label"]), text) for one in entries if not known.has_prompts_only(one["name"])]


def _plugin_problems(plugins: Any, key: Key) -> list[Problem]:
    """Make the plugins once; Avalanche takes seconds to import, and only who names one waits for it."""
    if not isinstance(plugins, dict) or not all(isinstance(one, dict | None) for one in plugins.values()):
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Avalanche misses a solver that few of its plugins need
        from lamm_cl.strategies.plugin_config import make_plugins

    problems = []
    for name, options in plugins.items():
        try:
            make_plugins({name: options})
        except UsageError as error:
            problems.append(Problem((*key, "plugins", name), str(error)))
    return problems


def _logger_problems(loggers: Any) -> list[Problem]:
    """Refuse options of loggers that take none; what W&B takes, its installed version knows."""
    return [
        Problem(("loggers", name), f"takes no options; write {name}: true.")
        for name, options in (loggers.items() if isinstance(loggers, dict) else ())
        if options and isinstance(options, dict) and name in ("tensorboard", "csv", "text")
    ]


def _override_problems(overrides: Any, plain: Mapping[str, Any]) -> list[Problem]:
    """Check the names in `when`, and the options against every method that they can meet.

    An override may concern a data set, method or backbone that is not in the config: `--set` may have taken it out.
    """
    problems = []
    methods = plain.get("methods")
    entries = [one for one in methods if not known.method_problem(one["name"])] if isinstance(methods, list) else []
    for index, override in enumerate(overrides if isinstance(overrides, list) else ()):
        options = override.get("options") if isinstance(override, dict) else None
        when = (override.get("when") or {}) if isinstance(override, dict) else {}
        if not isinstance(options, dict) or not isinstance(when, dict):
            continue
        problems += _when_problems(when, plain, ("overrides", index, "when"))
        wanted = when.get("method")
        met = [one for one in entries if wanted is None or one["label"] in _listed(wanted)]
        for one in met:
            problems += _unfit_options(one, options, ("overrides", index, "options"))
        if met and not any(known.takes_steps(one["name"]) for one in met):
            problems += _recipe_problems(met[0]["name"], options, ("overrides", index, "options"))
    return problems


def _unfit_options(method: Mapping[str, Any], options: Mapping[str, Any], key: Key) -> list[Problem]:
    """Check an override's options against one of the methods that it meets, and name that method."""
    name = method["name"]
    found = _options_problems(known.method_options(name), known.applicable(name, options), key)
    hint = f" Said of {method['label']}; `when: {{method: ...}}` names the methods that an override is for."
    return [Problem(problem.key, problem.text + hint) for problem in found]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)  # anything else is said where types are checked


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _when_problems(when: Mapping[str, Any], plain: Mapping[str, Any], key: Key) -> list[Problem]:
    problems = []
    own = [one.get("name") for one in _listed(plain.get("datasets")) if isinstance(one, dict)]
    for name in filter(_is_text, _listed(when.get("dataset"))):
        if name not in known.dataset_names() and name not in own and "+" not in name:
            problems.append(Problem((*key, "dataset"), unknown_name("data set", name, known.dataset_names())))
    labels = [str(one["label"]) for one in _listed(plain.get("methods")) if isinstance(one, dict)]
    for name in filter(_is_text, _listed(when.get("method"))):
        if name not in labels and known.method_problem(name):
            problems.append(Problem((*key, "method"), unknown_name("method", name, labels)))
    for name in filter(_is_text, _listed(when.get("backbone"))):
        text = known.backbone_problem(name)
        if text:
            problems.append(Problem((*key, "backbone"), text))
    return problems


def _options_problems(model: type[BaseModel], options: Mapping[str, Any], key: Key) -> list[Problem]:
    try:
        model.model_validate(options)
    except ValidationError as error:
        return from_pydantic(error, key, {(): tuple(model.model_fields)})
    return []
