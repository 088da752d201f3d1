"""sin, cos and tan as polynomials that vectorise.

x = k pi/2 + r with |r| <= pi/4. In both types the reduction is made in float64 with pi/2 as a sum of
float64 parts: x - k P1 is exact with fma (multiples of 2^-52 whose difference is below 2), and
the other parts follow. float32 then has r to its last bit and goes on as such; float64 keeps two parts of r.
That is right for |x| <= 2^50 (1e15). Beyond, neighbours among the floats lie further apart than a period;
such x are first divided by a power of two, so that the result is bounded, but it means nothing.
Infinities give NaN.

The coefficients are minimax fits of our own (tests/native/fit_vecmath.py).
"""

from __future__ import annotations

import numpy as np

from ...dtypes import float32, float64, int32, int64
from ..symbols import bitcast, fabs, fma, where

ROUND = np.float64(6755399441055744.0)  # 1.5 * 2^52
TWO_OVER_PI, P1, P2, P3 = (
    np.float64(c)
    for c in (0.6366197723675814, 1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
)
ZERO, HALF, ONE = np.float64(0.0), np.float64(0.5), np.float64(1.0)
LARGE, SHRINK_F, SHRINK = np.float64(2.0**50), np.float64(2.0**-80), np.float64(2.0**-976)
S0, S1, S2, S3, S4, S5 = (
    np.float64(c)
    for c in (
        -0.16666666666666632,
        0.008333333333322469,
        -0.00019841269829831012,
        2.755731369521533e-06,
        -2.505075809297167e-08,
        1.5896770288499283e-10,
    )
)
C0, C1, C2, C3, C4, C5 = (
    np.float64(c)
    for c in (
        0.0416666666666666,
        -0.0013888888888874452,
        2.4801587289648155e-05,
        -2.755731439204679e-07,
        2.0875727810116924e-09,
        -1.1359847018017828e-11,
    )
)
# tan of float32 ends in float64: short polynomials, one rounding
TS0, TS1, TS2, TS3 = (
    np.float64(c)
    for c in (-0.166666666415128, 0.008333329372249213, -0.00019839330346557683, 2.718267931770173e-06)
)
TC0, TC1, TC2, TC3 = (
    np.float64(c)
    for c in (0.04166666662262448, -0.0013888883735411616, 2.4799515204144677e-05, -2.720983822590363e-07)
)

ZERO_F, HALF_F, ONE_F = np.float32(0.0), np.float32(0.5), np.float32(1.0)
S0_F, S1_F, S2_F = (np.float32(c) for c in (-0.166666552, 0.00833219104, -0.000195186047))
C0_F, C1_F, C2_F = (np.float32(c) for c in (0.0416666456, -0.00138873013, 2.44306666e-05))
INT1_F, INT2_F, INT1, INT2 = np.int32(1), np.int32(2), np.int64(1), np.int64(2)


def reduce_f32(x):
    """(quarter turn as int64, r as float64) of a float32."""
    x = float64(x)
    x = where(fabs(x) > LARGE, x * SHRINK_F, x)
    t = fma(x, TWO_OVER_PI, ROUND)
    k = t - ROUND
    return bitcast(t, int64), fma(-k, P2, fma(-k, P1, x))


def reduce_f64(x):
    """(quarter turn, r, what r lost) of a float64."""
    x = where(fabs(x) > LARGE, x * SHRINK, x)
    t = fma(x, TWO_OVER_PI, ROUND)
    k = t - ROUND
    high = fma(-k, P1, x)
    p = k * P2
    r = high - p
    b = high - r  # two-sum of high and -p, which may be of any relative size
    low = ((b - p) + (high - (r + b))) - fma(k, P2, -p)
    return bitcast(t, int64), r, fma(-k, P3, low)


def turn_f32(n, r):
    """sin(r + n pi/2)."""
    z = r * r
    s = fma(r * z, fma(fma(S2_F, z, S1_F), z, S0_F), r)
    c = fma(z * z, fma(fma(C2_F, z, C1_F), z, C0_F), fma(-HALF_F, z, ONE_F))
    y = where((n & INT1_F) != 0, c, s)
    return bitcast(int32(bitcast(y, int32) ^ int32((n & INT2_F) << 30)), float32)


def sin_cos_f64(r, low):
    """sin and cos of r + low, each as the unrounded sum of a large and a small part."""
    z = r * r
    w = z * z
    odd = fma(fma(S5, w, S3), w, S1)
    even = fma(fma(S4, w, S2), w, S0)
    h = HALF * z
    c = ONE - h
    sin_low = fma(r * z, fma(odd, z, even), low * c)
    odd = fma(fma(C5, w, C3), w, C1)
    even = fma(fma(C4, w, C2), w, C0)
    cos_low = ((ONE - c) - h) + fma(w, fma(odd, z, even), -r * low)
    return r, sin_low, c, cos_low


def turn_f64(n, r, low):
    """sin(r + low + n pi/2)."""
    s, sl, c, cl = sin_cos_f64(r, low)
    y = where((n & INT1) != 0, c + cl, s + sl)
    return bitcast(int64(bitcast(y, int64) ^ int64((n & INT2) << 62)), float64)


def sin_f32(x):
    """Sine within 2 ulp for |x| <= 2^50; bounded but meaningless beyond."""
    n, r = reduce_f32(x)
    return where(x == ZERO_F, x, turn_f32(int32(n), float32(r)))


def sin_f64(x):
    """Sine within 1 ulp for |x| <= 2^50; bounded but meaningless beyond."""
    n, r, low = reduce_f64(x)
    return where(x == ZERO, x, turn_f64(n, r, low))


def cos_f32(x):
    """Cosine within 2 ulp for |x| <= 2^50; bounded but meaningless beyond."""
    n, r = reduce_f32(x)
    return turn_f32(int32(int32(n) + 1), float32(r))


def cos_f64(x):
    """Cosine within 1 ulp for |x| <= 2^50; bounded but meaningless beyond."""
    n, r, low = reduce_f64(x)
    return turn_f64(n + INT1, r, low)


def tan_f32(x):
    """Tangent within 1 ulp for |x| <= 2^50 (sin / cos in float64, rounded once); meaningless beyond."""
    n, r = reduce_f32(x)
    z = r * r
    s = fma(r * z, fma(fma(fma(TS3, z, TS2), z, TS1), z, TS0), r)
    c = fma(z * z, fma(fma(fma(TC3, z, TC2), z, TC1), z, TC0), fma(-HALF, z, ONE))
    swap = (n & INT1) != 0
    return where(x == ZERO_F, x, float32(where(swap, -c, s) / where(swap, s, c)))


def tan_f64(x):
    """Tangent within 2 ulp for |x| <= 2^50; meaningless beyond."""
    n, r, low = reduce_f64(x)
    s, sl, c, cl = sin_cos_f64(r, low)
    sh = s + sl
    sl = (s - sh) + sl
    ch = c + cl
    cl = (c - ch) + cl
    swap = (n & INT1) != 0
    top, top_low = where(swap, -ch, sh), where(swap, -cl, sl)
    d, d_low = where(swap, sh, ch), where(swap, sl, cl)
    inverse = ONE / d
    y = top * inverse
    y = fma(fma(-y, d_low, fma(-y, d, top) + top_low), inverse, y)
    return where(x == ZERO, x, y)
