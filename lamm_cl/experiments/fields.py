"""What may stand below each key of a config: brought to one form, and checked for what it means.

Each function here is the validator that pydantic calls before it looks at a key's types. It reads its key once, returns
it with every list a list and every name with its options beside it, and adds what is wrong with it to the `Reading`.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, BeforeValidator, ValidationError

from lamm_cl.data.catalogue import CATALOGUE, find
from lamm_cl.data.own_data import FORMULA, is_formula, is_own, name_of
from lamm_cl.errors import UsageError, refusal, unknown_name
from lamm_cl.experiments import names
from lamm_cl.experiments.document import Problem, as_methods, named_methods
from lamm_cl.experiments.rehearsal import stream_problems
from lamm_cl.methods import text_bank
from lamm_cl.methods.recipe import RENAMED, Training
from lamm_cl.methods.registry import get_method
from lamm_cl.methods.values import Key, findings
from lamm_cl.streams.orders import read_order
from lamm_cl.streams.protocols import PROTOCOLS


@dataclass
class Reading:
    """What is known and found while a config is validated, in the order of its keys."""

    folder: Path  # from which its paths are meant
    plugins: Any = None  # for every method that names none itself
    problems: list[Problem] = field(default_factory=list)  # what is wrong
    notes: list[str] = field(default_factory=list)  # what its author should know of how it was read
    protocol: tuple[str, dict[str, Any]] | None = None  # name and options, once they are right
    own: list[Any] = field(default_factory=list)  # names of the data sets that are the user's own
    labels: list[Any] = field(default_factory=list)  # of all methods
    methods: list[dict[str, Any]] = field(default_factory=list)  # whose method exists: label, name and options

    def say(self, key: Key, text: str) -> None:
        """Add one problem."""
        self.problems.append(Problem(key, text))

    def current(self, options: dict[str, Any], place: str) -> dict[str, Any]:
        """Return options of a method by the names that they have now, with the digests of the files they name."""
        for old, new in RENAMED.items():
            if old in options and new not in options:
                options = {(new if name == old else name): value for name, value in options.items()}
                self.notes.append(f"{place}.{old} is called {new} now")
        return text_bank.stamped(options, self.folder)


def read_by(reader: Callable[[Any, Reading], Any]) -> BeforeValidator:
    """Make a function of a value and the reading a validator."""
    return BeforeValidator(lambda value, info: reader(value, info.context))


def several(key: str) -> BeforeValidator:
    """Return a validator for a key that takes one entry or a list without repetitions."""
    return read_by(lambda value, reading: _listed_once(key, value, reading))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _listed_once(key: str, value: Any, reading: Reading) -> list[Any]:
    entries = value if isinstance(value, list) else [value]
    for index, entry in enumerate(entries):
        if entry in entries[:index] and not isinstance(entry, bool):  # true would equal 1
            reading.say((key, index), f"{entry!r} is listed twice.")
    return entries


def _option_problems(model: type[BaseModel], options: Mapping[str, Any], key: Key) -> list[Problem]:
    try:
        model.model_validate(options)
    except ValidationError as error:
        found = findings(error, {(): tuple(model.model_fields)})
        return [Problem((*key, *place), text) for place, text in found.items()]
    return []


def read_protocol(value: Any, reading: Reading) -> Any:
    """Take a name, or a mapping that has the options beside the name."""
    value = {"name": value} if isinstance(value, str) else value
    if not isinstance(value, dict):
        return value
    options = {key: option for key, option in value.items() if key != "name"}
    order = options.get("order")
    if isinstance(order, dict) and set(order) == {"file"} and isinstance(order["file"], str):
        try:  # the classes that a file lists make the run, not where they are listed
            options["order"] = read_order(reading.folder / Path(order["file"]).expanduser())
        except UsageError as error:
            del options["order"]
            reading.say(("protocol", "order"), str(error))
    name = value.get("name")
    if isinstance(name, str):
        found = _protocol_problems(name, options)
        reading.problems += found
        reading.protocol = None if found else (name, options)
    return {**({"name": name} if "name" in value else {}), "options": options}


def _protocol_problems(name: str, options: Mapping[str, Any]) -> list[Problem]:
    if name not in PROTOCOLS:
        return [Problem(("protocol",), unknown_name("protocol", name, PROTOCOLS))]
    order = options.get("order")
    listed = order if isinstance(order, list) else []
    odd = [k for k, one in enumerate(listed) if type(one) not in (str, int)]  # 1e5, 0x10 and true may be names
    text = "in an order, what is neither a label nor text stands in quotes."
    problems = [Problem(("protocol", "order", place), text) for place in odd]
    words, numbers = ([one for one in listed if isinstance(one, str) is word] for word in (True, False))
    if not problems and words and numbers:
        text = f"an order has labels or class names, not both: {words[0]!r} is text and {numbers[0]} a number."
        problems = [Problem(("protocol", "order"), f"{text} Put class names that are numbers in quotes.")]
    return problems or _option_problems(names.protocol_options(name), options, ("protocol",))


def read_datasets(value: Any, reading: Reading) -> list[Any]:
    """Take names in any spelling, and mappings that describe data; check them together with the protocol."""
    listed = _listed_once("datasets", value, reading)
    before = len(reading.problems)
    entries = [_read_dataset(entry, ("datasets", index), reading) for index, entry in enumerate(listed)]
    if len(reading.problems) == before and reading.protocol and all(isinstance(entry, str | dict) for entry in entries):
        name, given = reading.protocol
        options = names.protocol_options(name).model_validate(given).model_dump()
        reading.problems += stream_problems(name, options, list(map(name_of, entries)))
    reading.own = [entry.get("name") for entry in entries if isinstance(entry, dict)]
    return entries


def _read_dataset(value: Any, key: Key, reading: Reading) -> Any:
    """Write the catalogue's name for any spelling of it, also where options stand beside it."""
    named = {"name": value} if isinstance(value, str) else value
    if not isinstance(named, dict):
        return value
    error = None if is_own(named) or "name" not in named else refusal(find, named["name"])
    texts = [str(error)] if error else []
    if isinstance(value, dict):
        texts += names.described_data_problems(value)
    reading.problems += [Problem(key, text) for text in texts]
    if error or is_own(named) or not isinstance(named.get("name"), str):
        return value
    name = find(named["name"]).name
    return name if set(named) == {"name"} else {**named, "name": name}


