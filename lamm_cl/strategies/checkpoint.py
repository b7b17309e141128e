"""Stop and go on: what a strategy is, as tensors and a JSON-able dict, without pickle and without the backbone.

A run that is stopped after any epoch and goes on from its checkpoint ends, on the CPU, bitwise where the
uninterrupted run ends.
"""

import copy
import json
from collections.abc import Mapping
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
from lamm_cl.strategies.plugin_state import Packer, Unpacker, plugin_states, set_plugin_states
from lamm_cl.tensor_file import pack, unpack

FORMAT = 5  # raise it whenever `checkpoint` returns something else than before


class Checkpointed(StageBatches):
    """The part of `LearnerStrategy` that stops and goes on."""

    def checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that is needed to go on from here: tensors, and a JSON-able dict.

        May be called between stages, and by `on_epoch_end` inside one. The backbone is not part of it.

        Raises:
            UsageError: When a plugin holds a state that is not known how to save.
        """
        packer = Packer(self.settings.source is not None)
        plugins = plugin_states(self, packer, inside=self.experience is not None)
        state = {name: packer.pack(value) for name, value in self._state().items()}
        whole = {"format": FORMAT, **self._identity(), **state, "plugins": plugins, "tensors": len(packer.tensors)}
        return packer.tensors, whole

    def _state(self) -> dict[str, Any]:
        """Return what a checkpoint has beside plugins, as it is here."""
        inside, evaluator = self.experience is not None, self.evaluator
        moving = self.optimizer.state if inside else {}
        return {
            "trained": self.trained,
            "epoch": self.clock.train_exp_epochs if inside else None,
            # Restored and not trained on since: the earlier experiences are known by number only.
            "kept": self._earlier
            or [e.current_experience for e in self._kept if not (inside and e is self.experience)],
            "clock": vars(self.clock),
            "last_metrics": {name: _number(value) for name, value in evaluator.last_metric_results.items()},
            "all_metrics": {
                name: (list(map(int, xs)), list(map(_number, values)))
                for name, (xs, values) in evaluator.all_metric_results.items()
            },
            "growth": self.model.growth(),
            "model": self.model.state_dict(),
            "trains": [name for name, _ in trainable(self.model)],
            # What steers the optimizer now: lr, momentum, a scheduler's initial_lr, ...
            "optimizer": {k: v for k, v in self.optimizer.param_groups[0].items() if isinstance(v, bool | int | float)},
            "momentum": {name: moving[one] for name, one in trainable(self.model) if one in moving},
            "scaler": self.precision.scaler.state_dict(),
            "generators": generator_state(),
        }

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
        unpacker = Unpacker(tensors, copy.deepcopy(self.model), self.samples, self.device)
        found = self._unpacked(tensors, state, unpacker)
        self._earlier, self._trained = found["kept"], found["trained"]
        self.model.regrow(found["growth"])
        if odd := self.model.misfits(found["model"]):
            raise UsageError(f"the checkpoint's tensors do not fit the model: {', '.join(odd[:5])}.")
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in found["trains"])
        learned, trains = found["model"], dict(trainable(self.model))
        for name, kept in found["momentum"].items():
            shapes = {torch.as_tensor(value).shape for value in kept.values() if value is not None}
            if name not in trains or not shapes <= {learned[name].shape, torch.Size()}:
                raise UsageError(f"the checkpoint has momentum of what does not train: {name}.")
        self.model.load_state_dict(learned)
        self._set_progress(found, unpacker, inside=False)
        if found["epoch"] is not None:
            self._pending = found, unpacker

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

    def _unpacked(self, tensors: Mapping[str, Tensor], state: dict[str, Any], unpacker: Unpacker) -> dict[str, Any]:
        """Unpack a state and compare it with the strategy's: another build's may lack a part, or have one more."""
        whole = self.checkpoint()[1]
        different = set(map(str, set(whole) ^ set(state)))
        if not different and state["tensors"] != len(tensors):
            different = {"tensors"}
        if not different:
            here = self._state()
            try:
                state = {**state, **{name: unpacker.unpack(state[name]) for name in here}}
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise UsageError(f"the checkpoint is of another build of this version: {error!r}.") from None
            for name, parts in {**here, "plugins": whole["plugins"]}.items():
                if isinstance(parts, Mapping) and not isinstance(state[name], Mapping):
                    different.add(name)
                elif name in ("clock", "optimizer", "scaler", "generators", "plugins"):
                    # Plugins of the checkpoint that are not here are named where they are set.
                    different |= {f"{name}.{part}" for part in set(parts) - set(state[name])}
        if different:
            raise UsageError(
                f"the checkpoint is of another build of this version: it differs in {', '.join(sorted(different)[:5])}."
            )
        return state

    def _check_interrupted(self, own: tuple[int, ...]) -> None:
        """Refuse an experience that is not the interrupted one.

        Raises:
            UsageError: When its classes differ.
        """
        expected = self._trained[-1]
        if own != expected:
            raise UsageError(
                f"the checkpoint is inside a stage with the classes {list(expected)}, "
                f"but the experience has {list(own)}. Resume with the experience that was interrupted."
            )

    def _take_up(self) -> None:
        """Set what the start of the interrupted stage has reset: momentum, clock, metrics, plugins."""
        state, unpacker = self._pending
        self._set_progress(state, unpacker, inside=True)
        names = {parameter: name for name, parameter in trainable(self.model)}
        order = [names.get(parameter) for group in self.optimizer.param_groups for parameter in group["params"]]
        momentum = {k: state["momentum"][name] for k, name in enumerate(order) if name in state["momentum"]}
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": momentum})
        self._pending = None

    def _set_progress(self, state: Mapping[str, Any], unpacker: Unpacker, *, inside: bool) -> None:
        for name, count in state["clock"].items():
            setattr(self.clock, name, count)
        evaluator = self.evaluator
        evaluator.last_metric_results.clear()
        evaluator.last_metric_results.update(state["last_metrics"])
        evaluator.all_metric_results.clear()
        evaluator.all_metric_results.update(copy.deepcopy(state["all_metrics"]))
        set_plugin_states(self, state["plugins"], unpacker, inside=inside)
        self.optimizer.param_groups[0].update(state["optimizer"])
        self.precision.scaler.load_state_dict(state["scaler"])
        set_generator_state(state["generators"])  # after the last epoch of a stage, plugins go on drawing from them


def _number(value: Any) -> Any:
    """Return a metric's value as JSON knows it; what is no number or text (a figure, say) becomes None."""
    if isinstance(value, torch.Tensor | np.generic | np.ndarray):
        return value.tolist()
    return value if isinstance(value, bool | int | float | str) else None
