"""Kernels for uniform numbers, truth values and integers: PyTorch's CPU stream, bit by bit.

FRAME_EXT is the address of a generator's words (`_generator.py` names them), FRAME_PARAMS of the
distribution's parameters, FRAME_OUT of a contiguous result. The stream has an order, so one call
does everything: lo = 0, hi = the number of elements. A kernel that returns an error leaves the
generator where PyTorch's would stand.

Words of the twister are taken in runs of up to 624, so that the loops over a run vectorise. A
float64 takes two words, the first is the high half.
"""

from .._layout import FRAME_EXT, FRAME_IN, FRAME_OUT, FRAME_PARAMS
from ..dtypes import float32, float64, int32, int64
from ..dtypes import float32 as T
from ..native.symbols import ceil, fma, pointer, where

WIDE_PERMUTATION = (2**32 - 1) // 20  # from here on randperm draws 64 bits, in another order


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
    """A probability per element (float32 input); error 1, and nothing is drawn, where one is outside [0, 1]."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], T)
    p = pointer(f[FRAME_IN], float32)
    outside = 0
    for i in range(lo, hi):
        outside += 0 if p[i] >= float32(0.0) and p[i] <= float32(1.0) else 1
    if outside > 0:
        return 1
    for i in range(lo, hi):
        u = float32(int32(next_word(g) & 0xFFFFFF)) * float32(5.9604644775390625e-08)
        y[i] = where(u < p[i], T(1), T(0))
    return 0


def bernoulli_float64(f, lo, hi):
    """A probability per element (float64 input); error 1, and nothing is drawn, where one is outside [0, 1]."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], T)
    p = pointer(f[FRAME_IN], float64)
    outside = 0
    for i in range(lo, hi):
        outside += 0 if p[i] >= 0.0 and p[i] <= 1.0 else 1
    if outside > 0:
        return 1
    for i in range(lo, hi):
        y[i] = where(next_uniform(g) < p[i], T(1), T(0))
    return 0


# Integers. Parameters: range, base (int64); the result is base + word % range in type T.


def randint_32(f, lo, hi):
    """One word per element; range in 1..2**31."""
    g = f[FRAME_EXT]
    y = pointer(f[FRAME_OUT], T)
    n = pointer(f[FRAME_PARAMS], int64)[0]
    base = pointer(f[FRAME_PARAMS], int64)[1]
    divisor = float64(n)  # truncating v / n is exact: v and n are far below 2**53
    i = lo
    while i < hi:
        m = min(ready(g), hi - i)
        w = pointer(take(g, m), int64)
        for j in range(m):
            v = temper(w[j])
            y[i + j] = T(base + v - int64(float64(v) / divisor) * n)
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
            r = v - int64(float64(v) / float64(n)) * n  # exact as in randint_32
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
