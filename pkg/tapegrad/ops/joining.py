"""`cat` and `stack`: several tensors joined along a dimension.

Each input is seen as (outer, inner bytes); the result's rows are the inputs' rows one after the other, so
joining copies bytes and knows no element type. The gradient of an input is its part of the rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from .._layout import FRAME_ACC, FRAME_EXT, FRAME_GX, FRAME_IN, FRAME_OUT
from ..dtypes import DTYPES, int32, int64, uint8
from ..dtypes import float32 as T
from ..native.symbols import pointer
from .fold import plan_items, put
from .registry import Plan, structured
from .shapes import normal_dim, numel

__all__ = ["cat", "stack"]

# words: inputs, outer, element size, where each input begins in a row, the elements of a row, dim, the size of
# each input there (-1 for one of shape (0,) that counts for nothing)


def copy_bytes(target, source, count):
    """Eight or four bytes at a time where both addresses and the count allow it."""
    if (target | source | count) % 8 == 0:
        t8 = pointer(target, int64)
        s8 = pointer(source, int64)
        for i in range(count // 8):
            t8[i] = s8[i]
    elif (target | source | count) % 4 == 0:
        t4 = pointer(target, int32)
        s4 = pointer(source, int32)
        for i in range(count // 4):
            t4[i] = s4[i]
    else:
        t1 = pointer(target, uint8)
        s1 = pointer(source, uint8)
        for i in range(count):
            t1[i] = s1[i]


GRAIN = 32768  # elements of a chunk of rows


def cat_kernel(f, lo, hi):
    w = pointer(f[FRAME_EXT], int64)
    size = w[2]
    total = w[3 + w[0]]
    if lo == -1:
        return plan_items(f, w[1] if total > 0 else 0, max(1, GRAIN // max(1, total)), 0, 1)
    inputs = pointer(f[FRAME_IN], int64)
    wide = 0
    for i in range(w[0]):
        width = w[4 + i] - w[3 + i]
        if width == 1 and size == 4:  # a column: elements, not rows of one
            y4 = pointer(f[FRAME_OUT], int32)
            x4 = pointer(inputs[i], int32)
            for row in range(lo, hi):
                y4[row * total + w[3 + i]] = x4[row]
        elif width == 1 and size == 8:
            y8 = pointer(f[FRAME_OUT], int64)
            x8 = pointer(inputs[i], int64)
            for row in range(lo, hi):
                y8[row * total + w[3 + i]] = x8[row]
        else:
            wide += 1
    if wide == 0:
        return 0
    for row in range(lo, hi):
        for i in range(w[0]):
            count = (w[4 + i] - w[3 + i]) * size
            if count != size or (size != 4 and size != 8):
                copy_bytes(f[FRAME_OUT] + (row * total + w[3 + i]) * size, inputs[i] + row * count, count)
    return 0


def cat_dx_kernel(f, lo, hi):
    """The gradient of input FRAME_IN."""
    w = pointer(f[FRAME_EXT], int64)
    which = f[FRAME_IN]
    left = w[3 + which]
    width = w[4 + which] - left
    if lo == -1:
        return plan_items(f, w[1] if width > 0 else 0, max(1, GRAIN // max(1, width)), 0, 1)
    total = w[3 + w[0]]
    g = pointer(f[FRAME_OUT], T)
    gx = pointer(f[FRAME_GX], T)
    acc = f[FRAME_ACC]
    for row in range(lo, hi):
        p = row * total + left
        q = row * width
        for j in range(width):
            put(gx, q + j, g[p + j], acc)
    return 0


def _is_legacy_empty(x: Any) -> bool:
    return tuple(x.shape) == (0,)  # PyTorch skips these whatever the other shapes are


def cat_rule(xs: Sequence[Any], dim: int = 0) -> Plan:
    if not xs:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    _check_tensors("cat", xs)
    for i, x in enumerate(xs):
        if x.ndim == 0:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    first = next((x for x in xs if not _is_legacy_empty(x)), xs[0])
    dim = normal_dim(dim, first.ndim)
    shape = list(first.shape)
    shape[dim] = 0
    widths: list[int] = []
    sizes: list[int] = []
    inner = numel(first.shape[dim + 1 :])
    for i, x in enumerate(xs):
        if _is_legacy_empty(x) and first.ndim != 1:
            widths.append(0)
            sizes.append(-1)
            continue
        if x.ndim != first.ndim:
            raise RuntimeError(f"Tensors must have same number of dimensions: got {first.ndim} and {x.ndim}")
        for d in range(first.ndim):
            if d != dim and x.shape[d] != first.shape[d]:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size {first.shape[d]} "
                    f"but got size {x.shape[d]} for tensor number {i} in the list."
                )
        shape[dim] += x.shape[dim]
        widths.append(x.shape[dim] * inner)
        sizes.append(x.shape[dim])
    return Plan(shape, first.dtype, words=_words(first, dim, widths, sizes))


def _words(first: Any, dim: int, widths: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    starts = itertools.accumulate(widths, initial=0)
    return (len(widths), numel(first.shape[:dim]), first.dtype.itemsize, *starts, dim, *sizes)


def _cat_dx(c: Any, g: Any, which: int) -> Any:
    """Input `which`'s part of g."""
    count = c.words[0]
    dim = c.words[4 + count]
    sizes = c.words[5 + count : 5 + 2 * count]
    if sizes[which] < 0:
        return g.new_zeros((0,))
    start = 0
    for size in sizes[:which]:
        start += max(0, size)
    return g.narrow(dim, start, sizes[which])


