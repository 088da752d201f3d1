"""log, log1p, log2 and log10 as polynomials that vectorise.

x = 2^k m with sqrt(1/2) <= m < sqrt(2), by integer arithmetic on the bits (denormals are scaled up
first), and f = m - 1 is exact. In float32 log(1 + f) is a polynomial in f; in float64 one in s^2 with
s = f / (2 + f), from log(1 + f) = 2 atanh(s), put together so that f itself enters unrounded:
    log(1 + f) = f - (h - s (h + s^2 q(s^2))),  h = f^2 / 2.
Other bases multiply f by a two-part constant with fma, so that results next to x = 1 keep their last bits.

The coefficients are minimax fits of our own (tests/native/fit_vecmath.py).
"""

from __future__ import annotations

import numpy as np

from ...dtypes import float32, float64, int32, int64
from ..symbols import bitcast, fma, where
from .exponentials import power_of_two_f32, power_of_two_f64

# float32
NORMAL_F, LIFT_F, LIFT_K_F = np.float32(2.0**-126), np.float32(2.0**25), np.float32(25.0)
ZERO_F, HALF_F, ONE_F, INF_F, NAN_F = (np.float32(c) for c in (0.0, 0.5, 1.0, np.inf, np.nan))
ROOT_F, MANTISSA_F = np.int32(0x3F3504F3), np.int32(0x7FFFFF)
LN2_HI_F, LN2_LO_F = np.float32(0.693359375), np.float32(-2.1219444e-4)
L0, L1, L2, L3, L4, L5, L6, L7, L8 = (
    np.float32(c)
    for c in (
        0.333333135,
        -0.250000149,
        0.200020298,
        -0.166679159,
        0.142213553,
        -0.124059826,
        0.118752033,
        -0.116742529,
        0.0677571371,
    )
)
LOG2E_F, LOG2E_LO_F = np.float32(1.4426950408889634), np.float32(1.9259629911266175e-08)
B0, B1, B2, B3, B4, B5, B6, B7, B8, B9 = (
    np.float32(c)
    for c in (
        -0.721347511,
        0.480898172,
        -0.36067462,
        0.288563341,
        -0.240445778,
        0.205236748,
        -0.179296225,
        0.171179667,
        -0.166793749,
        0.0962312967,
    )
)
LOG10E_F, LOG10E_LO_F = np.float32(0.4342944819032518), np.float32(-1.0103050052231683e-08)
LOG10_2_HI_F, LOG10_2_LO_F = np.float32(0.301025390625), np.float32(4.605038981195214e-06)
C0, C1, C2, C3, C4, C5, C6, C7, C8, C9 = (
    np.float32(c)
    for c in (
        -0.217147246,
        0.144764766,
        -0.108573236,
        0.0868661553,
        -0.0723983198,
        0.0617959388,
        -0.0537931323,
        0.0512989275,
        -0.0508895256,
        0.0300842263,
    )
)

# float64
NORMAL, LIFT, LIFT_K = np.float64(2.0**-1022), np.float64(2.0**54), np.float64(54.0)
ZERO, HALF, ONE, TWO, INF, NAN = (np.float64(c) for c in (0.0, 0.5, 1.0, 2.0, np.inf, np.nan))
ROOT, MANTISSA = np.int64(0x3FE6A09E667F3BCD), np.int64(0xFFFFFFFFFFFFF)
LN2_HI, LN2_LO = np.float64(0.6931471805598903), np.float64(5.497923018708371e-14)
LOG2E, LOG2E_LO = np.float64(1.4426950408889634), np.float64(2.0355273740931033e-17)
LOG10E, LOG10E_LO = np.float64(0.4342944819032518), np.float64(1.098319650216765e-17)
LOG10_2_HI, LOG10_2_LO = np.float64(0.30102999566395283), np.float64(2.8363394551044964e-14)
S0, S1, S2, S3, S4, S5, S6 = (
    np.float64(c)
    for c in (
        0.6666666666666735,
        0.3999999999940926,
        0.2857142874372699,
        0.2222219842328312,
        0.18183572713878188,
        0.1531382164113975,
        0.14798375787692447,
    )
)


def split_f32(x):
    """(k, f) with x = 2^k (1 + f), k as a float, for 0 < x < inf (anything for the rest)."""
    tiny = x < NORMAL_F
    bits = int32(bitcast(where(tiny, x * LIFT_F, x), int32) - ROOT_F)
    k = float32(int32(bits >> 23)) - where(tiny, LIFT_K_F, ZERO_F)
    return k, bitcast(int32((bits & MANTISSA_F) + ROOT_F), float32) - ONE_F


def split_f64(x):
    tiny = x < NORMAL
    bits = int64(bitcast(where(tiny, x * LIFT, x), int64) - ROOT)
    k = float64(bits >> 52) - where(tiny, LIFT_K, ZERO)
    return k, bitcast(int64((bits & MANTISSA) + ROOT), float64) - ONE


def log_ends_f32(x, y):
    """y for 0 < x < inf; the right special value elsewhere."""
    return where(x > ZERO_F, where(x < INF_F, y, x), where(x == ZERO_F, -INF_F, NAN_F))


