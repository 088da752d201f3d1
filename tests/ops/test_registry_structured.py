"""Every structured op of the registry on the samples that it declares; no op is exempt.

An op without samples fails, and so does one without a reference in `naive_ops`. Ops without a rule
(random draws, optimizer updates) are called by code of their own: `test_registry_callers.py`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import tapegrad as tg
from naive_ops import REFERENCES
from ops.derive import check_derivatives, check_same, draw, numpy, rng_for, strided, tensor, threads, transposed
from tapegrad.dtypes import float32, float64
from tapegrad.ops.registry import Given, Index, Op, structured_ops

WITH_RULE = [op for op in structured_ops() if op.rule is not None]
EVERY = pytest.mark.parametrize("op", WITH_RULE, ids=lambda op: op.name)
DIFFERENTIABLE = pytest.mark.parametrize("op", [op for op in WITH_RULE if op.backward], ids=lambda op: op.name)
SMALL = 1000  # elements up to which finite differences say something


def arrays_of(op: Op, entries: Any, compute: Any, rng: Any) -> list[Any]:
    """A sample's inputs as arrays."""
    made: list[Any] = []
    for entry in entries:
        if entry is None:
            made.append(None)
        elif isinstance(entry, Index):
            made.append(np.asarray(rng.integers(entry.low, entry.high, entry.shape)))
        elif isinstance(entry, Given):
            made.append(np.array(entry.values, (entry.dtype or compute).numpy))
        else:
            made.append(draw(rng, entry, compute, op.domain))
    return made


def calls(op: Op, compute: Any, rng: Any) -> Any:
    """(what, arrays, the same for the reference, options) of every sample."""
    assert op.samples, f"{op.name} declares no samples"
    for sample in op.samples:
        options = dict(sample[-1]) if isinstance(sample[-1], dict) else {}
        entries = sample[:-1] if isinstance(sample[-1], dict) else sample
        what = f"{compute.name} {[e for e in entries if not isinstance(e, Given)]} {options}"
        arrays = arrays_of(op, entries, compute, rng)
        own = [not isinstance(e, Index) and getattr(e, "dtype", None) is None for e in entries]
        exact = [a.astype(np.float64) if mine and a is not None else a for a, mine in zip(arrays, own, strict=True)]
        yield what, arrays, exact, options


def run(op: Op, tensors: Any, options: Any, compute: Any = None) -> Any:
    if op.variadic:
        return op(list(tensors), **options)
    if not op.inputs:
        return op(dtype=compute, **options)
    return op(*tensors, **options)


def as_tensors(arrays: Any, layout: Any = None) -> list[Any]:
    return [None if a is None else tensor(a if layout is None else layout(a)) for a in arrays]


def results(y: Any) -> tuple[Any, ...]:
    return y if isinstance(y, tuple) else (y,)


def check_result(got: Any, want: Any, compute: Any, what: str) -> None:
    want = np.asarray(want)
    kind = want.dtype.kind
    expected = compute.numpy if kind == "f" else np.dtype(bool) if kind == "b" else np.dtype(np.int64)
    assert got.dtype.numpy == expected, what
    assert tuple(got.shape) == want.shape, what
    if got.dtype.is_floating_point:
        scale = float(np.abs(want[np.isfinite(want)]).max(initial=0.0))
        rtol = 1e-5 if got.dtype is float32 else 2e-13
        np.testing.assert_allclose(numpy(got), want.astype(expected), rtol=rtol, atol=rtol * scale / 4, err_msg=what)
    else:
        whole = want if kind == "b" else want.astype(np.int64).astype(expected)
        np.testing.assert_array_equal(numpy(got), whole, err_msg=what)


@EVERY
def test_forward(op: Op) -> None:
    """Values in every dtype, of inputs with and without gaps."""
    assert op.name in REFERENCES, f"{op.name} has no reference in tests/naive_ops.py"
    rng = rng_for(op)
    for compute in op.dtypes:
        for what, arrays, exact, options in calls(op, compute, rng):
            with np.errstate(all="ignore"):
                want = REFERENCES[op.name](*exact, **options)
            plain = results(run(op, as_tensors(arrays), options, compute))
            for got, part in zip(plain, results(want), strict=True):
                check_result(got, part, compute, what)
            for layout in (transposed, strided) if arrays else ():
                for got, same in zip(results(run(op, as_tensors(arrays, layout), options)), plain, strict=True):
                    check_close_layout(got, same, f"{what} {layout.__name__}")


def check_close_layout(got: Any, want: Any, what: str) -> None:
    """An op that reads strides may round in another order; everything else is the same."""
    assert got.dtype is want.dtype, what
    a, b = numpy(got), numpy(want)
    np.testing.assert_allclose(a, b, rtol=2e-6 if got.dtype is float32 else 1e-13, atol=2e-6, err_msg=what)


def differentiable(op: Op, arrays: Any) -> list[int]:
    """The places of the inputs that a gradient flows to."""
    if op.variadic:
        return [k for k, a in enumerate(arrays) if a.dtype == np.float64]
    return [
        k
        for k, name in enumerate(op.inputs)
        if name in op.backward and arrays[k] is not None and arrays[k].dtype == np.float64
    ]


def first_result(op: Op, options: Any, *xs: Any) -> Any:
    return results(run(op, xs, options))[0]


@DIFFERENTIABLE
def test_gradients(op: Op) -> None:
    """First and second order, kernels against tensor operations, accumulation, for each layout."""
    rng = rng_for(op)
    for what, arrays, _, options in calls(op, float64, rng):
        f = partial(first_result, op, options)
        which = differentiable(op, arrays)
        small = max(a.size for a in arrays if a is not None) <= SMALL
        check_derivatives(f, arrays, which, rng, what, second=small, numeric=small)
        for layout in (transposed, strided) if small else ():
            moved = [layout(a) if a is not None else None for a in arrays]
            check_derivatives(f, moved, which, rng, f"{what} {layout.__name__}", second=False)


@EVERY
def test_undifferentiable(op: Op) -> None:
    """Without a backward there is no history."""
    if op.backward or not op.inputs or float64 not in op.dtypes:
        return
    for _, arrays, _, options in calls(op, float64, rng_for(op)):
        xs = [tensor(a, a.dtype == np.float64) for a in arrays]
        for y in results(run(op, xs, options)):
            assert not y.requires_grad


@EVERY
def test_threads(op: Op) -> None:
    """One thread and two give the same bits, forward and backward; a sample must be large enough to tell."""
    rng = rng_for(op)
    compute = op.dtypes[0]
    largest = 0
    for what, arrays, _, options in calls(op, compute, rng):
        which = [
            k
            for k, a in enumerate(arrays)
            if op.backward and a is not None and a.dtype.kind == "f" and (op.variadic or op.inputs[k] in op.backward)
        ]
        found = []
        for count in (1, 2):
            with threads(count):
                xs = as_tensors(arrays)
                for k in which:
                    xs[k].requires_grad_()
                ys = results(run(op, xs, options, compute))
                if which:
                    ys[0].backward(tg.ones(ys[0].shape, dtype=ys[0].dtype) * 0.3)
                found.append([*ys, *[xs[k].grad for k in which]])
        for one, two in zip(*found, strict=True):
            check_same(one, two, what)
        largest = max([largest, *(a.size for a in arrays if a is not None), found[0][0].numel()])
    assert largest >= 20000, f"{op.name} declares no large sample"
