"""The native engine behind numpy arrays: hands it a packed model, and token ids to run. It computes nothing itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbert import _native
from bitbert.checkpoint import Architecture, PackedModel
from bitbert.checkpoint.architecture import SIZES
from bitbert.errors import InstructionSetError
from bitbert.spec import activation_names

Ids = NDArray[np.int32]
Floats = NDArray[np.float32]

OUTPUTS = ("hidden", "pooled", "mean", "logits")
_FIELDS = (*SIZES, "layer_norm_eps", "hidden_act", "pooler", "head", "num_labels")


def choose_isa(isa: str | None = None) -> str:
    """The instruction set that runs: `isa`, else `BITBERT_ISA`, else the best that this CPU and build have.

    Raises `InstructionSetError` for one that they do not have.
    """
    wanted = isa or os.environ.get("BITBERT_ISA")
    available = _native.available_isas()
    if wanted and wanted not in available:
        raise InstructionSetError(
            f"instruction set {wanted!r} cannot run: this CPU and build have {', '.join(available)}; name one of these"
        )
    return wanted or _native.active_isa()


def default_threads() -> int:
    """One thread for each CPU that this process may use."""
    return len(os.sched_getaffinity(0))


class Engine:
    """A packed model laid out for this CPU.

    The same sequence gives the same bits whatever else is in the call, how many threads run and which instruction set.
    """

    def __init__(self, model: PackedModel, isa: str | None = None) -> None:
        """Lay out `model`; raises `InstructionSetError` if `isa` (or `BITBERT_ISA`) cannot run here."""
        self.architecture = Architecture.from_config(model.config)
        self._encoder = _native.Encoder(
            {name: getattr(self.architecture, name) for name in _FIELDS},
            {name: _weight(model, name) for name in model.weights},
            {name: _activation(model, name) for name in _activations(self.architecture)},
            dict(model.floats),
            choose_isa(isa),
        )

    @property
    def isa(self) -> str:
        """The instruction set in use."""
        return self._encoder.isa

    @property
    def weight_bytes(self) -> int:
        """Bytes of packed weights held in memory."""
        return self._encoder.weight_bytes

    def forward(
        self,
        ids: Sequence[Ids],
        token_types: Sequence[Ids] | None = None,
        *,
        output: str = "logits",
        threads: int | None = None,
    ) -> Floats:
        """Run B >= 1 sequences of int32 token ids, T tokens in all; token types are 0 unless given.

        `output`: `hidden` (T, H), `pooled` (B, H), `mean` over tokens (B, H), or `logits` (B, labels), for a token head
        (T, labels).
        """
        flat, types, offsets = _joined(ids, token_types)
        return self._encoder.forward(flat, types, offsets, output, threads or default_threads())

    def profile(
        self,
        ids: Sequence[Ids],
        token_types: Sequence[Ids] | None = None,
        *,
        output: str = "logits",
        threads: int | None = None,
        passes: int = 1,
    ) -> dict[str, float]:
        """Seconds of each operation, summed over threads, in `passes` runs; arguments as `forward` has them."""
        flat, types, offsets = _joined(ids, token_types)
        return self._encoder.profile(flat, types, offsets, output, threads or default_threads(), passes)

    def trace(self, ids: Ids, token_types: Ids | None = None) -> dict[str, NDArray[Any]]:
        """Every intermediate of one sequence by name, as `bitbert.runtime.reference.Output.trace` has them; slow."""
        types = np.zeros_like(ids) if token_types is None else token_types
        return self._encoder.trace(ids, types)


def _joined(
    ids: Sequence[Ids], token_types: Sequence[Ids] | None
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Ids and types one sequence after the other, and where each begins."""
    flat = np.concatenate(ids)
    types = np.zeros_like(flat) if token_types is None else np.concatenate(token_types)
    return flat, types, np.cumsum([0, *map(len, ids)], dtype=np.int64)


def _activations(architecture: Architecture) -> list[str]:
    return activation_names(architecture.num_hidden_layers, architecture.pooler)


def _weight(model: PackedModel, name: str) -> tuple[Any, ...]:
    weight = model.weights[name]
    scale = np.ascontiguousarray(weight.row_scale())
    return weight.packed, weight.group_bits(), scale, weight.spec.grid, weight.spec.packing


def _activation(model: PackedModel, name: str) -> tuple[float, int, int, int, int, str]:
    """(scale, zero point, lowest code, highest code, step, kind) of an activation; 0 where the kind has none."""
    spec = model.spec.activation(name)
    if spec.bits is None:
        return 0.0, 0, 0, 0, 0, "float"
    grid = model.grid(name)
    if spec.scale == "per_token":
        kind = "per_token_symmetric" if spec.symmetric else "per_token_asymmetric"
        return 0.0, grid.zero_point, grid.low, grid.high, grid.step, kind
    return model.activations[name].scale, grid.zero_point, grid.low, grid.high, grid.step, "static"