def log_ends_f64(x, y):
    return where(x > ZERO, where(x < INF, y, x), where(x == ZERO, -INF, NAN))


def log_sum_f32(k, f):
    """k ln 2 + log(1 + f)."""
    z = f * f
    odd = fma(fma(fma(L7, z, L5), z, L3), z, L1)
    even = fma(fma(fma(fma(L8, z, L6), z, L4), z, L2), z, L0)
    y = fma(f * z, fma(odd, f, even), k * LN2_LO_F)
    return fma(k, LN2_HI_F, f + fma(-HALF_F, z, y))


def log1p_tail_f64(f):
    """f - log(1 + f), small against f."""
    s = f / (TWO + f)
    z = s * s
    w = z * z
    odd = fma(fma(S5, w, S3), w, S1)
    even = fma(fma(fma(S6, w, S4), w, S2), w, S0)
    h = HALF * f * f
    return h, s * fma(z, fma(odd, z, even), h)


def log_sum_f64(k, f):
    h, sr = log1p_tail_f64(f)
    return fma(k, LN2_HI, f - (h - fma(k, LN2_LO, sr)))


def log_f32(x):
    """Natural logarithm within 1 ulp."""
    k, f = split_f32(x)
    return log_ends_f32(x, log_sum_f32(k, f))


def log_f64(x):
    """Natural logarithm within 1 ulp."""
    k, f = split_f64(x)
    return log_ends_f64(x, log_sum_f64(k, f))


def log2_f32(x):
    """Logarithm to base 2 within 1.2 ulp; exact for powers of two."""
    k, f = split_f32(x)
    z = f * f
    odd = fma(fma(fma(fma(B9, z, B7), z, B5), z, B3), z, B1)
    even = fma(fma(fma(fma(B8, z, B6), z, B4), z, B2), z, B0)
    p = f * LOG2E_F
    low = fma(z, fma(odd, f, even), fma(f, LOG2E_LO_F, fma(f, LOG2E_F, -p)))
    high = k + p
    return log_ends_f32(x, high + (((k - high) + p) + low))


def log2_f64(x):
    """Logarithm to base 2 within 1.2 ulp; exact for powers of two."""
    k, f = split_f64(x)
    h, sr = log1p_tail_f64(f)
    p = f * LOG2E
    low = fma(-(h - sr), LOG2E, fma(f, LOG2E_LO, fma(f, LOG2E, -p)))
    high = k + p
    return log_ends_f64(x, high + (((k - high) + p) + low))


def log10_f32(x):
    """Logarithm to base 10 within 1 ulp."""
    k, f = split_f32(x)
    z = f * f
    odd = fma(fma(fma(fma(C9, z, C7), z, C5), z, C3), z, C1)
    even = fma(fma(fma(fma(C8, z, C6), z, C4), z, C2), z, C0)
    p = f * LOG10E_F
    low = fma(z, fma(odd, f, even), fma(f, LOG10E_LO_F, fma(f, LOG10E_F, -p)))
    n = k * LOG10_2_HI_F
    high = n + p
    return log_ends_f32(x, high + (((n - high) + p) + fma(k, LOG10_2_LO_F, low)))


def log10_f64(x):
    """Logarithm to base 10 within 1 ulp."""
    k, f = split_f64(x)
    h, sr = log1p_tail_f64(f)
    p = f * LOG10E
    low = fma(-(h - sr), LOG10E, fma(f, LOG10E_LO, fma(f, LOG10E, -p)))
    n = k * LOG10_2_HI
    high = n + p
    return log_ends_f64(x, high + (((n - high) + p) + fma(k, LOG10_2_LO, low)))


def log1p_f32(x):
    """log(1 + x) within 2 ulp: k comes from the rounded sum, f = 2^-k x + (2^-k - 1) from x itself."""
    n = int32(int32(bitcast(ONE_F + x, int32) - ROOT_F) >> 23)
    half = int32(n >> 1)
    # 2^-n in two factors, since 2^-128 is denormal
    a, b = power_of_two_f32(int32(-half)), power_of_two_f32(int32(half - n))
    y = log_sum_f32(float32(n), fma(x * a, b, fma(a, b, -ONE_F)))
    y = where(x == ZERO_F, x, y)
    return where(x > -ONE_F, where(x < INF_F, y, x), where(x == -ONE_F, -INF_F, NAN_F))


def log1p_f64(x):
    """log(1 + x) within 2 ulp: k comes from the rounded sum, f = 2^-k x + (2^-k - 1) from x itself."""
    n = int64(int64(bitcast(ONE + x, int64) - ROOT) >> 52)
    half = n >> 1
    a, b = power_of_two_f64(int64(-half)), power_of_two_f64(int64(half - n))
    y = log_sum_f64(float64(n), fma(x * a, b, fma(a, b, -ONE)))
    y = where(x == ZERO, x, y)
    return where(x > -ONE, where(x < INF, y, x), where(x == -ONE, -INF, NAN))
