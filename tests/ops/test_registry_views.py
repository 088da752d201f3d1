"""Views in random chains, and in-place changes through them: against NumPy, finite differences and PyTorch.

Also broadcasting and promotion, over random shapes and all pairs of dtypes.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tapegrad as tg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ops.derive import check_derivatives, numpy, tensor
from tapegrad._layout import KIND_VIEW
from tapegrad.dtypes import DTYPES
from tapegrad.ops.registry import OPS

FEW = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)


def test_these_are_all_the_view_ops() -> None:
    assert {op.name for op in OPS if op.kind == KIND_VIEW} == {"view", "copy_slices"}


@st.composite
def steps(draw: Any, shape: tuple[int, ...], most: int = 4) -> list[tuple[str, Any]]:
    """Some views in a row, each right for the shape that the one before leaves."""
    found = []
    for _ in range(draw(st.integers(1, most))):
        nd = len(shape)
        kinds = ["permute", "unsqueeze", "reshape", "expand", "ellipsis"]
        kinds += ["flatten", "squeeze", "transpose", "slice", "narrow", "negative"] if nd else []
        kinds += ["select"] if nd and 0 not in shape else []
        kind = draw(st.sampled_from(kinds))
        dim = draw(st.integers(-nd, nd - 1)) if nd else 0
        n = shape[dim] if nd else 1
        a: Any = None
        if kind == "permute":
            a = tuple(draw(st.permutations(range(nd))))
        elif kind == "transpose":
            a = (dim, draw(st.integers(-nd, nd - 1)))
        elif kind == "unsqueeze":
            a = draw(st.integers(-nd - 1, nd)) if nd < 5 else None
        elif kind == "squeeze":
            a = dim
        elif kind == "expand":
            lead = draw(st.integers(0, 1)) if nd < 5 else 0
            a = (2,) * lead + tuple(3 if s == 1 and draw(st.booleans()) else s for s in shape)
        elif kind == "reshape":
            size = int(np.prod(shape))
            a = draw(st.sampled_from([(size,), (1, size), (size, 1), *([(2, size // 2)] if size % 2 == 0 else [])]))
        elif kind == "flatten":
            first = draw(st.integers(0, nd - 1))
            a = (first, draw(st.integers(first, nd - 1)))
        elif kind == "select":
            a = (dim, draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            a = (dim, draw(st.integers(-n - 1, n + 1)), draw(st.integers(-n - 1, n + 1)), draw(st.integers(1, 3)))
        elif kind == "narrow":
            start = draw(st.integers(0, n))
            a = (dim, start, draw(st.integers(0, n - start)))
        elif kind == "negative":
            a = -1 if n else None
        if kind in ("unsqueeze", "negative") and a is None:
            continue
        found.append((kind, a))
        shape = on_numpy(np.empty(shape), kind, a).shape
    return found


def key(nd: int, dim: int, what: Any) -> tuple[Any, ...]:
    return (*[slice(None)] * (dim % nd), what)


def on_numpy(x: Any, kind: str, a: Any) -> Any:
    nd = x.ndim
    if kind == "permute":
        return x.transpose(a)
    if kind == "transpose":
        return x.swapaxes(*a)
    if kind == "unsqueeze":
        return np.expand_dims(x, a)
    if kind == "squeeze":
        return x.squeeze(a) if x.shape[a] == 1 else x
    if kind == "expand":
        return np.broadcast_to(x, a)
    if kind == "reshape":
        return x.reshape(a)
    if kind == "flatten":
        first, last = a
        return x.reshape(*x.shape[:first], int(np.prod(x.shape[first : last + 1])), *x.shape[last + 1 :])
    if kind == "select":
        return np.take(x, a[1], a[0])
    if kind == "slice":
        return x[key(nd, a[0], slice(*a[1:]))]
    if kind == "narrow":
        return x[key(nd, a[0], slice(a[1], a[1] + a[2]))]
    return x[..., -1:] if kind == "negative" else x[...]


def on_tensor(x: Any, kind: str, a: Any) -> Any:
    """The same in the library under test and in PyTorch."""
    if kind in ("permute", "expand", "reshape"):
        return getattr(x, kind)(a)
    if kind in ("transpose", "flatten", "select", "narrow"):
        return getattr(x, kind)(*a)
    if kind in ("unsqueeze", "squeeze"):
        return getattr(x, kind)(a)
    if kind == "slice":
        return x[key(x.ndim, a[0], slice(*a[1:]))]
    return x[..., -1:] if kind == "negative" else x[...]


def chain(apply: Any, x: Any, found: Any) -> Any:
    for kind, a in found:
        x = apply(x, kind, a)
    return x


CHAINS = SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), steps(shape)))


def values(shape: tuple[int, ...], shift: float = 0.0) -> Any:
    return np.asarray(np.random.default_rng(len(shape)).standard_normal(shape) + shift)


@FEW
@given(CHAINS)
def test_chains_give_numpys_elements(case: Any) -> None:
    shape, found = case
    x = values(shape)
    want = chain(on_numpy, x, found)
    y = chain(on_tensor, tensor(x), found)
    assert tuple(y.shape) == want.shape
    np.testing.assert_array_equal(numpy(y), want)
    assert (y.contiguous() is y) == y.is_contiguous()


@FEW
@given(CHAINS)
def test_chains_have_derivatives(case: Any) -> None:
    shape, found = case
    rng = np.random.default_rng(0)
    check_derivatives(lambda x: chain(on_tensor, x, found) * 1.0, [values(shape)], [0], rng, str(found))


@FEW
@given(CHAINS)
def test_chains_of_an_intermediate_square(case: Any) -> None:
    """The view's gradient arrives at a tensor that something else uses too."""
    shape, found = case

    def f(x: Any) -> Any:
        y = x * x
        return (chain(on_tensor, y, found) ** 2).sum() + (y * x).sum()

    check_derivatives(f, [values(shape)], [0], np.random.default_rng(1), str(found))


