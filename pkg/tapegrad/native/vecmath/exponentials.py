"""exp, expm1, tanh and sigmoid as polynomials that vectorise.

All start from x = k ln 2 + r with |r| <= ln 2 / 2. Adding 1.5 * 2^23 (2^52 in float64) to x / ln 2 rounds it
to the integer k and leaves k in the low bits of the sum, which holds for NaN too: nothing here converts a
float that may be out of range. r = x - k * HI - k * LO, where k * HI is exact. Then exp(r) = 1 + r + r^2 q(r)
and 2^k is put together from bits, in two factors so that denormal results are rounded once.

The coefficients are minimax fits of our own (tests/native/fit_vecmath.py).
"""

from __future__ import annotations

import numpy as np

from ...dtypes import float32, float64, int32, int64
from ..symbols import bitcast, fabs, fma, where

# float32
LOG2E_F, LN2_HI_F, LN2_LO_F = (np.float32(c) for c in (1.4426950408889634, 0.693359375, -2.1219444e-4))
ROUND_F, ROUND_BITS_F = np.float32(12582912.0), np.int32(0x4B400000)
E0, E1, E2, E3, E4 = (np.float32(c) for c in (0.5, 0.166665196, 0.0416664667, 0.0083681792, 0.00139551109))
M0, M1, M2, M3, M4, M5 = (
    np.float32(c) for c in (0.5, 0.166666672, 0.0416665897, 0.00833312422, 0.00139199675, 0.000200335082)
)
T0, T1, T2, T3, T4, T5 = (
    np.float32(c)
    for c in (-0.333333313, 0.133332178, -0.053947553, 0.0217024386, -0.00817700848, 0.00213928916)
)
ZERO_F, HALF_F, ONE_F, TWO_F = (np.float32(c) for c in (0.0, 0.5, 1.0, 2.0))
EXP_MAX_F, EXP_MIN_F, EXPM1_MIN_F = np.float32(89.0), np.float32(-104.0), np.float32(-30.0)
TANH_SPLIT_F, TANH_MAX_F = np.float32(0.625), np.float32(10.0)
SIGN_F = np.int32(-(2**31))

# float64
LOG2E, LN2_HI, LN2_LO = (
    np.float64(c) for c in (1.4426950408889634, 0.6931471805598903, 5.497923018708371e-14)
)
ROUND, ROUND_BITS = np.float64(6755399441055744.0), np.int64(0x4338000000000000)
D0, D1, D2, D3, D4, D5, D6, D7, D8, D9, D10 = (
    np.float64(c)
    for c in (
        0.5,
        0.16666666666666685,
        0.04166666666666667,
        0.008333333333315722,
        0.001388888888888418,
        0.00019841269899604095,
        2.4801587323768045e-05,
        2.7557231671452293e-06,
        2.7557276151876706e-07,
        2.5113140712052612e-08,
        2.091357092462064e-09,
    )
)
ZERO, HALF, ONE, TWO = (np.float64(c) for c in (0.0, 0.5, 1.0, 2.0))
EXP_MAX, EXP_MIN, EXPM1_MIN, TANH_MAX = (np.float64(c) for c in (710.0, -746.0, -60.0, 22.0))
LN2_ONE = np.float64(0.6931471805599453)
SIGN = np.int64(-(2**63))
TINY = np.float64(1e-9)  # tanh(x) rounds to x below


def with_sign_f32(y, x):
    """y >= 0 (or NaN) with the sign bit of x."""
    return bitcast(int32(bitcast(y, int32) | (bitcast(x, int32) & SIGN_F)), float32)


def with_sign_f64(y, x):
    return bitcast(int64(bitcast(y, int64) | (bitcast(x, int64) & SIGN)), float64)


def power_of_two_f32(k):
    """2^k for an int32 -126 <= k <= 127."""
    return bitcast(int32(int32(k + 127) << 23), float32)


def power_of_two_f64(k):
    """2^k for an int64 -1022 <= k <= 1023."""
    return bitcast(int64(int64(k + 1023) << 52), float64)


def exp_f32(x):
    """e^x within 1.2 ulp over all of float32."""
    x = where(x > EXP_MAX_F, EXP_MAX_F, x)
    x = where(x < EXP_MIN_F, EXP_MIN_F, x)
    t = fma(x, LOG2E_F, ROUND_F)
    k = t - ROUND_F
    r = fma(-k, LN2_LO_F, fma(-k, LN2_HI_F, x))
    q = fma(fma(fma(fma(E4, r, E3), r, E2), r, E1), r, E0)
    p = fma(r * r, q, r) + ONE_F
    n = int32(bitcast(t, int32) - ROUND_BITS_F)
    half = int32(n >> 1)
    return p * power_of_two_f32(half) * power_of_two_f32(int32(n - half))


def exp_low_f32(x):
    """e^x within 1.2 ulp for -87 <= x <= 88, or NaN: one factor 2^k is enough there."""
    t = fma(x, LOG2E_F, ROUND_F)
    k = t - ROUND_F
    r = fma(-k, LN2_LO_F, fma(-k, LN2_HI_F, x))
    q = fma(fma(fma(fma(E4, r, E3), r, E2), r, E1), r, E0)
    p = fma(r * r, q, r) + ONE_F
    return p * power_of_two_f32(int32(bitcast(t, int32) - ROUND_BITS_F))


