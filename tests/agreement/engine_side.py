"""The engine's half of a comparison: its trace as codes around zero, and how far from a tie each number was."""

from dataclasses import dataclass

import numpy as np
import torch

from bitbert.quantizers import Quantized
from bitbert.runtime.functions import exp
from bitbert.runtime.reference import quantize_per_token, total
from bitbert.spec import tensor_kind


@dataclass(frozen=True)
class Codes:
    """One activation: codes without the zero point, their scale, and the numbers before rounding in steps of it."""

    codes: np.ndarray
    scale: np.ndarray
    steps: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sign_only: bool

    @property
    def to_tie(self):
        """Distance of `steps` to the nearest place where one code changes to the next."""
        if self.sign_only:
            return np.abs(self.steps)
        t = self.steps.astype(np.float64)
        tie = np.clip(np.floor(t) + 0.5, self.low + 0.5, self.high - 0.5)
        return np.abs(t - tie)

    def as_torch(self):
        """What a quantizer of the fake-quantized model would hand on."""
        return Quantized(torch.from_numpy(self.codes.astype(np.float32))[None], torch.from_numpy(self.scale), 0)


def engine_codes(model, trace, name):
    """The activation called `name` of a trace of `model`, a `PackedModel`."""
    spec, grid, value = model.spec.activation(name), model.grid(name), trace[f"{name}.value"]
    if spec.scale == "per_token":
        quantized = quantize_per_token(value, spec.symmetric, grid)
        scale, zero_point = quantized.scale[None], quantized.zero_point
    else:
        scale, zero_point = np.float32([model.activations[name].scale]), np.int32(grid.zero_point)
    r = np.float32(1) / scale.reshape(-1, 1)
    steps = softmax(value, r[0, 0]) if tensor_kind(name) == "probs" else value * r
    low, high = grid.low - zero_point, grid.high - zero_point
    return Codes(trace[name].astype(np.int32) - zero_point, scale, steps, low, high, grid.step == 2)


def softmax(scores, r):
    """r * softmax(scores) before it is rounded, in the engine's order."""
    e = exp(scores - scores.max(-1, keepdims=True))
    return e * (r / total(e))[..., None]


def layer_norms(trace, layers):
    """What each LayerNorm of the encoder put out, by its name there."""
    names = {"embeddings.LayerNorm": "embeddings.hidden"}
    for layer in (f"encoder.layer.{i}" for i in range(layers)):
        names[f"{layer}.attention.output.LayerNorm"] = f"{layer}.intermediate.dense.input.value"
        names[f"{layer}.output.LayerNorm"] = f"{layer}.hidden"
    return {module: trace[name] for module, name in names.items()}
