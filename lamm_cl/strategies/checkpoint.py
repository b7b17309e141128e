"""Stop and go on: what a strategy is, as tensors and a JSON-able dict, without pickle and without the backbone.

A run that is stopped after any epoch and goes on from its checkpoint ends, on the CPU, bitwise where the
uninterrupted run ends.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamm_cl.errors import UsageError
from lamm_cl.files import write_atomic
from lamm_cl.methods.optimizer import trainable
from lamm_cl.strategies.batches import StageBatches
from lamm_cl.strategies.generators import generator_state, set_generator_state
from lamm_cl.strategies.plugin_state import Unpacker, plugin_states, set_plugin_states
from lamm_cl.tensor_file import pack, unpack

FORMAT = 4  # raise it whenever `checkpoint` returns something else than before


@dataclass(frozen=True)
class Pending:
    """A stage that was interrupted: what its next training call takes up."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]
    unpacker: Unpacker

    def check(self, own: tuple[int, ...]) -> None:
        """Refuse an experience that is not the interrupted one.

        Raises:
            UsageError: When its classes differ.
        """
        expected = tuple(self.state["trained"][-1])
        if own != expected:
            raise UsageError(
                f"the checkpoint is inside a stage with the classes {list(expected)}, "
                f"but the experience has {list(own)}. Resume with the experience that was interrupted."
            )

    def apply(self, strategy: "Checkpointed") -> None:
        """Set what the start of a stage has reset: momentum, clock, metrics, plugins."""
        parameters = dict(trainable(strategy.model))
        for key, value in _under("optimizer", self.tensors).items():
            name, _, owner = key.partition("/")
            place = parameters[owner].device if value.dim() else value.device
            strategy.optimizer.state[parameters[owner]][name] = value.clone().to(place)
        strategy._set_progress(self.state, self.unpacker, inside=True)
        strategy._pending = None


