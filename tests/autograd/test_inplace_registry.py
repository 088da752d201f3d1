"""Every pointwise op in place: derivatives of both orders are those of the plain form, eager and compiled.

The derivative of an op that reads its input needs the value that the op overwrites.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tapegrad as tg
from ops.derive import PARAMETER, check_same, differentiable, draw, input_dtype, numpy, pointwise, rng_for, tensor
from ops.test_registry_torch import theirs
from tapegrad.dtypes import float64
from tapegrad.ops.registry import Op, pointwise_ops

CHANGING = pytest.mark.parametrize(
    "op", [o for o in pointwise_ops() if o.inplace and 0 in differentiable(o)], ids=lambda op: op.name
)


def samples(op: Op) -> list[Any]:
    rng = rng_for(op)
    return [draw(rng, (3, 4), input_dtype(op, k, float64), op.domain) for k in range(len(op.inputs))]


def orders(torch: ModuleType, xs: list[Any], which: list[int], form: Any) -> list[Any]:
    """The result, its gradients, and the gradients of a weighted sum of them."""
    leaves = [xs[k] for k in which]
    y = form(xs)
    first = torch.autograd.grad((y * y).sum(), leaves, create_graph=True)
    again = sum((g * (g + k)).sum() for k, g in enumerate(first))
    second = torch.autograd.grad(again, leaves, allow_unused=True) if again.requires_grad else [None] * len(leaves)
    return [y.detach(), *(g.detach() for g in first), *second]


def in_place(op: Op, xs: list[Any]) -> Any:
    z = xs[0] * 1.0
    y = pointwise(op, z, *xs[1:], inplace=z)
    assert y is z
    return y


def of_a_view(op: Op, xs: list[Any]) -> Any:
    """The op changes a view; the result is read from the base."""
    base = tg.cat([xs[0], xs[0]])
    view = base[: xs[0].shape[0]]
    pointwise(op, view, *xs[1:], inplace=view)
    return base[: xs[0].shape[0]]


@CHANGING
def test_both_orders(op: Op) -> None:
    which = differentiable(op)
    arrays = samples(op)
    leaves = [[tensor(a.copy(), k in which) for k, a in enumerate(arrays)] for _ in range(3)]
    plain = orders(tg, leaves[0], which, lambda xs: pointwise(op, xs[0] * 1.0, *xs[1:]))
    for form, xs in ((in_place, leaves[1]), (of_a_view, leaves[2])):
        got = orders(tg, xs, which, lambda xs, form=form: form(op, xs))
        for k, (a, b) in enumerate(zip(got, plain, strict=True)):
            assert (a is None) == (b is None), f"{form.__name__}, {k}"
            if a is not None:
                np.testing.assert_allclose(numpy(a), numpy(b), rtol=1e-12, atol=1e-12, err_msg=f"{form.__name__}, {k}")


@pytest.mark.torch
@CHANGING
def test_both_orders_are_pytorchs(op: Op, reference: Any) -> None:
    which = differentiable(op)
    arrays = samples(op)
    ours = [tensor(a.copy(), k in which) for k, a in enumerate(arrays)]
    other = [reference.from_numpy(a.copy()).requires_grad_(k in which) for k, a in enumerate(arrays)]
    got = orders(tg, ours, which, lambda xs: in_place(op, xs))
    want = orders(reference, other, which, lambda xs: theirs(reference, op)(xs[0] * 1.0, *xs[1:]))
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        if b is None:
            assert a is None or not numpy(a).any(), k
        else:
            scale = max(1.0, float(b.abs().max()))
            np.testing.assert_allclose(numpy(a), b.numpy(), rtol=1e-11, atol=1e-12 * scale, err_msg=str(k))


@CHANGING
def test_replays_give_the_same_bits(op: Op) -> None:
    which = differentiable(op)
    arrays = samples(op)
    number, parameters, arity = op.id, (PARAMETER,) * len(op.params) or None, len(arrays)

    def step(*xs: Any) -> Any:
        z = xs[0] * 1.0
        y = tg._tensor.apply_pointwise(number, (z, *xs[1:arity]), z, parameters)
        y.sum().backward()
        return y.detach()

    compiled = tg.compile(step)
    for _ in range(6):
        found = []
        for function in (step, compiled):
            xs = [tensor(a.copy(), k in which) for k, a in enumerate(arrays)]
            found.append((function(*xs), [xs[k].grad for k in which]))
        check_same(found[1][0], found[0][0], "the result")
        for a, b in zip(found[1][1], found[0][1], strict=True):
            check_same(a, b, "a gradient")
    assert compiled.counters.replayed >= 2
