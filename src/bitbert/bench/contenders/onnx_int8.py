"""ONNX Runtime with dynamic int8: exported by torch, weights int8, activations quantized per tensor as they come."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnxruntime as ort
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from bitbert.bench.contenders import Floats, Setup
from bitbert.bench.contenders.floats import INPUTS, OUTPUT, example, first_tokens, float_encoder
from bitbert.bench.workload import Batch


class OnnxInt8:
    """One session for all shapes, with the graph optimizations that are on by default.

    Those of `onnxruntime.transformers`, applied before quantizing, measured no faster on BERT.
    """

    how = "quantize_dynamic, QInt8 weights"

    def __init__(self, setup: Setup) -> None:
        """Export, quantize, open."""
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = setup.threads, 1
        with tempfile.TemporaryDirectory() as directory:
            floats, quantized = Path(directory, "float.onnx"), Path(directory, "int8.onnx")
            _export(setup, floats)
            quantize_dynamic(floats, quantized, weight_type=QuantType.QInt8)
            self._session = ort.InferenceSession(quantized, options, providers=["CPUExecutionProvider"])

    def load(self, batches: Sequence[Batch]) -> None:
        """Pad."""
        self._inputs = [batch.padded() for batch in batches]

    def run(self, index: int) -> Floats:
        """(B, H), or of a model without pooler (B, T, H)."""
        out: Floats = self._session.run(None, self._inputs[index])[0]
        return out

    def answer(self, index: int) -> Floats:
        """(B, H)."""
        return first_tokens(self.run(index))


def _export(setup: Setup, path: Path) -> None:
    any_size = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    torch.onnx.export(
        float_encoder(setup),
        example(),
        path,
        dynamo=True,
        input_names=INPUTS,
        output_names=[OUTPUT],
        dynamic_shapes=(any_size,) * len(INPUTS),
        external_data=False,
        verbose=False,
    )
