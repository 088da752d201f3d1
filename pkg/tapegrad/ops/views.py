"""The backward of views: one op, whatever the view.

A view's words describe where its elements lie in a contiguous gradient of what it shows. `view`
spreads the gradient of the view to those places; `unview` is that as an operation of its own, for
derivatives of derivatives; `copy_slices` is the record of a tensor whose view was changed in place.
"""

from __future__ import annotations

from .._layout import (
    FRAME_ACC,
    FRAME_EXT,
    FRAME_GRAIN,
    FRAME_GX,
    FRAME_GX_N,
    FRAME_IN,
    FRAME_N,
    FRAME_OUT,
    KIND_VIEW,
    VIEW_NDIM,
    VIEW_OFFSET,
    VIEW_SHAPE,
    VIEW_STRIDES,
    VIEW_WORDS,
)
from ..dtypes import float32 as T
from ..dtypes import int64
from ..native.symbols import pointer
from .registry import ALL, FLOATS, Op, Plan, register, structured


def place(w, item):
    """Where the view's element `item` lies."""
    offset = w[VIEW_OFFSET]
    rest = item
    for k in range(w[VIEW_NDIM]):
        d = w[VIEW_NDIM] - 1 - k
        offset += (rest % w[VIEW_SHAPE + d]) * w[VIEW_STRIDES + d]
        rest = rest // w[VIEW_SHAPE + d]
    return offset


def matrix(w):
    """Of the last two dimensions: rows, elements of a row, and the strides from row to row and in a row."""
    nd = w[VIEW_NDIM]
    rows = inner = 1
    across = step = 0
    if nd > 0:
        inner = w[VIEW_SHAPE + nd - 1]
        step = w[VIEW_STRIDES + nd - 1]
    if nd > 1:
        rows = w[VIEW_SHAPE + nd - 2]
        across = w[VIEW_STRIDES + nd - 2]
    return rows, inner, across, step


def spread(w, source, target, n):
    """target[place of i] += source[i], in order; expanded elements add up."""
    rows, inner, across, step = matrix(w)
    x = pointer(source, T)
    y = pointer(target, T)
    i = 0
    while i < n:
        base = place(w, i)
        if across == 1 and step > 1 and rows > 1:  # a transpose: what is written lies side by side
            for j in range(inner):
                for r in range(rows):
                    y[base + j * step + r] += x[i + r * inner + j]
            i += rows * inner
            continue
        for _ in range(rows):
            if step == 0:
                total = x[i]
                for j in range(1, inner):
                    total += x[i + j]
                y[base] += total
            elif step == 1:
                for j in range(inner):
                    y[base + j] += x[i + j]
            else:
                for j in range(inner):
                    y[base + j * step] += x[i + j]
            base += across
            i += inner
    return 0


def gather(w, source, target, n, acc):
    """target[i] (+)= source[place of i], in order."""
    rows, inner, across, step = matrix(w)
    x = pointer(source, T)
    y = pointer(target, T)
    i = 0
    while i < n:
        base = place(w, i)
        for _ in range(rows):
            if acc == 0:
                for j in range(inner):
                    y[i + j] = x[base + j * step]
            else:
                for j in range(inner):
                    y[i + j] += x[base + j * step]
            base += across
            i += inner
    return 0


def zero(address, n):
    y = pointer(address, T)
    for i in range(n):
        y[i] = T(0.0)
    return 0


def view_backward(f, lo, hi):
    if lo < 0:
        f[FRAME_GRAIN] = 1
        return 1
    w = pointer(f[FRAME_EXT], int64)
    zero(f[FRAME_GX], f[FRAME_GX_N])
    if f[FRAME_N] > 0:
        spread(w, f[FRAME_OUT], f[FRAME_GX], f[FRAME_N])
    return 0


def view_dx(c, g):
    """The gradient put back into the arrangement of the input."""
    return unview(g, c.input_shape, c.words)


def unsupported(f, lo, hi):
    return 1


