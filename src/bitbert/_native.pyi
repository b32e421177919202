"""The engine in C++ (`native/`), as Python sees it.

Not for users: `bitbert.runtime.engine` wraps it. Arrays are C-contiguous and of exactly the dtype given; nothing is
converted. Malformed input raises `ValueError` naming the tensor, an instruction set that this CPU or build lacks raises
`RuntimeError`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_U8 = NDArray[np.uint8]
_I32 = NDArray[np.int32]
_F32 = NDArray[np.float32]

# (packed codes, bits of each row group, scale of each row, "mid_tread" | "mid_rise", "bits" | "base3")
_Weight = tuple[_U8, _U8, _F32, str, str]
# (scale, zero point, low, high, step, "static" | "per_token_symmetric" | "per_token_asymmetric" | "float")
_Activation = tuple[float, int, int, int, int, str]
# (scale, zero point, low, high, step)
_Quantizer = tuple[float, int, int, int, int]

def available_isas() -> list[str]:
    """Instruction sets that this CPU and build can run, slowest first; "scalar" always."""

def active_isa() -> str:
    """`BITBERT_ISA` if it is set, else the last of `available_isas()`; `RuntimeError` if it cannot run."""

def cpu_features() -> dict[str, bool]:
    """What the CPU has and the operating system supports."""

def cpu_name() -> str:
    """The CPU's own name for itself, empty where it has none."""

class Encoder:
    """A packed encoder laid out in memory; `forward` may run from several threads at once."""

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, _Weight],
        activations: Mapping[str, _Activation],
        floats: Mapping[str, _F32],
        isa: str = "",
    ) -> None:
        """Names as in `bitbert.spec`; `isa` "" is `active_isa()`."""

    def forward(self, ids: _I32, token_types: _I32, offsets: NDArray[np.int64], output: str, threads: int) -> _F32:
        """Run B sequences, sequence b being tokens offsets[b] to offsets[b + 1] of the T in all.

        `output`: "hidden" [T, H], "pooled" [B, H], "mean" [B, H], "logits" [B, labels] ([T, labels] of a token head).
        """

    def profile(
        self, ids: _I32, token_types: _I32, offsets: NDArray[np.int64], output: str, threads: int, passes: int
    ) -> dict[str, float]:
        """Seconds of each operation in `passes` forward passes, summed over threads."""

    def trace(self, ids: _I32, token_types: _I32) -> dict[str, NDArray[Any]]:
        """Every intermediate of one sequence of T tokens.

        The codes of each activation under its name (`probs`: [heads, T, T], else [T, columns]; keys and values int8,
        the rest uint8) and the floats that they came from under "<name>.value" (for `probs` the scores); int32 sums of
        each linear layer, zero point subtracted, under "<module>.acc"; the residual stream [T, H] after the embeddings
        and after each layer under "embeddings.hidden" and "encoder.layer.N.hidden"; and "logits", else "pooled", else
        "hidden".
        """

    @property
    def isa(self) -> str: ...
    @property
    def weight_bytes(self) -> int:
        """Bytes that the packed weights take in memory, scales and row sums included."""

class LinearCase:
    """A linear layer and M rows of codes to run it on, for tests."""

    def __init__(
        self,
        codes: _U8,
        zero_point: _I32,
        scale: _F32,
        weight: _Weight,
        bias: _F32,
        span: int,
        stride: int,
        bits: str = "",
    ) -> None:
        """Codes [M, K], laid out with `stride` bytes a row; zero point and scale of each row; bias [N].

        Row groups of the weight [N, K] start anew every `span` rows. `bits` says that all codes are "signs",
        next to the zero point, or "zero_one".
        """

class Kernels:
    """Single operations of one instruction set, for tests. `docs/numerics.md` says what each computes."""

    @property
    def isa(self) -> str: ...
    def sums(self, linear: LinearCase) -> _I32:
        """Integer products [M, N], zero point subtracted."""

    def floats(self, linear: LinearCase) -> _F32:
        """Outputs [M, N]."""

    def codes(self, linear: LinearCase, quantizer: _Quantizer) -> _U8:
        """Outputs [M, N], quantized."""

    def quantize(self, x: _F32, quantizer: _Quantizer) -> _U8: ...
    def quantize_per_token(self, x: _F32, symmetric: bool, high: int) -> tuple[_U8, float, int]:
        """Codes of one row, its scale and zero point; `high` is the largest code."""

    def layer_norm(self, x: _F32, residual: _F32 | None, gamma: _F32, beta: _F32, eps: float) -> _F32: ...
    def layer_norm_codes(self, x: _F32, gamma: _F32, beta: _F32, eps: float, quantizer: _Quantizer) -> tuple[_F32, _U8]:
        """The result and its codes."""

    def translate(self, codes: _U8, table: _U8) -> _U8:
        """table[codes]."""

    def tile_rows(self, rows: _U8) -> tuple[_U8, _I32]:
        """The panel of up to 16 rows, and the sum of the signed codes of each of 16."""

    def tile_columns(self, rows: _U8) -> _U8:
        """The panel of up to 16 columns."""

    def softmax_quantize(self, scores: _F32, quantizer: _Quantizer) -> _U8: ...
    def dot(self, x: _F32, y: _F32) -> float: ...
    def embed(self, codes: NDArray[np.int8], scales: tuple[float, float, float]) -> _F32:
        """Sum of a word, token type and position row, codes [3, n]."""

    def unpack(self, fields: _U8, bits: int, codes: NDArray[np.int8]) -> NDArray[np.int8]:
        """The panel [blocks * 1024] of blocks of 128 * bits bytes of fields; `codes` [16] maps field to code."""

    def exp(self, x: _F32) -> _F32: ...
    def erf(self, x: _F32) -> _F32: ...
    def tanh(self, x: _F32) -> _F32: ...
    def gelu(self, x: _F32) -> _F32: ...
    def gelu_tanh(self, x: _F32) -> _F32: ...
    def relu(self, x: _F32) -> _F32: ...

def kernels(isa: str = "") -> Kernels:
    """The kernels of one instruction set; also of "avx_vnni_evex" and "amx_emulated", which exist for tests only."""