class Checkpointed(StageBatches):
    """The part of `LearnerStrategy` that stops and goes on."""

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that is needed to go on from here: tensors, and a JSON-able dict.

        May be called between stages, and by `on_epoch_end` inside one. The backbone is not part of it.

        Raises:
            UsageError: When a plugin holds a state that is not known how to save.
        """
        inside = self.experience is not None
        plugins, memory = plugin_states(self, inside=inside)
        generators, rest = generator_state()
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"generators/{name}": value for name, value in generators.items()}
        tensors |= {f"plugins/{key}": value for key, value in memory.items()}
        for name, parameter in trainable(self.model) if inside else ():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if value is not None:
                    tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value)
        group, evaluator = self.optimizer.param_groups[0], self.evaluator
        state = {
            "format": FORMAT,
            **self._identity(),
            "trained": [list(own) for own in self.trained],
            "epoch": self.clock.train_exp_epochs if inside else None,
            # Restored and not trained on since: the earlier experiences are known by number only.
            "kept": list(self._earlier)
            or [e.current_experience for e in self._kept if not (inside and e is self.experience)],
            "clock": dict(vars(self.clock)),
            "last_metrics": {name: _number(value) for name, value in evaluator.last_metric_results.items()},
            "all_metrics": {
                name: [[int(x) for x in xs], [_number(value) for value in values]]
                for name, (xs, values) in evaluator.all_metric_results.items()
            },
            "growth": self.model.growth(),
            "trains": [name for name, _ in trainable(self.model)],
            "plugins": plugins,
            # What steers the optimizer now: lr, momentum, a scheduler's initial_lr, ...
            "optimizer": {name: value for name, value in group.items() if isinstance(value, bool | int | float)},
            "scaler": self.precision.scaler.state_dict(),
            "generators": rest,
            "tensors": sorted(tensors),
        }
        return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, state

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take up a checkpoint in a strategy that was just built in the same way.

        A checkpoint from inside a stage is completed by `resume_training(experience)`.

        Raises:
            UsageError: When the strategy has trained already, or was built in another way.
        """
        if self.stage:
            raise UsageError("restore() wants a strategy that has not trained yet: build a new one.")
        if state.get("format") != FORMAT:
            raise UsageError(f"the checkpoint has format {state.get('format')!r}; this version reads {FORMAT}.")
        for key, here in self._identity().items():
            if state.get(key) != here:
                raise UsageError(f"the checkpoint was taken with {key} {state.get(key)!r}, the strategy has {here!r}.")
        self._check_complete(tensors, state)
        unpacker = Unpacker(_under("plugins", tensors), copy.deepcopy(self.model), self.samples, self.device)
        self._earlier = list(state["kept"])
        self.model.regrow(state["growth"])
        self._trained = [tuple(own) for own in state["trained"]]
        learned = _under("model", tensors)
        odd = self.model.misfits(learned)
        if odd:
            raise UsageError(f"the checkpoint's tensors do not fit the model: {', '.join(odd[:5])}.")
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in state["trains"])
        trains, strays = dict(trainable(self.model)), []
        for name, value in _under("optimizer", tensors).items():
            owner = name.partition("/")[2]
            if owner not in trains or value.shape not in (learned[owner].shape, ()):
                strays.append(name)
        if strays:
            raise UsageError(f"the checkpoint has momentum of what does not train: {', '.join(sorted(strays)[:5])}.")
        self.model.load_state_dict(learned)
        set_generator_state(_under("generators", tensors), state["generators"])
        self._set_progress(state, unpacker, inside=False)
        if state["epoch"] is not None:
            self._pending = Pending(dict(tensors), dict(state), unpacker)

    def save(self, path: str | Path) -> None:
        """Write `checkpoint()` to a file: model, metrics and the memory of plugins; the backbone is not part of it.

        Raises:
            UsageError: The file cannot be written, or a plugin holds a state that is not known how to save.
        """
        tensors, state = self.checkpoint()
        try:
            write_atomic(Path(path), pack({"strategy": json.dumps(state)}, tensors))
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from None

    def load(self, path: str | Path) -> None:
        """Take up what `save` wrote, in a strategy that was just built in the same way; see `restore`.

        Raises:
            UsageError: The file is missing, damaged or of another strategy.
        """
        try:
            header, tensors = unpack(Path(path).read_bytes())
            state = json.loads(header["strategy"])
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
        except (ValueError, KeyError):
            raise UsageError(f"{path} is damaged, or no file of strategy.save()") from None
        self.restore(tensors, state)

    def _identity(self) -> dict[str, Any]:
        names = list(self.model.class_names)
        return {"method": str(self.model.method), "class_names": names, "regime": self.settings.regime}

    def _check_complete(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Compare with the state of the strategy as it is: what another build saved may lack a part, or have more."""
        whole = self.checkpoint()[1]
        different = set(map(str, set(whole) ^ set(state)))
        for key in ("clock", "optimizer", "scaler", "generators", "plugins"):
            if isinstance(state.get(key), Mapping):
                # Plugins of the checkpoint that are not here are named where they are set.
                different |= {f"{key}.{name}" for name in set(whole[key]) - set(state[key])}
            else:
                different.add(key)
        named = state.get("tensors")
        different |= set(map(str, named if isinstance(named, list) else ())) ^ set(tensors)
        # Those of the model are compared with the model.
        if different := {name for name in different if not name.startswith("model/")}:
            raise UsageError(
                f"the checkpoint is of another build of this version: it differs in {', '.join(sorted(different)[:5])}."
            )

    def _set_progress(self, state: Mapping[str, Any], unpacker: Unpacker, *, inside: bool) -> None:
        for name, count in state["clock"].items():
            setattr(self.clock, name, count)
        evaluator = self.evaluator
        evaluator.last_metric_results.clear()
        evaluator.last_metric_results.update(state["last_metrics"])
        evaluator.all_metric_results.clear()
        for name, (xs, values) in state["all_metrics"].items():
            evaluator.all_metric_results[name] = (list(xs), list(values))
        set_plugin_states(self, state["plugins"], unpacker, inside=inside)
        self.optimizer.param_groups[0].update(state["optimizer"])
        self.precision.scaler.load_state_dict(state["scaler"])


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = prefix + "/"
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _number(value: Any) -> Any:
    """Return a metric's value as JSON knows it; what is no number or text (a figure, say) becomes None."""
    if isinstance(value, torch.Tensor | np.generic | np.ndarray):
        return value.tolist()
    return value if isinstance(value, bool | int | float | str) else None
