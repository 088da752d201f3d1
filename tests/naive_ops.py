"""What each structured op means: the slow truth by the op's name, with the arguments of its rule.

Floats come in as float64. A function returns a float64 array where the result has the op's type,
and an array of int64 or bool where the result has that type; a pair for an op of two results.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import naive
import numpy as np

Array = np.ndarray
REDUCTIONS = ("none", "mean", "sum")


def _cat(*xs: Array, dim: int) -> Array:
    kept = [x for x in xs if x.shape != (0,) or xs[0].ndim == 1]
    return np.concatenate(kept, dim)


def _put_rows(x: Array, index: Array, v: Array, accumulate: bool = False) -> Array:
    y = naive.f64(x).copy()
    for place, row in zip(index.ravel(), v.reshape(index.size, *x.shape[1:]), strict=True):
        y[place] = y[place] + row if accumulate else row
    return y


def _flat_index(*indices: Array, sizes: Sequence[int], dims: Sequence[int]) -> Array:
    return np.ravel_multi_index(tuple(i % n for i, n in zip(indices, sizes, strict=True)), tuple(sizes))


def _positions(index: Array, dim: int) -> Any:
    """(place in the index, place in the other tensor) along dim."""
    for place in itertools.product(*map(range, index.shape)):
        other = list(place)
        if other:
            other[dim] = index[place]
        yield place, tuple(other)


def _gather(x: Array, index: Array, dim: int) -> Array:
    y = np.empty(index.shape)
    for place, source in _positions(index, dim):
        y[place] = x[source]
    return y


def _scatter_add(x: Array, index: Array, src: Array, dim: int) -> Array:
    y = naive.f64(x).copy()
    for place, target in _positions(index, dim):
        y[target] += src[place]
    return y


def _nonzero(x: Array, count: int) -> Array:
    places = [p for p in np.ndindex(x.shape) if x[p]][:count]
    return np.array(places, np.int64).reshape(count, x.ndim)


def _triangle(x: Array, diagonal: int, keep: Callable[[int, int], bool]) -> Array:
    rows, columns = x.shape[-2:]
    mask = np.array([[keep(j - i, diagonal) for j in range(columns)] for i in range(rows)], bool)
    return naive.f64(x) * mask.reshape(rows, columns)


def _over(function: Callable[..., Array]) -> Callable[..., Array]:
    """A NumPy reduction over the neighbouring dimensions `dims`, none of them is a copy."""

    def reduce(x: Array, dims: tuple[int, ...], keepdim: bool = False) -> Array:
        return np.asarray(function(x, axis=dims, keepdims=keepdim))

    return reduce


def _place(function: Callable[..., Array]) -> Callable[..., Array]:
    """The first place of an extreme among the elements of `dims`, counted in row-major order."""

    def places(x: Array, dims: tuple[int, ...], keepdim: bool = False) -> Array:
        kept = [d for d in range(x.ndim) if d not in dims]
        moved = x.transpose(*kept, *dims).reshape(*(x.shape[d] for d in kept), -1)
        found = function(moved, axis=-1)
        shape = [1 if d in dims else n for d, n in enumerate(x.shape)]
        return np.asarray(found).reshape(shape) if keepdim else np.asarray(found)

    return places


def _with_place(value: Callable[..., Array], place: Callable[..., Array]) -> Callable[..., tuple[Array, Array]]:
    return lambda x, **options: (_over(value)(x, **options), _place(place)(x, **options))


def _spread(function: Callable[..., Array], x: Array, correction: float, **options: Any) -> Array:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degrees of freedom
        return _over(lambda x, axis, keepdims: function(x, axis, keepdims=keepdims, ddof=correction))(x, **options)


def _log_sum_exp(x: Array, axis: Any, keepdims: bool) -> Array:
    if x.size == 0:
        return np.log(np.sum(x, axis, keepdims=keepdims))
    top = np.max(naive.f64(x), axis, keepdims=True)
    y = np.log(np.sum(np.exp(x - top), axis, keepdims=keepdims))
    return y + (top if keepdims else top.reshape(y.shape))


def _linspace(start: float, end: float, steps: int) -> Array:
    return np.array([start + (end - start) * i / (steps - 1) if steps > 1 else start for i in range(steps)])


def _arange(start: float, end: float, step: float) -> Array:
    count = max(0, math.ceil((end - start) / step))
    return np.array([start + i * step for i in range(count)], np.float64)


def _unview(x: Array, shape: Sequence[int], words: Sequence[int]) -> Array:
    n = words[0]
    strides, offset = words[9 : 9 + n], words[17]
    y = np.zeros(math.prod(shape))
    for place in itertools.product(*map(range, x.shape)):
        y[offset + sum(p * s for p, s in zip(place, strides, strict=True))] += x[place]
    return y.reshape(shape)


def _loss(function: Callable[..., Array]) -> Callable[..., Array]:
    def loss(*inputs: Any, reduction: int, **options: Any) -> Array:
        return np.asarray(function(*inputs, reduction=REDUCTIONS[reduction], **options))

    return loss


def _log_softmax(x: Array, dim: int) -> Array:
    return naive.log_softmax(x, dim) if x.ndim else np.zeros(())


REFERENCES: dict[str, Callable[..., Any]] = {
    "cat": _cat,
    "stack": lambda *xs, dim: np.stack([naive.f64(x) for x in xs], dim),
    "take_rows": lambda x, index: naive.f64(x)[index],
    "index_select": lambda x, index, dim: np.take(naive.f64(x), np.atleast_1d(index), dim),
    "put_rows": _put_rows,
    "flat_index": _flat_index,
    "gather": _gather,
    "scatter_add": _scatter_add,
    "count_nonzero": lambda x: np.asarray(np.count_nonzero(x)),
    "nonzero": _nonzero,
    "tril": lambda x, diagonal=0: _triangle(x, diagonal, lambda d, k: d <= k),
    "triu": lambda x, diagonal=0: _triangle(x, diagonal, lambda d, k: d >= k),
    "softmax": lambda x, dim: np.exp(_log_softmax(x, dim)),
    "log_softmax": _log_softmax,
    "cross_entropy": _loss(lambda x, target, weight, **o: naive.cross_entropy(x, target, weight=weight, **o)),
    "nll_loss": _loss(naive.nll_loss),
    "mse_loss": _loss(naive.mse_loss),
    "l1_loss": _loss(naive.l1_loss),
    "mm": naive.matmul,
    "bmm": naive.matmul,
    "integer_product": naive.matmul,
    "linear": naive.linear,
    "sum": _over(np.sum),
    "mean": _over(np.mean),
    "prod": _over(np.prod),
    "integer_sum": lambda x, **options: _over(np.sum)(x.astype(np.int64), **options),
    "integer_prod": lambda x, **options: _over(np.prod)(x.astype(np.int64), **options),
    "any": lambda x, **options: _over(np.any)(x != 0, **options),
    "all": lambda x, **options: _over(np.all)(x != 0, **options),
    "amax": _over(np.max),
    "amin": _over(np.min),
    "linalg_vector_norm": _over(lambda x, axis, keepdims: np.sqrt(np.sum(naive.f64(x) ** 2, axis, keepdims=keepdims))),
    "var": lambda x, correction=1.0, **options: _spread(np.var, x, correction, **options),
    "std": lambda x, correction=1.0, **options: _spread(np.std, x, correction, **options),
    "logsumexp": _over(_log_sum_exp),
    "max_dim": _with_place(np.max, np.argmax),
    "min_dim": _with_place(np.min, np.argmin),
    "argmax": _place(np.argmax),
    "argmin": _place(np.argmin),
    "check_probabilities": lambda x: np.zeros(0),
    "check_classes": lambda x, classes: np.zeros(0, np.int64),
    "check_deviations": lambda x: np.zeros(0),
    "check_weights": lambda x, replacement: np.zeros(0),
    "check_total_norm": lambda x, order: np.zeros(0),
    "arange": _arange,
    "integer_arange": _arange,
    "linspace": _linspace,
    "integer_linspace": lambda start, end, steps: np.trunc(_linspace(start, end, steps)),
    "eye": lambda n, m: np.eye(n, m),
    "unview": _unview,
}