def exp_f64(x):
    """e^x within 1.1 ulp over all of float64."""
    x = where(x > EXP_MAX, EXP_MAX, x)
    x = where(x < EXP_MIN, EXP_MIN, x)
    t = fma(x, LOG2E, ROUND)
    k = t - ROUND
    r = fma(-k, LN2_LO, fma(-k, LN2_HI, x))
    p = fma(r * r, exp_tail_f64(r), r) + ONE
    n = int64(bitcast(t, int64) - ROUND_BITS)
    half = n >> 1
    return p * power_of_two_f64(half) * power_of_two_f64(int64(n - half))


def exp_tail_f64(r):
    """q(r) = (e^r - 1 - r) / r^2: in powers of r^2, which is half the wait of Horner's one chain."""
    z = r * r
    even = fma(fma(fma(fma(fma(D10, z, D8), z, D6), z, D4), z, D2), z, D0)
    odd = fma(fma(fma(fma(D9, z, D7), z, D5), z, D3), z, D1)
    return fma(odd, r, even)


def expm1_f32(x):
    """e^x - 1 within 2 ulp; for k = 0 no constant enters, so small and denormal x keep all their bits."""
    x = where(x > EXP_MAX_F, EXP_MAX_F, x)
    x = where(x < EXPM1_MIN_F, EXPM1_MIN_F, x)
    t = fma(x, LOG2E_F, ROUND_F)
    k = t - ROUND_F
    high = fma(-k, LN2_HI_F, x)
    r = fma(-k, LN2_LO_F, high)
    low = fma(-k, LN2_LO_F, high - r)
    q = fma(fma(fma(fma(fma(M5, r, M4), r, M3), r, M2), r, M1), r, M0)
    tail = fma(r * r, q, fma(low, r, low))
    p = r + tail
    scale = power_of_two_f32(int32(int32(bitcast(t, int32) - ROUND_BITS_F) - 1))  # half of 2^k: k may be 128
    head = fma(scale, r, scale - HALF_F)
    big = fma(scale, tail, head) * TWO_F
    return where(x == ZERO_F, x, where(k == ZERO_F, p, big))


def expm1_f64(x):
    """e^x - 1 within 2 ulp; for k = 0 no constant enters, so small and denormal x keep all their bits."""
    x = where(x > EXP_MAX, EXP_MAX, x)
    x = where(x < EXPM1_MIN, EXPM1_MIN, x)
    t = fma(x, LOG2E, ROUND)
    k = t - ROUND
    high = fma(-k, LN2_HI, x)
    r = fma(-k, LN2_LO, high)
    low = fma(-k, LN2_LO, high - r)
    tail = fma(r * r, exp_tail_f64(r), fma(low, r, low))
    p = r + tail
    scale = power_of_two_f64(int64(int64(bitcast(t, int64) - ROUND_BITS) - 1))
    head = fma(scale, r, scale - HALF)
    big = fma(scale, tail, head) * TWO
    return where(x == ZERO, x, where(k == ZERO, p, big))


def tanh_f32(x):
    """tanh within 2 ulp: an odd polynomial below 0.625, 1 - 2 / (e^2|x| + 1) above."""
    a = fabs(x)
    z = a * a
    q = fma(fma(fma(fma(fma(T5, z, T4), z, T3), z, T2), z, T1), z, T0)
    small = fma(a * z, q, a)
    b = where(a > TANH_MAX_F, TANH_MAX_F, a) * TWO_F
    t = fma(b, LOG2E_F, ROUND_F)
    k = t - ROUND_F
    r = fma(-k, LN2_LO_F, fma(-k, LN2_HI_F, b))
    q = fma(fma(fma(fma(E4, r, E3), r, E2), r, E1), r, E0)
    e = (fma(r * r, q, r) + ONE_F) * power_of_two_f32(int32(bitcast(t, int32) - ROUND_BITS_F))
    large = ONE_F - TWO_F / (e + ONE_F)
    return with_sign_f32(where(a < TANH_SPLIT_F, small, large), x)


def tanh_f64(x):
    """tanh within 2 ulp as m / (m + 2), m = e^2|x| - 1, what m + 2 lost made good after the division."""
    a = fabs(x)
    m = expm1_f64(where(a > TANH_MAX, TANH_MAX, a) * TWO)
    d = m + TWO
    lost = where(m > TWO, (m - d) + TWO, (TWO - d) + m)
    inverse = ONE / d
    y = m * inverse
    y = fma(fma(-y, lost, fma(-y, d, m)), inverse, y)
    return with_sign_f64(where(a < TINY, a, y), x)


def sigmoid_f32(x):
    """1 / (1 + e^-x) within 2 ulp, from e^-|x| so that the far left keeps its denormals.

    Most of what the sum 1 + e loses is made good after the division.
    """
    e = exp_f32(-fabs(x))
    d = ONE_F + e
    y = where(x < ZERO_F, e, ONE_F) / d
    return fma(-y, (ONE_F - d) + e, y)


def sigmoid_f64(x):
    """1 / (1 + e^-x) within 2 ulp, as in float32."""
    e = exp_f64(-fabs(x))
    top = where(x < ZERO, e, ONE)
    d = ONE + e
    inverse = ONE / d
    y = top * inverse
    return fma(fma(-y, (ONE - d) + e, fma(-y, d, top)), inverse, y)
