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
