"""Fusion changes no bit: random graphs of pointwise ops, in place and not, with reductions and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tapegrad as tg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tapegrad.replay import compile
from tapegrad.replay.passes import fuse as fuse_pass

UNARY = ("neg", "abs", "square", "relu", "tanh", "exp", "sigmoid", "sqrt", "log1p", "sin", "reciprocal", "floor")
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum")
INPLACE = ("add_", "mul_", "sub_", "neg_", "tanh_", "clamp_")
SIZES = (1, 2, 17, 1000, 1025, 40_000)
SIMPLE = settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(autouse=True, scope="module")
def fuse_everything() -> Iterator[None]:
    """A new structure is compiled whatever it gains."""
    kept = fuse_pass.MIN_GAIN
    fuse_pass.MIN_GAIN = float("-inf")
    yield
    fuse_pass.MIN_GAIN = kept


def bits(t: Any) -> bytes:
    """A tensor's bytes, all NaNs alike."""
    a = t.detach().numpy()
    if a.dtype.kind == "f":
        a = np.where(np.isnan(a), np.array(np.nan, a.dtype), a)
    return str(a.dtype).encode() + np.ascontiguousarray(a).tobytes()


def results_of(out: Any, leaves: list[Any]) -> list[bytes]:
    found = [bits(t) for t in out]
    return found + [b"none" if x.grad is None else bits(x.grad) for x in leaves]


def fused_steps(compiled: Any) -> list[Any]:
    entry = next(iter(compiled._signatures.values())).entries[0]
    return [s for s in entry.program.steps if s.name.startswith("fused")]


def check(fn: Callable[..., Any], make: Callable[[], list[Any]], threads: tuple[int, ...] = (1, 2)) -> Any:
    """Eager and compiled calls on equal inputs, four in a row, leave equal bits behind; returns the compiled one."""
    eager, other = make(), make()
    compiled = compile(lambda *a: fn(*a), fullgraph=True)
    for k in range(5):
        expected = results_of(fn(*eager), eager)
        tg.set_num_threads(threads[k % len(threads)])
        try:
            got = results_of(compiled(*other), other)
        finally:
            tg.set_num_threads(1)
        assert got == expected, f"call {k}"
        assert [bits(t) for t in eager] == [bits(t) for t in other]
        assert [t._version for t in eager] == [t._version for t in other]
    assert compiled.counters.replayed >= 2
    return compiled


# ---------------------------------------------------------------- random graphs


@st.composite
def graphs(draw: Any) -> tuple[Any, ...]:
    size = draw(st.sampled_from(SIZES))
    dtype = draw(st.sampled_from(("float32", "float32", "float64")))
    leaves = draw(st.integers(1, 3))
    steps = []
    number = st.sampled_from((0.5, -1.25, 2.0, 3, 0.1))
    for _ in range(draw(st.integers(2, 9))):
        kind = draw(st.sampled_from(("unary", "binary", "binary", "scalar", "inplace", "where", "one", "cast")))
        pick = st.integers(0, 7)
        if kind == "unary":
            steps.append((kind, draw(st.sampled_from(UNARY)), draw(pick)))
        elif kind == "binary":
            steps.append((kind, draw(st.sampled_from(BINARY)), draw(pick), draw(pick)))
        elif kind == "scalar":
            steps.append((kind, draw(st.sampled_from(BINARY[:4])), draw(pick), draw(number), draw(st.booleans())))
        elif kind == "inplace":
            steps.append((kind, draw(st.sampled_from(INPLACE)), draw(pick), draw(pick)))
        elif kind == "where":
            steps.append((kind, draw(pick), draw(pick), draw(pick)))
        elif kind == "one":
            steps.append((kind, draw(st.sampled_from(BINARY[:3])), draw(pick)))
        else:
            steps.append((kind, draw(st.sampled_from(("float32", "float64", "int64"))), draw(pick)))
    end = draw(st.sampled_from(("sum", "mean", "values", "two", "square")))
    keep = draw(st.booleans())
    backward = draw(st.booleans())
    return size, dtype, leaves, tuple(steps), end, keep, backward


