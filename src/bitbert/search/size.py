"""How many bytes `model.safetensors` will have, before anything is trained: whole, and as a price of each width."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bitbert.checkpoint.architecture import Architecture
from bitbert.checkpoint.header import DTYPES, encode
from bitbert.checkpoint.layout import layout
from bitbert.checkpoint.packing import row_bytes
from bitbert.search.space import Space
from bitbert.spec import QuantSpec

_DIGEST = "0" * 64  # the header holds a SHA-256 in hexadecimal, whose value does not change its length


def file_bytes(architecture: Architecture, spec: QuantSpec) -> int:
    """Size of the file that `bitbert.checkpoint.write` makes of any model of this shape and spec, header included."""
    tensors = layout(architecture, spec)
    return len(encode(tensors, _DIGEST)) + sum(DTYPES[d].itemsize * math.prod(shape) for d, shape in tensors.values())


def byte_prices(space: Space) -> NDArray[np.float64]:
    """(items, choices): bytes of the codes of each item at each width."""
    packing = {name: space.base.weight(name).packing for name in space.slices}
    return np.array(
        [
            [float(item.rows * row_bytes(item.columns, bits, packing[item.tensor])) for bits in space.choices]
            for item in space.items
        ]
    )


def fixed_bytes(space: Space) -> int:
    """Bytes that no choice changes, rounded up: scales, floats, other tensors, and the header.

    Offsets in the header have the most digits where the file is largest, so that one is taken.
    """
    largest = np.full(len(space.items), space.choices[-1])
    return file_bytes(space.architecture, space.spec(largest)) - int(byte_prices(space)[:, -1].sum())
