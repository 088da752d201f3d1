"""Every pointwise op of the registry, in every dtype it declares; no op is exempt.

The declaration gives the NumPy reference, the domain to sample, the dtypes and what is
differentiable. A new op is tested from the moment it is declared.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tapegrad as tg
from ops.derive import (
    LARGE,
    LAYOUTS,
    check_close,
    check_derivatives,
    check_same,
    contiguous,
    differentiable,
    draw,
    expanded,
    input_dtype,
    numpy,
    pointwise,
    pointwise_reference,
    rng_for,
    step_for,
    strided,
    tensor,
    threads,
    transposed,
)
from tapegrad.dtypes import bool_, float32, float64, int64
from tapegrad.ops.registry import BY_NAME, NOT_IMPLEMENTED, PROMOTE_FLOAT, Op, pointwise_ops

EVERY = pytest.mark.parametrize("op", pointwise_ops(), ids=lambda op: op.name)
DIFFERENTIABLE = pytest.mark.parametrize(
    "op", [op for op in pointwise_ops() if differentiable(op)], ids=lambda op: op.name
)
SHAPES = ((), (0,), (2, 0, 3), (1,), (3, 4), (2, 3, 5))
BROADCAST = (  # for two inputs; a third takes the last one
    ((3, 4), (4,), (3, 1)),  # row
    ((3, 4), (3, 1), (4,)),  # column
    ((4,), (3, 4), ()),
    ((3, 1), (1, 4), (3, 4)),  # both sides
    ((), (3, 4), (1, 1)),
    ((3, 4), (), (2, 3, 4)),
    ((0, 3), (1,), (3,)),
)


def sample(op: Op, rng: Any, shapes: Any, compute: Any) -> list[Any]:
    return [draw(rng, s, input_dtype(op, k, compute), op.domain) for k, s in enumerate(shapes)]


def cases(op: Op, rng: Any, compute: Any) -> Any:
    """(what, arrays): equal shapes, broadcast ones, and layouts."""
    n = len(op.inputs)
    for shape in SHAPES:
        yield f"shape {shape}", sample(op, rng, [shape] * n, compute)
    if n > 1:
        for shapes in BROADCAST:
            yield f"shapes {shapes[:n]}", sample(op, rng, shapes[:n], compute)
    for layout in LAYOUTS[1:]:
        for k in range(n):
            arrays = sample(op, rng, [(4, 5)] * n, compute)
            arrays[k] = layout(arrays[k])
            yield f"{layout.__name__} input {k}", arrays
    yield "large", sample(op, rng, [LARGE] * n, compute)
    yield "large and transposed", [transposed(a) for a in sample(op, rng, [LARGE] * n, compute)]
    if n > 1:
        yield "large row", sample(op, rng, [LARGE[1:], *[LARGE] * (n - 1)], compute)


def result_dtype(op: Op, compute: Any) -> Any:
    if op.result is not None:
        return op.result
    return float32 if op.promotion == PROMOTE_FLOAT and not compute.is_floating_point else compute


def expected(op: Op, arrays: Any, compute: Any) -> Any:
    want = pointwise_reference(op, *arrays)
    if op.result is not None and not op.result.is_floating_point and op.result is not bool_:
        return want.astype(np.int64)  # a conversion to a small type goes by int64, so -1.5 has a meaning
    return want


@EVERY
def test_forward(op: Op) -> None:
    rng = rng_for(op)
    dtypes = op.dtypes + ((int64,) if op.promotion == PROMOTE_FLOAT else ())
    for compute in dtypes:
        for what, arrays in cases(op, rng, compute):
            y = pointwise(op, *[tensor(a) for a in arrays])
            check_close(y, expected(op, arrays, compute), result_dtype(op, compute), f"{compute.name}, {what}")


@EVERY
def test_python_numbers(op: Op) -> None:
    """A number in the place of every input but one takes the tensor's type."""
    n = len(op.inputs)
    rng = rng_for(op)
    for compute in op.dtypes:
        number = True if compute is bool_ else 1.5 if compute.is_floating_point else 2
        free = [k for k in range(n) if input_dtype(op, k, compute) is compute]
        for places in itertools.chain.from_iterable(itertools.combinations(free, r) for r in range(1, n)):
            if len(places) == len(free):
                continue  # no tensor left to give the type
            for shape in ((3, 4), ()):
                arrays = sample(op, rng, [shape] * n, compute)
                args: list[Any] = [tensor(a) for a in arrays]
                for k in places:
                    args[k] = number
                    arrays[k] = np.asarray(number, compute.numpy)
                y = pointwise(op, *args)
                check_close(
                    y, expected(op, arrays, compute), result_dtype(op, compute), f"{compute.name}, numbers at {places}"
                )


