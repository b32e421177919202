"""The encoder in numpy, operation for operation as `docs/numerics.md` orders them: the oracle for every engine.

Written to be read beside that page, one sequence at a time; not fast. Single letters are the page's: x residual stream,
a codes that enter a linear layer, (T, H) tokens and hidden size, (h, T, d) heads, tokens and head dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitbert.checkpoint import Architecture, PackedModel, PackedWeight
from bitbert.runtime.functions import exp, fma, gelu, gelu_tanh, relu, tanh
from bitbert.spec import CodeGrid

Floats = NDArray[np.float32]
Codes = NDArray[np.int32]

LANES = 16
SMALLEST_RANGE = np.float32(2.0**-60)  # a token of zeros still gets a scale whose inverse is finite
_ACTIVATIONS: Mapping[str, Callable[[Any], Floats]] = {
    "gelu": gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": relu,
}


@dataclass(frozen=True)
class Quantized:
    """Codes of a tensor (T, n) with scale and zero point: one each, or one a token (T, 1)."""

    codes: Codes
    scale: Floats
    zero_point: Codes


@dataclass(frozen=True)
class Output:
    """What one sequence gives: hidden states (T, H), their mean (H,), pooled (H,) and logits if the model has them.

    `trace` holds, for an activation of the spec, its codes under its name and the floats they came from under
    "<name>.value"; for every linear layer its int32 sums under "<module>.acc".
    """

    hidden: Floats
    mean: Floats
    pooled: Floats | None
    logits: Floats | None
    trace: Mapping[str, NDArray[Any]]


# ---- Reductions ------------------------------------------------------------------------------------------------------


def lanes(x: Floats) -> Floats:
    """(..., n) -> (..., ceil(n / 16), 16), missing elements +0."""
    padding = -x.shape[-1] % LANES
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, padding)])
    return padded.reshape(*x.shape[:-1], -1, LANES)


def tree(lane: Floats) -> Floats:
    """The sum of 16 lanes: l + 8, then l + 4, l + 2, l + 1."""
    for width in (8, 4, 2, 1):
        lane = lane[..., :width] + lane[..., width:]
    return lane[..., 0]


def total(x: Floats) -> Floats:
    """Sum over the last axis."""
    steps = lanes(x)
    lane = np.zeros_like(steps[..., 0, :])
    for i in range(steps.shape[-2]):
        lane = lane + steps[..., i, :]
    return tree(lane)


def dot(x: Floats, y: Floats) -> Floats:
    """Dot product over the last axis."""
    a, b = lanes(x), lanes(y)
    lane = np.zeros((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), LANES), np.float32)
    for i in range(a.shape[-2]):
        lane = fma(a[..., i, :], b[..., i, :], lane)
    return tree(lane)


def layer_norm(x: Floats, gamma: Floats, beta: Floats, eps: np.float32) -> Floats:
    """LayerNorm over the last axis."""
    n = np.float32(x.shape[-1])
    d = x - (total(x) / n)[..., None]
    var = dot(d, d) / n
    rstd = np.float32(1) / np.sqrt(var + eps)
    return fma(d * rstd[..., None], gamma, beta)


# ---- Quantize --------------------------------------------------------------------------------------------------------


def to_codes(t: Floats, grid: CodeGrid, zero_point: ArrayLike) -> Codes:
    """Clamp and round t, which is in units of the scale; a NaN becomes the lowest code."""
    low, high = (np.subtract(end, zero_point, dtype=np.float32) for end in (grid.low, grid.high))
    t = np.where(t > low, t, low)
    t = np.where(t < high, t, high)
    return np.rint(t).astype(np.int32) + np.asarray(zero_point, np.int32)


def quantize_static(x: Floats, scale: np.float32, grid: CodeGrid) -> Quantized:
    """Quantize with a stored scale; the 1-bit grid {-1, 1} takes the sign alone."""
    if grid.step == 2:
        codes = grid.zero_point + np.where(x >= 0, 1, -1).astype(np.int32)
    else:
        codes = to_codes(x * (np.float32(1) / scale), grid, grid.zero_point)
    return Quantized(codes, np.asarray(scale), np.asarray(grid.zero_point, np.int32))


def quantize_per_token(x: Floats, symmetric: bool, grid: CodeGrid) -> Quantized:
    """Quantize each row of x (T, n) with a scale, and a zero point if not symmetric, from its own range."""
    low = np.fmin.reduce(x, axis=-1, keepdims=True, initial=np.float32(0))
    high = np.fmax.reduce(x, axis=-1, keepdims=True, initial=np.float32(0))
    span = np.fmax(-low, high) if symmetric else high - low
    steps = grid.high - grid.zero_point if symmetric else grid.high
    scale = (np.maximum(span, SMALLEST_RANGE) / np.float32(steps)).astype(np.float32)
    r = np.float32(1) / scale
    zero_point = np.full(scale.shape, grid.zero_point, np.int32)
    if not symmetric:
        zero_point = np.clip(np.rint(-low * r), grid.low, grid.high).astype(np.int32)
    return Quantized(to_codes(x * r, grid, zero_point), scale, zero_point)


def softmax_codes(scores: Floats, scale: np.float32, grid: CodeGrid) -> Codes:
    """Codes of the softmax of scores over the last axis: the probability itself is never formed."""
    e = exp(scores - scores.max(axis=-1, keepdims=True))
    f = (np.float32(1) / scale) / total(e)
    return to_codes(e * f[..., None], grid, 0)


# ---- Integer products ------------------------------------------------------------------------------------------------


def product(a: ArrayLike, w: ArrayLike) -> Codes:
    """Sum over k of a[..., i, k] * w[..., j, k], exact: float64 holds every sum of 32 bits, and has a fast matmul."""
    sums = np.asarray(a, np.float64) @ np.swapaxes(np.asarray(w, np.float64), -1, -2)
    return sums.astype(np.int32)


class _Linear:
    """A quantized linear layer, unpacked."""

    def __init__(self, weight: PackedWeight, bias: Floats) -> None:
        self.codes = weight.codes().astype(np.float64)
        self.scale, self.bias = weight.row_scale(), bias
        self.pruned = weight.row_bits() == 0

    def sums(self, a: Quantized) -> Codes:
        """The int32 sums (T, rows), zero point subtracted."""
        return product(a.codes - a.zero_point, self.codes)

    def outputs(self, sums: Codes, a: Quantized) -> Floats:
        """The floats (T, rows) that the sums stand for."""
        y = fma(sums.astype(np.float32), a.scale * self.scale, self.bias)
        return np.where(self.pruned, np.float32(0), y)


# ---- The encoder -----------------------------------------------------------------------------------------------------


class Reference:
    """A packed model, unpacked once and run in numpy."""

    def __init__(self, model: PackedModel) -> None:
        """Unpack every weight of `model`."""
        self.model = model
        self.architecture = Architecture.from_config(model.config)
        self.eps = np.float32(self.architecture.layer_norm_eps)
        modules = [name.removesuffix(".weight") for name in model.weights]
        self.tables = {m: _values(model.weights[f"{m}.weight"]) for m in modules if m.startswith("embeddings.")}
        self.linears = {
            m: _Linear(model.weights[f"{m}.weight"], model.floats[f"{m}.bias"]) for m in modules if m not in self.tables
        }
        self.trace: dict[str, NDArray[Any]] = {}

    def run(self, ids: NDArray[np.integer], token_types: NDArray[np.integer] | None = None) -> Output:
        """Everything the model says about one sequence of token ids (T,); token types are 0 unless given."""
        self.trace = {}
        x = self._embed(ids, np.zeros_like(ids) if token_types is None else token_types)
        for i in range(self.architecture.num_hidden_layers):
            x = self._layer(f"encoder.layer.{i}", x)
        pooled = self._pool(x) if self.architecture.pooler else None
        return Output(x, _mean(x), pooled, self._head(x, pooled), self.trace)

    def _embed(self, ids: NDArray[np.integer], token_types: NDArray[np.integer]) -> Floats:
        words, words_scale = self.tables["embeddings.word_embeddings"]
        types, types_scale = self.tables["embeddings.token_type_embeddings"]
        positions, positions_scale = self.tables["embeddings.position_embeddings"]
        n = len(ids)
        e = words[ids] * words_scale[ids]
        e = fma(types[token_types], types_scale[token_types], e)
        e = fma(positions[:n], positions_scale[:n], e)
        return self._layer_norm("embeddings", e)

    def _layer(self, layer: str, x: Floats) -> Floats:
        """(T, H) -> (T, H): attention and feed-forward, each with its residual."""
        attention = f"{layer}.attention.self"
        a = self._quantize(f"{attention}.input", x)
        q, k, v = (
            self._quantize(f"{attention}.{part}.output", self._linear(f"{attention}.{part}", a))
            for part in ("query", "key", "value")
        )
        x = self._residual(f"{layer}.attention.output", self._attend(f"{attention}.probs", q, k, v), x)
        a = self._quantize(f"{layer}.intermediate.dense.input", x)
        u = self._linear(f"{layer}.intermediate.dense", a)
        return self._residual(f"{layer}.output", self._gelu(f"{layer}.intermediate.intermediate_act_fn.input", u), x)

    def _attend(self, probs: str, q: Quantized, k: Quantized, v: Quantized) -> Floats:
        """The context (T, H) of Q, K and V."""
        c = (q.scale * k.scale) * np.float32(1 / np.sqrt(float(self.architecture.head_dim)))
        sums = product(self._heads(q.codes - q.zero_point), self._heads(k.codes))  # (h, T, T)
        scores = sums.astype(np.float32) * c
        scale = np.float32(self.model.activations[probs].scale)
        p = softmax_codes(scores, scale, self.model.grid(probs))
        self.trace |= {probs: p, f"{probs}.value": scores}
        context = product(p, self._heads(v.codes).swapaxes(-1, -2)).astype(np.float32)  # (h, T, d)
        return (context * (scale * v.scale)).swapaxes(0, 1).reshape(len(q.codes), -1)

    def _heads(self, codes: Codes) -> Codes:
        """(T, H) -> (h, T, d)."""
        return codes.reshape(len(codes), self.architecture.num_attention_heads, -1).swapaxes(0, 1)

    def _gelu(self, name: str, u: Floats) -> Floats:
        """The activation function of u (T, intermediate), through codes where the spec quantizes its input."""
        if self.model.spec.activation(name).bits is not None:
            g = self._quantize(name, u)
            u = g.scale * (g.codes - g.zero_point).astype(np.float32)
        return _ACTIVATIONS[self.architecture.hidden_act](u)

    def _residual(self, module: str, value: Floats, x: Floats) -> Floats:
        a = self._quantize(f"{module}.dense.input", value)
        return self._layer_norm(module, self._linear(f"{module}.dense", a) + x)

    def _pool(self, x: Floats) -> Floats:
        """(T, H) -> (H,)."""
        a = self._quantize("pooler.dense.input", x[:1])
        return tanh(self._linear("pooler.dense", a)[0])

    def _head(self, x: Floats, pooled: Floats | None) -> Floats | None:
        """Logits: (labels,) from the pooled token, (T, labels) from every token, or none."""
        if self.architecture.head == "none":
            return None
        h = x if pooled is None else pooled
        weight, bias = (self.model.floats[f"{self.architecture.head_name}.{part}"] for part in ("weight", "bias"))
        return np.asarray(dot(h[..., None, :], weight) + bias)

    def _quantize(self, name: str, x: Floats) -> Quantized:
        spec, grid = self.model.spec.activation(name), self.model.grid(name)
        if spec.scale == "per_token":
            out = quantize_per_token(x, spec.symmetric, grid)
        else:
            out = quantize_static(x, np.float32(self.model.activations[name].scale), grid)
        self.trace |= {name: out.codes, f"{name}.value": x}
        return out

    def _linear(self, module: str, a: Quantized) -> Floats:
        linear = self.linears[module]
        sums = linear.sums(a)
        self.trace[f"{module}.acc"] = sums
        return linear.outputs(sums, a)

    def _layer_norm(self, module: str, x: Floats) -> Floats:
        gamma, beta = (self.model.floats[f"{module}.LayerNorm.{part}"] for part in ("weight", "bias"))
        return layer_norm(x, gamma, beta, self.eps)


def _values(weight: PackedWeight) -> tuple[Floats, Floats]:
    """Codes (rows, H) and scales (rows, 1) of an embedding table, as floats."""
    return weight.codes().astype(np.float32), weight.row_scale()[:, None]


def _mean(x: Floats) -> Floats:
    """Mean over tokens, added in order."""
    out = x[0]
    for row in x[1:]:
        out = out + row
    return np.asarray(out / np.float32(len(x)))
