"""The device side of compiled formulas: plain functions that `formulas.py` rebuilds for CUDA.

What a name of `native.symbols` means where libdevice has no function for it, and the elementwise kernels.
Branches become selects on the device. The placeholders below are bound when a function is rebuilt.
"""

from __future__ import annotations

from typing import Any

from ..dtypes import uint8

cuda: Any = None
formula: Any = None
load0 = load1 = load2 = load3 = load4 = store = exp = erf = TO = cuda


def same(x):
    return x


def _absolute(x):
    return -x if x < 0 else x


def _sigmoid(x):
    e = exp(-x if x > 0.0 else x)  # of -|x|: no overflow
    return (e if x < 0.0 else 1.0) / (1.0 + e)


def _normal_cdf(x):
    return 0.5 * (1.0 + erf(x * 0.7071067811865476))


def _where(condition, a, b):
    return a if condition else b


def _maximum(a, b):
    if a == b:
        return a + b if a == 0 else a  # 0.0 is more than -0.0
    return a if a > b or a != a else b


def _minimum(a, b):
    if a == b:
        return -(-a - b) if a == 0 else a
    return a if a < b or a != a else b


# libdevice's functions, as numba-cuda takes them from the math module
MATH = frozenset(
    [
        "exp",
        "expm1",
        "log",
        "log1p",
        "log2",
        "log10",
        "tanh",
        "sin",
        "cos",
        "tan",
        "erf",
        "sqrt",
        "pow",
        "isnan",
    ]
)
LIBDEVICE = frozenset({"floor", "ceil", "trunc", "rint", "fabs", "fma"})
OWN = {
    "sigmoid": _sigmoid,
    "normal_cdf": _normal_cdf,
    "where": _where,
    "maximum": _maximum,
    "minimum": _minimum,
    "fabs": _absolute,
    **dict.fromkeys(("floor", "ceil", "trunc", "rint"), same),
}


def truth(x):
    return x != 0


def byte(x):
    return uint8(1) if x else uint8(0)


def cast(x):
    return TO(x)


def _plain1(a, _p):
    return formula(a)


def _plain2(a, b, _p):
    return formula(a, b)


def _plain3(a, b, c, _p):
    return formula(a, b, c)


def _plain4(a, b, c, d, _p):
    return formula(a, b, c, d)


def _plain5(a, b, c, d, e, _p):
    return formula(a, b, c, d, e)


def _elementwise1(y, a, p, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        y[i] = store(formula(load0(a[i]), p))


def _elementwise2(y, a, b, p, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        y[i] = store(formula(load0(a[i]), load1(b[i]), p))


def _elementwise3(y, a, b, c, p, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        y[i] = store(formula(load0(a[i]), load1(b[i]), load2(c[i]), p))


def _elementwise4(y, a, b, c, d, p, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        y[i] = store(formula(load0(a[i]), load1(b[i]), load2(c[i]), load3(d[i]), p))


def _elementwise5(y, a, b, c, d, e, p, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        y[i] = store(formula(load0(a[i]), load1(b[i]), load2(c[i]), load3(d[i]), load4(e[i]), p))


WITHOUT_PARAMS = (_plain1, _plain2, _plain3, _plain4, _plain5)
KERNELS = (_elementwise1, _elementwise2, _elementwise3, _elementwise4, _elementwise5)
