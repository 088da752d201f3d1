"""Optimizer updates: one call changes every parameter of a group.

A kernel sees FRAME_N tensors. FRAME_EXT has for each tensor 1 + C words: its number of elements,
then the address of its data in each of the op's C columns (`UPDATES` names them). FRAME_PARAMS has
the op's numbers as float64. A work item is a chunk of 16384 elements of one tensor, counted over
all tensors in order; an empty tensor has one item too, so that its step count advances.

The roundings are PyTorch's CPU path: `x.add(y, alpha=a)`, `addcmul` and `lerp` are fused
multiply-adds there, `mul_` and `addcdiv` are not. The scalars are computed in float64 and rounded
once. Gradients are never written.

Momentum and moments below the normal numbers are 0 here. Without new gradients (a unit that died) they would shrink
until 0.9 times the smallest number rounds back to it, and stay. Many processors take a hundred times as long for such
numbers: a digits step at (1,32) went from 3.7 to 9.4 us. PyTorch keeps them. No parameter differs by that but one that
is nearly as small. The select costs less than where in memory the tensors happen to lie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .._layout import (
    FRAME_EXT,
    FRAME_GRAIN,
    FRAME_N,
    FRAME_PARAMS,
    FRAME_PHASE,
    FRAME_PHASES,
    FRAME_SCRATCH_BYTES,
)
from ..dtypes import float32, float64, int64
from ..dtypes import float32 as T
from ..native.symbols import fabs, fma, maximum, pointer, sqrt, where
from .registry import structured

__all__ = ["UPDATES", "Update"]

ST = 4  # bytes of T; bound per kernel, as T is
CHUNK = 16384
SERIAL_ITEMS = 4  # items of one call where there is more than one: 64k elements


class Update(NamedTuple):
    """What the caller of an update kernel must know.

    `columns` names the tensors per parameter, `writes` says which of them change (their version
    is bumped), `params` names the numbers. All columns have the parameter's dtype and number of
    elements and are contiguous, but `step`: one float32 element, which the kernel advances by 1.
    """

    kernel: Callable[..., int]
    columns: tuple[str, ...]
    writes: tuple[bool, ...]
    params: tuple[str, ...]


def chunks_of(n):
    return 1 if n <= CHUNK else (n + CHUNK - 1) // CHUNK


def plan(f, columns, phases):
    """Answer of a planning call: the number of work items."""
    ext = pointer(f[FRAME_EXT], int64)
    items = 0
    elements = 0
    for t in range(f[FRAME_N]):
        n = ext[t * (1 + columns)]
        items += chunks_of(n)
        elements += n
    f[FRAME_GRAIN] = SERIAL_ITEMS
    if elements < SERIAL_ITEMS * CHUNK and items > SERIAL_ITEMS:
        f[FRAME_GRAIN] = items
    f[FRAME_SCRATCH_BYTES] = 0
    f[FRAME_PHASES] = phases
    return items


def first_element(n, item, lo):
    """Where the elements of items lo.. begin in a tensor of n elements whose first item is `item`."""
    start = (lo - item) * CHUNK
    return 0 if start < 0 else (n if start > n else start)


def last_element(n, item, hi):
    end = (hi - item) * CHUNK
    return 0 if end < 0 else (n if end > n else end)


def smallest_normal():
    return T(1.1754943508222875e-38) if ST == 4 else T(2.2250738585072014e-308)


def flushed(x, limit):
    """x, or 0 where it is below the limit."""
    return where(fabs(x) < limit, T(0.0), x)


def square_limit(eps, correction):
    """Below what a mean of squares is 0: where its root vanishes beside eps. A tiny eps lets it decide the step: 0."""
    limit = smallest_normal()
    half_of_last_place = T(2.0**-26) if ST == 4 else T(2.0**-55)
    return limit if sqrt(limit) / correction < eps * half_of_last_place else T(0.0)


# -- stochastic gradient descent


def sgd(f, lo, hi):
    if lo == -1:
        return plan(f, 2, 1)
    ext = pointer(f[FRAME_EXT], int64)
    params = pointer(f[FRAME_PARAMS], float64)
    step = T(-params[0])
    decay = T(params[1])
    sign = T(1.0) - T(2.0) * T(params[2])
    decays = decay != T(0.0)
    item = 0
    for t in range(f[FRAME_N]):
        n = ext[t * 3]
        p = pointer(ext[t * 3 + 1], T)
        grad = pointer(ext[t * 3 + 2], T)
        for i in range(first_element(n, item, lo), last_element(n, item, hi)):
            g = sign * grad[i]
            g = where(decays, fma(p[i], decay, g), g)
            p[i] = fma(g, step, p[i])
        item += chunks_of(n)
        if item >= hi:
            break
    return 0


def sgd_momentum(f, lo, hi):
    if lo == -1:
        return plan(f, 3, 1)
    ext = pointer(f[FRAME_EXT], int64)
    params = pointer(f[FRAME_PARAMS], float64)
    step = T(-params[0])
    decay = T(params[1])
    sign = T(1.0) - T(2.0) * T(params[2])
    momentum = T(params[3])
    keep = T(1.0 - params[4])
    nesterov = params[5] != 0.0
    first = params[6] != 0.0
    limit = smallest_normal()
    decays = decay != T(0.0)
    item = 0
    for t in range(f[FRAME_N]):
        n = ext[t * 4]
        p = pointer(ext[t * 4 + 1], T)
        grad = pointer(ext[t * 4 + 2], T)
        buffer = pointer(ext[t * 4 + 3], T)
        for i in range(first_element(n, item, lo), last_element(n, item, hi)):
            g = sign * grad[i]
            g = where(decays, fma(p[i], decay, g), g)
            # On the first step the buffer is uninitialised: it is read, but not used.
            b = flushed(where(first, g, fma(g, keep, buffer[i] * momentum)), limit)
            buffer[i] = b
            p[i] = fma(where(nesterov, fma(b, momentum, g), b), step, p[i])
        item += chunks_of(n)
        if item >= hi:
            break
    return 0


# -- Adam and AdamW


def power(x, n):
    """x**n for a whole n >= 0 in double-double arithmetic: as good as the C library's pow."""
    high, low = 1.0, 0.0
    square, error = x, 0.0
    while n > 0:
        if n % 2 == 1:
            product = high * square
            low = fma(high, square, -product) + (high * error + low * square)
            high = product
        product = square * square
        error = fma(square, square, -product) + 2.0 * square * error
        square = product
        n //= 2
    return high + low


