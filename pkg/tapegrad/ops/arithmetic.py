"""Arithmetic: sums, products, quotients, powers, and the pieces of optimizers' formulas.

Derivatives are those of the textbook; ties of `maximum` and `minimum` share the gradient evenly.
"""

from __future__ import annotations

import numpy as np

from ..dtypes import int32, int64
from ..native.symbols import ceil, fabs, floor, fma, log, maximum, minimum, pow, rint, sqrt, trunc, where
from .registry import ALL, BY_NAME, FLOATS, IDENTITY, NUMBERS, pointwise
from .steps import first_power, step_of


def _zero_1(_g, _x, _y):
    return 0.0


def add(a, b):
    return a + b


pointwise(
    "add", add, (IDENTITY, IDENTITY), dtypes=ALL, reference=np.add, doc="Sum of two tensors: `input + other`."
)


def add_scaled(a, b, p):
    return fma(b, p[0], a)


def add_scaled_b(g, _a, _b, _y, p):
    return g * p[0]


pointwise(
    "add_scaled",
    add_scaled,
    (IDENTITY, add_scaled_b),
    params=("alpha",),
    method=False,
    reference=lambda a, b, p: a + b * p[0],
    doc="`a + alpha * b` with one rounding, which is what `add` with `alpha` computes.",
)


def sub(a, b):
    return a - b


def sub_b(g, _a, _b, _y):
    return -g


pointwise(
    "sub", sub, (IDENTITY, sub_b), dtypes=NUMBERS, reference=np.subtract, no_bool=True,
    doc="Difference: `input - other`.",
)


def mul(a, b):
    return a * b


def mul_a(g, _a, b, _y):
    return g * b


def mul_b(g, a, _b, _y):
    return g * a


pointwise("mul", mul, (mul_a, mul_b), dtypes=ALL, reference=np.multiply, doc="Product: `input * other`.")


def div(a, b):
    return a / b


def div_a(g, _a, b, _y):
    return g / b


def div_b(g, a, b, _y):
    return -g * ((a / b) / b)


pointwise(
    "div", div, (div_a, div_b), promote="float", domain=(0.5, 3.0), reference=np.divide,
    doc="Quotient: `input / other`.",
)


def neg(x):
    return -x


def neg_x(g, _x, _y):
    return -g


pointwise(
    "neg", neg, (neg_x,), dtypes=NUMBERS, reference=np.negative, no_bool=True, doc="Negative of each element.",
)


def absolute(x):
    return fabs(x)


def absolute_x(g, x, _y):
    return where(x > 0.0, g, where(x < 0.0, -g, 0.0))


pointwise(
    "abs", absolute, (absolute_x,), dtypes=NUMBERS, reference=np.abs, doc="Absolute value; gradient 0 at 0.",
    on_tensors={"x": lambda g, x, _y: step_of(absolute_x(g, x, _y), x)},
)


def square(x):
    return x * x


def square_x(g, x, _y):
    return g * (2.0 * x)


pointwise(
    "square", square, (square_x,), dtypes=NUMBERS, reference=np.square, doc="Square of each element.",
    on_tensors={"x": lambda g, x, _y: g * (2.0 * first_power(x))},
)


def cube(x):
    return x * x * x


def cube_x(g, x, _y):
    return g * (3.0 * (x * x))


pointwise(
    "cube", cube, (cube_x,), dtypes=FLOATS, reference=lambda x: x**3, method=False, doc="Third power.",
    on_tensors={"x": lambda g, x, _y: g * (3.0 * BY_NAME["square"](x))},
)


def reciprocal(x):
    return 1.0 / x


def reciprocal_x(g, _x, y):
    return -g * (y * y)


pointwise(
    "reciprocal", reciprocal, (reciprocal_x,), promote="float", domain=(0.5, 3.0), reference=np.reciprocal,
    doc="`1 / x`.",
)


def sqrt_(x):
    return sqrt(x)


def sqrt_x(g, _x, y):
    return g / (2.0 * y)


pointwise("sqrt", sqrt_, (sqrt_x,), promote="float", domain=(0.1, 4.0), reference=np.sqrt, doc="Square root.")


def rsqrt(x):
    return 1.0 / sqrt(x)


def rsqrt_x(g, _x, y):
    return -0.5 * g * (y * y * y)


pointwise(
    "rsqrt", rsqrt, (rsqrt_x,), promote="float", domain=(0.1, 4.0), reference=lambda x: 1 / np.sqrt(x),
    doc="`1 / sqrt(x)`.",
)


def power(a, b):
    return pow(a, b)


def power_a(g, a, b, _y):
    return where(b == 0.0, 0.0, g * (b * pow(a, b - 1.0)))


def power_b(g, a, b, y):
    return where((a == 0.0) & (b >= 0.0), 0.0, g * (y * log(a)))


pointwise(
    "pow",
    power,
    (power_a, power_b),
    domain=(0.5, 3.0),
    reference=np.power,
    method=False,
    doc="`input ** exponent` for floating types.",
)


def maximum_(a, b):
    return maximum(a, b)


def maximum_a(g, a, b, _y):
    return where(a < b, 0.0, where(a == b, g * 0.5, g))  # NaN lets it pass to both, as in PyTorch


def maximum_b(g, a, b, _y):
    return where(a > b, 0.0, where(a == b, g * 0.5, g))


