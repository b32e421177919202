"""exp, erf, tanh and the activations in float32, operation for operation as `docs/numerics.md` orders them.

The oracle for the engine's functions, not a fast or general library: `exp` takes x <= 0 only. numpy has no fma, so
`fma` rebuilds the correctly rounded one. Everything takes and gives float32 arrays (or scalars) of any shape.

>>> float(exp(np.float32(-1))), float(erf(np.float32(0.5)))
(0.3678794503211975, 0.5204998850822449)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def _f32(text: str) -> np.float32:
    return np.float32(float.fromhex(text))


def _polynomial(text: str) -> tuple[np.float32, ...]:
    return tuple(_f32(c) for c in text.split())


# Fitted by tools/fit_polynomials.py; constant term first. A test compares them with native/kernels/rowops/functions.h.
LOG2E = _f32("0x1.715476p+0")
LN2_HI = _f32("0x1.62e430p-1")
LN2_LO = _f32("-0x1.05c610p-29")
EXP_MIN = _f32("-0x1.58p+6")
EXP = _polynomial("0x1.0p+0 0x1.0p+0 0x1.fffffap-2 0x1.55540ap-3 0x1.55589ap-5 0x1.126d1ep-7 0x1.6ab96ep-10")
ERF_SMALL = _polynomial(
    "0x1.06eba8p-3 -0x1.81273ep-2 0x1.ce2cf8p-4 -0x1.b7f90cp-6 0x1.5405b2p-8 -0x1.a3f7p-11 0x1.496a3p-14"
)
ERF_LARGE = _polynomial(
    "0x1.661d7ap-12 0x1.2088eap+0 0x1.46baecp-1 0x1.a65342p-4 -0x1.65cb74p-6 0x1.825af2p-9 -0x1.86dd7cp-13"
)
ERF_MAX = _f32("0x1p+2")
SQRT_HALF = _f32("0x1.6a09e6p-1")
SQRT_2_OVER_PI = _f32("0x1.988454p-1")
GELU_TANH_CUBIC = _f32("0x1.6e4e26p-5")

_ONE, _HALF, _TWO = np.float32(1), np.float32(0.5), np.float32(2)


def fma(x: Any, y: Any, z: Any) -> Floats:
    """x * y + z rounded once to float32.

    The product of two float32 is exact in float64. The sum is rounded to odd: if it is inexact (its error by Knuth's
    TwoSum is not 0) the last bit of the float64 is set, which keeps the final rounding to 24 bits from landing on a
    false tie (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to
    odd", 2008).
    """
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        product = np.asarray(np.multiply(x, y, dtype=np.float64))
        addend = np.asarray(z, np.float64)
        total = np.asarray(product + addend)
        virtual = total - product
        error = (product - (total - virtual)) + (addend - virtual)
        bits = total.view(np.int64)
        # An inexact even sum moves one unit in the last place towards the error: away from zero if their signs agree.
        step = np.where((error > 0) == (total > 0), 1, -1)
        inexact_even = ((error > 0) | (error < 0)) & (bits & 1 == 0)
        odd = np.asarray(bits + np.where(inexact_even, step, 0))
        return np.asarray(odd.view(np.float64).astype(np.float32)[()])


def _horner(coefficients: tuple[np.float32, ...], x: Floats) -> Floats:
    p = np.asarray(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        p = fma(p, x, c)
    return p


def exp(x: Any) -> Floats:
    """e^x for x <= 0; below -86 the result is that of -86 (about 4.5e-38), so it is always a normal number."""
    x = np.where(np.greater(x, EXP_MIN), x, EXP_MIN).astype(np.float32)
    k = np.rint(x * LOG2E)
    r = fma(k, -LN2_LO, fma(k, -LN2_HI, x))
    p = _horner(EXP, r)
    return np.asarray((p.view(np.int32) + (k.astype(np.int32) << 23)).view(np.float32)[()])


def erf(x: Any) -> Floats:
    """The error function: a * (1 + P(a*a)) for a = |x| < 1, else 1 - exp(-Q(a)); the sign is that of x."""
    x = np.asarray(x, np.float32)
    a = np.abs(x)
    small = fma(a, _horner(ERF_SMALL, a * a), a)
    capped = np.where(a < ERF_MAX, a, ERF_MAX)
    # Below 1 only `small` is taken, but exp wants an argument <= 0 there too.
    large = _ONE - exp(-_horner(ERF_LARGE, capped))
    return np.asarray(np.copysign(np.where(a < _ONE, small, large), x))


def tanh(x: Any) -> Floats:
    """(1 - t) / (1 + t) with t = exp(-2|x|); the sign is that of x."""
    x = np.asarray(x, np.float32)
    t = exp(-_TWO * np.abs(x))
    return np.asarray(np.copysign((_ONE - t) / (_ONE + t), x))


def gelu(x: Any) -> Floats:
    """x/2 * (1 + erf(x / sqrt 2))."""
    x = np.asarray(x, np.float32)
    return np.asarray((_HALF * x) * (_ONE + erf(x * SQRT_HALF)))


def gelu_tanh(x: Any) -> Floats:
    """The tanh form of GELU: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))."""
    x = np.asarray(x, np.float32)
    inner = SQRT_2_OVER_PI * fma(GELU_TANH_CUBIC * x, x * x, x)
    return np.asarray((_HALF * x) * (_ONE + tanh(inner)))


def relu(x: Any) -> Floats:
    """Max(x, 0); -0 and NaN give +0."""
    x = np.asarray(x, np.float32)
    return np.where(x > 0, x, np.float32(0))
