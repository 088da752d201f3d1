"""Fusion changes no bit: random graphs of pointwise ops, in place and not, with reductions and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tapegrad as tg
from tapegrad.replay import compile
from tapegrad.replay.passes import fuse as fuse_pass

UNARY = ("neg", "abs", "square", "relu", "tanh", "exp", "sigmoid", "sqrt", "log1p", "sin", "reciprocal", "floor")
BINARY = ("add", "sub", "mul", "div", "maximum", "minimum")
INPLACE = ("add_", "mul_", "sub_", "neg_", "tanh_", "clamp_")
SIZES = (1, 2, 17, 1000, 1025, 40_000)
SIMPLE = settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck), derandomize=True)


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