pointwise(
    "maximum", maximum_, (maximum_a, maximum_b), dtypes=ALL, inplace=False, reference=np.maximum,
    doc="The larger of two; NaN if either is.",
)


def minimum_(a, b):
    return minimum(a, b)


def minimum_a(g, a, b, _y):
    return where(a > b, 0.0, where(a == b, g * 0.5, g))


def minimum_b(g, a, b, _y):
    return where(a < b, 0.0, where(a == b, g * 0.5, g))


pointwise(
    "minimum", minimum_, (minimum_a, minimum_b), dtypes=ALL, inplace=False, reference=np.minimum,
    doc="The smaller of two; NaN if either is.",
)


def clamp_min(x, lo):
    return maximum(x, lo)


def clamp_min_x(g, x, lo, _y):
    return where(x >= lo, g, 0.0)


def clamp_min_lo(g, x, lo, _y):
    return where(x < lo, g, 0.0)


pointwise(
    "clamp_min", clamp_min, (clamp_min_x, clamp_min_lo), dtypes=NUMBERS, reference=np.maximum,
    doc="Raised to at least `min`; gradient 1 at the bound.",
    bounds=True,
)


def clamp_max(x, hi):
    return minimum(x, hi)


def clamp_max_x(g, x, hi, _y):
    return where(x <= hi, g, 0.0)


def clamp_max_hi(g, x, hi, _y):
    return where(x > hi, g, 0.0)


pointwise(
    "clamp_max", clamp_max, (clamp_max_x, clamp_max_hi), dtypes=NUMBERS, reference=np.minimum,
    doc="Lowered to at most `max`; gradient 1 at the bound.",
    bounds=True,
)


def clamp(x, lo, hi):
    return minimum(maximum(x, lo), hi)


def clamp_x(g, x, lo, hi, _y):
    return where((x >= lo) & (x <= hi), g, 0.0)


def clamp_lo(g, x, lo, hi, _y):
    return where((x < lo) & (lo < hi), g, 0.0)


def clamp_hi(g, x, lo, hi, _y):
    return where((x > hi) | (hi < lo), g, 0.0)


pointwise(
    "clamp", clamp, (clamp_x, clamp_lo, clamp_hi), dtypes=NUMBERS, reference=np.clip, method=False,
    doc="Raised to at least `min`, then lowered to at most `max`; gradient 1 at the bounds.",
    bounds=True,
)


def lerp(a, b, w):
    # From the nearer end, as PyTorch: exact at both.
    return where(fabs(w) < 0.5, a + w * (b - a), b - (b - a) * (1.0 - w))


def lerp_a(g, _a, _b, w, _y):
    return g * (1.0 - w)


def lerp_b(g, _a, _b, w, _y):
    return g * w


def lerp_w(g, a, b, _w, _y):
    return g * (b - a)


pointwise(
    "lerp",
    lerp,
    (lerp_a, lerp_b, lerp_w),
    reference=lambda a, b, w: np.where(np.abs(w) < 0.5, a + w * (b - a), b - (b - a) * (1 - w)),
    doc="`start + weight * (end - start)`.",
)


def addcmul(x, a, b, p):
    return x + p[0] * a * b


def addcmul_a(g, _x, _a, b, _y, p):
    return g * (p[0] * b)


def addcmul_b(g, _x, a, _b, _y, p):
    return g * (p[0] * a)


pointwise(
    "addcmul",
    addcmul,
    (IDENTITY, addcmul_a, addcmul_b),
    params=("value",),
    reference=lambda x, a, b, p: x + p[0] * a * b,
    doc="`input + value * tensor1 * tensor2`.",
)


def addcdiv(x, a, b, p):
    return x + p[0] * a / b


def addcdiv_a(g, _x, _a, b, _y, p):
    return g * (p[0] / b)


def addcdiv_b(g, _x, a, b, _y, p):
    return -g * (p[0] * a / (b * b))


pointwise(
    "addcdiv",
    addcdiv,
    (IDENTITY, addcdiv_a, addcdiv_b),
    params=("value",),
    domain=(0.5, 3.0),
    reference=lambda x, a, b, p: x + p[0] * a / b,
    doc="`input + value * tensor1 / tensor2`.",
)


def sign(x):
    return where(x > 0.0, 1.0, where(x < 0.0, -1.0, 0.0))


pointwise(
    "sign",
    sign,
    (_zero_1,),
    dtypes=(*FLOATS, int64, int32),
    reference=lambda x: np.where(np.isnan(x), 0.0, np.sign(x)),
    doc="-1, 0 or 1, the sign of each element, 0 of NaN; gradient 0.",
)


def floor_(x):
    return floor(x)


def ceil_(x):
    return ceil(x)


def trunc_(x):
    return trunc(x)


def round_(x):
    return rint(x)


pointwise("floor", floor_, (_zero_1,), reference=np.floor, doc="Rounded down; gradient 0.")
pointwise("ceil", ceil_, (_zero_1,), reference=np.ceil, doc="Rounded up; gradient 0.")
pointwise("trunc", trunc_, (_zero_1,), reference=np.trunc, doc="Rounded toward 0; gradient 0.")
pointwise("round", round_, (_zero_1,), reference=np.rint, doc="Rounded to nearest, ties to even; gradient 0.")
