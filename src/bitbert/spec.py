"""Which tensor has how many bits: the one object that crosses training, files and the engine.

A `QuantSpec` gives every weight and every activation of a BERT encoder its width, grid, granularity and quantizer. It
is plain data, to and from JSON; it holds no scales, no codes and no code. Defaults go by the *kind* of tensor,
exceptions by a pattern on its name:

>>> spec = QuantSpec.uniform(4, 8, overrides=[Override("encoder.layer.0.*.weight", {"bits": 8})])
>>> spec.weight("encoder.layer.0.output.dense.weight").bits, spec.weight("encoder.layer.1.output.dense.weight").bits
(8, 4)

Tensor names are those of a bare `BertModel` (no `bert.` in front). A weight ends in `.weight`. An activation is named
after the module that it enters or leaves, and belongs to the tensor, not to its consumers, so Q, K and V share
`encoder.layer.N.attention.self.input`.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from bitbert.errors import SpecError

WEIGHT_KINDS = ("linear", "pooler", "word_embedding", "position_embedding", "token_type_embedding")
ACTIVATION_KINDS = ("linear_input", "pooler_input", "query", "key", "value", "probs", "gelu_input")

GRIDS = ("mid_tread", "mid_rise")
GRANULARITIES = ("tensor", "row", "row_group")
PACKINGS = ("bits", "base3")
SCALE_KINDS = ("static", "per_token")
LEFTOVER_DTYPES = ("float16", "float32")

WEIGHT_METHODS = ("minmax", "learned_range", "lsq", "mse_gradient", "ternary", "binary", "asymmetric")
ACTIVATION_METHODS = ("minmax", "learned_range", "lsq", "mse_gradient")

# The range of the others is the largest weight, or starts near it: a poor value for all of them to take.
ONE_BIT_METHODS = ("lsq", "binary", "asymmetric")

# Trained for comparison only: no grid of the file format holds its values.
_NOT_PACKED = "asymmetric"

# Methods that give a code to fewer widths than the grids have; 0 (pruned) goes with every method.
_METHOD_BITS = {"ternary": 2, "binary": 1}

MAX_BITS = 8
FLOAT_BITS = 32  # what the shorthand calls a tensor that stays float
GROUP_ROWS = 16  # rows in a row group: the width of one engine tile

# Attention multiplies integers whose scale must be known before the sum, so these take a static scale only; the byte
# table for GELU is built at load, so its input does too.
_STATIC_ONLY = ("query", "key", "value", "probs", "gelu_input")
# Right operands of the attention products are signed codes without a zero point; softmax has zero point 0.
_SYMMETRIC_ONLY = ("key", "value")

_KIND_PATTERNS = (
    (re.compile(r"embeddings\.word_embeddings\.weight"), "word_embedding"),
    (re.compile(r"embeddings\.position_embeddings\.weight"), "position_embedding"),
    (re.compile(r"embeddings\.token_type_embeddings\.weight"), "token_type_embedding"),
    (re.compile(r"pooler\.dense\.weight"), "pooler"),
    (re.compile(r"pooler\.dense\.input"), "pooler_input"),
    (re.compile(r"encoder\.layer\.\d+\.attention\.self\.(query|key|value)\.output"), None),
    (re.compile(r"encoder\.layer\.\d+\.attention\.self\.probs"), "probs"),
    (re.compile(r"encoder\.layer\.\d+\.intermediate\.intermediate_act_fn\.input"), "gelu_input"),
    (re.compile(r"encoder\.layer\.\d+\.attention\.self\.input"), "linear_input"),
    (re.compile(r"encoder\.layer\.\d+\.(attention\.output|intermediate|output)\.dense\.input"), "linear_input"),
    (re.compile(r"encoder\.layer\.\d+\.attention\.self\.(query|key|value)\.weight"), "linear"),
    (re.compile(r"encoder\.layer\.\d+\.(attention\.output|intermediate|output)\.dense\.weight"), "linear"),
)


def tensor_kind(name: str) -> str:
    """The kind of the tensor called `name`, one of `WEIGHT_KINDS` or `ACTIVATION_KINDS`.

    >>> tensor_kind("encoder.layer.3.attention.self.query.output")
    'query'
    """
    for pattern, kind in _KIND_PATTERNS:
        if match := pattern.fullmatch(name):
            return kind or match.group(1)
    raise SpecError(f"{name!r} is not a tensor of a BERT encoder that can be quantized")


def weight_names(num_layers: int, pooler: bool) -> list[str]:
    """Names of all quantized weights of an encoder, in the order in which they are used."""
    names = [f"embeddings.{part}_embeddings.weight" for part in ("word", "position", "token_type")]
    for i in range(num_layers):
        layer = f"encoder.layer.{i}"
        names += [f"{layer}.attention.self.{part}.weight" for part in ("query", "key", "value")]
        names += [f"{layer}.{part}.dense.weight" for part in ("attention.output", "intermediate", "output")]
    return names + (["pooler.dense.weight"] if pooler else [])


def activation_names(num_layers: int, pooler: bool) -> list[str]:
    """Names of all quantized activations of an encoder, in the order in which they appear."""
    names = []
    for i in range(num_layers):
        layer = f"encoder.layer.{i}"
        attention = f"{layer}.attention.self"
        names += [f"{attention}.input", *(f"{attention}.{part}.output" for part in ("query", "key", "value"))]
        names += [f"{attention}.probs", f"{layer}.attention.output.dense.input", f"{layer}.intermediate.dense.input"]
        names += [f"{layer}.intermediate.intermediate_act_fn.input", f"{layer}.output.dense.input"]
    return names + (["pooler.dense.input"] if pooler else [])


def code_range(bits: int, grid: str) -> tuple[int, int, int]:
    """Smallest code, largest code and step of a weight grid.

    The grid decides at 2 bits only: 1 bit has no zero to keep, and from 3 bits up every grid is mid-tread.

    >>> code_range(4, "mid_tread"), code_range(2, "mid_tread"), code_range(2, "mid_rise"), code_range(1, "mid_tread")
    ((-7, 7, 1), (-1, 1, 1), (-3, 3, 2), (-1, 1, 2))
    """
    if bits == 0:
        return 0, 0, 1
    if bits == 1 or (bits == 2 and grid == "mid_rise"):
        return 1 - 2**bits, 2**bits - 1, 2
    top = 2 ** (bits - 1) - 1
    return -top, top, 1


@dataclass(frozen=True)
class WeightSpec:
    """How one weight matrix is quantized and stored.

    `bits` 0 to 8 (0: pruned, None: stays float and cannot be packed). `grid` says what 2 bits mean: `mid_tread` is
    ternary {-1, 0, 1}, `mid_rise` is {-3, -1, 1, 3}. `granularity`: one scale per tensor, per row, or per group of 16
    output rows. `group_bits`, if given, overrides `bits` group by group (then `granularity` is `row` or `row_group`).
    """

    bits: int | None = 8
    method: str = "minmax"
    grid: str = "mid_tread"
    granularity: str = "tensor"
    packing: str = "bits"
    group_bits: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        _check_choice("weight method", self.method, WEIGHT_METHODS)
        _check_choice("grid", self.grid, GRIDS)
        _check_choice("granularity", self.granularity, GRANULARITIES)
        _check_choice("packing", self.packing, PACKINGS)
        if self.group_bits is not None:
            object.__setattr__(self, "group_bits", tuple(_sequence("group_bits", self.group_bits)))
            if self.granularity == "tensor":
                raise SpecError("group_bits needs granularity 'row_group' or 'row', not 'tensor'")
        for bits in self.all_bits:
            self._check_bits(bits)
            if bits not in (0, fixed := _METHOD_BITS.get(self.method, bits)):
                raise SpecError(f"method {self.method!r} gives {fixed}-bit weights, not {bits}-bit ones")
        if self.method == "ternary" and self.grid != "mid_tread":
            raise SpecError(f"method 'ternary' needs grid 'mid_tread', not {self.grid!r}")
        if self.packing == "base3" and (self.grid != "mid_tread" or any(bits not in (0, 2) for bits in self.all_bits)):
            raise SpecError("packing 'base3' holds ternary codes only: it needs 2 bits on the mid_tread grid")

    @property
    def all_bits(self) -> tuple[int, ...]:
        """The widths that occur in this matrix."""
        if self.group_bits is not None:
            return self.group_bits
        return () if self.bits is None else (self.bits,)

    def bits_of(self, groups: int) -> tuple[int, ...]:
        """The width of each of the matrix's row groups, none if it stays float; `SpecError` if that many have none."""
        if self.group_bits is None:
            return self.all_bits * groups
        if len(self.group_bits) != groups:
            raise SpecError(f"group_bits has {len(self.group_bits)} entries, expected {groups}")
        return self.group_bits

    def _check_bits(self, bits: int) -> None:
        if isinstance(bits, bool) or not isinstance(bits, int) or not 0 <= bits <= MAX_BITS:
            raise SpecError(f"{bits}-bit weights are not supported, expected 0 to {MAX_BITS}")


