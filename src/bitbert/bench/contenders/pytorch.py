"""PyTorch: float32 as it comes, and bf16 compiled for this CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch._dynamo
import torch._inductor.config
from torch import Tensor

from bitbert.bench.contenders import Floats, Setup
from bitbert.bench.contenders.floats import Encoder, first_tokens, float_encoder, tensors
from bitbert.bench.workload import Batch
from bitbert.errors import ModelError


class Float32:
    """What `model(**inputs)` costs: eager, float32, the attention that transformers chooses."""

    how = "eager, float32"

    def __init__(self, setup: Setup) -> None:
        """Build the model."""
        self._model: Encoder = float_encoder(setup)

    def load(self, batches: Sequence[Batch]) -> None:
        """Make tensors."""
        self._inputs = [tensors(batch) for batch in batches]

    @torch.inference_mode()
    def run(self, index: int) -> Tensor:
        """(B, H), or of a model without pooler (B, T, H)."""
        out: Tensor = self._model(**self._inputs[index])
        return out

    def answer(self, index: int) -> Floats:
        """(B, H)."""
        return first_tokens(self.run(index).float().numpy())


class Bf16Compiled(Float32):
    """bf16 weights and activations, `torch.compile` with the weights frozen into the graph.

    Compiled anew for each workload: for its one shape, or for any shape where batches differ.
    """

    how = "bf16, torch.compile with freezing"

    def __init__(self, setup: Setup) -> None:
        """Build the model; raises `ModelError` where bf16 would be emulated."""
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            raise ModelError("this CPU has no bf16 instructions")
        torch._inductor.config.freezing = True
        self._stock = float_encoder(setup).bfloat16()

    def load(self, batches: Sequence[Batch]) -> None:
        """Make tensors, and compile when they are first run."""
        super().load(batches)
        torch._dynamo.reset()
        self._model = torch.compile(self._stock, dynamic=len(batches) > 1)  # type: ignore[assignment]

    @torch.no_grad()  # freezing and inference mode do not go together
    def run(self, index: int) -> Tensor:
        """(B, H), or of a model without pooler (B, T, H), in bf16."""
        out: Tensor = self._model(**self._inputs[index])
        return out
