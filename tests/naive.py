"""The slow truth: what each operation means, in NumPy and float64, sharing no code with the package.

Every function takes arrays (or anything NumPy makes one of) and returns a float64 array, except where the
meaning is an index or a truth value. Written to be read, not to be fast; no tricks for accuracy beyond
float64 itself. Derivatives come from `slope`, a central difference along one direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray


def f64(x: Any) -> Array:
    return np.asarray(x, np.float64)


def _each(function: Callable[[float], float]) -> Callable[[Any], Array]:
    def apply(x: Any) -> Array:
        x = f64(x)
        return np.array([function(float(v)) for v in x.ravel()], np.float64).reshape(x.shape)

    return apply


# Pointwise, one number at a time.


def _or_limit(function: Callable[[float], float], above: float) -> Callable[[float], float]:
    """math's functions raise where the answer is an infinity; here it is the infinity."""

    def call(v: float) -> float:
        try:
            return function(v)
        except OverflowError:
            return above

    return call


def _log(v: float) -> float:
    return math.log(v) if v > 0 else (-math.inf if v == 0 else math.nan)


exp = _each(_or_limit(math.exp, math.inf))
expm1 = _each(_or_limit(math.expm1, math.inf))
log = _each(_log)
log1p = _each(lambda v: math.log1p(v) if v > -1 else (-math.inf if v == -1 else math.nan))
log2 = _each(lambda v: math.log2(v) if v > 0 else _log(v))
log10 = _each(lambda v: math.log10(v) if v > 0 else _log(v))
sqrt = _each(lambda v: math.sqrt(v) if v >= 0 else math.nan)
sin = _each(lambda v: math.sin(v) if math.isfinite(v) else math.nan)
cos = _each(lambda v: math.cos(v) if math.isfinite(v) else math.nan)
tan = _each(lambda v: math.tan(v) if math.isfinite(v) else math.nan)
tanh = _each(math.tanh)
erf = _each(math.erf)
sigmoid = _each(lambda v: 1 / (1 + math.exp(-v)) if v > -700 else _or_limit(math.exp, 0.0)(v))
relu = _each(lambda v: v if v > 0 or math.isnan(v) else 0.0)
softplus = _each(lambda v: v if v > 20 else math.log1p(math.exp(v)))
neg = _each(lambda v: -v)
reciprocal = _each(lambda v: 1 / v if v else math.copysign(math.inf, v))
sign = _each(lambda v: math.nan if math.isnan(v) else (v > 0) - (v < 0))


def add(a: Any, b: Any, alpha: float = 1.0) -> Array:
    return f64(a) + alpha * f64(b)


def sub(a: Any, b: Any, alpha: float = 1.0) -> Array:
    return f64(a) - alpha * f64(b)


def mul(a: Any, b: Any) -> Array:
    return f64(a) * f64(b)


def div(a: Any, b: Any) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return f64(a) / f64(b)


def pow(a: Any, b: Any) -> Array:
    with np.errstate(all="ignore"):
        return f64(a) ** f64(b)


def maximum(a: Any, b: Any) -> Array:
    return np.maximum(f64(a), f64(b))


def minimum(a: Any, b: Any) -> Array:
    return np.minimum(f64(a), f64(b))


def clamp(x: Any, low: float = -math.inf, high: float = math.inf) -> Array:
    return np.minimum(np.maximum(f64(x), low), high)


# Reductions along the dimensions named, all of them by default.


def _axes(x: Array, dim: int | Sequence[int] | None) -> tuple[int, ...]:
    if dim is None:
        return tuple(range(x.ndim))
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    return tuple(d % x.ndim for d in dims) if x.ndim else ()


