"""Types of the native passes; `native/training/module.cc`."""

from torch import Tensor

CHUNK: int

def set_thread_pool(address: int, threads: int, /) -> None: ...
def quantize(x: Tensor, inverse_scale: Tensor, low: float, high: float, codes: Tensor, /) -> None: ...
def quantize_backward(
    x: Tensor,
    grad: Tensor,
    inverse_scale: Tensor,
    low: float,
    high: float,
    clip: bool,
    grad_x: Tensor,
    grad_scale: Tensor,
    /,
) -> None: ...
def scale_and_shift(sums: Tensor, scale: Tensor, bias: Tensor, y: Tensor, /) -> None: ...
def count_blocks(rows: int, /) -> int: ...
def shift_and_quantize(
    sums: Tensor, scale: Tensor, bias: Tensor, inverse_scale: float, low: float, high: float, codes: Tensor, /
) -> None: ...
def shift_and_quantize_backward(
    sums: Tensor,
    scale: Tensor,
    bias: Tensor,
    grad: Tensor,
    inverse_scale: float,
    low: float,
    high: float,
    clip: bool,
    grad_y: Tensor,
    grad_bias: Tensor,
    grad_scale: Tensor,
    /,
) -> None: ...
def look_up(codes: Tensor, table: Tensor, first: float, out: Tensor, /) -> None: ...
def look_up_backward(
    codes: Tensor,
    grad: Tensor,
    slope: Tensor,
    error: Tensor,
    first: float,
    grad_in: Tensor,
    grad_scale: Tensor,
    /,
) -> None: ...
