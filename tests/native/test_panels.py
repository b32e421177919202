"""Panels: the layouts of native/kernels/pack, rebuilt in numpy."""

import numpy as np
import pytest

from support.kernel_cases import every_isa


@every_isa
@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("blocks", [1, 3])
def test_fields_become_codes(kernels, bits, blocks):
    rng = np.random.default_rng(bits)
    packed = rng.integers(0, 256, blocks * 128 * bits, np.uint8)
    codes = rng.integers(-128, 128, 16).astype(np.int8)
    shifts = bits * np.arange(8 // bits)[:, None]
    fields = (packed.reshape(-1, 1, 64) >> shifts) & (2**bits - 1)  # (vectors, groups in a vector, 64)
    np.testing.assert_array_equal(kernels.unpack(packed, bits, codes), codes[fields].ravel())


def panel(rows):
    """Up to 16 rows as a panel: whole blocks of 64 inner elements, in groups of 4 for each row."""
    count, depth = rows.shape
    padded = np.zeros((16, -(-depth // 64) * 64), np.uint8)
    padded[:count, :depth] = rows
    return padded.reshape(16, -1, 4).transpose(1, 0, 2).ravel()


@every_isa
@pytest.mark.parametrize("depth", [1, 3, 4, 26, 61, 64, 67, 130])
def test_tiles(kernels, depth):
    for count in range(1, 17):
        rows = np.random.default_rng(count).integers(0, 256, (count, depth), np.uint8)
        tile, sums = kernels.tile_rows(rows)
        np.testing.assert_array_equal(tile, panel(rows))
        np.testing.assert_array_equal(sums[:count], rows.view(np.int8).sum(axis=1))
        assert not sums[count:].any()
        np.testing.assert_array_equal(kernels.tile_columns(np.ascontiguousarray(rows.T)), panel(rows))
