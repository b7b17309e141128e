"""In which number type the frozen matrices are kept and computed with, and how a GPU multiplies float32.

Norms, embeddings and the scale keep at least float32.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

LOW = (torch.float16, torch.bfloat16)
PRECISIONS = {"fp32": torch.float32, "fp64": torch.float64, "fp16": torch.float16, "bf16": torch.bfloat16}


def cast(model: nn.Module, dtype: torch.dtype) -> None:
    """Put an open_clip model's weights into float32, float64, float16 or bfloat16, in place.

    In half precision only what multiplies (convolutions, linear layers, attention, projections) is rounded, as in
    OpenAI's and open_clip's own half-precision models; image towers of timm are rounded whole, as open_clip does.
    """
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import LayerNorm, LayerNormFp32

    low = dtype in LOW
    model.to(torch.float32 if low else dtype)
    if low and isinstance(model.visual, TimmModel):
        model.visual.to(dtype)
    for module in model.modules():
        if low:
            _round(module, dtype)
        # The same formula; the second computes in float32 whatever comes in, which float64 must not.
        if type(module) in (LayerNorm, LayerNormFp32):
            module.__class__ = LayerNormFp32 if low and module.weight.dtype == torch.float32 else LayerNorm


def _round(module: Any, dtype: torch.dtype) -> None:
    """Round the matrices that `module` itself owns."""
    from open_clip.transformer import Attention

    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
        module.to(dtype)
    names = ["text_projection", "proj"]
    if isinstance(module, nn.MultiheadAttention | Attention):
        names += [f"{matrix}_proj_weight" for matrix in ("in", "q", "k", "v")] + ["in_proj_bias", "bias_k", "bias_v"]
    for name in names:
        tensor = getattr(module, name, None)
        if isinstance(tensor, nn.Parameter):
            tensor.data = tensor.data.to(dtype)


def at_least_float(x: torch.Tensor) -> torch.Tensor:
    """Return `x` in float32 where it is in half precision, unchanged otherwise."""
    return x.float() if x.dtype in LOW else x


@contextmanager
def arithmetic(device: torch.device, tf32: bool = False, deterministic: bool = False) -> Iterator[None]:
    """Set, within the block, how `device` computes in float32; torch's switches are the process's, and come back.

    torch lets cuDNN's convolutions (patch embeddings, ResNets) round their factors to TF32's 10 bits as it comes, and
    NVIDIA's containers may do the same to products. A GPU by number becomes the current one: memory is pinned for
    that. On a CPU only `deterministic` has a meaning.

    Args:
        device: where the block computes.
        tf32: round the factors of products and convolutions to TF32.
        deterministic: take the deterministic form of every operation, and raise where torch has none.
    """
    cudnn, gpu = torch.backends.cudnn, device.type == "cuda"
    with ExitStack() as after:
        if gpu:
            after.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            after.callback(setattr, cudnn, "allow_tf32", cudnn.allow_tf32)
            torch.set_float32_matmul_precision("high" if tf32 else "highest")
            cudnn.allow_tf32 = tf32
        if deterministic:
            warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
            before = torch.are_deterministic_algorithms_enabled()
            after.callback(torch.use_deterministic_algorithms, before, warn_only=warn_only)
            after.callback(setattr, cudnn, "deterministic", cudnn.deterministic)
            after.callback(setattr, cudnn, "benchmark", cudnn.benchmark)
            torch.use_deterministic_algorithms(True)
            cudnn.deterministic, cudnn.benchmark = True, False
        if gpu and device.index is not None and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            after.enter_context(torch.cuda.device(device))
        yield


@contextmanager
def lasting() -> Iterator[None]:
    """Compute something that is kept: inside inference mode, leave it for plain no_grad.

    A tensor born in inference mode can never take part in a computation with gradients, so one evaluation in that mode
    would leave a model that cannot train.
    """
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


def number_type(device: torch.device) -> torch.dtype | None:
    """Return the type that autocast computes in on a device at the moment; None where it is off."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
