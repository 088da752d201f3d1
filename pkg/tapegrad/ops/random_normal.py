"""Kernels that draw normal and exponential numbers, as PyTorch's CPU generator does, bit by bit.

The float32 normals go through the single-precision logarithm, sine and cosine of the Cephes library
(S. Moshier) with the multiply-adds that PyTorch's AVX2 build fuses; `fma` says so on any CPU. The
float64 ones and the scalar ones use the C library, as PyTorch's do.

The frame is that of `random_kernels.py`. Parameters of the normal kernels: mean, std (float64).
"""

import math

from .._layout import FRAME_EXT, FRAME_OUT, FRAME_PARAMS
from ..dtypes import float32, float64, int32, int64
from ..dtypes import float32 as T
from ..native.symbols import bitcast, fma, pointer, sqrt, where
from .random_kernels import fill_uniform32, fill_uniform64, next_uniform

TWO_PI = 2.0 * math.pi
NORMAL_WORD = 628  # in a generator's words: the cached normal, and whether it is valid
NORMAL_VALID_WORD = 630


def normal_scalar(f, lo, hi):
    """Fewer than 16 elements: Box and Muller in float64; the sine of a pair waits for the next call."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], T)
    mean = pointer(f[FRAME_PARAMS], float64)[0]
    std = pointer(f[FRAME_PARAMS], float64)[1]
    valid = pointer(g + 8 * NORMAL_VALID_WORD, int64)
    cache = pointer(g + 8 * NORMAL_WORD, float64)
    for i in range(lo, hi):
        if valid[0] != 0:
            z = cache[0]
            valid[0] = 0
            cache[0] = 0.0
        else:
            u1 = next_uniform(g)
            u2 = next_uniform(g)
            r = math.sqrt(-2.0 * math.log1p(-u2))
            theta = TWO_PI * u1
            z = r * math.cos(theta)
            cache[0] = r * math.sin(theta)
            valid[0] = 1
        y[i] = T(fma(z, std, mean))
    return 0


def log_cephes(x):
    """Natural logarithm of a float32 in (0, 1]."""
    bits = bitcast(x, int32)
    e = float32(int32((bits >> 23) - 126))
    x = bitcast(int32((bits & 0x7FFFFF) | 0x3F000000), float32)  # in [0.5, 1)
    small = x < float32(0.707106781186547524)
    e = where(small, e - float32(1.0), e)
    x = (x - float32(1.0)) + where(small, x, float32(0.0))
    z = x * x
    y = fma(float32(7.0376836292e-2), x, float32(-1.1514610310e-1))
    y = fma(y, x, float32(1.1676998740e-1))
    y = fma(y, x, float32(-1.2420140846e-1))
    y = fma(y, x, float32(1.4249322787e-1))
    y = fma(y, x, float32(-1.6668057665e-1))
    y = fma(y, x, float32(2.0000714765e-1))
    y = fma(y, x, float32(-2.4999993993e-1))
    y = fma(y, x, float32(3.3333331174e-1))
    y = fma(y * x, z, e * float32(-2.12194440e-4))
    y = y - z * float32(0.5)
    return fma(e, float32(0.693359375), x + y)


def octant(x):
    """The even number of eighths of a turn nearest to x >= 0, as int32."""
    return int32((int32(x * float32(1.27323954473516)) + 1) & 0xFFFFFFFE)


def reduced(x, j):
    """x - j * pi/4 with pi/4 in three parts."""
    k = float32(j)
    x = fma(k, float32(-0.78515625), x)
    x = fma(k, float32(-2.4187564849853515625e-4), x)
    return fma(k, float32(-3.77489497744594108e-8), x)


def cos_near_zero(x):
    z = x * x
    y = fma(float32(2.443315711809948e-5), z, float32(-1.388731625493765e-3))
    y = fma(y, z, float32(4.166664568298827e-2)) * z
    return fma(y, z, -(z * float32(0.5))) + float32(1.0)


def sin_near_zero(x):
    z = x * x
    y = fma(float32(-1.9515295891e-4), z, float32(8.3321608736e-3))
    y = fma(y, z, float32(-1.6666654611e-1)) * z
    return fma(y, x, x)


def normals_16_float32(y, i, mean, std):
    """Turn the 16 uniforms from y[i] on into normals: 8 radii, 8 angles."""
    for j in range(i, i + 8):
        u = float32(1.0) - y[j]
        radius = sqrt(float32(-2.0) * log_cephes(u))
        theta = float32(TWO_PI) * y[j + 8]
        k = octant(theta)
        x = reduced(theta, k)
        c = cos_near_zero(x)
        s = sin_near_zero(x)
        swap = (k & 2) != 0
        sine = where(swap, c, s)
        cosine = where(swap, s, c)
        sine = where((k & 4) != 0, -sine, sine)
        cosine = where(((k + 2) & 4) != 0, -cosine, cosine)
        y[j] = fma(radius * cosine, std, mean)
        y[j + 8] = fma(radius * sine, std, mean)


def normals_16_float64(y, i, mean, std):
    for j in range(i, i + 8):
        radius = math.sqrt(-2.0 * math.log(1.0 - y[j]))
        theta = TWO_PI * y[j + 8]
        y[j] = fma(radius * math.cos(theta), std, mean)
        y[j + 8] = fma(radius * math.sin(theta), std, mean)


def normal_float32(f, lo, hi):
    """At least 16 elements; a last block that is not full is drawn again, as the last 16."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], float32)
    mean = float32(pointer(f[FRAME_PARAMS], float64)[0])
    std = float32(pointer(f[FRAME_PARAMS], float64)[1])
    fill_uniform32(g, y, lo, hi, float32(0.0), float32(1.0))
    for b in range((hi - lo) >> 4):
        normals_16_float32(y, lo + 16 * b, mean, std)
    if (hi - lo) & 15:
        fill_uniform32(g, y, hi - 16, hi, float32(0.0), float32(1.0))
        normals_16_float32(y, hi - 16, mean, std)
    return 0


def normal_float64(f, lo, hi):
    """As normal_float32, with the C library's logarithm, sine and cosine."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], float64)
    mean = pointer(f[FRAME_PARAMS], float64)[0]
    std = pointer(f[FRAME_PARAMS], float64)[1]
    fill_uniform64(g, y, lo, hi, 0.0, 1.0)
    for b in range((hi - lo) >> 4):
        normals_16_float64(y, lo + 16 * b, mean, std)
    if (hi - lo) & 15:
        fill_uniform64(g, y, hi - 16, hi, 0.0, 1.0)
        normals_16_float64(y, hi - 16, mean, std)
    return 0


def exponential(f, lo, hi):
    """Rate in the parameter (float64); computed in float64 for each T."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], T)
    scale = -1.0 / pointer(f[FRAME_PARAMS], float64)[0]
    for i in range(lo, hi):
        y[i] = T(scale * math.log1p(-next_uniform(g)))
    return 0
