"""Every pointwise op against PyTorch: values in every dtype, and gradients.

The op has PyTorch's name. Where PyTorch spells it otherwise, SPELLING says how; an op that PyTorch
does not have under either fails.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tapegrad as tg
from ops.derive import PARAMETER, differentiable, draw, input_dtype, numpy, pointwise, rng_for, tensor, transposed
from tapegrad.dtypes import float32, float64
from tapegrad.ops.registry import Op, pointwise_ops

EVERY = pytest.mark.parametrize("op", pointwise_ops(), ids=lambda op: op.name)
SPELLING: dict[str, Callable[..., Any]] = {
    "add_scaled": lambda torch, a, b: torch.add(a, b, alpha=PARAMETER),
    "cube": lambda torch, x: torch.pow(x, 3),
    "integer_floor_divide": lambda torch, a, b: torch.floor_divide(a, b),
    "integer_remainder": lambda torch, a, b: torch.remainder(a, b),
    "clamp_min": lambda torch, x, lo: torch.clamp(x, min=lo),
    "clamp_max": lambda torch, x, hi: torch.clamp(x, max=hi),
    "addcmul": lambda torch, x, a, b: torch.addcmul(x, a, b, value=PARAMETER),
    "addcdiv": lambda torch, x, a, b: torch.addcdiv(x, a, b, value=PARAMETER),
    "leaky_relu": lambda torch, x: torch.nn.functional.leaky_relu(x, PARAMETER),
    "log_sigmoid": lambda torch, x: torch.nn.functional.logsigmoid(x),
    "bce": lambda torch, *x: torch.nn.functional.binary_cross_entropy(*torch.broadcast_tensors(*x), reduction="none"),
    "bce_slope": lambda torch, *x: _bce_slope(torch, *torch.broadcast_tensors(*x)),
    "bce_with_logits": lambda torch, *x: torch.nn.functional.binary_cross_entropy_with_logits(
        *torch.broadcast_tensors(*x), reduction="none"
    ),
    "weighted_bce_with_logits": lambda torch, *x: _weighted(torch, *torch.broadcast_tensors(*x)),
    "smooth_l1": lambda torch, *x: torch.nn.functional.smooth_l1_loss(
        *torch.broadcast_tensors(*x), reduction="none", beta=PARAMETER
    ),
    "huber": lambda torch, *x: torch.nn.functional.huber_loss(
        *torch.broadcast_tensors(*x), reduction="none", delta=PARAMETER
    ),
    "step_of": lambda torch, a, x: a + 0.0 * x,
    "overwritten": lambda torch, x: 0.0 * x,
    "zeroth_power": lambda torch, x: x**0,
    "first_power": lambda torch, x: x**1,
    "gelu_tanh": lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh"),
    "elu": lambda torch, x: torch.nn.functional.elu(x, PARAMETER),
}


def _weighted(torch: ModuleType, x: Any, t: Any, w: Any) -> Any:
    return torch.nn.functional.binary_cross_entropy_with_logits(x, t, pos_weight=w, reduction="none")


def _bce_slope(torch: ModuleType, p: Any, t: Any) -> Any:
    return torch.ops.aten.binary_cross_entropy_backward(torch.ones_like(p), p, t, None, 0)


def theirs(torch: ModuleType, op: Op) -> Callable[..., Any]:
    if op.name in SPELLING:
        return lambda *x: SPELLING[op.name](torch, *x)
    if op.name.startswith("to_"):
        return lambda x: x.to(getattr(torch, op.name.removeprefix("to_")))
    found = getattr(torch, op.name, None) or getattr(torch.nn.functional, op.name, None)
    assert found is not None, f"PyTorch has no {op.name}: name it in SPELLING"
    return found


def check(got: Any, want: Any, what: str) -> None:
    a, b = numpy(got), want.detach().numpy()
    assert str(got.dtype) == str(want.dtype), what
    assert a.shape == b.shape, what
    if a.dtype.kind != "f":
        np.testing.assert_array_equal(a, b, err_msg=what)
        return
    rtol = 2e-6 if a.dtype == np.float32 else 1e-13
    scale = float(np.abs(b[np.isfinite(b)]).max(initial=1.0))
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale / 4, err_msg=what)


@EVERY
def test_values(op: Op, reference: ModuleType) -> None:
    rng = rng_for(op)
    function = theirs(reference, op)
    n = len(op.inputs)
    for compute in op.dtypes:
        for shapes in ([(3, 5)] * n, [()] * n, [(0,)] * n, [(3, 5), (5,), (3, 1)][:n], [(5,), (3, 5), ()][:n]):
            arrays = [draw(rng, s, input_dtype(op, k, compute), op.domain) for k, s in enumerate(shapes)]
            want = function(*[reference.from_numpy(a.copy()) for a in arrays])
            check(pointwise(op, *[tensor(a) for a in arrays]), want, f"{compute.name} {shapes}")


@EVERY
def test_numbers(op: Op, reference: ModuleType) -> None:
    """A Python number in the last place, of the tensor's kind or of another: the same dtype comes out."""
    n = len(op.inputs)
    if n != 2 or op.name.startswith("integer_"):
        return
    rng = rng_for(op)
    function = theirs(reference, op)
    for compute in op.dtypes:
        a = draw(rng, (3, 4), compute, op.domain)
        for number in (2, 1.5, True):
            try:
                want = function(reference.from_numpy(a.copy()), number)
            except (RuntimeError, TypeError):
                continue  # not in PyTorch's signature
            own = {getattr(reference, t.name) for t in (*op.dtypes, op.result) if t is not None}
            if want.dtype not in own:
                continue  # the op of another family takes it from here
            check(pointwise(op, tensor(a), number), want, f"{compute.name} {number!r}")


