"""Which tensors a packed directory holds: name, dtype and shape of each, implied by config and spec alone.

The reader compares a file with this before it touches the data; the writer stores exactly this. No values, no bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

from bitbert.checkpoint.architecture import Architecture
from bitbert.checkpoint.packed import group_count, has_zero_point, scale_shape
from bitbert.checkpoint.packing import row_bytes
from bitbert.errors import CheckpointError
from bitbert.spec import QuantSpec, WeightSpec, activation_names, row_groups, weight_names

Shape = tuple[int, ...]
Layout = dict[str, tuple[str, Shape]]  # stored name -> (safetensors dtype, shape)

LEFTOVERS = {"float16": "F16", "float32": "F32"}


def layout(architecture: Architecture, spec: QuantSpec) -> Layout:
    """Every tensor on disk; raises `SpecError` or `CheckpointError`, naming the tensor, if the spec does not fit."""
    spec.check_packable(architecture.num_hidden_layers, architecture.pooler)
    leftover = LEFTOVERS[spec.leftovers]
    out: Layout = {}
    for name in weight_names(architecture.num_hidden_layers, architecture.pooler):
        weight, head_dim = spec.weight(name), architecture.weight_head_dim(name)
        rows, columns = architecture.weight_shape(name)
        out[stored_codes(architecture, name)] = ("U8", (packed_bytes(name, weight, rows, columns, head_dim),))
        out[stored_scale(architecture, name)] = (leftover, scale_shape(weight, rows, head_dim))
    for name in static_activations(architecture, spec):
        out[stored_scale(architecture, name)] = (leftover, (1,))
        if has_zero_point(spec, name):
            out[stored_zero_point(architecture, name)] = ("U8", (1,))
    for name, shape in architecture.float_shapes().items():
        out[architecture.stored_name(name)] = (leftover, shape)
    return out


def static_activations(architecture: Architecture, spec: QuantSpec) -> Iterator[str]:
    """Names of the activations whose scale is stored."""
    for name in activation_names(architecture.num_hidden_layers, architecture.pooler):
        activation = spec.activation(name)
        if activation.bits is not None and activation.scale == "static":
            yield name


def packed_bytes(name: str, weight: WeightSpec, rows: int, columns: int, head_dim: int | None) -> int:
    """Bytes of the packed codes of a weight, without building anything of that size."""
    if weight.group_bits is None:
        return rows * row_bytes(columns, weight.bits or 0, weight.packing)
    listed, groups = len(weight.group_bits), group_count(rows, head_dim)
    if listed != groups:
        raise CheckpointError(f"{name}: group_bits lists {listed} row groups, but the matrix has {groups}")
    widths = zip(row_groups(rows, head_dim), weight.group_bits, strict=True)
    return sum(count * row_bytes(columns, bits, weight.packing) for (_, count), bits in widths)


def stored_codes(architecture: Architecture, name: str) -> str:
    """Where the codes of the weight called `name` are stored."""
    return f"{architecture.stored_name(name)}_packed"


def stored_scale(architecture: Architecture, name: str) -> str:
    """Where the scale of the weight or activation called `name` is stored."""
    return f"{architecture.stored_name(name)}_scale"


def stored_zero_point(architecture: Architecture, name: str) -> str:
    """Where the zero point of the activation called `name` is stored."""
    return f"{architecture.stored_name(name)}_zero_point"