def build(graph: tuple[Any, ...]) -> tuple[Callable[..., Any], Callable[[], list[Any]]]:
    size, dtype, n_leaves, steps, end, keep, backward = graph

    def make() -> list[Any]:
        rng = np.random.RandomState(size + n_leaves)
        data = [rng.uniform(-1.5, 1.5, size).astype(dtype) for _ in range(n_leaves)]
        return [tg.tensor(a, requires_grad=backward) for a in data]

    def fn(*xs: Any) -> Any:
        if not keep:
            for x in xs:
                x.grad = None
        one = xs[0].detach()[0] * 0.5
        pool = list(xs)
        for kind, *rest in steps:
            if kind == "unary":
                made = getattr(tg, rest[0])(pool[rest[1] % len(pool)])
            elif kind == "binary":
                made = getattr(tg, rest[0])(pool[rest[1] % len(pool)], pool[rest[2] % len(pool)])
            elif kind == "scalar":
                a, b = pool[rest[1] % len(pool)], rest[2]
                made = getattr(tg, rest[0])(a, b) if rest[3] else a * b + b
            elif kind == "inplace":
                a, b = pool[rest[1] % len(pool)] * 1.0, pool[rest[2] % len(pool)]
                made = a + 0.25
                if rest[0] in ("neg_", "tanh_"):
                    getattr(made, rest[0])()
                elif rest[0] == "clamp_":
                    made.clamp_(-0.5, 0.75)
                else:
                    getattr(made, rest[0])(b)
            elif kind == "where":
                a, b, c = (pool[k % len(pool)] for k in rest)
                made = tg.where(a > b, b, c)
            elif kind == "one":
                made = getattr(tg, rest[0])(pool[rest[1] % len(pool)], one)
            else:
                made = pool[rest[1] % len(pool)].to(getattr(tg, rest[0])).to(getattr(tg, dtype))
            pool.append(made)
        last = pool[-1]
        if end == "values":
            out = (last, pool[len(pool) // 2] * 1.0)
            loss = last.sum()
        elif end == "two":
            loss = last.sum() + (last * last).mean()
            out = (loss,)
        elif end == "square":
            loss = last.mean() ** 2
            out = (loss,)
        else:
            loss = getattr(last, end)()
            out = (loss,)
        if backward and loss.requires_grad:
            loss.backward()
        return tuple(t.detach() for t in out)

    return fn, make


@SIMPLE
@given(graphs())
def test_random_graphs(graph: tuple[Any, ...]) -> None:
    check(*build(graph))


# ---------------------------------------------------------------- cases by hand


def chain(x: Any) -> Any:
    x.grad = None
    y = (x * 1.1 + 0.3).relu()
    y = y * x
    y = y - 0.2
    loss = (y * (x + 2)).abs().sum()
    loss.backward()
    return (loss.detach(),)


def leaf(*shape: int) -> Callable[[], list[Any]]:
    return lambda: [tg.tensor(np.random.RandomState(1).randn(*shape).astype("f"), requires_grad=True)]


@pytest.mark.parametrize("size", [1, 1000, 33_000, 300_001])
def test_the_chain_is_one_kernel(size: int) -> None:
    compiled = check(chain, leaf(size))
    steps = fused_steps(compiled)
    assert len(steps) == 1
    # It reads x and the number that starts the backward pass, and writes the gradient and the sum.
    assert len(steps[0].table_reads) <= 2
    assert len(steps[0].table_writes) == 1


def squared(x: Any) -> Any:
    x.grad = None
    y = (x * 1.1 + 0.3).relu() * x
    loss = ((y - 0.2) * (x + 2)).abs().mean() ** 2
    loss.backward()
    return (loss.detach(),)


def test_a_backward_pass_makes_again_what_it_reads() -> None:
    compiled = check(squared, leaf(300_000), (1,))
    forward, backward = (s for s in fused_steps(compiled) if s.items > 1)
    assert len(forward.table_reads) == 1
    assert not forward.table_writes  # the mean goes elsewhere: no intermediate value is stored
    assert len(backward.table_reads) == 2  # x, and the gradient of the mean
    assert len(backward.table_writes) == 1


def test_a_value_that_is_kept_is_stored() -> None:
    def fn(x: Any) -> Any:
        y = x * 2.0
        z = (y + 1.0).exp()
        return y.detach(), z.sum().detach()

    (step,) = fused_steps(check(fn, leaf(1000)))
    assert len(step.table_writes) == 1


def test_no_step_jumps_over_a_write() -> None:
    def fn(x: Any) -> Any:
        with tg.no_grad():
            a = x * 2.0
            b = a + 1.0
            first = b.sum()  # reads b before it changes
            b.mul_(a)
            row = b.reshape(10, 100).sum(0)  # and after
            b.add_(row.sum())  # one number made of what it is added to
            c = b * a
            a.copy_(c)
            return a, b, first, a.sum()

    check(fn, leaf(1000))


def test_arguments_written_in_place() -> None:
    def fn(x: Any, y: Any) -> Any:
        with tg.no_grad():
            x.mul_(0.5).add_(y)
            y.copy_(x * x)
            x.add_(y[3])
            y.sub_(x).neg_()
            return (x.sum(),)

    def make() -> list[Any]:
        rng = np.random.RandomState(3)
        return [tg.tensor(rng.randn(2000)) for _ in range(2)]

    check(fn, make)


def test_shifted_views_of_one_buffer() -> None:
    def fn(x: Any) -> Any:
        with tg.no_grad():
            a = x * 1.0
            a[1:].mul_(0.5)
            a[:-1].add_(1.0)
            b = a[1:] + a[:-1]
            a[:-1].copy_(b * 2.0)
            a[1:].add_(b)
            return a, b, a.sum()

    check(fn, leaf(1001))


def test_gradients_that_accumulate() -> None:
    def fn(x: Any, y: Any) -> Any:
        loss = (x * y + x.tanh()).sum()
        loss.backward()
        (x * x * y).mean().backward()
        return (loss.detach(),)

    def make() -> list[Any]:
        rng = np.random.RandomState(5)
        return [tg.tensor(rng.randn(3000).astype("f"), requires_grad=True) for _ in range(2)]

    check(fn, make)


@pytest.mark.parametrize(("rows", "columns"), [(7, 64), (3, 1500), (5, 40_000), (40, 9), (1, 100)])
@pytest.mark.parametrize("name", ["sum", "mean"])
def test_reductions_of_rows(rows: int, columns: int, name: str) -> None:
    def fn(x: Any) -> Any:
        x.grad = None
        y = getattr((x * 2.0 - 1.0).abs().sigmoid(), name)(1)
        loss = (y * y).sum()
        loss.backward()
        return y.detach(), loss.detach()

    steps = fused_steps(check(fn, leaf(rows, columns)))
    assert any(f", {name})" in s.name for s in steps) == (columns >= 64)


def test_element_types_meet() -> None:
    def fn(x: Any) -> Any:
        x.grad = None
        y = x.double() * 0.1
        z = tg.where(y.float() > 0.05, x, -x * 3)
        n = (x > 0).to(tg.int64) * 3 - 5
        loss = (z * y + n.float()).sum()
        loss.backward()
        return loss.detach(), n

    check(fn, leaf(1500))


def test_an_error_leaves_what_eager_code_leaves() -> None:
    """Chains around a step that can fail: what was written before it is there, what comes after is not."""

    def fn(x: Any, y: Any, z: Any, index: Any) -> Any:
        with tg.no_grad():
            x.mul_(0.5).add_(1.0)
            y.mul_(0.5)
            z.copy_(y * 3.0)
            loss = tg.nn.functional.cross_entropy(x.reshape(10, 10), index)
            x.sub_(0.25).neg_()
            y.add_(1.0)
            z.copy_(y * 2.0)
            return (loss + (x * x).sum(),)

    def make() -> list[Any]:
        numbers = [tg.tensor(np.linspace(-1.0, 1.0, 100) * k) for k in (1, 2, 3)]
        return [*numbers, tg.tensor(np.arange(10))]

    eager, other = make(), make()
    compiled = compile(lambda *a: fn(*a), fullgraph=True)
    for _ in range(4):
        assert results_of(fn(*eager), []) == results_of(compiled(*other), [])
    assert compiled.counters.replayed
    for t in (eager[3], other[3]):
        t[0] = 1000
    for f, args in ((fn, eager), (compiled, other)):
        with pytest.raises(IndexError):
            f(*args)
    assert [bits(t) for t in eager] == [bits(t) for t in other]
    for t in (eager[3], other[3]):
        t[0] = 2
    assert results_of(fn(*eager), []) == results_of(compiled(*other), [])
    assert [bits(t) for t in eager] == [bits(t) for t in other]


def test_a_sum_is_finished_before_it_is_read() -> None:
    def fn(x: Any) -> Any:
        with tg.no_grad():
            a = x * 2.0 + 1.0
            b = (a - a.sum()) * 0.5
            return b / b.mean(), a

    check(fn, leaf(1000))
    check(fn, leaf(1))


def test_small_programs_are_left_alone() -> None:
    """What saves less than it costs is not compiled."""

    def fn(x: Any) -> Any:
        with tg.no_grad():
            return ((x * 1.7 - 0.123).tanh(),)

    kept, fuse_pass.MIN_GAIN = fuse_pass.MIN_GAIN, 1000.0
    try:
        assert not fused_steps(check(fn, leaf(40)))
    finally:
        fuse_pass.MIN_GAIN = kept
    assert fused_steps(check(lambda x: fn(x), leaf(40)))


def test_nothing_is_made_again_from_what_has_changed() -> None:
    def fn(x: Any) -> Any:
        x.grad = None
        y = x * 2.0
        loss = (y * y).mean() ** 2
        x.detach().add_(0.25)  # the backward pass reads y, which can no longer be made of x
        loss.backward()
        return (loss.detach(),)

    check(fn, leaf(300_000))
