"""Kernels at the sizes where they change their way: blocks, bands, switches, room in scratch.

Every constant that a structured op's kernels read is named in its declaration, with a sample that brings that size
to a number. Each op is run at the constant less one, at it, one more and at twice that: values against the slow truth,
gradients of the kernels against the derivative in tensor operations.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tapegrad as tg
from naive_ops import REFERENCES
from ops.derive import numpy, rng_for, tensor
from ops.test_registry_structured import WITH_RULE, arrays_of, as_tensors, check_result, differentiable, results, run
from tapegrad import _layout
from tapegrad.dtypes import float32, float64
from tapegrad.ops.registry import Op

SMALLEST = 8  # numbers up to this are flags, statuses and the width of a step, no sizes
LARGEST_LITERAL = 64


def code_of(function: types.FunctionType) -> Iterator[types.CodeType]:
    waiting = [function.__code__]
    while waiting:
        code = waiting.pop()
        yield code
        waiting += [c for c in code.co_consts if isinstance(c, types.CodeType)]


def read_by(op: Op) -> tuple[dict[str, int], set[int]]:
    """The constants that an op's kernels and what they call name, and the large numbers written out in them."""
    waiting = [op.forward, *(kernel for kernel, _ in op.backward.values())]
    seen: set[Any] = set()
    named: dict[str, int] = {}
    literals: set[int] = set()
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        for code in code_of(function):
            literals |= {c for c in code.co_consts if type(c) is int and c > LARGEST_LITERAL}
            for name in code.co_names:
                value = function.__globals__.get(name)
                if isinstance(value, types.FunctionType) and value.__module__.startswith("tapegrad.ops"):
                    waiting.append(value)
                elif type(value) is int and value > SMALLEST and not hasattr(_layout, name):
                    assert named.setdefault(name, value) == value, f"{op.name}: two constants named {name}"
    return named, literals


# Families share one table of samples, of which an op's kernels may read a part.
CONSTANTS = [
    (op, name, value)
    for op in WITH_RULE
    for name, value in read_by(op)[0].items()
    if op.constants.get(name) is not None
]
AT_CONSTANTS = pytest.mark.parametrize(
    ("op", "name", "constant"), CONSTANTS, ids=[f"{op.name}-{name}" for op, name, _ in CONSTANTS]
)


@pytest.mark.parametrize("op", WITH_RULE, ids=lambda op: op.name)
def test_every_constant_is_declared(op: Op) -> None:
    named, literals = read_by(op)
    assert sorted(set(named) - set(op.constants)) == [], f"{op.name} names no sample for these constants"
    assert literals == set(), f"{op.name}: sizes written out in its kernels; give them names"


def _kernel_with_sizes(f: Any, lo: int, hi: int) -> int:
    return helper(lo) + 4096  # noqa: F821 (bound in the test)


def _helper(n: int) -> int:
    return n // SIZE  # noqa: F821 (bound in the test)


def test_undeclared_constants_are_seen() -> None:
    helper = types.FunctionType(_helper.__code__, {"SIZE": 77})
    helper.__module__ = "tapegrad.ops.somewhere"
    kernel = types.FunctionType(_kernel_with_sizes.__code__, {"helper": helper})
    assert read_by(Op("made", 0, (), kernel, (), (), "")) == ({"SIZE": 77}, {4096})


@AT_CONSTANTS
def test_values_and_gradients(op: Op, name: str, constant: int) -> None:
    rng = rng_for(op)
    sample_of = op.constants[name]
    assert sample_of is not None
    for n in (constant - 1, constant, constant + 1, 2 * constant):
        sample = sample_of(n)
        options = dict(sample[-1]) if isinstance(sample[-1], dict) else {}
        entries = sample[:-1] if isinstance(sample[-1], dict) else sample
        for compute in [t for t in op.dtypes if t in (float32, float64)] or op.dtypes[:1]:
            what = f"{op.name}, {name} = {n}, {compute.name}"
            arrays = arrays_of(op, entries, compute, rng)
            exact = [a.astype(np.float64) if a is not None and a.dtype.kind == "f" else a for a in arrays]
            with np.errstate(all="ignore"):
                want = REFERENCES[op.name](*exact, **options)
            ys = results(run(op, as_tensors(arrays), options, compute))
            for got, part in zip(ys, results(want), strict=True):
                check_result(got, part, compute, what)
        if op.backward:
            check_gradients(op, entries, options, rng, f"{op.name}, {name} = {n}")


def check_gradients(op: Op, entries: Any, options: Any, rng: Any, what: str) -> None:
    """Kernels in both types against the derivative in tensor operations in float64."""
    arrays = arrays_of(op, entries, float64, rng)
    which = differentiable(op, arrays)
    if not which:
        return
    xs = [None if a is None else tensor(a, k in which) for k, a in enumerate(arrays)]
    y = results(run(op, xs, options))[0]
    g = rng.standard_normal(tuple(y.shape))
    wanted = [xs[k] for k in which]
    derived = tg.autograd.grad(y, wanted, tensor(np.asarray(g)), create_graph=True)
    for compute in (float64, float32):
        own = [
            a.astype(compute.numpy) if a is not None and a.dtype == np.float64 else a for a in arrays
        ]
        leaves = [None if a is None else tensor(a, k in which) for k, a in enumerate(own)]
        out = results(run(op, leaves, options))[0]
        found = tg.autograd.grad(out, [leaves[k] for k in which], tensor(np.asarray(g.astype(compute.numpy))))
        for k, got, want in zip(which, found, derived, strict=True):
            with np.errstate(over="ignore"):
                exact = numpy(want).astype(compute.numpy)
            scale = float(np.abs(exact[np.isfinite(exact)]).max(initial=0.0))
            rtol = 1e-9 if compute is float64 else 2e-4
            where = f"{what}, {compute.name}, input {k}"
            np.testing.assert_allclose(numpy(got), exact, rtol=rtol, atol=rtol * scale / 4, err_msg=where)