def sum(x: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Array:
    x = f64(x)
    return np.sum(x, axis=_axes(x, dim), keepdims=keepdim)


def mean(x: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Array:
    x = f64(x)
    count = math.prod(x.shape[d] for d in _axes(x, dim))
    with np.errstate(invalid="ignore", divide="ignore"):
        return sum(x, dim, keepdim) / np.float64(count)


def max(x: Any, dim: int) -> tuple[Array, Array]:
    """Values and the index of the first largest; a NaN is the largest."""
    return np.max(f64(x), axis=dim), np.argmax(f64(x), axis=dim)


# Products.


def matmul(a: Any, b: Any) -> Array:
    a, b = f64(a), f64(b)
    rows = a[None, :] if a.ndim == 1 else a
    columns = b[:, None] if b.ndim == 1 else b
    out = (rows[..., :, :, None] * columns[..., None, :, :]).sum(-2)
    if a.ndim == 1:
        out = out[..., 0, :]
    return out[..., 0] if b.ndim == 1 else out


def linear(x: Any, weight: Any, bias: Any = None) -> Array:
    out = matmul(x, f64(weight).T)
    return out if bias is None else out + f64(bias)


# Softmax and losses.


def log_softmax(x: Any, dim: int) -> Array:
    x = f64(x)
    top = np.max(x, axis=dim, keepdims=True) if x.size else 0.0
    return x - top - np.log(np.exp(x - top).sum(axis=dim, keepdims=True))


def softmax(x: Any, dim: int) -> Array:
    return np.exp(log_softmax(x, dim))


def _reduce(values: Array, reduction: str) -> Array:
    return {"none": lambda v: v, "sum": np.sum, "mean": mean}[reduction](values)


def nll_loss(
    log_probabilities: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Array:
    rows, labels = f64(log_probabilities), np.asarray(target)
    weights = np.ones(rows.shape[1]) if weight is None else f64(weight)
    losses, total = [], 0.0
    for row, label in zip(rows, labels, strict=True):
        if label == ignore_index:
            losses.append(0.0)
        else:
            losses.append(-weights[label] * row[label])
            total += weights[label]
    if reduction == "none":
        return f64(losses)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sum(losses) if reduction == "sum" else np.float64(np.sum(losses)) / np.float64(total)


def cross_entropy(x: Any, target: Any, label_smoothing: float = 0.0, **options: Any) -> Array:
    """Class labels, or probabilities of the shape of x; smoothing only without weight and ignore_index."""
    logs, labels = log_softmax(x, 1), np.asarray(target)
    if labels.dtype.kind == "f":
        values = -(logs * ((1 - label_smoothing) * labels + label_smoothing / logs.shape[1])).sum(1)
        return _reduce(values, options.get("reduction", "mean"))
    plain = nll_loss(logs, labels, **options)
    if not label_smoothing:
        return plain
    assert set(options) <= {"reduction"}
    spread = _reduce(-logs.mean(1), options.get("reduction", "mean"))
    return (1 - label_smoothing) * plain + label_smoothing * spread


def mse_loss(x: Any, y: Any, reduction: str = "mean") -> Array:
    return _reduce((f64(x) - f64(y)) ** 2, reduction)


def l1_loss(x: Any, y: Any, reduction: str = "mean") -> Array:
    return _reduce(np.abs(f64(x) - f64(y)), reduction)


# Optimizers: lists of float64 arrays in, new arrays out.


def sgd(
    p: Any,
    gradients: Sequence[Any],
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> Array:
    """The parameter after one step per gradient."""
    p, buffer = f64(p), None
    for gradient in gradients:
        d = -f64(gradient) if maximize else f64(gradient)
        d = d + weight_decay * p
        if momentum:
            buffer = d if buffer is None else momentum * buffer + (1 - dampening) * d
            d = d + momentum * buffer if nesterov else buffer
        p = p - lr * d
    return p


def adam(
    p: Any,
    gradients: Sequence[Any],
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    amsgrad: bool = False,
    maximize: bool = False,
) -> Array:
    """The parameter after one step per gradient; `decoupled` is AdamW's decay."""
    p = f64(p)
    m, v, largest = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, gradient in enumerate(gradients, 1):
        g = -f64(gradient) if maximize else f64(gradient)
        if decoupled:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        largest = np.maximum(largest, v)
        second = (largest if amsgrad else v) / (1 - betas[1] ** t)
        p = p - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(second) + eps)
    return p


def slope(function: Callable[[Array], Any], x: Any, direction: Any, step: float = 1e-6) -> float:
    """d function(x + t direction) / dt at t = 0, function being scalar, by a central difference."""
    x, direction = f64(x), f64(direction)
    ahead, behind = function(x + step * direction), function(x - step * direction)
    return float((ahead - behind) / (2 * step))
