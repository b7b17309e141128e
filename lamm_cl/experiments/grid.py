"""From a config to its runs."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamm_cl.data.own_data import OPTIONS, find_from
from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import Backbone, ExperimentConfig, Method
from lamm_cl.experiments.names import applicable, resolved_method, resolved_protocol, shown_name, takes_all_datasets
from lamm_cl.experiments.spec import Environment, RunSpec
from lamm_cl.methods.registry import get_method


def grid(config: ExperimentConfig, device: str | None = None) -> list[RunSpec]:
    """Return the runs of a config, in its order: backbone, data set, method, shots, seed from the outside in.

    Args:
        config: The experiment.
        device: "cpu" or "cuda", in place of the config's.

    Raises:
        UsageError: Two entries of the config are the same run.
    """
    kind = (device or config.device).partition(":")[0]
    runs: list[RunSpec] = []
    for backbone in config.backbones:
        for datasets in _streams(config):
            for method in config.methods:
                for shots in config.shots:
                    runs += [_run(config, datasets, backbone, method, shots, seed, kind) for seed in config.seeds]
    _check(config, runs)
    return runs


def grid_size(config: ExperimentConfig) -> int:
    """Return how many runs a config expands to, without making them."""
    lists = (config.backbones, _streams(config), config.methods, config.shots, config.seeds)
    return math.prod(len(entries) for entries in lists)


def _streams(config: ExperimentConfig) -> list[tuple[Any, ...]]:
    """Return what each stream is made of: one data set, or all of them where the protocol says so."""
    if takes_all_datasets(config.protocol.name):
        return [tuple(config.datasets)]
    return [(dataset,) for dataset in config.datasets]


def _run(
    config: ExperimentConfig,
    datasets: tuple[Any, ...],
    backbone: Backbone,
    method: Method,
    shots: int | str,
    seed: int,
    device: str,
) -> RunSpec:
    title = "+".join(shown_name(dataset) for dataset in datasets)
    given = dict(method.options)
    for override in config.overrides:
        if override.when.matches(dataset=title, method=method.label, backbone=backbone.name, shots=shots):
            given.update(applicable(method.name, override.options))
    return RunSpec(
        experiment=config.experiment,
        protocol=config.protocol.name,
        protocol_options=resolved_protocol(config.protocol.name, config.protocol.options),
        datasets=datasets,
        dataset=title,
        label=method.label,
        method=method.name,
        options=resolved_method(method.name, given, backbone.name),
        backbone=backbone.name,
        pretrained=backbone.pretrained,
        precision=backbone.precision,
        resize_mode=backbone.resize_mode,
        shots=shots,
        seed=seed,
        device=device,
        threads=config.threads,
        deterministic=config.deterministic,
        evaluation=config.evaluation.model_dump(),
        imports=_imports(config),
    )


def _imports(config: ExperimentConfig) -> dict[str, str]:
    """Return the digests of what is imported; where a file lies does not matter."""
    return {Path(one).name if one.endswith(".py") else one: digest for one, digest in config.imports.items()}


def _check(config: ExperimentConfig, runs: Sequence[RunSpec]) -> None:
    if not runs:
        raise UsageError(f"experiment {config.experiment!r} expands to no run: a list in it is empty.")
    seen: dict[str, RunSpec] = {}
    shown: dict[tuple[Any, ...], RunSpec] = {}
    for run in runs:
        other = seen.setdefault(run.run_id, run)
        if other is not run:
            raise UsageError(
                f"experiment {config.experiment!r} asks for one run twice: {other} and {run} are the same, option by "
                "option. Remove one of the entries."
            )
        other = shown.setdefault(tuple(run.columns().values()), run)
        if other is not run:
            raise UsageError(
                f"experiment {config.experiment!r} has two different runs that tables could not tell apart: {run}. "
                "Give its data sets or methods names of their own, or make two experiments of it."
            )


def environment(config: ExperimentConfig) -> Environment:
    """Return where the config's runs work."""
    return Environment(
        root=None if config.root is None else str(find_from(config.folder, config.root)),
        folder=str(config.folder),
        cache=config.cache,
        loggers={str(name): options for name, options in config.loggers.items()},
        checkpoint_minutes=config.checkpoint_minutes,
        imports=tuple(config.imports),
        unprojected=any(get_method(method.name).unprojected for method in config.methods),
        num_workers=config.num_workers,
        save=config.save is not None,
    )


def settings(config: ExperimentConfig, device: str) -> dict[str, Any]:
    """Return what must stay as it is inside one directory: everything but the lists that a grid may grow along."""
    fixed: dict[str, Any] = {
        "protocol": {
            "name": config.protocol.name,
            **resolved_protocol(config.protocol.name, config.protocol.options),
        },
        "compute": {
            "device": device.partition(":")[0],
            "threads": config.threads,
            **({"deterministic": True} if config.deterministic else {}),
        },
        "evaluation": config.evaluation.model_dump(),
        "overrides": [override.model_dump(exclude_none=True) for override in config.overrides],
    }
    for name, digest in _imports(config).items():
        fixed[f"import {name}"] = {"sha256": digest}
    for dataset in config.datasets:
        given = dataset if isinstance(dataset, dict) else {}
        changed = {key: given[key] for key in OPTIONS if key in given}
        fixed[f"datasets.{shown_name(dataset)}"] = changed
    for backbone in config.backbones:
        name = backbone.name + (f" ({backbone.pretrained})" if backbone.pretrained else "")
        fixed[f"{name}: backbone"] = backbone.model_dump(include={"precision", "resize_mode"}, exclude_none=True)
        for method in config.methods:
            options = resolved_method(method.name, method.options, backbone.name)
            fixed[f"{name}: methods.{method.label}"] = {"method": method.name, **options}
    return fixed
