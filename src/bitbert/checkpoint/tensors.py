"""A `PackedModel` as the named tensors of `model.safetensors`, and back; every value is checked on the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitbert.checkpoint.architecture import Architecture
from bitbert.checkpoint.header import DTYPES
from bitbert.checkpoint.layout import (
    Layout,
    layout,
    static_activations,
    stored_codes,
    stored_scale,
    stored_zero_point,
)
from bitbert.checkpoint.packed import PackedModel, PackedWeight, StaticScale, code_grid, has_zero_point
from bitbert.errors import CheckpointError
from bitbert.spec import QuantSpec, weight_names

Tensors = Mapping[str, NDArray[Any]]


def to_tensors(model: PackedModel, architecture: Architecture) -> dict[str, NDArray[Any]]:
    """Every tensor under its stored name, in its stored dtype and shape."""
    out: dict[str, NDArray[Any]] = {}
    for name, weight in model.weights.items():
        if weight.spec != model.spec.weight(name):
            raise CheckpointError(f"{name} was packed with another spec than the model's")
        out[stored_codes(architecture, name)] = weight.packed
        out[stored_scale(architecture, name)] = weight.scale
    for name, activation in model.activations.items():
        out[stored_scale(architecture, name)] = np.array([activation.scale], np.float32)
        if has_zero_point(model.spec, name):
            out[stored_zero_point(architecture, name)] = np.array([activation.zero_point])
    out |= {architecture.stored_name(name): value for name, value in model.floats.items()}
    expected = layout(architecture, model.spec)
    check_layout({name: (expected.get(name, ("", ()))[0], value.shape) for name, value in out.items()}, expected)
    return {name: _cast(name, value, DTYPES[expected[name][0]]) for name, value in out.items()}


def from_tensors(
    config: Mapping[str, Any], spec: QuantSpec, architecture: Architecture, tensors: Tensors
) -> PackedModel:
    """The model in tensors whose names, dtypes and shapes are right; codes stay views, the rest becomes float32.

    Raises `CheckpointError`, naming the tensor, for codes off the grid, bad scales or zero points, and floats that are
    not finite.
    """
    names = weight_names(architecture.num_hidden_layers, architecture.pooler)
    return PackedModel(
        config,
        spec,
        {name: _weight(name, spec, architecture, tensors) for name in names},
        {name: _activation(name, spec, architecture, tensors) for name in static_activations(architecture, spec)},
        {name: _finite(name, tensors[architecture.stored_name(name)]) for name in architecture.float_shapes()},
    )


def check_layout(found: Layout, expected: Layout) -> None:
    """Raise `CheckpointError` for the first tensor that is missing, unexpected, or of a wrong dtype or shape."""
    for name in found:
        if name not in expected:
            raise CheckpointError(f"{name} is not a tensor that config and spec call for")
    for name, (dtype, shape) in expected.items():
        if name not in found:
            raise CheckpointError(f"{name} is missing: config and spec call for it")
        if found[name] != (dtype, shape):
            raise CheckpointError(f"{name} is {found[name][0]} {list(found[name][1])}, expected {dtype} {list(shape)}")


def _cast(name: str, value: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # an overflow is inf, which is refused below by name
        out = np.ascontiguousarray(value, dtype)
    if dtype.kind == "u" and not np.array_equal(out, value):
        raise CheckpointError(f"{name} must be whole numbers from 0 to 255")
    return out


def _weight(name: str, spec: QuantSpec, architecture: Architecture, tensors: Tensors) -> PackedWeight:
    weight = PackedWeight(
        name,
        spec.weight(name),
        architecture.weight_shape(name),
        architecture.weight_head_dim(name),
        tensors[stored_codes(architecture, name)],
        tensors[stored_scale(architecture, name)].astype(np.float32),
    )
    weight.check_scale()
    weight.check_codes()
    return weight


def _activation(name: str, spec: QuantSpec, architecture: Architecture, tensors: Tensors) -> StaticScale:
    scale = float(tensors[stored_scale(architecture, name)][0])
    if not 0 < scale < float("inf"):
        raise CheckpointError(f"{name}: the scale is {scale}, it must be finite and positive")
    if not has_zero_point(spec, name):
        return StaticScale(scale, code_grid(spec, name).zero_point)
    zero_point, high = int(tensors[stored_zero_point(architecture, name)][0]), code_grid(spec, name).high
    if zero_point > high:
        raise CheckpointError(f"{name}: the zero point is {zero_point}, it must be from 0 to {high}")
    return StaticScale(scale, zero_point)


def _finite(name: str, stored: NDArray[Any]) -> NDArray[np.float32]:
    value = stored.astype(np.float32)
    if not np.isfinite(value).all():
        raise CheckpointError(f"{name} holds a value that is not finite")
    return value