@EVERY
def test_gradients(op: Op, reference: ModuleType) -> None:
    which = differentiable(op)
    if not which:
        return
    rng = rng_for(op)
    function = theirs(reference, op)
    n = len(op.inputs)
    for compute in (float32, float64):
        for shapes in ([(3, 5)] * n, [()] * n, [(3, 5), (5,), (3, 1)][:n], [(1, 5), (3, 1), (3, 5)][:n]):
            arrays = [draw(rng, s, input_dtype(op, k, compute), op.domain) for k, s in enumerate(shapes)]
            check_gradients(op, function, arrays, which, reference, rng, f"{compute.name} {shapes}")
            moved = [transposed(a) for a in arrays]
            check_gradients(op, function, moved, which, reference, rng, f"{compute.name} {shapes} transposed")


def check_gradients(op: Op, function: Any, arrays: Any, which: Any, torch: Any, rng: Any, what: str) -> None:
    ours = [tensor(a, k in which) for k, a in enumerate(arrays)]
    other = [torch.from_numpy(a.copy(order="K")).requires_grad_(k in which) for k, a in enumerate(arrays)]
    y, want = pointwise(op, *ours), function(*other)
    w = np.asarray(rng.standard_normal(tuple(want.shape))).astype(numpy(y).dtype)
    y.backward(tensor(w))
    want.backward(torch.from_numpy(w))
    for k in which:
        # An input that PyTorch gives no gradient has one of zeros here, or none.
        expected = other[k].grad if other[k].grad is not None else torch.zeros_like(other[k])
        check(ours[k].grad, expected, f"{what} input {k}")


def history(torch: ModuleType, xs: list[Any], y: Any) -> list[Any]:
    """Per gradient: None, False without a history, or per input None or whether the second derivative is 0."""
    found: list[Any] = []
    for g in torch.autograd.grad(y.sum(), xs, create_graph=True, allow_unused=True):
        if g is None or not g.requires_grad:
            found.append(None if g is None else False)
            continue
        second = torch.autograd.grad(g.sum(), xs, allow_unused=True, retain_graph=True)
        found.append([None if s is None else bool((s == 0).all()) for s in second])
    return found


@pytest.mark.torch
@EVERY
def test_gradients_have_a_history_where_pytorchs_have(op: Op, reference: Any) -> None:
    """A gradient of a piecewise linear function can be differentiated: to zeros, not to an error or None."""
    which = differentiable(op)
    if float64 not in op.dtypes or not which:
        return
    rng = rng_for(op)
    arrays = [draw(rng, (4,), input_dtype(op, k, float64), op.domain) for k in range(len(op.inputs))]
    ours = [tensor(a, k in which) for k, a in enumerate(arrays)]
    other = [reference.from_numpy(a.copy()).requires_grad_(k in which) for k, a in enumerate(arrays)]
    got = history(tg, [ours[k] for k in which], pointwise(op, *ours))
    want = history(reference, [other[k] for k in which], theirs(reference, op)(*other))
    assert got == want
