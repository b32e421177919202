"""Narrow panels become codes: the layout of native/kernels/pack/unpack.h, rebuilt in numpy."""

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
