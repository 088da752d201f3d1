"""Exponentials, logarithms, trigonometry, and the activations made of them.

The functions themselves are polynomials of our own (`native.vecmath`), since calls into the C
library do not vectorise.
"""

from __future__ import annotations

import math

import numpy as np

from ..native.symbols import (
    cos,
    erf,
    exp,
    expm1,
    log,
    log1p,
    log2,
    log10,
    normal_cdf,
    sigmoid,
    sin,
    tan,
    tanh,
    where,
)  # fmt: skip
from .registry import NUMBERS, pointwise
from .steps import step_of


def exp_(x):
    return exp(x)


def exp_x(g, _x, y):
    return g * y


pointwise("exp", exp_, (exp_x,), promote="float", reference=np.exp, doc="e to the power of each element.")


def expm1_(x):
    return expm1(x)


def expm1_x(g, _x, y):
    return g * (y + 1.0)


pointwise("expm1", expm1_, (expm1_x,), promote="float", reference=np.expm1, doc="`exp(x) - 1`, exact near 0.")


def log_(x):
    return log(x)


def log_x(g, x, _y):
    return g / x


pointwise("log", log_, (log_x,), promote="float", domain=(0.1, 4.0), reference=np.log, doc="Natural logarithm.")


def log1p_(x):
    return log1p(x)


def log1p_x(g, x, _y):
    return g / (x + 1.0)


pointwise(
    "log1p", log1p_, (log1p_x,), promote="float", domain=(-0.5, 4.0), reference=np.log1p,
    doc="`log(1 + x)`, exact near 0.",
)


def log2_(x):
    return log2(x)


def log2_x(g, x, _y):
    return g / (x * 0.6931471805599453)


pointwise("log2", log2_, (log2_x,), promote="float", domain=(0.1, 4.0), reference=np.log2, doc="Logarithm to base 2.")


def log10_(x):
    return log10(x)


def log10_x(g, x, _y):
    return g / (x * 2.302585092994046)


pointwise(
    "log10", log10_, (log10_x,), promote="float", domain=(0.1, 4.0), reference=np.log10,
    doc="Logarithm to base 10.",
)


def sin_(x):
    return sin(x)


def sin_x(g, x, _y):
    return g * cos(x)


pointwise("sin", sin_, (sin_x,), promote="float", reference=np.sin, doc="Sine of angles in radians.")


def cos_(x):
    return cos(x)


def cos_x(g, x, _y):
    return -g * sin(x)


pointwise("cos", cos_, (cos_x,), promote="float", reference=np.cos, doc="Cosine of angles in radians.")


def tan_(x):
    return tan(x)


def tan_x(g, _x, y):
    return g * (1.0 + y * y)


pointwise(
    "tan", tan_, (tan_x,), promote="float", domain=(-1.2, 1.2), reference=np.tan,
    doc="Tangent of angles in radians.",
)


def tanh_(x):
    return tanh(x)


def tanh_x(g, _x, y):
    return g * (1.0 - y * y)


pointwise("tanh", tanh_, (tanh_x,), promote="float", reference=np.tanh, doc="Hyperbolic tangent.")


def sigmoid_(x):
    return sigmoid(x)


def sigmoid_x(g, _x, y):
    return g * (1.0 - y) * y


pointwise(
    "sigmoid", sigmoid_, (sigmoid_x,), promote="float", reference=lambda x: 1 / (1 + np.exp(-x)),
    doc="`1 / (1 + exp(-x))`.",
)


def erf_(x):
    return erf(x)


def erf_x(g, x, _y):
    return g * (1.1283791670955126 * exp(-(x * x)))


def _erf_reference(x):
    return np.vectorize(math.erf, otypes=[float])(x)


pointwise("erf", erf_, (erf_x,), promote="float", reference=_erf_reference, doc="Error function.")


def relu(x):
    return where(x > 0.0, x, where(x != x, x, 0.0))


def relu_x(g, _x, y):
    return where(y <= 0.0, 0.0, g)  # NaN lets it pass, as in PyTorch


pointwise(
    "relu", relu, (relu_x,), dtypes=NUMBERS, reference=lambda x: np.maximum(x, 0),
    doc="`max(x, 0)`; gradient 0 at 0.",
    on_tensors={"x": lambda g, _x, y: step_of(relu_x(g, _x, y), y)},
)


def leaky_relu(x, p):
    return where(x > 0.0, x, x * p[0])


def leaky_relu_x(g, x, _y, p):
    return where(x > 0.0, g, g * p[0])


pointwise(
    "leaky_relu",
    leaky_relu,
    (leaky_relu_x,),
    params=("negative_slope",),
    method=False,
    reference=lambda x, p: np.where(x > 0, x, x * p[0]),
    doc="`x` where positive, `negative_slope * x` elsewhere.",
    on_tensors={"x": lambda g, x, _y, p: step_of(leaky_relu_x(g, x, _y, p), x)},
)


def softplus(x):
    return where(x > 20.0, x, log1p(exp(x)))


def softplus_x(g, x, _y):
    return where(x > 20.0, g, g * sigmoid(x))


pointwise(
    "softplus", softplus, (softplus_x,), method=False, reference=lambda x: np.log1p(np.exp(x)),
    doc="`log(1 + exp(x))`, linear above 20.",
    special=(20.0, 19.999),
)


def silu(x):
    return x * sigmoid(x)


def silu_x(g, x, _y):
    return g * (sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))))


pointwise("silu", silu, (silu_x,), method=False, reference=lambda x: x / (1 + np.exp(-x)), doc="`x * sigmoid(x)`.")


def gelu(x):
    return x * normal_cdf(x)


def gelu_x(g, x, _y):
    return g * (normal_cdf(x) + x * (0.3989422804014327 * exp(-0.5 * (x * x))))


pointwise(
    "gelu", gelu, (gelu_x,), method=False, reference=lambda x: 0.5 * x * (1 + _erf_reference(x / np.sqrt(2))),
    doc="`x * Phi(x)`, Phi the normal distribution.",
)


def gelu_tanh(x):
    return x * sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))


def gelu_tanh_x(g, x, _y):
    s = sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    return g * (s + x * s * (1.0 - s) * (1.5957691216057308 + 0.21406444881780073 * x * x))


pointwise(
    "gelu_tanh", gelu_tanh, (gelu_tanh_x,), method=False, function=False,
    reference=lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    doc="`gelu` with its distribution approximated by tanh: by the sigmoid of twice the argument, which is the same.",
)


def elu(x, p):
    return where(x > 0.0, x, p[0] * expm1(x))


def elu_x(g, x, _y, p):
    return where(x <= 0.0, g * (p[0] * exp(x)), g)


def elu_x_on_tensors(g, x, _y, p):
    """At 0 the second derivative is 0, as in PyTorch; the exponential of a large x must not get into the history."""
    below = x < 0.0
    return where(below, g * (p[0] * exp(where(below, x, 0.0))), where(x <= 0.0, g * p[0], g))


pointwise(
    "elu",
    elu,
    (elu_x,),
    params=("alpha",),
    method=False,
    reference=lambda x, p: np.where(x > 0, x, p[0] * np.expm1(x)),
    doc="`x` where positive, `alpha * (exp(x) - 1)` elsewhere.",
    on_tensors={"x": elu_x_on_tensors},
)
