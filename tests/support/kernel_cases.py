"""What the kernel tests share: every instruction set that can run here, and comparison bit for bit."""

import numpy as np
import pytest

native = pytest.importorskip("bitbert._native", reason="the native engine is not built")


def runnable(isa):
    try:
        native.kernels(isa)
    except RuntimeError:
        return False
    return True


# avx_vnni_evex is the code of avx_vnni in the encoding of CPUs with AVX-512.
ISAS = [
    isa
    for isa in ("scalar", "avx2", "avx_vnni", "avx_vnni_evex", "avx512_vnni", "amx_emulated", "amx")
    if runnable(isa)
]
SIZES = (1, 2, 3, 15, 16, 17, 31, 33, 47, 61, 64, 127, 312, 769)

every_isa = pytest.mark.parametrize("kernels", ISAS, indirect=True)


def assert_same_bits(actual, expected):
    """Equal floats, -0 and +0 told apart, any NaN equal to any other."""
    actual, expected = np.asarray(actual, np.float32), np.asarray(expected, np.float32)
    both_nan = np.isnan(actual) & np.isnan(expected)
    different = (actual.view(np.int32) != expected.view(np.int32)) & ~both_nan
    assert not different.any(), f"{actual[different][:4]} instead of {expected[different][:4]}"
