"""Kernels that draw random numbers: the stream of PyTorch's CPU generator, bit by bit.

FRAME_EXT is the address of a generator's words (`_generator.py` names them), FRAME_PARAMS of the
distribution's parameters, FRAME_OUT of a contiguous result. The stream has an order, so one call
does everything: lo = 0, hi = the number of elements. A kernel that returns an error leaves the
generator where PyTorch's would stand.

Words of the twister are taken in runs of up to 624, so that the loops over a run vectorise. A
float64 takes two words, the first is the high half.

The float32 normals go through the single-precision logarithm, sine and cosine of the Cephes library
(S. Moshier) with the multiply-adds that PyTorch's AVX2 build fuses; `fma` says so on any CPU. The
float64 ones and the scalar ones use the C library, as PyTorch's do.
"""

import math

from .._layout import FRAME_EXT, FRAME_IN, FRAME_OUT, FRAME_PARAMS
from ..dtypes import float32, float64, int32, int64
from ..dtypes import float32 as T
from ..native.symbols import bitcast, ceil, fma, pointer, sqrt, where

WIDE_PERMUTATION = (2**32 - 1) // 20  # from here on randperm draws 64 bits, in another order
TWO_PI = 2.0 * math.pi


# The engine. `g` is the address of the generator's words.


def twist(g):
    """Replace the 624 words by the next 624."""
    s = pointer(g + 24, int64)
    for i in range(227):
        v = (s[i] & 0x80000000) | (s[i + 1] & 0x7FFFFFFF)
        s[i] = s[i + 397] ^ (v >> 1) ^ (-(v & 1) & 0x9908B0DF)
    for i in range(227, 623):
        v = (s[i] & 0x80000000) | (s[i + 1] & 0x7FFFFFFF)
        s[i] = s[i - 227] ^ (v >> 1) ^ (-(v & 1) & 0x9908B0DF)
    v = (s[623] & 0x80000000) | (s[0] & 0x7FFFFFFF)
    s[623] = s[396] ^ (v >> 1) ^ (-(v & 1) & 0x9908B0DF)


def ready(g):
    """How many words can be taken before the next refill; refills first if none, so at least 1."""
    s = pointer(g, int64)
    left = s[1] & 0xFFFFFFFF
    if left == 1:
        twist(g)
        s[1] = 0x100000000 + 625  # the high half stays 1: seeded
        s[2] = 0
        left = 625
    return left - 1


def take(g, count):
    """Address of the next `count` raw words, which must be ready; they count as taken."""
    s = pointer(g, int64)
    first = g + 24 + 8 * s[2]
    s[1] -= count
    s[2] += count
    return first


def temper(v):
    v = v ^ (v >> 11)
    v = v ^ ((v << 7) & 0x9D2C5680)
    v = v ^ ((v << 15) & 0xEFC60000)
    return v ^ (v >> 18)


def next_word(g):
    ready(g)
    return temper(pointer(take(g, 1), int64)[0])


def next_pair(g):
    high = next_word(g)
    return (high << 32) | next_word(g)


def bits53(high, low):
    """The 53 bits of a float64 from two raw words."""
    return ((temper(high) & 0x1FFFFF) << 32) | temper(low)


def next_uniform(g):
    return float64(next_pair(g) & 0x1FFFFFFFFFFFFF) * 1.1102230246251565e-16


def fill_uniform32(g, y, lo, hi, low, high):
    width = high - low
    i = lo
    while i < hi:
        m = min(ready(g), hi - i)
        w = pointer(take(g, m), int64)
        for j in range(m):
            u = float32(int32(temper(w[j]) & 0xFFFFFF)) * float32(5.9604644775390625e-08)
            v = fma(u, width, low)
            y[i + j] = where(v == high, low, v)  # rounding may reach the excluded end
        i += m


def fill_uniform64(g, y, lo, hi, low, high):
    width = high - low
    i = lo
    while i < hi:
        k = ready(g)
        if k >= 2:
            m = min(k >> 1, hi - i)
            w = pointer(take(g, 2 * m), int64)
            for j in range(m):
                u = float64(bits53(w[2 * j], w[2 * j + 1])) * 1.1102230246251565e-16
                v = fma(u, width, low)
                y[i + j] = where(v == high, low, v)
            i += m
        else:  # the pair spans a refill
            v = fma(next_uniform(g), width, low)
            y[i] = where(v == high, low, v)
            i += 1


# Uniform and Bernoulli. Parameters of the uniform ones: from, to (float64).


def uniform_float32(f, lo, hi):
    p = pointer(f[FRAME_PARAMS], float64)
    y = pointer(f[FRAME_OUT], float32)
    fill_uniform32(f[FRAME_EXT], y, lo, hi, float32(p[0]), float32(p[1]))
    return 0