@EVERY
def test_public_names(op: Op) -> None:
    """Declared methods exist, as function, method and in place, and are the op."""
    if not op.method:
        return
    rng = rng_for(op)
    compute = op.dtypes[0]
    args = [tensor(a) for a in sample(op, rng, [(3, 4)] * len(op.inputs), compute)]
    y = pointwise(op, *args)
    if not op.params:
        check_same(getattr(tg, op.name)(*args), y, "function")
        check_same(getattr(args[0], op.name)(*args[1:]), y, "method")
    else:
        options = {op.params[0]: 0.7}
        check_same(getattr(tg, op.name)(*args, **options), y, "function")
        check_same(getattr(args[0], op.name)(*args[1:], **options), y, "method")
    assert hasattr(tg.Tensor, op.name + "_") == op.inplace


@DIFFERENTIABLE
def test_gradients(op: Op) -> None:
    rng = rng_for(op)
    which = differentiable(op)
    n = len(op.inputs)
    step, tolerance = step_for(op)
    layouts: list[tuple[str, Any]] = [("contiguous", [(3, 4)] * n), ("no dimensions", [()] * n)]
    if n > 1:
        layouts += [(f"shapes {s[:n]}", s[:n]) for s in BROADCAST[:6]]
    for what, shapes in layouts:
        arrays = sample(op, rng, shapes, float64)
        check_derivatives(lambda *x: pointwise(op, *x), arrays, which, rng, what, step, tolerance)
    for layout in (transposed, strided, expanded):
        arrays = [layout(a) for a in sample(op, rng, [(3, 4)] * n, float64)]
        check_derivatives(lambda *x: pointwise(op, *x), arrays, which, rng, layout.__name__, step, tolerance)


@EVERY
def test_undifferentiable(op: Op) -> None:
    """Where no gradient flows the result has no history, and an input without derivative gets none."""
    rng = rng_for(op)
    if float64 not in op.dtypes:
        return
    arrays = sample(op, rng, [(3,)] * len(op.inputs), float64)
    xs = [tensor(a, a.dtype == np.float64) for a in arrays]
    y = pointwise(op, *xs)
    floating = op.result is None or op.result.is_floating_point
    assert y.requires_grad == floating
    if floating and NOT_IMPLEMENTED in op.derivatives:
        with pytest.raises(RuntimeError, match="is not implemented"):
            y.sum().backward()
    elif floating:
        y.sum().backward()
        for k, x in enumerate(xs):
            assert (x.grad is not None) == (k in differentiable(op))


@EVERY
def test_in_place(op: Op) -> None:
    if not op.inplace:
        return
    rng = rng_for(op)
    n = len(op.inputs)
    for compute in op.dtypes:
        shape_lists = [[(3, 4)] * n, [()] * n, [(0, 2)] * n]
        if n > 1:
            shape_lists += [[(3, 4), *s] for s in (((4,), (3, 1)), ((3, 1), ()))]
        for shapes in shape_lists:
            for layout in LAYOUTS[:3]:
                arrays = sample(op, rng, shapes[:n], compute)
                args = [tensor(a) for a in arrays]
                want = pointwise(op, *args)
                x = tensor(layout(arrays[0].copy()))
                version, address = x._version, x.data_ptr()
                y = pointwise(op, x, *args[1:], inplace=x)
                assert y is x
                assert x._version == version + 1
                assert x.data_ptr() == address
                check_same(x.contiguous(), want, f"{compute.name}, {shapes[:n]}, {layout.__name__}")
        # The changed tensor as another operand, too.
        arrays = sample(op, rng, [(3, 4)] * n, compute)
        x = tensor(arrays[0].copy())
        want = pointwise(op, *[x] * n)
        check_same(pointwise(op, *[x] * n, inplace=x), want, f"{compute.name}: every operand the same")
    if op.promotion == PROMOTE_FLOAT:
        x = tensor(np.ones(3, np.int64))
        with pytest.raises(RuntimeError, match="can't be cast to the desired output type"):
            pointwise(op, *[x] * n, inplace=x)
        assert x._version == 0
    if n > 1:
        x = tensor(draw(rng, (4,), op.dtypes[0], op.domain))
        wide = tensor(draw(rng, (3, 4), op.dtypes[0], op.domain))
        with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
            pointwise(op, x, *[wide] * (n - 1), inplace=x)
        assert x._version == 0


