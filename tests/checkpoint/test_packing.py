"""Packing: bytes are exactly those of docs/format.md, at every width, grid, packing and odd size."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitbert.checkpoint.packing import BLOCK_CODES, check, pack, row_bytes, unpack
from bitbert.errors import CheckpointError
from bitbert.spec import code_range
from support.random_model import random_codes

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "packed_codes.json").read_text())


@st.composite
def matrices(draw):
    """(codes, bits of each row, grid, packing) of a matrix with rows of any widths."""
    packing = draw(st.sampled_from(["bits", "base3"]))
    grid = "mid_tread" if packing == "base3" else draw(st.sampled_from(["mid_tread", "mid_rise"]))
    widths = [0, 2] if packing == "base3" else range(9)
    row_bits = np.array(draw(st.lists(st.sampled_from(widths), min_size=1, max_size=12)), np.uint8)
    columns = draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return random_codes(rng, row_bits, columns, grid), row_bits, grid, packing


def by_definition(codes, row_bits, grid, packing):
    """The format's own words: a row is one number, its fields digits in base 2^bits, or five to a byte in base 3."""
    out = b""
    for row, bits in zip(codes.tolist(), row_bits.tolist(), strict=True):
        low, _, step = code_range(bits, grid)
        fields = [(code - low) // step for code in row]
        if packing == "base3" and bits:
            groups = [fields[i : i + 5] for i in range(0, len(fields), 5)]
            out += bytes(sum(d * 3**i for i, d in enumerate(group)) for group in groups)
        elif bits:
            number = sum(field << bits * i for i, field in enumerate(fields))
            out += number.to_bytes(-(-len(fields) * bits // 8), "little")
    return out


@given(matrices())
def test_pack_writes_the_bytes_of_the_format_and_unpack_reads_them(matrix):
    codes, row_bits, grid, packing = matrix
    packed = pack(codes, row_bits, grid, packing)
    assert packed.tobytes() == by_definition(*matrix)
    check(packed, row_bits, codes.shape[1], grid, packing)
    np.testing.assert_array_equal(unpack(packed, row_bits, codes.shape[1], grid, packing), codes)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['packing']}-{case['bits']}-{case['grid']}")
def test_golden_bytes(case):
    codes, row_bits = np.array([case["codes"]], np.int8), np.array([case["bits"]], np.uint8)
    assert pack(codes, row_bits, case["grid"], case["packing"]).tobytes().hex() == case["hex"]
    packed = np.frombuffer(bytes.fromhex(case["hex"]), np.uint8)
    np.testing.assert_array_equal(unpack(packed, row_bits, codes.shape[1], case["grid"], case["packing"]), codes)


@pytest.mark.parametrize(("bits", "packing"), [(1, "bits"), (3, "bits"), (8, "bits"), (2, "base3")])
def test_matrices_of_more_than_one_block(bits, packing):
    columns = 50
    rows = 2 * BLOCK_CODES // columns + 7
    row_bits = np.full(rows, bits, np.uint8)
    codes = random_codes(np.random.default_rng(0), row_bits, columns, "mid_tread")
    packed = pack(codes, row_bits, "mid_tread", packing)
    assert packed.size == rows * row_bytes(columns, bits, packing)
    np.testing.assert_array_equal(unpack(packed, row_bits, columns, "mid_tread", packing), codes)


@pytest.mark.parametrize(
    ("code", "bits", "grid"),
    [(0, 1, "mid_tread"), (2, 2, "mid_tread"), (0, 2, "mid_rise"), (8, 4, "mid_tread"), (-128, 8, "mid_tread")],
)
def test_a_code_off_the_grid_is_refused(code, bits, grid):
    with pytest.raises(CheckpointError, match=f"code {code} is not on the {bits}-bit {grid} grid"):
        pack(np.array([[code]], np.int8), np.array([bits], np.uint8), grid, "bits")


@pytest.mark.parametrize(
    ("byte", "columns", "bits", "packing", "message"),
    [
        (0b11, 4, 2, "bits", "holds field 3, but 2 bits"),
        (0xF0, 2, 4, "bits", "holds field 15, but 4 bits"),
        (0xFF, 1, 8, "bits", "holds field 255, but 8 bits"),
        (0b0100_0000, 3, 2, "bits", "not padded with zero bits"),
        (0b10, 1, 1, "bits", "not padded with zero bits"),
        (243, 5, 2, "base3", "holds byte 243, but base3 bytes end at 242"),
        (81, 4, 2, "base3", "not padded with zero digits"),
    ],
)
@pytest.mark.parametrize("reader", [unpack, check])
def test_bytes_that_pack_cannot_have_written_are_refused(reader, byte, columns, bits, packing, message):
    with pytest.raises(CheckpointError, match=message):
        reader(np.array([byte], np.uint8), np.array([bits], np.uint8), columns, "mid_tread", packing)