def uniform_float64(f, lo, hi):
    p = pointer(f[FRAME_PARAMS], float64)
    fill_uniform64(f[FRAME_EXT], pointer(f[FRAME_OUT], float64), lo, hi, p[0], p[1])
    return 0


def bernoulli(f, lo, hi):
    """1 with the probability of the parameter (float64), else 0; a float64 is drawn per element."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], T)
    # u < p for u = bits * 2**-53 exactly when bits < ceil(p * 2**53), where nothing is rounded
    bound = int64(ceil(pointer(f[FRAME_PARAMS], float64)[0] * 9007199254740992.0))
    i = lo
    while i < hi:
        k = ready(g)
        if k >= 2:
            m = min(k >> 1, hi - i)
            w = pointer(take(g, 2 * m), int64)
            for j in range(m):
                y[i + j] = where(bits53(w[2 * j], w[2 * j + 1]) < bound, T(1), T(0))
            i += m
        else:
            y[i] = where((next_pair(g) & 0x1FFFFFFFFFFFFF) < bound, T(1), T(0))
            i += 1
    return 0


def bernoulli_float32(f, lo, hi):
    """A probability per element (float32 input); error 1 for one outside [0, 1]."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], T)
    p = pointer(f[FRAME_IN], float32)
    for i in range(lo, hi):
        if not (p[i] >= float32(0.0) and p[i] <= float32(1.0)):
            return 1
        u = float32(int32(next_word(g) & 0xFFFFFF)) * float32(5.9604644775390625e-08)
        y[i] = where(u < p[i], T(1), T(0))
    return 0


def bernoulli_float64(f, lo, hi):
    """A probability per element (float64 input); error 1 for one outside [0, 1]."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], T)
    p = pointer(f[FRAME_IN], float64)
    for i in range(lo, hi):
        if not (p[i] >= 0.0 and p[i] <= 1.0):
            return 1
        y[i] = where(next_uniform(g) < p[i], T(1), T(0))
    return 0


# Integers. Parameters: range, base (int64); the result is base + word % range in type T.


def randint_32(f, lo, hi):
    """One word per element; range in 1..2**31."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], T)
    n = pointer(f[FRAME_PARAMS], int64)[0]
    base = pointer(f[FRAME_PARAMS], int64)[1]
    inverse = 1.0 / float64(n)
    i = lo
    while i < hi:
        m = min(ready(g), hi - i)
        w = pointer(take(g, m), int64)
        for j in range(m):
            v = temper(w[j])
            r = v - int64(float64(v) * inverse) * n  # the quotient is off by one at most
            r = where(r < 0, r + n, r)
            r = where(r >= n, r - n, r)
            y[i + j] = T(base + r)
        i += m
    return 0


def remainder_64(v, n):
    """v % n of two unsigned 64-bit numbers kept in int64; n = 0 stands for 2**64."""
    if n > 0:
        r = v - ((((v >> 1) & 0x7FFFFFFFFFFFFFFF) // n) << 1) * n
        if r < 0 or r >= n:
            r -= n
        return r
    if v < 0 and v >= n and n != 0:
        return v - n
    return v


def randint_64(f, lo, hi):
    """Two words per element; range is an unsigned 64-bit number, 0 for all of int64."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], T)
    n = pointer(f[FRAME_PARAMS], int64)[0]
    base = pointer(f[FRAME_PARAMS], int64)[1]
    for i in range(lo, hi):
        y[i] = T(base + remainder_64(next_pair(g), n))
    return 0


def randperm(f, lo, hi):
    """A permutation of 0..hi-1 by Fisher and Yates, from the front."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], T)
    if hi < WIDE_PERMUTATION:
        for i in range(hi):
            y[i] = T(i)
        for i in range(hi - 1):
            n = hi - i
            v = next_word(g)
            r = v - int64(float64(v) / float64(n)) * n
            if r < 0:
                r += n
            elif r >= n:
                r -= n
            held = y[i]
            y[i] = y[i + r]
            y[i + r] = held
    else:
        for i in range(hi):
            r = remainder_64(next_pair(g), i + 1)
            y[i] = T(i)
            y[i] = y[r]
            y[r] = T(i)
    return 0


# Normal and exponential. Parameters of the normal ones: mean, std (float64).


def normal_scalar(f, lo, hi):
    """Fewer than 16 elements: Box and Muller in float64; the sine of a pair waits for the next call."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], T)
    mean = pointer(f[FRAME_PARAMS], float64)[0]
    std = pointer(f[FRAME_PARAMS], float64)[1]
    valid = pointer(g + 8 * 630, int64)
    cache = pointer(g + 8 * 628, float64)
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