def read_methods(value: Any, reading: Reading) -> Any:
    """Take a name, a list of names, or a mapping from label to options; `method` among them names the method."""
    if isinstance(value, list):  # one with options and one without would become one
        _listed_once("methods", [name for name, _ in named_methods(value)], reading)
    methods = as_methods(value)
    if not isinstance(methods, dict):
        return methods
    return [_read_method(label, given, reading) for label, given in methods.items()]


def _read_method(label: Any, given: Any, reading: Reading) -> dict[str, Any]:
    key: Key = ("methods", label)
    if not isinstance(given, dict | None):
        reading.say(key, f"takes a mapping of options, not {given!r}.")
    options = reading.current(given if isinstance(given, dict) else {}, f"methods.{label}")
    name = options.pop("method", label)
    if reading.plugins is not None:
        options.setdefault("plugins", reading.plugins)
    entry = {"label": label, "name": name, "options": options}
    reading.labels.append(label)
    if not isinstance(name, str):
        return entry  # said where types are checked
    if problem := refusal(get_method, name):
        reading.say(key, str(problem))
        return entry
    reading.methods.append(entry)
    reading.problems += _recipe_problems(name, options, key)
    reading.problems += _option_problems(names.method_options(name), names.applicable(name, options), key)
    reading.problems += _plugin_problems(options.get("plugins"), key)
    return entry


def _recipe_problems(name: str, options: Mapping[str, Any], key: Key) -> list[Problem]:
    """Refuse settings of a recipe for a method that takes no steps; an override for several methods passes it by."""
    own = ", ".join(sorted(set(names.method_options(name).model_fields) - set(Training.model_fields)))
    text = f"has no effect on {name}, which takes no training steps; its own options are: {own or 'none'}."
    left = {one: value for one, value in options.items() if one not in names.applicable(name, options)}
    return [*(Problem((*key, one), text) for one in left), *_option_problems(Training, left, key)]