def lerp(start, end, weight):
    """start + weight * (end - start), from the nearer end as PyTorch does it."""
    near = weight < T(0.5)
    return fma(where(near, weight, weight - T(1.0)), end - start, where(near, start, end))


def adam(f, lo, hi):
    if lo == -1:
        return plan(f, 5, 2)
    if f[FRAME_PHASE] == 1:
        return advance_steps(f, lo, hi, 5)
    ext = pointer(f[FRAME_EXT], int64)
    params = pointer(f[FRAME_PARAMS], float64)
    lr, beta1, beta2, eps = params[0], params[1], params[2], params[3]
    sign = T(1.0) - T(2.0) * T(params[5])
    decoupled = params[6] != 0.0
    decay = T(params[4])
    decays = params[4] != 0.0 and not decoupled
    shrink = T(1.0 - lr * params[4]) if decoupled else T(1.0)
    limit = smallest_normal()
    item = 0
    for t in range(f[FRAME_N]):
        n = ext[t * 6]
        if item + chunks_of(n) > lo:
            p = pointer(ext[t * 6 + 1], T)
            grad = pointer(ext[t * 6 + 2], T)
            mean = pointer(ext[t * 6 + 3], T)
            square = pointer(ext[t * 6 + 4], T)
            count = int64(pointer(ext[t * 6 + 5], float32)[0]) + 1
            step = T(-(lr / (1.0 - power(beta1, count))))
            correction = T(sqrt(1.0 - power(beta2, count)))
            limit_of_squares = square_limit(T(eps), correction)
            for i in range(first_element(n, item, lo), last_element(n, item, hi)):
                x = p[i] * shrink
                g = sign * grad[i]
                g = where(decays, fma(x, decay, g), g)
                m = flushed(lerp(mean[i], g, T(1.0 - beta1)), limit)
                v = flushed(fma(T(1.0 - beta2) * g, g, square[i] * T(beta2)), limit_of_squares)
                mean[i] = m
                square[i] = v
                p[i] = x + step * m / (sqrt(v) / correction + T(eps))
        item += chunks_of(n)
        if item >= hi:
            break
    return 0


