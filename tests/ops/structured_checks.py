"""The checks every structured op gets: values, gradients, accumulation, chunks, both derivatives."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest
from ops.frames import Array, Done, backward, forward

torch = pytest.importorskip("torch")


def same_bits(a: Any, b: Any) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def check_op(
    op: Any, inputs: list[Any], reference: Any, rng: Any, rtol: float = 2e-5, **options: Any
) -> Done:
    """Compare an op with `reference`, a function of torch float64 tensors, in every way we can.

    Values; gradients written and added; one call against scattered chunks, bit for bit; and the derivative
    in tensor operations.
    """
    done = forward(op, *inputs, **options)
    again = forward(op, *inputs, scattered=True, **options)
    assert same_bits(done.y, again.y)
    assert done.aux is None or same_bits(done.aux, again.aux)
    exact = [_exact(x, name in op.backward) for name, x in zip(op.inputs, inputs, strict=True)]
    want = reference(*exact)
    assert tuple(want.shape) == done.y.shape
    close(done.y, want, rtol)
    floats = [n for n, x in zip(op.inputs, inputs, strict=True) if x is not None and x.dtype.kind == "f"]
    names = [n for n in floats if n in op.backward]
    if not names:
        return done
    g = rng.standard_normal(done.y.shape).astype(done.y.dtype)
    leaves = [exact[op.inputs.index(n)] for n in names]
    grads = torch.autograd.grad(want, leaves, torch.from_numpy(g.astype("f8")), allow_unused=True)
    for name, grad in zip(names, grads, strict=True):
        shape = inputs[op.inputs.index(name)].shape
        grad = torch.zeros(shape, dtype=torch.float64) if grad is None else grad
        check_gradient(done, name, g, grad, rng, rtol)
        context = _context(op, done, exact, want, reference)
        context.input_shape = shape
        derived = op.derivative[name](context, torch.from_numpy(g.astype("f8")))
        assert tuple(derived.shape) == shape
        close(derived.detach().numpy(), grad, rtol)
    return done


def check_gradient(done: Done, name: Any, g: Any, want: Any, rng: Any, rtol: float) -> None:
    got = backward(done, name, g)
    close(got, want, rtol)
    assert same_bits(got, backward(done, name, g, scattered=True))
    start = rng.standard_normal(got.shape).astype(got.dtype)
    added = backward(done, name, g, start=start)
    close(added, want + torch.from_numpy(start.astype("f8")), rtol)
    assert same_bits(added, backward(done, name, g, start=start, scattered=True))


def close(got: Any, want: Any, rtol: float) -> None:
    want = want.detach().numpy()
    scale = np.abs(want[np.isfinite(want)]).max(initial=0.0)
    loose = rtol if got.dtype == np.float32 else rtol * 1e-6
    np.testing.assert_allclose(got.astype(want.dtype), want, rtol=loose, atol=loose * max(1.0, scale))


def _exact(x: Any, differentiable: bool) -> Any:
    if x is None:
        return None
    t = torch.from_numpy(np.array(x))
    return t.double().requires_grad_(differentiable) if t.is_floating_point() else t


def _context(op: Any, done: Done, exact: list[Any], want: Any, reference: Any) -> Any:
    c = types.SimpleNamespace(**dict(zip(op.inputs, exact, strict=True)))
    c.y = want
    c.aux = None if done.aux is None else torch.from_numpy(done.aux)
    if c.aux is not None and c.aux.is_floating_point():
        c.aux = c.aux.double()
    c.words, c.params = done.plan.words, done.plan.params
    return c


def raises_like_torch(name: str, ours: Any, *arrays: Any, **options: Any) -> None:
    """Both must refuse the arrays with the same error."""
    theirs = torch
    for part in name.split("."):
        theirs = getattr(theirs, part)
    tensors = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in arrays]
    with pytest.raises(Exception) as want:  # noqa: PT011
        theirs(*tensors, **options)
    with pytest.raises(type(want.value)) as got:
        ours(*(Array(x) if isinstance(x, np.ndarray) else x for x in arrays), **options)
    assert type(got.value) is type(want.value)
    assert str(got.value) == str(want.value)