register(
    Op(
        "view",
        KIND_VIEW,
        ("x",),
        unsupported,
        (),
        FLOATS,
        "The same memory in another arrangement.",
        backward={"x": (view_backward, ())},
        derivative={"x": view_dx},
        method=False,
    )
)


def unview_forward(f, lo, hi):
    if lo < 0:
        f[FRAME_GRAIN] = 1
        return 1
    w = pointer(f[FRAME_EXT], int64)
    zero(f[FRAME_OUT], f[FRAME_N])
    n = w[VIEW_WORDS]
    if n > 0:
        spread(w, f[FRAME_IN], f[FRAME_OUT], n)
    return 0


def unview_x(f, lo, hi):
    if lo < 0:
        f[FRAME_GRAIN] = 1
        return 1
    if f[FRAME_GX_N] > 0:
        gather(pointer(f[FRAME_EXT], int64), f[FRAME_OUT], f[FRAME_GX], f[FRAME_GX_N], f[FRAME_ACC])
    return 0


def unview_rule(x, shape, words):
    n = 1
    for s in x.shape:
        n *= s
    return Plan(tuple(shape), x.dtype, (*words[:VIEW_WORDS], n))


def _arrange(g, words):
    """The elements that the words describe, of a contiguous tensor, as a view."""
    nd = words[VIEW_NDIM]
    return g.contiguous()._arrangement(
        tuple(words[VIEW_SHAPE : VIEW_SHAPE + nd]), tuple(words[VIEW_STRIDES : VIEW_STRIDES + nd]), words[VIEW_OFFSET]
    )


def _sample(x, base, strides, offset):
    """A sample of `unview`: x put at these places of zeros of the shape `base`."""
    words = [len(x), *x, *[0] * (8 - len(x)), *strides, *[0] * (8 - len(strides)), offset]
    return x, {"shape": base, "words": tuple(words)}


unview = structured(
    "unview",
    inputs=("x",),
    rule=unview_rule,
    forward=unview_forward,
    backward={"x": (unview_x, ())},
    derivative={"x": lambda c, g: _arrange(g, c.words)},
    dtypes=ALL,
    doc="Zeros with the elements of `x` added at the places that a view's words describe.",
    samples=[
        _sample((3, 2), (2, 3), (1, 3), 0),  # a transpose
        _sample((2, 2), (3, 4), (8, 2), 1),  # slices
        _sample((3, 4), (4,), (0, 1), 0),  # an expansion
        _sample((), (3, 4), (), 5),  # one element
        _sample((0, 2), (4,), (2, 1), 0),
        _sample((200, 200), (200, 201), (1, 200), 100),
    ],
)


def copy_slices_base(f, lo, hi):
    """The gradient of the tensor before the change: zero where the view lies."""
    if lo < 0:
        f[FRAME_GRAIN] = 1
        return 1
    w = pointer(f[FRAME_EXT], int64)
    g = pointer(f[FRAME_OUT], T)
    gx = pointer(f[FRAME_GX], T)
    n = f[FRAME_GX_N]
    count = 1
    for d in range(w[VIEW_NDIM]):
        count *= w[VIEW_SHAPE + d]
    for i in range(n):
        gx[i] = g[i]
    for i in range(count):
        gx[place(w, i)] = T(0.0)
    return 0


def copy_slices_value(f, lo, hi):
    """The gradient of what was written: the view's part."""
    if lo < 0:
        f[FRAME_GRAIN] = 1
        return 1
    if f[FRAME_GX_N] > 0:
        gather(pointer(f[FRAME_EXT], int64), f[FRAME_OUT], f[FRAME_GX], f[FRAME_GX_N], 0)
    return 0


def _without_part(c, g):
    g = g.clone()
    _arrange(g, c.words).zero_()
    return g


register(
    Op(
        "copy_slices",
        KIND_VIEW,
        ("base", "value"),
        unsupported,
        (),
        FLOATS,
        "A tensor after a view of it was changed in place.",
        backward={"base": (copy_slices_base, ()), "value": (copy_slices_value, ())},
        derivative={"base": _without_part, "value": lambda c, g: _arrange(g, c.words)},
        method=False,
    )
)
