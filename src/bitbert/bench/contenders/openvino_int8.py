"""OpenVINO with static int8: post-training quantization by NNCF, model type transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nncf
import openvino as ov

from bitbert.bench.contenders import Floats, Setup
from bitbert.bench.contenders.floats import INPUTS, calibration, example, first_tokens, float_encoder
from bitbert.bench.workload import Batch

CALIBRATION_SEQUENCES = 32


class OpenVinoInt8:
    """One compiled model for all shapes: compiling BERT for a fixed shape measured no faster."""

    how = f"NNCF post-training int8, {CALIBRATION_SEQUENCES} random sequences, latency hint"

    def __init__(self, setup: Setup) -> None:
        """Convert, quantize, compile."""
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": setup.threads}
        self._request = ov.Core().compile_model(_quantized(setup), "CPU", settings).create_infer_request()

    def load(self, batches: Sequence[Batch]) -> None:
        """Pad."""
        self._inputs = [batch.padded() for batch in batches]

    def run(self, index: int) -> Any:
        """(B, H), or of a model without pooler (B, T, H); a view that the next run overwrites."""
        return self._request.infer(self._inputs[index], share_inputs=True, share_outputs=True)[0]

    def answer(self, index: int) -> Floats:
        """(B, H)."""
        return first_tokens(self.run(index).copy())


def _quantized(setup: Setup) -> Any:
    any_shape = [(name, [-1, -1], ov.Type.i64) for name in INPUTS]
    inputs = dict(zip(INPUTS, example(), strict=True))
    model = ov.convert_model(float_encoder(setup), example_input=inputs, input=any_shape)
    shown = nncf.Dataset([batch.padded() for batch in calibration(setup, CALIBRATION_SEQUENCES)])
    return nncf.quantize(model, shown, model_type=nncf.ModelType.TRANSFORMER, subset_size=CALIBRATION_SEQUENCES)