@dataclass(frozen=True)
class ActivationSpec:
    """How one activation is quantized.

    `bits` 1 to 8 (None: stays float). `symmetric`: signed grid around zero, else a zero point is fitted. `scale`:
    `static` (learned or calibrated) or `per_token` (the range of each token, found at run time).
    """

    bits: int | None = 8
    method: str = "minmax"
    symmetric: bool = True
    scale: str = "static"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        _check_choice("activation method", self.method, ACTIVATION_METHODS)
        _check_choice("scale", self.scale, SCALE_KINDS)
        if not isinstance(self.symmetric, bool):
            raise SpecError(f"symmetric must be true or false, not {self.symmetric!r}")
        if self.bits is None:
            return
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or not 1 <= self.bits <= MAX_BITS:
            raise SpecError(f"{self.bits}-bit activations are not supported, expected 1 to {MAX_BITS}")
        if self.scale == "per_token" and self.method != "minmax":
            raise SpecError(f"a per-token scale is computed, not learned: use method 'minmax', not {self.method!r}")
        if self.scale == "per_token" and self.bits == 1:
            raise SpecError("1-bit activations need a static scale")


@dataclass(frozen=True)
class CodeGrid:
    """The unsigned byte codes of an activation: value = scale * (code - zero_point), low <= code <= high.

    `step` is 2 on the 1-bit symmetric grid {-1, 1}, else 1.
    """

    low: int
    high: int
    zero_point: int
    step: int = 1


