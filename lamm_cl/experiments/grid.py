"""From a config to its runs, their settings, and what is to be said of their data before they start."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamm_cl.data.few_shot import shortfalls
from lamm_cl.data.load import data_root
from lamm_cl.data.own_data import OPTIONS, find_from, name_of, placed
from lamm_cl.data.status import Status, readable, slow_to_list, state_of
from lamm_cl.errors import UsageError
from lamm_cl.experiments import imports, names
from lamm_cl.experiments.config import ExperimentConfig
from lamm_cl.experiments.spec import Environment, RunSpec
from lamm_cl.methods.registry import get_method


def grid(config: ExperimentConfig, device: str | None = None) -> list[RunSpec]:
    """Return the runs of a config, in its order: backbone, data set, method, shots, seed from the outside in.

    A device, "cpu" or "cuda", takes the place of the config's. Raises `UsageError` where two entries are the same run.
    """
    runs: dict[str, RunSpec] = {}
    shown: dict[tuple[Any, ...], RunSpec] = {}
    for backbone, datasets, method, shots, seed in itertools.product(*_lists(config)):
        title = "+".join(name_of(dataset) for dataset in datasets)
        given = dict(method.options)
        for override in config.overrides:
            if override.when.matches(dataset=title, method=method.label, backbone=backbone.name, shots=shots):
                given.update(names.applicable(method.name, override.options))
        run = RunSpec(
            experiment=config.experiment,
            protocol=config.protocol.name,
            protocol_options=names.resolved_protocol(config.protocol.name, config.protocol.options),
            datasets=datasets,
            dataset=title,
            label=method.label,
            method=method.name,
            options=names.resolved_method(method.name, given, backbone.name),
            backbone=backbone.name,
            **backbone.model_dump(exclude={"name"}),
            shots=shots,
            seed=seed,
            device=(device or config.device).partition(":")[0],
            threads=config.threads,
            deterministic=config.deterministic,
            evaluation=config.evaluation.model_dump(),
            imports=_imports(config),
        )
        if (other := runs.setdefault(run.run_id, run)) is not run:
            raise UsageError(
                f"experiment {config.experiment!r} asks for one run twice: {other} and {run} are the same, option by "
                "option. Remove one of the entries."
            )
        if shown.setdefault(tuple(run.columns().values()), run) is not run:
            raise UsageError(
                f"experiment {config.experiment!r} has two different runs that tables could not tell apart: {run}. "
                "Give its data sets or methods names of their own, or make two experiments of it."
            )
    return list(runs.values())


def grid_size(config: ExperimentConfig) -> int:
    """Return how many runs a config expands to, without making them."""
    return math.prod(map(len, _lists(config)))


def _lists(config: ExperimentConfig) -> tuple[Sequence[Any], ...]:
    """Return backbones, streams (one data set each, or all where the protocol says so), methods, shots and seeds."""
    together = names.takes_all_datasets(config.protocol.name)
    streams = [tuple(config.datasets)] if together else [(dataset,) for dataset in config.datasets]
    return config.backbones, streams, config.methods, config.shots, config.seeds


def _imports(config: ExperimentConfig) -> dict[str, str]:
    """Return the digests of what is imported; where a file lies does not matter."""
    return {imports.shown_name(one): digest for one, digest in config.imports.items()}


def environment(config: ExperimentConfig) -> Environment:
    """Return where the config's runs work."""
    return Environment(
        root=None if config.root is None else str(find_from(config.folder, config.root)),
        folder=str(config.folder),
        imports=tuple(config.imports),
        unprojected=any(get_method(method.name).unprojected for method in config.methods),
        save=config.save is not None,
        **config.model_dump(include={"cache", "loggers", "checkpoint_minutes", "num_workers", "graph"}),
    )


def settings(config: ExperimentConfig, device: str) -> dict[str, Any]:
    """Return what must stay as it is inside one directory: everything but the lists that a grid may grow along."""
    protocol = config.protocol
    fixed: dict[str, Any] = {
        "protocol": {"name": protocol.name, **names.resolved_protocol(protocol.name, protocol.options)},
        "compute": {"device": device.partition(":")[0], "threads": config.threads},
        "evaluation": config.evaluation.model_dump(),
        "overrides": [override.model_dump(exclude_none=True) for override in config.overrides],
    }
    if config.deterministic:
        fixed["compute"]["deterministic"] = True
    fixed |= {f"import {name}": {"sha256": digest} for name, digest in _imports(config).items()}
    for dataset in config.datasets:
        given = dataset if isinstance(dataset, dict) else {}
        fixed[f"datasets.{name_of(dataset)}"] = {key: given[key] for key in OPTIONS if key in given}
    for backbone in config.backbones:
        name = backbone.name + (f" ({backbone.pretrained})" if backbone.pretrained else "")
        fixed[f"{name}: backbone"] = backbone.model_dump(include={"precision", "resize_mode"}, exclude_none=True)
        for method in config.methods:
            options = names.resolved_method(method.name, method.options, backbone.name)
            fixed[f"{name}: methods.{method.label}"] = {"method": method.name, **options}
    return fixed


def data_of(config: ExperimentConfig) -> list[Any]:
    """Return the data sets that a config's runs read, with the paths that they mean here."""
    return [*environment(config).placed(config.datasets), *names.datasets_beside(config.protocol.name, config.datasets)]


def root_of(config: ExperimentConfig) -> Path:
    """Return the folder of a config's data sets."""
    return data_root(environment(config).root)


def states(config: ExperimentConfig) -> list[Status]:
    """Return the state of each data set of a config."""
    return [state_of(spec, root_of(config)) for spec in data_of(config)]


def only_available(config: ExperimentConfig) -> tuple[ExperimentConfig, list[Status]]:
    """Return the config with what is there of its data, and what is not; `UsageError` where it can't do without."""
    found = states(config)
    missing = [state for state in found if not state.usable]
    if not missing:
        return config, []
    if names.takes_all_datasets(config.protocol.name):
        raise UsageError(
            f"{config.protocol.name} takes all its data sets in one run: --available can leave none out. Not there: "
            f"{', '.join(state.name for state in missing)}."
        )
    kept = [one for one, state in zip(config.datasets, found, strict=True) if state.usable]
    if not kept:
        raise UsageError(f"none of the data sets is there: {'; '.join(f'{one.name}: {one.note}' for one in missing)}.")
    return config.model_copy(update={"datasets": kept}), missing


def notes(config: ExperimentConfig, quick: bool = False) -> list[str]:
    """Say what a reader of the results must know of config and data, as far as these are there; each thing once.

    `quick` leaves out ImageNet and its variants, whose folders take seconds to list.
    """
    base, root = config.folder, root_of(config)
    said = list(config.notes)
    said += [note for one in config.datasets if isinstance(one, dict) for note in placed(one, base)[1]]
    if config.root is not None and root.exists() and root != base / Path(config.root).expanduser():
        said.append(f"root {config.root} is that of the working directory: {base} has none")
    for spec in data_of(config):
        dataset = None if quick and slow_to_list(spec) else readable(spec, root)
        if dataset is not None:
            said += dataset.notes
            said += [note for shots in config.shots if isinstance(shots, int) for note in shortfalls(dataset, shots)]
    return list(dict.fromkeys(said))
