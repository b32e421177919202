"""The header of `model.safetensors`: eight bytes of length, then JSON with the dtype, shape and place of each tensor.

`encode` writes what `parse` accepts. `parse` is stricter than the safetensors format: tensors must lie without gap or
overlap and fill the file, names must not repeat, and nothing that a header claims is believed before it fits the file's
true size.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bitbert.checkpoint.layout import Layout, Shape
from bitbert.errors import CheckpointError

DTYPES: Mapping[str, np.dtype[Any]] = {"U8": np.dtype("u1"), "F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
MAX_JSON_BYTES = 1 << 24  # far above the header or config of any encoder, far below what could hurt
_ALIGNMENT = 8  # of the data, as the safetensors library does it


@dataclass(frozen=True)
class Entry:
    """One tensor of the file: where its bytes begin, counted from the end of the header, and where they end."""

    dtype: str
    shape: Shape
    begin: int
    end: int


def file_order(layout: Layout) -> list[str]:
    """Names in the order of their bytes: wide elements first, so that every tensor is aligned; then by name."""
    return sorted(layout, key=lambda name: (-DTYPES[layout[name][0]].itemsize, name))


def encode(layout: Layout, digest: str) -> bytes:
    """The length and JSON that stand before the data."""
    header: dict[str, Any] = {"__metadata__": {"format": "bitbert", "sha256": digest}}
    end = 0
    for name in file_order(layout):
        dtype, shape = layout[name]
        begin, end = end, end + _byte_count(dtype, shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def parse(data: NDArray[np.uint8]) -> tuple[dict[str, Entry], str, int]:
    """Entries by name, the digest, and where the data begin, from the bytes of a whole file.

    Raises `CheckpointError` for everything that is not a well-formed header of a file of this size.
    """
    if len(data) < 8:
        raise CheckpointError(f"is truncated: {len(data)} bytes cannot hold a header")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > min(MAX_JSON_BYTES, len(data) - 8):
        raise CheckpointError(f"header claims {length} bytes, but the file has {len(data)}: it is truncated or damaged")
    header = load_json(data[8 : 8 + length].tobytes(), "header")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != "bitbert" or "sha256" not in metadata:
        raise CheckpointError("header has no bitbert metadata (format and sha256): not written by bitbert")
    entries = {name: _entry(name, value) for name, value in header.items()}
    _check_offsets(entries, len(data) - 8 - length)
    return entries, str(metadata["sha256"]), 8 + length


def digest(layout: Layout, tensors: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over all tensors in order of name: `name dtype shape` and a newline, then the bytes."""
    sha = hashlib.sha256()
    for name in sorted(layout):
        dtype, shape = layout[name]
        sha.update(f"{name} {dtype} [{','.join(map(str, shape))}]\n".encode())
        sha.update(np.ascontiguousarray(tensors[name]).data)
    return sha.hexdigest()


def load_json(text: bytes, what: str) -> dict[str, Any]:
    """Parse one JSON object; raises `CheckpointError` on anything else, repeated keys, NaN and Infinity included."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{what} must be a JSON object, not {type(value).__name__}")
    return value


def _byte_count(dtype: str, shape: Shape) -> int:
    return math.prod(shape) * DTYPES[dtype].itemsize


def _entry(name: str, value: Any) -> Entry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"header entry of {name} must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if dtype not in tuple(DTYPES):
        raise CheckpointError(f"{name} has dtype {dtype!r}, expected one of: {', '.join(DTYPES)}")
    if not _is_naturals(shape) or not _is_naturals(offsets) or len(offsets) != 2:
        raise CheckpointError(f"{name} has a malformed shape or data_offsets: expected lists of up to 2 whole numbers")
    size, needed = offsets[1] - offsets[0], _byte_count(dtype, tuple(shape))
    if size != needed:
        raise CheckpointError(f"{name} has {size} bytes, but {dtype} {shape} needs {needed}")
    return Entry(dtype, tuple(shape), offsets[0], offsets[1])


def _check_offsets(entries: Mapping[str, Entry], data_bytes: int) -> None:
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != end:
            raise CheckpointError(f"{name} begins at byte {entry.begin}, but the tensor before it ends at {end}")
        end = entry.end
    if end != data_bytes:
        raise CheckpointError(f"holds {data_bytes} bytes of data, but its header describes {end}: truncated or damaged")


def _is_naturals(value: Any) -> bool:
    """Whether this is a short list of whole numbers, small enough for a product of them to stay cheap."""
    if not isinstance(value, list) or len(value) > 2:
        return False
    return all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**63 for n in value)


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f"key {key!r} stands twice")
        out[key] = value
    return out


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
