"""Fits the polynomials behind exp and erf that `docs/numerics.md` fixes, and measures what they are worth in float32.

Not part of the package: run it to see where the constants in `native/kernels/rowops/functions.h` and
`src/bitbert/runtime/functions.py` come from. Needs mpmath; prints hexadecimal floats and the largest errors of the
float32 functions.

The fit is Remez' exchange: find the polynomial whose weighted error has the same size, with alternating signs, at
degree + 2 points, then move the points to the extrema of that error, until they stay.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import mpmath as mp
import numpy as np

mp.mp.prec = 160

Function = Callable[[mp.mpf], mp.mpf]


def remez(f: Function, weight: Function, low: float, high: float, degree: int, rounds: int = 8) -> list[mp.mpf]:
    """Coefficients, constant first, of the polynomial that minimizes the largest `weight * |f - p|` on [low, high]."""
    n = degree + 2
    points = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * i / (n - 1)) for i in range(n)]
    for _ in range(rounds):
        rows = [[x**j for j in range(degree + 1)] + [(-1) ** i / weight(x)] for i, x in enumerate(points)]
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix([f(x) for x in points]))
        coefficients = list(solution)[:-1]
        points = _extrema(lambda x, c=coefficients: weight(x) * (f(x) - mp.polyval(c[::-1], x)), low, high, n)
    return coefficients


def _extrema(error: Function, low: float, high: float, n: int, grid: int = 3000) -> list[mp.mpf]:
    """The n places of largest alternating error: the extremum of each stretch of equal sign."""
    xs = [low + (high - low) * mp.mpf(i) / grid for i in range(grid + 1)]
    values = [error(x) for x in xs]
    best: list[int] = []
    for i, value in enumerate(values):
        if best and mp.sign(values[best[-1]]) == mp.sign(value):
            if abs(value) > abs(values[best[-1]]):
                best[-1] = i
        else:
            best.append(i)
    if len(best) < n:
        raise RuntimeError(f"the error alternates {len(best)} times, {n} needed: lower the degree")
    while len(best) > n:
        best.pop(0 if abs(values[best[0]]) < abs(values[best[-1]]) else -1)
    return [xs[i] for i in best]


def float32(x: mp.mpf) -> float:
    """x rounded to binary32, by way of binary64."""
    return struct.unpack("f", struct.pack("f", float(x)))[0]


def fits() -> dict[str, list[mp.mpf]]:
    """Every polynomial of `docs/numerics.md`, constant first."""
    half = mp.log(2) / 2
    return {
        "EXP": remez(mp.exp, lambda x: mp.exp(-x), -half * mp.mpf("1.0001"), half * mp.mpf("1.0001"), 6),
        # erf(a) / a - 1 in s = a * a; the weight makes it the relative error of erf.
        "ERF_SMALL": remez(_erf_small, lambda s: 1 / (1 + _erf_small(s)), mp.mpf("1e-9"), mp.mpf(1), 6),
        # -log(erfc(a)); an error of it counts erfc(a) / erf(a) times in erf.
        "ERF_LARGE": remez(lambda a: -mp.log(mp.erfc(a)), lambda a: mp.erfc(a) / mp.erf(a), mp.mpf(1), mp.mpf(4), 6),
    }


def _erf_small(s: mp.mpf) -> mp.mpf:
    a = mp.sqrt(s)
    return mp.erf(a) / a - 1


def main() -> None:
    """Print the constants, then the measured errors."""
    for name, coefficients in fits().items():
        print(name, ", ".join(float32(c).hex() for c in coefficients))
    ln2_hi = float32(mp.log(2))
    singles = {
        "LOG2E": 1 / mp.log(2),
        "LN2_HI": mp.log(2),
        "LN2_LO": mp.log(2) - ln2_hi,
        "SQRT_HALF": mp.sqrt(mp.mpf(1) / 2),
        "SQRT_2_OVER_PI": mp.sqrt(2 / mp.pi),
    }
    for name, value in singles.items():
        print(name, float32(value).hex())
    measure()


def measure() -> None:
    """Largest errors of the float32 functions against float64, on a few million inputs."""
    from bitbert.runtime import functions

    x = -np.geomspace(1e-8, 86, 2_000_001).astype(np.float32)
    print("exp: relative", np.max(np.abs(functions.exp(x) / np.exp(x.astype(np.float64)) - 1)))
    x = np.geomspace(1e-6, 5, 1_000_001).astype(np.float32)
    erf = np.array([math.erf(v) for v in x.tolist()])
    print("erf: relative", np.max(np.abs(functions.erf(x) / erf - 1)))
    print("tanh: absolute", np.max(np.abs(functions.tanh(x) - np.tanh(x.astype(np.float64)))))
    x = np.linspace(-8, 8, 1_000_001).astype(np.float32)
    gelu = np.array([0.5 * v * (1 + math.erf(v * math.sqrt(0.5))) for v in x.tolist()])
    print("gelu: absolute", np.max(np.abs(functions.gelu(x) - gelu)))


if __name__ == "__main__":
    main()