_cat = structured(
    "cat",
    inputs=("xs",),
    variadic=True,
    rule=cat_rule,
    forward=cat_kernel,
    backward={"xs": (cat_dx_kernel, ())},
    derivative={"xs": _cat_dx},  # f(c, g, index of the input)
    dtypes=DTYPES,
    contiguous=True,
    doc="Tensors of one dtype joined along a dimension.",
    samples=[
        ((2, 3), (2, 1), (2, 4), {"dim": 1}),
        ((2, 3), {"dim": 0}),
        ((1,), (0,), (3,), {"dim": 0}),
        ((2, 3, 1), (0,), (2, 2, 1), {"dim": -2}),
        ((300, 70), (300, 80), {"dim": 1}),
    ],
    constants={"GRAIN": lambda n: ((n // 16, 9), (n // 16, 7), {"dim": 1})},
)


def stack_rule(xs: Sequence[Any], dim: int = 0) -> Plan:
    _check_tensors("stack", xs)
    if len(xs) == 0:
        raise RuntimeError("stack expects a non-empty TensorList")
    first = xs[0]
    shape = tuple(first.shape)
    for i, x in enumerate(xs):
        if tuple(x.shape) != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and "
                f"{list(x.shape)} at entry {i}"
            )
    dim = normal_dim(dim, len(shape) + 1)
    width = numel(shape[dim:])
    words = _words(first, dim, [width] * len(xs), [1] * len(xs))
    return Plan((*shape[:dim], len(xs), *shape[dim:]), first.dtype, words=words)


_stack = structured(
    "stack",
    inputs=("xs",),
    variadic=True,
    rule=stack_rule,
    forward=cat_kernel,
    backward={"xs": (cat_dx_kernel, ())},
    derivative={"xs": lambda c, g, which: g.select(c.words[4 + c.words[0]], which)},
    dtypes=DTYPES,
    contiguous=True,
    doc="Tensors of one dtype and one shape joined along a new dimension.",
    samples=[
        ((2, 3), (2, 3), {"dim": 0}),
        ((2, 3), (2, 3), (2, 3), {"dim": 1}),
        ((2, 3), (2, 3), {"dim": -1}),
        ((), (), (), {"dim": 0}),
        ((0, 2), (0, 2), {"dim": 1}),
        ((300, 70), (300, 70), {"dim": 1}),
    ],
    constants={"GRAIN": lambda n: ((n // 16, 8), (n // 16, 8), {"dim": 1})},
)


def _check_tensors(name: str, tensors: Any) -> None:
    if not isinstance(tensors, tuple | list):
        kind = type(tensors).__name__
        raise TypeError(f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not {kind}")
    for i, x in enumerate(tensors):
        if not hasattr(x, "numel"):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}")


def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """The tensors joined along `dim`; all other sizes must agree (RuntimeError).

    >>> import tapegrad as torch
    >>> torch.cat([torch.zeros(2), torch.ones(1)])
    tensor([0., 0., 1.])
    """
    _check_tensors("cat", tensors)
    return _cat(tensors, dim=dim)


def stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Tensors of one shape joined along a new dimension.

    >>> import tapegrad as torch
    >>> torch.stack([torch.zeros(2), torch.ones(2)]).shape
    torch.Size([2, 2])
    """
    return _stack(tensors, dim=dim)