def adam_amsgrad(f, lo, hi):
    if lo == -1:
        return plan(f, 6, 2)
    if f[FRAME_PHASE] == 1:
        return advance_steps(f, lo, hi, 6)
    ext = pointer(f[FRAME_EXT], int64)
    params = pointer(f[FRAME_PARAMS], float64)
    lr, beta1, beta2, eps = params[0], params[1], params[2], params[3]
    sign = T(1.0) - T(2.0) * T(params[5])
    decoupled = params[6] != 0.0
    decay = T(params[4])
    decays = params[4] != 0.0 and not decoupled
    shrink = T(1.0 - lr * params[4]) if decoupled else T(1.0)
    limit = smallest_normal()
    item = 0
    for t in range(f[FRAME_N]):
        n = ext[t * 7]
        if item + chunks_of(n) > lo:
            p = pointer(ext[t * 7 + 1], T)
            grad = pointer(ext[t * 7 + 2], T)
            mean = pointer(ext[t * 7 + 3], T)
            square = pointer(ext[t * 7 + 4], T)
            largest = pointer(ext[t * 7 + 5], T)
            count = int64(pointer(ext[t * 7 + 6], float32)[0]) + 1
            step = T(-(lr / (1.0 - power(beta1, count))))
            correction = T(sqrt(1.0 - power(beta2, count)))
            limit_of_squares = square_limit(T(eps), correction)
            for i in range(first_element(n, item, lo), last_element(n, item, hi)):
                x = p[i] * shrink
                g = sign * grad[i]
                g = where(decays, fma(x, decay, g), g)
                m = flushed(lerp(mean[i], g, T(1.0 - beta1)), limit)
                v = flushed(fma(T(1.0 - beta2) * g, g, square[i] * T(beta2)), limit_of_squares)
                mean[i] = m
                square[i] = v
                v = maximum(largest[i], v)
                largest[i] = v
                p[i] = x + step * m / (sqrt(v) / correction + T(eps))
        item += chunks_of(n)
        if item >= hi:
            break
    return 0


def advance_steps(f, lo, hi, columns):
    """The last phase: the item that begins a tensor advances its step count, which all have read."""
    ext = pointer(f[FRAME_EXT], int64)
    item = 0
    for t in range(f[FRAME_N]):
        if lo <= item < hi:
            count = pointer(ext[t * (1 + columns) + columns], float32)
            count[0] = count[0] + float32(1.0)
        item += chunks_of(ext[t * (1 + columns)])
    return 0


_ADAM = ("lr", "beta1", "beta2", "eps", "weight_decay", "maximize", "decoupled")
UPDATES = {
    "sgd": Update(sgd, ("param", "grad"), (True, False), ("lr", "weight_decay", "maximize")),
    "sgd_momentum": Update(
        sgd_momentum,
        ("param", "grad", "momentum_buffer"),
        (True, False, True),
        ("lr", "weight_decay", "maximize", "momentum", "dampening", "nesterov", "first"),
    ),
    "adam": Update(
        adam,
        ("param", "grad", "exp_avg", "exp_avg_sq", "step"),
        (True, False, True, True, True),
        _ADAM,
    ),
    "adam_amsgrad": Update(
        adam_amsgrad,
        ("param", "grad", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "step"),
        (True, False, True, True, True, True),
        _ADAM,
    ),
}
_SIZES = ((3, 4), (), (0,), (70000,))
_ADAM_SAMPLE = {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8}
_SAMPLES = {
    "sgd": [{"lr": 0.1, "weight_decay": d, "maximize": m} for d in (0.0, 0.3) for m in (0.0, 1.0)],
    "sgd_momentum": [
        {
            "lr": 0.1,
            "weight_decay": 0.1,
            "maximize": m,
            "momentum": 0.9,
            "dampening": d,
            "nesterov": float(d == 0.0),
            "first": 1.0,
        }
        for m in (0.0, 1.0)
        for d in (0.0, 0.2)
    ],
}
_SAMPLES["adam"] = _SAMPLES["adam_amsgrad"] = [
    {**_ADAM_SAMPLE, "weight_decay": w, "maximize": m, "decoupled": d}
    for w in (0.0, 0.1)
    for m, d in ((0.0, 0.0), (1.0, 1.0))
]
for _name, _update in UPDATES.items():
    structured(
        "update_" + _name,
        inputs=(),
        rule=None,
        forward=_update.kernel,
        doc="The parameter update of an optimizer, over all parameters of a group.",
        # The parameters' shapes, and the numbers by name; `first` is so of the first step only.
        samples=[({"shapes": _SIZES, **numbers},) for numbers in _SAMPLES[_name]],
    )
