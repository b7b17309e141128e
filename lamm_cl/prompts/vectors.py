"""Learned vectors: how they are initialised, and how those of single classes grow and freeze."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lamm_cl.seeds import seed_for

STD = 0.02  # of every random prompt vector in the papers' codes


def trains(*modules: nn.Module) -> bool:
    """Return whether any value of some modules trains now."""
    return any(parameter.requires_grad for module in modules for parameter in module.parameters())


class Initial:
    """Random initial values that depend on their name and the seed alone, on any device.

    Args:
        seed: seed of the run's initialisation.
        device: where the values go.
        dtype: float32, float64 for a float64 backbone, or float16.
    """

    def __init__(self, seed: int, device: torch.device, dtype: torch.dtype) -> None:
        self.seed, self.device, self.dtype = seed, device, dtype

    @property
    def at_least_float(self) -> "Initial":
        """The same values, in float32 where this gives float16."""
        return Initial(self.seed, self.device, torch.promote_types(self.dtype, torch.float32))

    def normal(self, name: str, *shape: int, std: float = STD) -> Tensor:
        """Draw from N(0, std^2); by default the papers' 0.02^2."""
        return self._put(torch.randn(shape, generator=self._generator(name)) * std)

    def uniform(self, name: str, bound: float, *shape: int) -> Tensor:
        """Draw from U(-bound, bound)."""
        return self._put(torch.empty(shape).uniform_(-bound, bound, generator=self._generator(name)))

    def linear(self, name: str, inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
        """Return a linear layer with torch's default distribution, U(-1/sqrt(inputs), 1/sqrt(inputs))."""
        layer = nn.Linear(inputs, outputs, bias=bias, device="meta").to_empty(device="cpu")  # draws nothing of its own
        generator, bound = self._generator(name), inputs**-0.5
        for parameter in layer.parameters():  # weight, then bias
            nn.init.uniform_(parameter, -bound, bound, generator)
        return layer.to(device=self.device, dtype=self.dtype)

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed_for("init", name, self.seed))

    def _put(self, values: Tensor) -> Tensor:
        return values.to(device=self.device, dtype=self.dtype)


class ClassVectors(nn.Module):
    """Learned vectors of single classes, one parameter a class, so that momentum and decay never move an old one.

    Attributes:
        values: parameter of each learned class, by class id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.ParameterDict()

    @property
    def learned(self) -> list[int]:
        """Class ids that have a parameter, in the order in which they were learned."""
        return [int(key) for key in self.values]

    @property
    def trainable(self) -> set[int]:
        """Class ids whose parameter trains."""
        return {int(key) for key, value in self.values.items() if value.requires_grad}

    def learn(self, initial: dict[int, Tensor]) -> None:
        """Make exactly the classes of `initial` trainable; those that have no parameter yet start from its value."""
        for class_id, value in initial.items():
            if str(class_id) not in self.values:
                self.values[str(class_id)] = nn.Parameter(value.clone())
        for key, parameter in self.values.items():
            parameter.requires_grad_(int(key) in initial)

    def freeze(self) -> None:
        """Stop training every class."""
        for parameter in self.values.values():
            parameter.requires_grad_(False)

    def rows(self, class_ids: Iterable[int]) -> list[Tensor]:
        """Return the vectors (m, D) of some learned classes."""
        return [self.values[str(class_id)] for class_id in class_ids]