@DIFFERENTIABLE
def test_in_place_gradients(op: Op) -> None:
    if not op.inplace:
        return
    rng = rng_for(op)
    n = len(op.inputs)
    which = differentiable(op)
    for compute in (float64, float32):
        for shapes in ([(3, 4)] * n, [(3, 4), (4,), (3, 1)][:n]):
            arrays = sample(op, rng, shapes, compute)
            w = tensor(draw(rng, (3, 4), compute, (-1, 1)))
            outside = [tensor(a, k in which) for k, a in enumerate(arrays)]
            pointwise(op, outside[0] * 1.0, *outside[1:]).backward(w)
            for layout in ("contiguous", "transposed", "sliced"):
                inside = [tensor(a, k in which) for k, a in enumerate(arrays)]
                x = inside[0] * 1.0
                if layout == "transposed":
                    x = (inside[0].t() * 1.0).t()
                elif layout == "sliced":
                    x = tg.cat([x, x], 1)[:, :4]
                y = pointwise(op, x, *inside[1:], inplace=x)
                y.backward(w)
                for k in which:
                    assert inside[k].grad is not None
                    check_close(
                        inside[k].grad, numpy(outside[k].grad), compute, f"{shapes}, {layout}, input {k}"
                    )


SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 7.25, -40.0)


@EVERY
def test_special_values(op: Op) -> None:
    """NaN, infinities and zeros in every combination, as NumPy has them."""
    if op.result not in (None, bool_, float32, float64):
        return  # a NaN has no value among integers
    for compute in op.dtypes:
        if not compute.is_floating_point:
            continue
        free = [k for k in range(len(op.inputs)) if input_dtype(op, k, compute) is compute]
        grids = np.meshgrid(*[np.array(SPECIAL, compute.numpy)] * len(free), indexing="ij")
        if len(free) < len(op.inputs):
            grids = [np.arange(grids[0].size).reshape(grids[0].shape) % 3 == 0, *grids]
        arrays = [np.ascontiguousarray(a.reshape(-1)) for a in grids]
        want = expected(op, arrays, compute)
        t = result_dtype(op, compute)
        for layout in (contiguous, strided):
            y = numpy(pointwise(op, *[tensor(layout(a)) for a in arrays]))
            with np.errstate(over="ignore"):
                exact = want.astype(t.numpy)
            wrong = np.isnan(y) != np.isnan(exact) if t.is_floating_point else y != exact
            assert not wrong.any(), [(tuple(a[i] for a in arrays), y[i], exact[i]) for i in np.flatnonzero(wrong)[:5]]
            if t.is_floating_point:
                rtol = 1e-6 if t is float32 else 1e-13
                np.testing.assert_allclose(y, exact, rtol=rtol, atol=rtol)


@EVERY
def test_threads(op: Op) -> None:
    """One thread and two give the same bits, forward and backward."""
    rng = rng_for(op)
    n = len(op.inputs)
    compute = op.dtypes[0]
    runs = [[LARGE] * n]
    if n > 1:
        runs.append([LARGE, LARGE[1:], (LARGE[0], 1)][:n])
    for shapes in runs:
        for layout in (contiguous, transposed):
            arrays = [layout(a) for a in sample(op, rng, shapes, compute)]
            w = tensor(draw(rng, LARGE, float32, (-1, 1)))
            which = differentiable(op) if compute.is_floating_point else []
            results = []
            for count in (1, 2):
                with threads(count):
                    xs = [tensor(a, k in which) for k, a in enumerate(arrays)]
                    y = pointwise(op, *xs)
                    if which:
                        y.backward(w.to(y.dtype))
                    results.append([y, *[xs[k].grad for k in which]])
            for one, two in zip(*results, strict=True):
                check_same(one, two, f"{shapes}, {layout.__name__}")


def test_activations_save_one_tensor() -> None:
    """The derivative in tensor operations asks for no more than the kernel's does."""
    assert BY_NAME["relu"].needs(0) == 8  # the result
    for name in ("leaky_relu", "abs", "square", "cube", "tanh"):
        assert bin(BY_NAME[name].needs(0)).count("1") == 1, name
