"""The data sets of a config: where they lie, which are there, and what is to be said of them before a run."""

from pathlib import Path
from typing import Any

from lamm_cl.data.few_shot import shortfalls
from lamm_cl.data.load import data_root
from lamm_cl.data.own_data import placed
from lamm_cl.data.status import Status, readable, slow_to_list, state_of
from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import ExperimentConfig
from lamm_cl.experiments.grid import environment
from lamm_cl.experiments.names import datasets_beside, takes_all_datasets


def data_of(config: ExperimentConfig) -> list[Any]:
    """Return the data sets that a config's runs read, with the paths that they mean here."""
    return [*environment(config).placed(config.datasets), *datasets_beside(config.protocol.name, config.datasets)]


def root_of(config: ExperimentConfig) -> Path:
    """Return the folder of a config's data sets."""
    return data_root(environment(config).root)


def states(config: ExperimentConfig) -> list[Status]:
    """Return the state of each data set of a config."""
    return [state_of(spec, root_of(config)) for spec in data_of(config)]


def only_available(config: ExperimentConfig) -> tuple[ExperimentConfig, list[Status]]:
    """Return the config with those of its data sets alone that are there, and the states of the others.

    Raises:
        UsageError: none is there, or the protocol takes all of them in one run.
    """
    found = states(config)
    missing = [state for state in found if not state.usable]
    if not missing:
        return config, []
    if takes_all_datasets(config.protocol.name):
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

    Args:
        config: the config.
        quick: leave out ImageNet and its variants, whose folders take seconds to list.
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