def activation_grid(spec: ActivationSpec, kind: str) -> CodeGrid:
    """Codes of an activation of this kind; the zero point of an asymmetric one is the default before calibration.

    >>> activation_grid(ActivationSpec(8), "linear_input")
    CodeGrid(low=1, high=255, zero_point=128, step=1)
    >>> activation_grid(ActivationSpec(8, symmetric=False), "probs")
    CodeGrid(low=0, high=255, zero_point=0, step=1)
    """
    if spec.bits is None:
        raise SpecError(f"{kind} stays float and has no codes")
    if kind == "probs":  # never negative, so the lower half of a symmetric grid is not stored
        top = 2 ** (spec.bits - 1) - 1 if spec.symmetric and spec.bits > 1 else 2**spec.bits - 1
        return CodeGrid(0, top, 0)
    if not spec.symmetric:
        return CodeGrid(0, 2**spec.bits - 1, 0)
    if spec.bits == 1:
        return CodeGrid(127, 129, 128, step=2)
    top = 2 ** (spec.bits - 1) - 1
    return CodeGrid(128 - top, 128 + top, 128)


@dataclass(frozen=True)
class Override:
    """Fields to change in every tensor whose name matches a shell pattern; later overrides win."""

    tensors: str
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class QuantSpec:
    """Widths, grids and quantizers of a whole encoder.

    `weights` and `activations` hold one entry per kind (missing kinds take the dataclass default). `leftovers` is the
    type in which scales, biases, LayerNorm and head are stored.
    """

    weights: Mapping[str, WeightSpec] = field(default_factory=dict)
    activations: Mapping[str, ActivationSpec] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    leftovers: str = "float16"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        _check_choice("leftovers", self.leftovers, LEFTOVER_DTYPES)
        for kind in self.weights:
            _check_choice("weight kind", kind, WEIGHT_KINDS)
        for kind in self.activations:
            _check_choice("activation kind", kind, ACTIVATION_KINDS)
        weights = {kind: self.weights.get(kind, WeightSpec()) for kind in WEIGHT_KINDS}
        activations = {kind: self.activations.get(kind, ActivationSpec()) for kind in ACTIVATION_KINDS}
        for kind, activation in activations.items():
            _check_activation(kind, activation)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "activations", activations)
        object.__setattr__(self, "overrides", tuple(self.overrides))

    @classmethod
    def uniform(
        cls,
        weight_bits: int | None,
        activation_bits: int | None,
        *,
        weights: Mapping[str, Mapping[str, Any]] | None = None,
        activations: Mapping[str, Mapping[str, Any]] | None = None,
        overrides: Iterable[Override] = (),
        leftovers: str = "float16",
    ) -> Self:
        """All weights at one width, all activations at another; `weights["all"]` changes a field of every kind.

        >>> QuantSpec.uniform(2, 8, weights={"all": {"method": "ternary"}}).weights["pooler"].method
        'ternary'
        """
        weights, activations = dict(weights or {}), dict(activations or {})
        base = {"bits": weight_bits} | dict(weights.pop("all", {}))
        base_activation = {"bits": activation_bits} | dict(activations.pop("all", {}))
        for kind in weights:
            _check_choice("weight kind", kind, ("all", *WEIGHT_KINDS))
        for kind in activations:
            _check_choice("activation kind", kind, ("all", *ACTIVATION_KINDS))
        return cls(
            {k: _build(WeightSpec, k, base | dict(weights.get(k, {}))) for k in WEIGHT_KINDS},
            {k: _build(ActivationSpec, k, base_activation | dict(activations.get(k, {}))) for k in ACTIVATION_KINDS},
            tuple(overrides),
            leftovers,
        )

    def weight(self, name: str) -> WeightSpec:
        """The spec of the weight called `name`, overrides applied."""
        kind = tensor_kind(name)
        if kind not in WEIGHT_KINDS:
            raise SpecError(f"{name!r} is an activation, not a weight")
        return self._apply(name, self.weights[kind])

    def activation(self, name: str) -> ActivationSpec:
        """The spec of the activation called `name`, overrides applied."""
        kind = tensor_kind(name)
        if kind not in ACTIVATION_KINDS:
            raise SpecError(f"{name!r} is a weight, not an activation")
        spec = self._apply(name, self.activations[kind])
        _check_activation(name, spec)
        return spec

    def _apply(self, name: str, spec: _Tensor) -> _Tensor:
        changes: dict[str, Any] = {}
        for override in self.overrides:
            if fnmatch.fnmatchcase(name, override.tensors):
                changes |= override.changes
        return _build(type(spec), name, dataclasses.asdict(spec) | changes) if changes else spec

    def check_packable(self, num_layers: int, pooler: bool) -> None:
        """Raise `SpecError`, naming the tensor, unless every weight and every GEMM input has at most 8 bits."""
        for name in weight_names(num_layers, pooler):
            if not self.weight(name).all_bits:
                raise SpecError(f"{name} stays float and cannot be packed: give it 0 to 8 bits")
            if self.weight(name).method == _NOT_PACKED:
                raise SpecError(f"{name}: weights of method {_NOT_PACKED!r} train, but cannot be packed")
        for name in activation_names(num_layers, pooler):
            if self.activation(name).bits is None and tensor_kind(name) != "gelu_input":
                raise SpecError(f"{name} stays float and cannot be packed: a GEMM input needs 1 to 8 bits")

    def to_json(self) -> dict[str, Any]:
        """Plain dict for `json.dump`; `from_json` gives an equal spec back."""
        out: dict[str, Any] = {
            "weights": {kind: _plain(w) for kind, w in self.weights.items()},
            "activations": {kind: _plain(a) for kind, a in self.activations.items()},
            "leftovers": self.leftovers,
        }
        if self.overrides:
            out["overrides"] = [{"tensors": o.tensors, **_plain_changes(o.changes)} for o in self.overrides]
        return out

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Build a spec from a parsed JSON object; raises `SpecError` on anything unknown or of a wrong type."""
        data = _mapping("spec", data)
        _check_keys("spec", data, ("weights", "activations", "overrides", "leftovers"))
        weights = _mapping("weights", data.get("weights", {}))
        activations = _mapping("activations", data.get("activations", {}))
        return cls(
            {k: _build(WeightSpec, k, _mapping(k, v)) for k, v in weights.items()},
            {k: _build(ActivationSpec, k, _mapping(k, v)) for k, v in activations.items()},
            tuple(_override_from_json(o) for o in _sequence("overrides", data.get("overrides", ()))),
            data.get("leftovers", "float16"),
        )


_Tensor = TypeVar("_Tensor", WeightSpec, ActivationSpec)


def parse_bits(text: str) -> tuple[int | None, int | None]:
    """Weight and activation width from the usual shorthand; None for 32, which means float.

    >>> parse_bits("w4a8"), parse_bits("w2a32")
    ((4, 8), (2, None))
    """
    match = re.fullmatch(r"w(\d{1,2})a(\d{1,2})", text)
    if not match:
        raise SpecError(f"{text!r} is not a width: expected wXaY such as w8a8, w4a8 or w2a8")
    return _width(text, "weights", match.group(1)), _width(text, "activations", match.group(2))


def _width(text: str, what: str, digits: str) -> int | None:
    bits = int(digits)
    if bits == FLOAT_BITS:
        return None
    if not 0 < bits <= MAX_BITS:
        raise SpecError(f"{text}: {bits}-bit {what} are not supported, expected 1 to {MAX_BITS}, or 32 for float")
    return bits


def read_spec(file: Path) -> QuantSpec:
    """The spec in a JSON file; raises `SpecError` for one that cannot be read or means nothing."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"spec {file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SpecError(f"spec {file} is not JSON: {error}") from None
    try:
        return QuantSpec.from_json(data)
    except SpecError as error:
        raise SpecError(f"spec {file}: {error}") from None


def row_groups(rows: int, head_dim: int | None = None) -> list[tuple[int, int]]:
    """(first row, number of rows) of each row group; groups of Q, K and V (`head_dim` given) stay inside one head.

    >>> row_groups(52, head_dim=26)
    [(0, 16), (16, 10), (26, 16), (42, 10)]
    """
    span = head_dim or rows
    return [
        (start, min(GROUP_ROWS, begin + span - start))
        for begin in range(0, rows, span)
        for start in range(begin, begin + span, GROUP_ROWS)
    ]


def _check_choice(what: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise SpecError(f"unknown {what} {value!r}, expected one of: {', '.join(allowed)}")


def _check_activation(name: str, spec: ActivationSpec) -> None:
    kind = name if name in ACTIVATION_KINDS else tensor_kind(name)
    if spec.bits is None:
        return
    if spec.scale == "per_token" and kind in _STATIC_ONLY:
        raise SpecError(f"{name}: a per-token scale is supported for the inputs of linear layers only; use 'static'")
    if not spec.symmetric and kind in _SYMMETRIC_ONLY:
        raise SpecError(f"{name}: keys and values have no zero point; use symmetric: true")


def _build(cls: type[_Tensor], name: str, fields: Mapping[str, Any]) -> _Tensor:
    _check_keys(name, fields, [f.name for f in dataclasses.fields(cls)])
    try:
        return cls(**fields)
    except SpecError as error:
        raise SpecError(f"{name}: {error}") from None


def _check_keys(what: str, data: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for key in data:
        if key not in allowed:
            raise SpecError(f"{what}: unknown key {key!r}, expected one of: {', '.join(allowed)}")


def _mapping(what: str, data: Any) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise SpecError(f"{what} must be an object, not {type(data).__name__}")
    return data


def _sequence(what: str, data: Any) -> Sequence[Any]:
    if isinstance(data, str) or not isinstance(data, Sequence):
        raise SpecError(f"{what} must be a list, not {type(data).__name__}")
    return data


def _override_from_json(data: Any) -> Override:
    data = dict(_mapping("override", data))
    tensors = data.pop("tensors", None)
    if not isinstance(tensors, str):
        raise SpecError("an override needs 'tensors', a pattern on tensor names")
    return Override(tensors, data)


def _plain(spec: WeightSpec | ActivationSpec) -> dict[str, Any]:
    return {k: v for k, v in _plain_changes(dataclasses.asdict(spec)).items() if k != "group_bits" or v is not None}


def _plain_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in changes.items()}
