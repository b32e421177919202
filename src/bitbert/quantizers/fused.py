"""Fused element-wise passes on the CPU (`native/training`), and when they apply.

They compute what the tensor operations beside each call compute, in one sweep over memory instead of up to ten. They
apply to contiguous float32 tensors on the CPU whose codes are bfloat16, that is under autocast; elsewhere (CUDA,
float32 training) the tensor operations run.
"""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from bitbert import _training


class PlainGrid(NamedTuple):
    """Integers low..high and the reciprocal of the step between them."""

    inverse_scale: float
    low: float
    high: float


@lru_cache(maxsize=1)  # again whenever the number changes
def _share_thread_pool(threads: int) -> None:
    """Let the native loops run on torch's own OpenMP threads; see native/training/parallel.h."""
    library = ctypes.CDLL(os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so"))
    entry = getattr(library, "GOMP_parallel", None)  # found among the libraries that torch was linked to
    address = ctypes.cast(entry, ctypes.c_void_p).value if entry else None
    _training.set_thread_pool(address or 0, threads)


def applies(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether the fused passes can take `x`, with codes in `dtype`."""
    fits = x.device.type == "cpu" and x.dtype == torch.float32 and dtype == torch.bfloat16 and x.is_contiguous()
    if fits:
        _share_thread_pool(torch.get_num_threads())
    return fits


def quantize(x: Tensor, inverse_scale: Tensor, low: float, high: float) -> Tensor:
    """bfloat16 codes rint(clamp(x * inverse_scale, low, high)); `inverse_scale` has one element, or one per row."""
    codes = torch.empty_like(x, dtype=torch.bfloat16)
    rows, scale = _by_scale(x, inverse_scale)
    _training.quantize(rows, scale, low, high, codes.view(torch.uint16).view(rows.shape))
    return codes


def quantize_backward(
    x: Tensor, grad: Tensor, inverse_scale: Tensor, low: float, high: float, clip: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of x and, one per element of `inverse_scale`, of the scale; `grad` in bfloat16."""
    grad_x = torch.empty_like(x)
    rows, scale = _by_scale(x, inverse_scale)
    chunks = -(-rows.shape[1] // _training.CHUNK)
    grad_scale = torch.empty(len(rows), chunks)
    bits = grad.contiguous().view(torch.uint16).view(rows.shape)
    _training.quantize_backward(rows, bits, scale, low, high, clip, grad_x.view(rows.shape), grad_scale)
    return grad_x, grad_scale.sum(dim=1).view_as(inverse_scale)


def scale_and_shift(sums: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """float32 sums * scale + bias for bfloat16 `sums` (..., columns), scale and bias (columns)."""
    y = torch.empty_like(sums, dtype=torch.float32)
    _training.scale_and_shift(_bits(sums), scale.detach(), bias.detach(), y.view(-1, sums.shape[-1]))
    return y


def shift_and_quantize(sums: Tensor, scale: Tensor, bias: Tensor, grid: PlainGrid) -> Tensor:
    """bfloat16 codes of `scale_and_shift`, which is not kept."""
    codes = torch.empty_like(sums)
    _training.shift_and_quantize(_bits(sums), scale.detach(), bias.detach(), *grid, _bits(codes))
    return codes


def shift_and_quantize_backward(
    sums: Tensor, scale: Tensor, bias: Tensor, grad: Tensor, grid: PlainGrid, clip: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of y = sums * scale + bias (bfloat16), of bias (columns) and of the scale of the codes, one number."""
    grad_y, columns = torch.empty_like(sums), sums.shape[-1]
    blocks = _training.count_blocks(sums.numel() // columns)
    grad_bias, grad_scale = torch.zeros(blocks, columns), torch.zeros(blocks)
    _training.shift_and_quantize_backward(
        _bits(sums),
        scale.detach(),
        bias.detach(),
        _bits(grad.contiguous()),
        *grid,
        clip,
        _bits(grad_y),
        grad_bias,
        grad_scale,
    )
    return grad_y, grad_bias.sum(0), grad_scale.sum()


def look_up(codes: Tensor, table: Tensor, first: float) -> Tensor:
    """bfloat16 table[code - first] for bfloat16 `codes`; `table` float32, one entry per code."""
    out = torch.empty_like(codes)
    _training.look_up(_bits(codes), table, first, _bits(out))
    return out


def look_up_backward(codes: Tensor, grad: Tensor, slope: Tensor, error: Tensor, first: float) -> tuple[Tensor, Tensor]:
    """grad * slope[code - first] in bfloat16, and sum grad * error[code - first]."""
    grad_in, bits = torch.empty_like(codes), _bits(codes)
    grad_scale = torch.empty(len(bits), -(-bits.shape[1] // _training.CHUNK))
    _training.look_up_backward(bits, _bits(grad.contiguous()), slope, error, first, _bits(grad_in), grad_scale)
    return grad_in, grad_scale.sum()


def _bits(x: Tensor) -> Tensor:
    """A contiguous bfloat16 tensor as a matrix of 16-bit words."""
    return x.detach().view(torch.uint16).view(-1, x.shape[-1])


def _by_scale(x: Tensor, inverse_scale: Tensor) -> tuple[Tensor, Tensor]:
    """`x` as a matrix with one scale a row (or one in all), and the scales as a vector."""
    rows = 1 if inverse_scale.numel() == 1 else inverse_scale.numel()
    return x.detach().view(rows, -1), inverse_scale.detach().flatten()
