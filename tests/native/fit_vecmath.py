"""Fit the coefficients of `tapegrad.native.vecmath` again (a tool, not a test; needs mpmath).

Each entry is the minimax polynomial of a function over an interval under a weight, found by a Remez
exchange in 60 digits. The first coefficients are rounded to the element type one at a time, lowest first,
and the rest are fitted again after each, so that rounding one is made good by those after it.

    python tests/native/fit_vecmath.py [name ...]
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import mpmath as mp
import numpy as np

mp.mp.dps = 60
Function = Callable[[mp.mpf], mp.mpf]


def remez(f: Function, w: Function, a: mp.mpf, b: mp.mpf, degree: int) -> tuple[list, float]:
    """Coefficients (lowest first) that minimise max w(x) * |f(x) - p(x)| over [a, b], and that maximum."""
    n = degree + 2
    last = 24 * n  # an odd number of points, moved so that none is a zero of the weight
    angle = mp.pi / (last + 1)
    grid = [(a + b) / 2 - (b - a) / 2 * mp.cos(angle * (i + mp.mpf("0.37"))) for i in range(last + 1)]
    fs, ws = [f(x) for x in grid], [abs(w(x)) for x in grid]
    picked = [last * i // (n - 1) for i in range(n)]
    for _ in range(30):
        m = mp.matrix(n, n)
        rhs = mp.matrix(n, 1)
        for row, g in enumerate(picked):
            for col in range(degree + 1):
                m[row, col] = ws[g] * grid[g] ** col
            m[row, degree + 1] = (-1) ** row
            rhs[row] = ws[g] * fs[g]
        solution = mp.lu_solve(m, rhs)
        c = [solution[i] for i in range(degree + 1)]
        err = [ws[g] * (fs[g] - mp.polyval(c[::-1], grid[g])) for g in range(len(grid))]
        # One extremum per run of equal signs, then the best alternating run of n of them.
        peaks: list[int] = []
        for g in range(len(grid)):
            if peaks and (err[g] >= 0) == (err[peaks[-1]] >= 0):
                if abs(err[g]) > abs(err[peaks[-1]]):
                    peaks[-1] = g
            else:
                peaks.append(g)
        while len(peaks) > n:
            peaks.pop(0 if abs(err[peaks[0]]) < abs(err[peaks[-1]]) else -1)
        if len(peaks) < n or peaks == picked:
            break
        picked = peaks
    return c, float(max(abs(e) for e in err))


def fit(
    f: Function, w: Function, a: object, b: object, degree: int, bits: int, exact: int = 2
) -> tuple[list[float], float]:
    """Rounded coefficients and the weighted error of the unrounded polynomial."""
    a, b = mp.mpf(a), mp.mpf(b)
    done: list[float] = []
    g, v = f, w
    worst = 0.0
    while len(done) <= degree:
        c, worst = remez(g, v, a, b, degree - len(done))
        if not done:
            first = worst
        keep = 1 if len(done) < exact else len(c)
        for value in c[:keep]:
            rounded = float(np.float32(float(value))) if bits == 24 else float(value)
            done.append(rounded)
        fixed = list(done)

        def g(x: mp.mpf, fixed: list[float] = fixed) -> mp.mpf:
            return (f(x) - mp.polyval([mp.mpf(t) for t in fixed[::-1]], x)) / x ** len(fixed)

        def v(x: mp.mpf, k: int = len(fixed)) -> mp.mpf:
            return w(x) * abs(x) ** k

    return done, first


LN2 = mp.log(2)


def series(f: Function, at_zero: object) -> Function:
    """f with its removable singularity at zero filled in."""
    return lambda x: mp.mpf(at_zero) if abs(x) < mp.mpf(10) ** -25 else f(x)


SIN_TAIL = series(lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, mp.mpf(-1) / 6)
COS_TAIL = series(lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, mp.mpf(1) / 24)
ERF_RATIO = series(lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, 2 / mp.sqrt(mp.pi) - 1)
ERF_WEIGHT = series(lambda z: mp.sqrt(z) / mp.erf(mp.sqrt(z)), mp.sqrt(mp.pi) / 2)

TABLE: dict[str, tuple] = {
    # exp(r) = 1 + r + r^2 q(r)
    "exp32": (series(lambda r: (mp.expm1(r) - r) / r**2, 0.5), lambda r: r**2, "-0.3475", "0.3475", 4, 24),
    # the same for expm1, where the error is relative to expm1(r)
    "expm1_32": (series(lambda r: (mp.expm1(r) - r) / r**2, 0.5), lambda r: r, "-0.3475", "0.3475", 5, 24),
    "exp64": (series(lambda r: (mp.expm1(r) - r) / r**2, 0.5), lambda r: r**2, "-0.347", "0.347", 10, 53),
    # tanh(x) = x + x^3 q(x^2)
    "tanh32": (
        series(lambda z: (mp.tanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, mp.mpf(-1) / 3),
        lambda z: z,
        0,
        "0.4",
        5,
        24,
    ),
    # log(1 + f) = f - f^2/2 + f^3 q(f)
    "log32": (
        series(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, mp.mpf(1) / 3),
        series(lambda f: f**3 / mp.log1p(f), 0),
        "-0.2930",
        "0.4143",
        8,
        24,
    ),
    # log2(1 + f) = f / ln 2 + f^2 q(f), and log10 in the same way
    "log2_32": (
        series(lambda f: (mp.log1p(f) / LN2 - f / LN2) / f**2, -1 / LN2 / 2),
        series(lambda f: f**2 / mp.log1p(f), 0),
        "-0.2930",
        "0.4143",
        9,
        24,
    ),
    "log10_32": (
        series(lambda f: (mp.log1p(f) - f) / f**2 / mp.log(10), -1 / mp.log(10) / 2),
        series(lambda f: f**2 / mp.log1p(f), 0),
        "-0.2930",
        "0.4143",
        9,
        24,
    ),
    # log((1 + s) / (1 - s)) = 2 s + s^3 q(s^2)
    "log64": (
        series(lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z, mp.mpf(2) / 3),
        lambda z: z,
        0,
        "0.02945",
        6,
        53,
    ),
    # sin(r) = r + r^3 q(r^2), cos(r) = 1 - r^2 / 2 + r^4 q(r^2) for |r| <= pi / 4
    "sin32": (SIN_TAIL, lambda z: z, 0, "0.6176", 2, 24),
    "cos32": (COS_TAIL, lambda z: z * z, 0, "0.6176", 2, 24),
    "sin64": (SIN_TAIL, lambda z: z, 0, "0.6176", 5, 53),
    "cos64": (COS_TAIL, lambda z: z * z, 0, "0.6176", 5, 53),
    "sin_tan32": (SIN_TAIL, lambda z: z, 0, "0.6176", 3, 53),
    "cos_tan32": (COS_TAIL, lambda z: z * z, 0, "0.6176", 3, 53),
    # erf(x) = x + x q(x^2) below, 1 - exp(-q(|x|)) above
    "erf_near32": (ERF_RATIO, ERF_WEIGHT, 0, "0.8101", 6, 24),
    "erf_far32": (lambda x: -mp.log(mp.erfc(x)), lambda x: mp.erfc(x) / mp.erf(x), "0.89", "4.0", 7, 24),
    "erf_near64": (ERF_RATIO, ERF_WEIGHT, 0, "1.0001", 12, 53),
    "erf_far64": (lambda x: -mp.log(mp.erfc(x)), lambda x: mp.erfc(x) / mp.erf(x), "1.0", "6.0", 17, 53),
    # the same over all of it, where an absolute error is enough
    "erfc_absolute32": (lambda x: -mp.log(mp.erfc(x)), lambda x: mp.erfc(x), 0, "4.0", 8, 24),
    # pow: log2(1 + f) = f q(f); 2^r = 1 + r q(r); atanh(s) = s (1 + z (1 / 3 + z q(z))), z = s^2
    "pow_log2_32": (
        series(lambda f: mp.log1p(f) / LN2 / f, 1 / LN2),
        series(lambda f: f * LN2 / mp.log1p(f), 1),
        "-0.2930",
        "0.4143",
        12,
        53,
    ),
    "pow_exp2_32": (series(lambda r: (2**r - 1) / r, LN2), lambda r: r / 2**r, "-0.5", "0.5", 5, 53),
    "pow_log64": (
        series(lambda z: ((mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z - mp.mpf(1) / 3) / z, mp.mpf(1) / 5),
        lambda z: z * z,
        0,
        "0.02945",
        6,
        53,
    ),
}


def main(names: list[str]) -> None:
    for name in names or TABLE:
        c, worst = fit(*TABLE[name])
        print(f"{name}: weighted error 2^{float(mp.log(worst, 2)):.1f}")
        for value in c:
            print("   ", f"{value:.9g}," if TABLE[name][5] == 24 else f"{value!r},")


if __name__ == "__main__":
    main(sys.argv[1:])
