"""Codes of a weight matrix to bytes and back: this file defines the bits of `M.weight_packed`.

It knows codes, widths and bytes; not scales, names or files. A matrix is a vector of its rows in order, each starting
at a byte. `bits` packs b-bit fields, lowest bits first; `base3` packs five ternary codes a byte:

>>> import numpy as np
>>> row = np.array([[1, 0, -1, -1, 1]], np.int8)
>>> pack(row, np.array([2], np.uint8), "mid_tread", "bits").tobytes().hex()
'0602'
>>> pack(row, np.array([2], np.uint8), "mid_tread", "base3").tobytes().hex()
'a7'
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bitbert.errors import CheckpointError
from bitbert.spec import code_range

Bytes = NDArray[np.uint8]
Codes = NDArray[np.int8]

FIELDS_PER_WORD = 8  # eight b-bit fields fill b bytes exactly, so a 64-bit word holds them at every width
TRITS_PER_BYTE = 5  # 3^5 = 243 <= 256
BLOCK_CODES = 1 << 17  # codes handled at once: their 64-bit words (1 byte a code) and fields stay in the L2 cache

# (243, 5): the five ternary fields of each byte, first element first.
_TRITS = (np.arange(3**TRITS_PER_BYTE)[:, None] // 3 ** np.arange(TRITS_PER_BYTE) % 3).astype(np.uint8)


def row_bytes(columns: int, bits: int, packing: str) -> int:
    """Bytes of one row of `columns` codes.

    >>> row_bytes(768, 2, "bits"), row_bytes(768, 2, "base3"), row_bytes(768, 0, "bits")
    (192, 154, 0)
    """
    if bits == 0:
        return 0
    return -(-columns // TRITS_PER_BYTE) if packing == "base3" else -(-columns * bits // 8)


def pack(codes: Codes, row_bits: Bytes, grid: str, packing: str) -> Bytes:
    """Pack int8 codes (rows, columns), row i at `row_bits[i]` bits, into a vector of bytes.

    Raises `CheckpointError` for a code that is not on the grid.
    """
    columns = codes.shape[1]
    out = np.empty(sum(row_bytes(columns, int(bits), packing) for bits in row_bits), np.uint8)
    for block, span, bits in _blocks(row_bits, columns, packing):
        fields = _codes_to_fields(codes[block], bits, grid)
        packed = _pack_base3(fields) if packing == "base3" else _pack_bits(fields, bits)
        out[span] = packed.reshape(-1)
    return out


def unpack(packed: Bytes, row_bits: Bytes, columns: int, grid: str, packing: str) -> Codes:
    """The int8 codes (rows, columns) of a packed vector; rows of 0 bits are all zero.

    Raises `CheckpointError` for bytes that `pack` cannot have written.
    """
    codes = np.zeros((len(row_bits), columns), np.int8)
    for block, span, bits in _blocks(row_bits, columns, packing):
        codes[block] = _fields_to_codes(_checked_fields(packed[span], columns, bits, grid, packing), bits, grid)
    return codes


def check(packed: Bytes, row_bits: Bytes, columns: int, grid: str, packing: str) -> None:
    """Raise `CheckpointError` for bytes that `pack` cannot have written, without holding the codes."""
    for _, span, bits in _blocks(row_bits, columns, packing):
        if packing == "base3" or bits not in (2, 4) or _has_all_ones(packed[span], bits) or columns * bits % 8:
            _checked_fields(packed[span], columns, bits, grid, packing)


def _has_all_ones(packed: Bytes, bits: int) -> bool:
    """Whether a field of 2 or 4 bits is all ones: no other can be off a grid."""
    ones = packed & (packed >> np.uint8(1))
    if bits == 2:
        return bool((ones & np.uint8(0x55)).any())
    return bool((ones & (ones >> np.uint8(2)) & np.uint8(0x11)).any())


def _blocks(row_bits: Bytes, columns: int, packing: str) -> Iterator[tuple[slice, slice, int]]:
    """(rows, bytes, bits) of runs of rows of one width, about `BLOCK_CODES` codes at most; pruned rows are left out."""
    step = max(1, BLOCK_CODES // columns)
    edges = np.flatnonzero(np.diff(row_bits)) + 1
    begin = 0
    for first, last in zip([0, *edges], [*edges, len(row_bits)], strict=True):
        bits = int(row_bits[first])
        size = row_bytes(columns, bits, packing)
        for row in range(first, last if bits else first, step):
            stop = min(row + step, last)
            end = begin + (stop - row) * size
            yield slice(row, stop), slice(begin, end), bits
            begin = end


def _codes_to_fields(codes: Codes, bits: int, grid: str) -> Bytes:
    low, high, step = code_range(bits, grid)
    offset = codes.view(np.uint8) - np.uint8(low % 256)  # modulo 256: a code outside lands above high - low
    wrong = (offset > high - low) | (offset % step != 0)
    if wrong.any():
        raise CheckpointError(f"code {codes[wrong][0]} is not on the {bits}-bit {grid} grid {low}..{high}")
    return offset // np.uint8(step)


def _fields_to_codes(fields: Bytes, bits: int, grid: str) -> Codes:
    low, _, step = code_range(bits, grid)
    return (fields * np.uint8(step) + np.uint8(low % 256)).view(np.int8)


def _checked_fields(packed: Bytes, columns: int, bits: int, grid: str, packing: str) -> Bytes:
    low, high, step = code_range(bits, grid)
    rows = packed.reshape(-1, row_bytes(columns, bits, packing))
    fields = _unpack_base3(rows, columns) if packing == "base3" else _unpack_bits(rows, columns, bits)
    top = (high - low) // step
    if top < 2**bits - 1 and fields.max() > top:
        raise CheckpointError(f"holds field {fields.max()}, but {bits} bits on the {grid} grid end at {top}")
    return fields


def _pack_bits(fields: Bytes, bits: int) -> Bytes:
    """(rows, columns) fields -> (rows, row bytes)."""
    if bits == 8:
        return fields
    rows, columns = fields.shape
    lanes = _padded(fields, FIELDS_PER_WORD)  # (rows, words, 8)
    words = np.zeros(lanes.shape[:2], "<u8")
    for i in range(FIELDS_PER_WORD):
        words |= lanes[:, :, i].astype(np.uint64) << np.uint64(bits * i)
    used = words.view(np.uint8).reshape(lanes.shape)[:, :, :bits].reshape(rows, -1)
    return used[:, : row_bytes(columns, bits, "bits")]


def _unpack_bits(packed: Bytes, columns: int, bits: int) -> Bytes:
    """(rows, row bytes) -> (rows, columns) fields; refuses set bits behind the last field."""
    if bits == 8:
        return packed
    spare = packed.shape[1] * 8 - columns * bits
    if spare and (packed[:, -1] >> np.uint8(8 - spare)).any():
        raise CheckpointError("has a row whose last byte is not padded with zero bits")
    parts = _padded(packed, bits)  # (rows, words, bits) bytes
    lanes = np.zeros((*parts.shape[:2], FIELDS_PER_WORD), np.uint8)
    lanes[:, :, :bits] = parts
    words = lanes.view("<u8")[:, :, 0].copy()  # its bytes become the fields
    mask = np.uint64(2**bits - 1)
    for i in range(FIELDS_PER_WORD):
        lanes[:, :, i] = words >> np.uint64(bits * i) & mask
    return lanes.reshape(len(packed), -1)[:, :columns]


def _pack_base3(fields: Bytes) -> Bytes:
    """(rows, columns) fields 0..2 -> (rows, row bytes)."""
    trits = _padded(fields, TRITS_PER_BYTE)  # (rows, bytes, 5)
    out = trits[:, :, -1]
    for i in reversed(range(TRITS_PER_BYTE - 1)):
        out = out * np.uint8(3) + trits[:, :, i]
    return out


def _unpack_base3(packed: Bytes, columns: int) -> Bytes:
    """(rows, row bytes) -> (rows, columns) fields; refuses bytes above 242 and digits behind the last code."""
    if packed.max() >= len(_TRITS):
        raise CheckpointError(f"holds byte {packed.max()}, but base3 bytes end at {len(_TRITS) - 1}")
    trits = _TRITS[packed].reshape(len(packed), -1)
    if trits[:, columns:].any():
        raise CheckpointError("has a row whose last byte is not padded with zero digits")
    return trits[:, :columns]


def _padded(rows: Bytes, size: int) -> Bytes:
    """(rows, n) -> (rows, ceil(n / size), size), zeros at the end."""
    count = -(-rows.shape[1] // size)
    out = np.zeros((len(rows), count * size), np.uint8)
    out[:, : rows.shape[1]] = rows
    return out.reshape(len(rows), count, size)
