"""How far torch and the engine may be apart before a number is rounded to a code: docs/numerics.md, "Agreement".

Every function bounds |torch - engine| of one operation, from the engine's own numbers, in float64; names follow that
page. `bounds` strings them together over a whole encoder. Nothing here compares anything.
"""

from dataclasses import dataclass

import numpy as np

from bitbert.runtime.reference import LANES, quantize_per_token

# One rounding, and a little more for the products of two roundings that the formulas leave out.
U = 2.0**-24 * (1 + 2.0**-10)
# ... which they may while what they multiply is itself less than this.
SECOND_ORDER = 2.0**-12

ENGINE_EXP, ENGINE_ERF, ENGINE_TANH = 8.4e-8, 7.5e-8, 9e-8  # docs/numerics.md, "Functions"
# What is asked of torch; test_assumptions.py measures it.
TORCH_EXP = 2 * U  # relative
TORCH_TANH = 2 * U  # absolute
TORCH_GELU = 8 * U  # times |x|
TORCH_MEAN = 16 * U  # times mean|h|
TORCH_RSTD = 16 * U  # relative, times sqrt(mean(h^2)) / sigma


MAX_SLOPE = 1.13  # of GELU and ReLU


def lane_steps(n):
    """Additions of one lane of a sum over n elements."""
    return -(-n // LANES)


def linear(p, y):
    """y = p + bias, where p is sums times scale: torch rounds p, and both round y."""
    return U * (np.abs(p) + 2 * np.abs(y))


def quantize(d, t, r):
    """t = x * r, where x differs by d; the same x gives the same t."""
    return np.where(d > 0, r * d + 2 * U * np.abs(t), 0)


def per_token(x, d, symmetric, grid):
    """Scale of each token of x (T, n), which differs by d, and the bound on its codes.

    The range differs by its ends, each side rounds range, scale, reciprocal and product. A zero point that torch may
    round the other way moves every code of its token: no bound.
    """
    quantized = quantize_per_token(x.astype(np.float32), symmetric, grid)
    scale = quantized.scale.astype(np.float64)
    top = d.max(-1, keepdims=True)
    span = scale * (grid.high - (grid.zero_point if symmetric else 0))
    difference = np.where(top > 0, (1 if symmetric else 2) * top / span + 8 * U, 0)
    bound = np.where(top > 0, d / scale + np.abs(x) / scale * difference, 0)
    if not symmetric:
        zero_point = -np.minimum(x.min(-1, keepdims=True), 0) / scale
        unsure = np.abs(zero_point - np.floor(zero_point) - 0.5) <= top / scale + zero_point * difference
        bound = np.where(unsure & (top > 0), np.inf, bound)
    return Scale(scale, difference), bound


def softmax(t, r):
    """t = r * softmax(scores) over the last axis, from the same scores."""
    n = t.shape[-1]
    relative = 2 * ENGINE_EXP + 2 * TORCH_EXP + (lane_steps(n) + n + 7) * U
    floor = r * np.exp(-86.0)  # the engine's exp goes no lower
    return relative * (t + floor) + floor


def activation(x, out, function):
    """GELU or ReLU of the same x."""
    if function == "relu":
        return np.zeros_like(out)
    inner = ENGINE_ERF + 2 * U if function == "gelu" else ENGINE_TANH + 4 * U
    return np.abs(x) / 2 * inner + U * np.abs(out) + TORCH_GELU * np.abs(x)


def embeddings(parts, sums):
    """Sum of a word, type and position row: torch rounds the last two products, and both round each sum."""
    (_, token_type, position), (first, second) = parts, sums
    return U * (np.abs(token_type) + np.abs(position) + 2 * np.abs(first) + 2 * np.abs(second))


def layer_norm(h, d, gamma, beta, eps):
    """LayerNorm of h (T, n), whose elements differ by d; NaN, below which nothing is, where d is too large for it."""
    n = h.shape[-1]
    mean = h.mean(-1, keepdims=True)
    sigma = np.sqrt(h.var(-1, keepdims=True) + eps)
    scaled, size = (h - mean) / sigma, np.abs(h).mean(-1, keepdims=True)
    d_norm = np.linalg.norm(d, axis=-1, keepdims=True)

    mean_engine, mean_torch = (lane_steps(n) + 4) * U * size, TORCH_MEAN * size
    rstd_engine = (lane_steps(n) / 2 + 6) * U + (mean_engine / sigma) ** 2 / 2
    rstd_torch = TORCH_RSTD * np.sqrt((h**2).mean(-1, keepdims=True)) / sigma
    shift_torch = U * (np.abs(h) + np.abs(mean))
    local = np.abs(gamma) * (
        np.abs(scaled) * (rstd_engine + rstd_torch + 4 * U) + (mean_engine + mean_torch + shift_torch) / sigma
    ) + 2 * U * np.abs(gamma * scaled + beta)

    turned = d + d.mean(-1, keepdims=True) + np.abs(scaled) * d_norm / np.sqrt(n)
    small = d_norm / (sigma * np.sqrt(n)) < SECOND_ORDER
    return np.where(small, np.abs(gamma) / sigma * turned + local, np.nan)


def pooled(d, y):
    """Tanh of y, which differs by d."""
    return d + ENGINE_TANH + TORCH_TANH


def logits(d, h, weight, logit):
    """h @ weight.T + bias over n elements, h differing by d."""
    n = h.shape[-1]
    return d @ np.abs(weight).T + (lane_steps(n) + 5 + n) * U * (np.abs(h) @ np.abs(weight).T) + 2 * U * np.abs(logit)


@dataclass(frozen=True)
class Scale:
    """The scale of a quantized tensor, (T, 1) or one number, and by which fraction torch's may differ."""

    value: np.ndarray
    difference: np.ndarray


class Bounds:
    """All of them along an encoder, from the engine's trace of one sequence, as long as the codes before are equal.

    `stream`: |torch - engine| of the residual stream where it leaves a LayerNorm, by the name of that module. None:
    every operation starts from equal floats too.
    """

    def __init__(self, reference, trace, stream=None):
        self.reference, self.trace, self.stream = reference, trace, stream
        self.codes = {}  # by activation: in steps of its code
        self.floats = {}  # by LayerNorm, "pooler" and "head"

    def run(self, ids, types):
        architecture, x = self.reference.architecture, "embeddings"
        self._embed(ids, types)
        for i in range(architecture.num_hidden_layers):
            x = self._layer(f"encoder.layer.{i}", x)
        h, d = self._pool(x) if architecture.pooler else (self.trace[f"encoder.layer.{i}.hidden"], self._entering(x))
        if architecture.head != "none":
            self._head(h.astype(np.float64), d)
        return self

    def _entering(self, module):
        """The bound on what leaves the LayerNorm of `module`, where it enters an operation."""
        bound = self.floats[f"{module}.LayerNorm"]
        return np.zeros_like(bound) if self.stream is None else bound

    def _embed(self, ids, types):
        rows = zip(("word", "token_type", "position"), (ids, types, np.arange(len(ids))), strict=True)
        parts = np.stack([self._rows(f"embeddings.{name}_embeddings", index) for name, index in rows])
        sums = np.cumsum(parts, axis=0)
        self._norm("embeddings", sums[2], embeddings(parts, sums[1:]))

    def _rows(self, table, index):
        codes, scale = self.reference.tables[table]
        return codes[index].astype(np.float64) * scale[index]

    def _layer(self, layer, before):
        """Bounds of a layer that the stream enters from the LayerNorm of `before`; the module that it leaves from."""
        attention, context = f"{layer}.attention.self", f"{layer}.attention.output.dense.input"
        scale = self._quantize(f"{attention}.input", self._entering(before))
        for part in ("query", "key", "value"):
            self._quantize(f"{attention}.{part}.output", self._linear(f"{attention}.{part}", scale)[1])
        self._softmax(f"{attention}.probs")
        scale = self._quantize(context, 0.0)  # sums times one scale: nothing to disagree about
        self._residual(f"{layer}.attention.output", scale, before, f"{attention}.input.value")
        scale = self._quantize(f"{layer}.intermediate.dense.input", self._entering(f"{layer}.attention.output"))
        scale = self._gelu(layer, *self._linear(f"{layer}.intermediate.dense", scale))
        value = f"{layer}.intermediate.dense.input.value"
        self._residual(f"{layer}.output", scale, f"{layer}.attention.output", value)
        return f"{layer}.output"

    def _softmax(self, name):
        r = np.float32(1) / np.float32(self.reference.model.activations[name].scale)
        scores = self._value(name)
        e = np.exp(scores - scores.max(-1, keepdims=True))
        self.codes[name] = softmax(r * e / e.sum(-1, keepdims=True), float(r))

    def _gelu(self, layer, u, d):
        name, out = f"{layer}.intermediate.intermediate_act_fn.input", f"{layer}.output.dense.input"
        if name in self.trace:
            self._quantize(name, d)
            codes, scale = self.trace[name].astype(np.float64), self.reference.model.activations[name].scale
            u, d = scale * (codes - self.reference.model.grid(name).zero_point), 0
        own = activation(u, self._value(out), self.reference.architecture.hidden_act)
        return self._quantize(out, MAX_SLOPE * d + own)

    def _residual(self, module, scale, before, value):
        """A linear layer plus the stream, which is `value` in the trace and left the LayerNorm of `before`."""
        y, d = self._linear(f"{module}.dense", scale)
        h = y + self.trace[value]
        difference = 0 if self.stream is None else self.stream[f"{before}.LayerNorm"]
        self._norm(module, h, d + 2 * U * np.abs(h) + difference)

    def _norm(self, module, h, d):
        floats, eps = self.reference.model.floats, float(self.reference.eps)
        gamma, beta = (floats[f"{module}.LayerNorm.{part}"].astype(np.float64) for part in ("weight", "bias"))
        self.floats[f"{module}.LayerNorm"] = layer_norm(h, d, gamma, beta, eps)

    def _pool(self, before):
        scale = self._quantize("pooler.dense.input", self._entering(before)[:1])
        y, d = self._linear("pooler.dense", scale)
        self.floats["pooler"] = pooled(d, y)
        return np.tanh(y), self.floats["pooler"]

    def _head(self, h, d):
        name, floats = self.reference.architecture.head_name, self.reference.model.floats
        weight, bias = (floats[f"{name}.{part}"].astype(np.float64) for part in ("weight", "bias"))
        self.floats["head"] = logits(d, h, weight, h @ weight.T + bias)

    def _linear(self, module, scale):
        """The floats (T, rows) that a linear layer gives, and their difference."""
        layer = self.reference.linears[module]
        p = self.trace[f"{module}.acc"] * (scale.value * layer.scale.astype(np.float64))
        y = np.where(layer.pruned, 0, p + layer.bias)
        return y, np.where(layer.pruned, 0, linear(p, y) + np.abs(p) * scale.difference)

    def _quantize(self, name, d):
        """Record the bound on the codes of a tensor whose floats differ by d; the scale they got."""
        spec, x = self.reference.model.spec.activation(name), self._value(name)
        d = np.broadcast_to(d, x.shape)
        if spec.scale == "per_token":
            scale, self.codes[name] = per_token(x, d, spec.symmetric, self.reference.model.grid(name))
        else:
            scale = Scale(np.float64(self.reference.model.activations[name].scale), np.zeros(1))
            r = float(np.float32(1) / np.float32(scale.value))
            self.codes[name] = quantize(d, x * r, r)
        return Scale(scale.value, np.zeros(1)) if self.stream is None else scale

    def _value(self, name):
        return self.trace[f"{name}.value"].astype(np.float64)