@FEW
@given(CHAINS, st.sampled_from(["mul_", "add_", "exp_", "copy_", "zero_", "fill_"]))
def test_changes_through_views(reference: ModuleType, case: Any, change: str) -> None:
    """A view changed in place: the base, the view, and the gradients of the base and of what was written."""
    shape, found = case
    outcomes = [changed(library, shape, found, change) for library in (tg, reference)]
    for ours, theirs in zip(*outcomes, strict=True):
        assert (ours is None) == (theirs is None), (found, change)
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14, err_msg=f"{found} {change}")


def changed(library: Any, shape: Any, found: Any, change: str) -> list[Any]:
    x = library.from_numpy(values(shape)).requires_grad_()
    base = x * 1.5
    view = chain(on_tensor, base, found)
    other = library.from_numpy(values(tuple(view.shape), 2.0)).requires_grad_()
    overlaps = any(s == 0 and n > 1 for s, n in zip(view.stride(), view.shape, strict=True))
    if overlaps:
        return []  # both refuse; the shapes of the refusal are tested elsewhere
    if change in ("mul_", "add_", "copy_"):
        getattr(view, change)(other)
    elif change == "fill_":
        view.fill_(3.0)
    else:
        getattr(view, change)()
    result = (base * base).sum() + (view * 3.0).sum()
    result.backward()
    return [
        t if t is None else t.detach().numpy().copy() for t in (base, view, result, x.grad, other.grad)
    ]


@FEW
@given(st.lists(st.integers(0, 3), max_size=4), st.data())
def test_broadcasting(shape: list[int], data: Any) -> None:
    """Two operands whose sizes are missing or 1 at random: values and gradients."""
    shapes = []
    for _ in range(2):
        cut = data.draw(st.integers(0, len(shape)))
        shapes.append(tuple(1 if data.draw(st.booleans()) else n for n in shape[cut:]))
    a, b = values(shapes[0]), values(shapes[1], 0.25)
    np.testing.assert_array_equal(numpy(tensor(a) * tensor(b)), a * b)
    check_derivatives(lambda x, y: x * y, [a, b], [0, 1], np.random.default_rng(2), str(shapes))


@FEW
@given(SHAPES, SHAPES)
def test_shapes_that_do_not_fit(first: Any, second: Any) -> None:
    a, b = values(first), values(second)
    try:
        want = a + b
    except ValueError:
        with pytest.raises(RuntimeError, match="must match"):
            tensor(a) + tensor(b)
    else:
        np.testing.assert_array_equal(numpy(tensor(a) + tensor(b)), want)


def test_promotion(reference: ModuleType) -> None:
    """Every pair of dtypes, with and without dimensions, and numbers of every kind."""
    for s in DTYPES:
        for number in (True, 2, 2.5):
            for shape in ((), (2,)):
                check_promotion(reference, operand(s, shape), number)
                check_promotion(reference, number, operand(s, shape))
        for t in DTYPES:
            for shapes in (((2,), (2,)), ((), (2,)), ((2,), ()), ((), ())):
                check_promotion(reference, operand(s, shapes[0]), operand(t, shapes[1]))


def operand(t: Any, shape: Any) -> Any:
    return np.full(shape, 3).astype(t.numpy)


def check_promotion(torch: ModuleType, a: Any, b: Any) -> None:
    ours = [tensor(x) if isinstance(x, np.ndarray) else x for x in (a, b)]
    theirs = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in (a, b)]
    y, want = ours[0] * ours[1], theirs[0] * theirs[1]
    assert str(y.dtype) == str(want.dtype) == str(torch.result_type(*theirs))
    np.testing.assert_array_equal(numpy(y), want.numpy())
    y, want = ours[0] / ours[1], theirs[0] / theirs[1]
    assert str(y.dtype) == str(want.dtype)
    np.testing.assert_allclose(numpy(y), want.numpy(), rtol=1e-6)
    y, want = ours[0] < ours[1], theirs[0] < theirs[1]
    assert str(y.dtype) == str(want.dtype)
    np.testing.assert_array_equal(numpy(y), want.numpy())