def _plugin_problems(plugins: Any, key: Key) -> list[Problem]:
    """Make the plugins once; Avalanche takes seconds to import, and only who names one waits for it."""
    if not isinstance(plugins, dict) or not all(isinstance(one, dict | None) for one in plugins.values()):
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Avalanche misses a solver that few of its plugins need
        from lamm_cl.strategies.plugins import make_plugins

    refused = {name: refusal(make_plugins, {name: options}) for name, options in plugins.items()}
    return [Problem((*key, "plugins", name), str(error)) for name, error in refused.items() if error]


def read_backbones(value: Any, reading: Reading) -> list[Any]:
    """Take names in any spelling, and mappings that have weights and precision beside the name."""
    entries = [
        _read_backbone(entry, ("backbone", index), reading)
        for index, entry in enumerate(_listed_once("backbone", value, reading))
    ]
    if any(isinstance(entry, dict) and entry.get("precision") == "pure_fp16" for entry in entries):
        for method in reading.methods:
            if not get_method(method["name"]).prompts_only:
                text = "does not compute in pure_fp16: only methods that have prompts and nothing else do."
                reading.say(("methods", method["label"]), text)
    return entries


def _read_backbone(value: Any, key: Key, reading: Reading) -> Any:
    value = {"name": value} if isinstance(value, str) else value
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return value
    try:
        name, weights = names.backbone_and_weights(value["name"], value.get("pretrained"))
        value = {**value, "name": name, "pretrained": weights}
    except UsageError as error:
        reading.say((*key, "name"), str(error))
    for part in ("name", "pretrained"):
        if isinstance(value.get(part), str) and is_formula(value[part]):
            reading.say((*key, part), f"{value[part]!r} {FORMULA}, a path with ./ before it.")
    return value


def read_loggers(value: Any, reading: Reading) -> dict[str, Any]:
    """Take names, or a mapping from name to options; what W&B takes, its installed version knows."""
    if not isinstance(value, dict):
        value = dict.fromkeys(map(str, _listed(value)))
    wanted = {name: options for name, options in value.items() if options is not False}
    found = {name: {} if options in (None, True) else options for name, options in wanted.items()}
    for name, options in found.items():
        if options and isinstance(options, dict) and name in ("tensorboard", "csv", "text"):
            reading.say(("loggers", name), f"takes no options; write {name}: true.")
    return found


def read_overrides(value: Any, reading: Reading) -> Any:
    """Check the names in `when`, and the options against every method that they can meet.

    An override may concern a data set, method or backbone that is not in the config: `--set` may have taken it out.
    """
    if not isinstance(value, list):
        return value
    return [_read_override(entry, ("overrides", index), reading) for index, entry in enumerate(value)]


def _read_override(entry: Any, key: Key, reading: Reading) -> Any:
    if not isinstance(entry, dict) or not isinstance(entry.get("options"), dict):
        return entry
    options = reading.current(entry["options"], f"overrides.{key[-1]}.options")
    when = entry.get("when") or {}
    if isinstance(when, dict):
        reading.problems += _when_problems(when, reading, (*key, "when"))
        key = (*key, "options")
        labels = _listed(when.get("method"))
        met = [one for one in reading.methods if when.get("method") is None or one["label"] in labels]
        for one in met:
            model, fitting = names.method_options(one["name"]), names.applicable(one["name"], options)
            hint = f" Said of {one['label']}; `when: {{method: ...}}` names the methods that an override is for."
            for problem in _option_problems(model, fitting, key):
                reading.say(problem.key, problem.text + hint)
        if met and not any(names.takes_steps(one["name"]) for one in met):
            reading.problems += _recipe_problems(met[0]["name"], options, key)
    return {**entry, "options": options}


def _when_problems(when: Mapping[str, Any], reading: Reading, key: Key) -> Iterable[Problem]:
    for name in _texts(when.get("dataset")):
        if name not in CATALOGUE and name not in reading.own and "+" not in name:
            yield Problem((*key, "dataset"), unknown_name("data set", name, CATALOGUE))
    for name in _texts(when.get("method")):
        if name not in reading.labels and refusal(get_method, name):
            yield Problem((*key, "method"), unknown_name("method", name, map(str, reading.labels)))
    for name in _texts(when.get("backbone")):
        if error := refusal(names.backbone_and_weights, name):
            yield Problem((*key, "backbone"), str(error))


def _texts(value: Any) -> list[str]:
    return [one for one in _listed(value) if isinstance(one, str)]  # anything else is said where types are checked
