"""Losses of single elements: `log_sigmoid`, binary cross entropy of probabilities and of logits, `smooth_l1`, `huber`.

    log_sigmoid:      min(x, 0) - log(1 + e^-|x|)                        dx = sigmoid(-x)
    bce:              -t log p - (1 - t) log(1 - p), logarithms >= -100  dp = (p - t) / max(p (1 - p), 1e-12)
    bce_with_logits:  (1 - t) x - log_sigmoid(x)                         dx = sigmoid(x) - t

The derivatives are written out, not composed: at the ends of their domain the parts cancel or are infinite.
Formulas and bounds are PyTorch's. Reductions are the business of `nn._losses`.
"""

from __future__ import annotations

import numpy as np

from ..native.symbols import exp, fabs, log, log1p, maximum, minimum, sigmoid, where
from .registry import NOT_IMPLEMENTED, pointwise

__all__: list[str] = []


def log_sigmoid(x):
    return minimum(x, 0.0) - log1p(exp(-fabs(x)))


def log_sigmoid_x(g, x, _y):
    return g * sigmoid(-x)


def _log_sigmoid_reference(x):
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


pointwise(
    "log_sigmoid", log_sigmoid, (log_sigmoid_x,), method=False, function=False, reference=_log_sigmoid_reference,
    doc="The logarithm of the sigmoid, without overflow.",
)


def bce(p, t):
    return (t - 1.0) * maximum(log1p(-p), -100.0) - t * maximum(log(p), -100.0)


def bce_p(g, p, t, _y):
    return g * ((p - t) / maximum((1.0 - p) * p, 1e-12))


def bce_t(g, p, _t, _y):
    return g * (log1p(-p) - log(p))


def slope(p, t):
    return (p - t) / maximum((1.0 - p) * p, 1e-12)


def slope_p(g, p, t, _y):
    a = p + 1e-12
    b = (1.0 - p) + 1e-12
    return g * ((p * p - 2.0 * (p * t) + t) / (a * a * (b * b)))


def slope_t(g, p, _t, _y):
    return -g / maximum((1.0 - p) * p, 1e-12)


bce_slope = pointwise(
    "bce_slope", slope, (slope_p, slope_t), method=False, function=False, domain=(0.05, 0.95), inplace=False,
    reference=lambda p, t: (p - t) / np.maximum((1 - p) * p, 1e-12),
    doc="The derivative of `bce` by the probability, with PyTorch's bound on its own derivative.",
)
pointwise(
    "bce", bce, (bce_p, bce_t), method=False, function=False, domain=(0.05, 0.95), inplace=False,
    reference=lambda p, t: (t - 1) * np.maximum(np.log1p(-p), -100) - t * np.maximum(np.log(p), -100),
    doc="Cross entropy of a probability `p` with the target `t`; logarithms are at least -100.",
    special=(1e-12, 0.5),
    on_tensors={"p": lambda g, p, t, _y: g * bce_slope(p, t)},
)


def bce_with_logits(x, t):
    return (1.0 - t) * x - (minimum(x, 0.0) - log1p(exp(-fabs(x))))


def bce_with_logits_x(g, x, t, _y):
    return g * (sigmoid(x) - t)


def bce_with_logits_t(g, x, _t, _y):
    return -(g * x)


pointwise(
    "bce_with_logits", bce_with_logits, (bce_with_logits_x, bce_with_logits_t),
    method=False, function=False, inplace=False,
    reference=lambda x, t: (1 - t) * x - _log_sigmoid_reference(x),
    doc="`bce` of `sigmoid(x)`, without overflow.",
)


def weighted_bce_with_logits(x, t, w):
    return (1.0 - t) * x - ((w - 1.0) * t + 1.0) * (minimum(x, 0.0) - log1p(exp(-fabs(x))))


def weighted_bce_with_logits_x(g, x, t, w, _y):
    return g * ((w * t + 1.0 - t) * sigmoid(x) - w * t)


def weighted_bce_with_logits_t(g, x, _t, w, _y):
    tail = log1p(exp(-fabs(x)))
    return g * ((minimum(-x, 0.0) - tail) - w * (minimum(x, 0.0) - tail))


pointwise(
    "weighted_bce_with_logits", weighted_bce_with_logits,
    (weighted_bce_with_logits_x, weighted_bce_with_logits_t, NOT_IMPLEMENTED),
    method=False, function=False, inplace=False, domain=(0.05, 0.95),
    reference=lambda x, t, w: (1 - t) * x - ((w - 1) * t + 1) * _log_sigmoid_reference(x),
    doc="`bce_with_logits` with a weight `w` of the positive class.",
)


def smooth_l1(x, t, p):
    d = fabs(x - t)
    return where(d < p[0], 0.5 * d * d / p[0], d - 0.5 * p[0])


def smooth_l1_x(g, x, t, _y, p):
    d = x - t
    return where(d <= -p[0], -g, where(d >= p[0], g, d * g / p[0]))


def smooth_l1_t(g, x, t, _y, p):
    return -smooth_l1_x(g, x, t, _y, p)


pointwise(
    "smooth_l1", smooth_l1, (smooth_l1_x, smooth_l1_t), method=False, function=False, inplace=False, params=("beta",),
    reference=lambda x, t, p: np.where(
        np.abs(x - t) < p[0], 0.5 * (x - t) ** 2 / p[0], np.abs(x - t) - 0.5 * p[0]
    ),
    doc="Squared difference over `2 beta` below `beta`, absolute difference less `beta / 2` beyond.",
    special=(0.7, -0.7),
)


def huber(x, t, p):
    d = fabs(x - t)
    return where(d <= p[0], 0.5 * d * d, p[0] * (d - 0.5 * p[0]))


def huber_x(g, x, t, _y, p):
    d = x - t
    return where(d < -p[0], -(g * p[0]), where(d > p[0], g * p[0], d * g))


def huber_x_on_tensors(g, x, t, _y, p):
    """At the bound the second derivative is 0, as in PyTorch."""
    d = x - t
    return where(d <= -p[0], -(g * p[0]), where(d >= p[0], g * p[0], d * g))


def huber_t(g, x, t, _y, p):
    return -huber_x(g, x, t, _y, p)


pointwise(
    "huber", huber, (huber_x, huber_t), method=False, function=False, inplace=False, params=("delta",),
    reference=lambda x, t, p: np.where(
        np.abs(x - t) <= p[0], 0.5 * (x - t) ** 2, p[0] * (np.abs(x - t) - 0.5 * p[0])
    ),
    doc="`smooth_l1` times its bound.",
    special=(0.7, -0.7),
    on_tensors={"x": huber_x_on_tensors, "t": lambda g, x, t, _y, p: -huber_x_on_tensors(g, x, t, _y, p)},
)
