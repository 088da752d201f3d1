"""pow as 2^(y log2|x|), with the sign and the special values put on by selects.

float32 works in float64, whose spare bits pay for the multiplication by y. float64 carries log2|x| as a
sum of two float64 (from log2(m) = 2 atanh(s) / ln 2 with s = (m - 1) / (m + 1) in two parts), good to about
2^-64, since y multiplies its error by up to 1074.

The coefficients are minimax fits of our own (tests/native/fit_vecmath.py).
"""

from __future__ import annotations

import numpy as np

from ...dtypes import float32, float64, int32, int64
from ..symbols import bitcast, fabs, fma, rint, where
from .exponentials import LN2_ONE, ROUND, ROUND_BITS, exp_tail_f64, power_of_two_f64
from .logarithms import split_f64

ZERO, HALF, ONE, TWO, INF, NAN = (np.float64(c) for c in (0.0, 0.5, 1.0, 2.0, np.inf, np.nan))
ZERO_F, HALF_F, ONE_F, INF_F, NAN_F = (np.float32(c) for c in (0.0, 0.5, 1.0, np.inf, np.nan))
ROOT, MANTISSA = np.int64(0x3FE6A09E667F3BCD), np.int64(0xFFFFFFFFFFFFF)
LIMIT_F, LIMIT = np.float64(200.0), np.float64(1100.0)
G0, G1, G2, G3, G4, G5, G6, G7, G8, G9, G10, G11, G12 = (
    np.float64(c)
    for c in (
        1.4426950408686252,
        -0.721347520415596,
        0.4808983586632528,
        -0.3606737211730398,
        0.2885375293453333,
        -0.2404516671710435,
        0.2061682156839638,
        -0.18031954762225527,
        0.15886397844567207,
        -0.14307956434874236,
        0.14424375248147442,
        -0.14277634959094446,
        0.07799870233924783,
    )
)
X0, X1, X2, X3, X4, X5 = (
    np.float64(c)
    for c in (
        0.6931472028399673,
        0.24022651994320648,
        0.05550327837368247,
        0.00961796921811294,
        0.0013405379993479596,
        0.00015386858875510975,
    )
)
A0, A1, A2, A3, A4, A5, A6 = (
    np.float64(c)
    for c in (
        0.2000000000000113,
        0.14285714285048393,
        0.11111111260222915,
        0.09090892159699616,
        0.07693379805547129,
        0.06628381473085017,
        0.06598425874675329,
    )
)
THIRD, THIRD_LO = np.float64(0.3333333333333333), np.float64(1.850371707708594e-17)
BASE, BASE_LO = np.float64(2.8853900817779268), np.float64(4.0710547481862066e-17)  # 2 / ln 2


def pow_f32(x, y):
    """x^y within 1.2 ulp, special values as C99 has them. Computed in float64."""
    a = float64(fabs(x))
    b = float64(y)
    bits = int64(bitcast(a, int64) - ROOT)
    f = bitcast(int64((bits & MANTISSA) + ROOT), float64) - ONE
    z = f * f
    even = fma(fma(fma(fma(fma(fma(G12, z, G10), z, G8), z, G6), z, G4), z, G2), z, G0)
    odd = fma(fma(fma(fma(fma(G11, z, G9), z, G7), z, G5), z, G3), z, G1)
    log2 = fma(f, fma(odd, f, even), float64(bits >> 52))
    p = where(log2 == ZERO, ZERO, b * log2)
    p = where(p > LIMIT_F, LIMIT_F, p)
    p = where(p < -LIMIT_F, -LIMIT_F, p)
    t = p + ROUND
    r = p - (t - ROUND)
    z = r * r
    q = fma(fma(fma(X5, z, X3), z, X1), r, fma(fma(X4, z, X2), z, X0))
    scale = power_of_two_f64(int64(bitcast(t, int64) - ROUND_BITS))
    size = float32(fma(r, q, ONE) * scale)

    c = fabs(x)
    limit = where((c == ZERO_F) == (y > ZERO_F), ZERO_F, INF_F)
    size = where((c == ZERO_F) | (c == INF_F), limit, size)
    whole = rint(y) == y
    half = y * HALF_F
    odd_power = whole & (rint(half) != half)
    size = where((bitcast(x, int32) < 0) & odd_power, -size, size)
    size = where((x < ZERO_F) & (c < INF_F) & (rint(y) != y), NAN_F, size)
    size = where((x != x) | ((y != y) & (x != ONE_F)), x + y, size)
    return where(y == ZERO_F, ONE_F, size)


def log2_pair_f64(a):
    """log2(a) for 0 < a < inf as an unrounded sum of two."""
    k, f = split_f64(a)
    d = TWO + f
    d_low = (TWO - d) + f
    inverse = ONE / d
    s = f * inverse
    s_low = fma(-s, d_low, fma(-s, d, f)) * inverse
    z = s * s
    z_low = fma(s, s, -z) + TWO * s * s_low
    w = z * z
    odd = fma(fma(A5, w, A3), w, A1)
    even = fma(fma(fma(A6, w, A4), w, A2), w, A0)
    tail = z * fma(odd, z, even)
    c = THIRD + tail  # atanh(s) = s + s z c
    c_low = ((THIRD - c) + tail) + THIRD_LO
    u = z * c
    u_low = fma(z, c, -u) + fma(z, c_low, z_low * c)
    v = s * u
    v_low = fma(s, u, -v) + fma(s, u_low, s_low * u)
    h = s + v
    h_low = ((s - h) + v) + (s_low + v_low)
    g = h * BASE
    g_low = fma(h, BASE, -g) + fma(h, BASE_LO, h_low * BASE)
    high = k + g
    return high, ((k - high) + g) + g_low


def pow_f64(x, y):
    """x^y within 1.2 ulp, special values as C99 has them."""
    c = fabs(x)
    high, low = log2_pair_f64(c)
    p = where(high == ZERO, ZERO, y * high)
    p_low = fma(y, high, -p) + y * low
    p_low = where((fabs(p) < LIMIT) & (high != ZERO), p_low, ZERO)
    p = where(p > LIMIT, LIMIT, p)
    p = where(p < -LIMIT, -LIMIT, p)
    t = p + ROUND
    r = ((p - (t - ROUND)) + p_low) * LN2_ONE
    m = fma(r * r, exp_tail_f64(r), r) + ONE
    n = int64(bitcast(t, int64) - ROUND_BITS)
    half = n >> 1
    size = m * power_of_two_f64(half) * power_of_two_f64(int64(n - half))

    limit = where((c == ZERO) == (y > ZERO), ZERO, INF)
    size = where((c == ZERO) | (c == INF), limit, size)
    whole = rint(y) == y
    halved = y * HALF
    odd_power = whole & (rint(halved) != halved)
    size = where((bitcast(x, int64) < 0) & odd_power, -size, size)
    size = where((x < ZERO) & (c < INF) & (rint(y) != y), NAN, size)
    size = where((x != x) | ((y != y) & (x != ONE)), x + y, size)
    return where(y == ZERO, ONE, size)
