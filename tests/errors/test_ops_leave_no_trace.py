"""Every op of the registry with one argument spoiled: what raises leaves everything as it was.

The arguments, their versions, histories and gradients, the random generator, the modes and the
number of records on the tape are compared before and after. Nothing here knows an op by name.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tapegrad as torch
from ops.derive import draw, input_dtype, rng_for, tensor
from ops.test_registry_structured import WITH_RULE, as_tensors, calls, run
from tapegrad._functions.base import FUNCTIONS, METHODS
from tapegrad.dtypes import float32
from tapegrad.ops.registry import Op, pointwise_ops
from unchanged import Unchanged

# What a caller may see; anything else is a check that is missing.
EXPECTED = (TypeError, RuntimeError, ValueError, IndexError, OverflowError, MemoryError)


class Unusable:
    """Every conversion of it fails."""

    def __index__(self) -> int:
        raise ValueError("no index")

    def __float__(self) -> float:
        raise ValueError("no float")


def bad_tensors(t: Any) -> Iterator[tuple[str, Any]]:
    """What may stand wrongly in a tensor's place."""
    yield "a shape that fits nothing", torch.ones(7, 11, 13, dtype=t.dtype)
    yield "too many dimensions", torch.ones(*(2,) * 8, dtype=t.dtype)
    yield "no elements", torch.ones(0, 5, dtype=t.dtype)
    for d in ("float64", "float32", "int64", "int32", "uint8", "bool"):
        yield d, t.to(getattr(torch, d))
    if not t.dtype.is_floating_point and t.numel():
        for value in (99, -99, 2**40):
            if value <= 255 or t.dtype is torch.int64:
                wrong = t.clone()
                wrong.view(-1)[-1] = value if t.dtype is not torch.uint8 else 255
                yield f"an entry {value}", wrong
    yield "a history", torch.ones(7, 11, 13, requires_grad=True) * 1
    yield from bad_objects()


def bad_objects() -> Iterator[tuple[str, Any]]:
    for value in ("cpu", "cuda:0", None, object(), Unusable(), [1.0], [None], (), {"a": 1}, b"x", 1j, np.ones(3), int):
        yield f"{value!r:.30}", value


def bad_numbers() -> Iterator[tuple[str, Any]]:
    for value in (99, -99, 2**40, -(2**62), 2**63, 2**70, float("nan"), float("inf"), 1e300, True):
        yield f"{value!r}", value
    yield from bad_objects()


def attempt(f: Callable[[], Any], arguments: Any, what: str, expected: Any = EXPECTED) -> bool:
    """Whether f raised; then nothing may have changed."""
    before = Unchanged(arguments)
    records = torch.tape_stats()["records"]
    try:
        result = f()
    except expected as error:
        kept = error.with_traceback(None)
        before.check(f"{what} ({kept!r:.100})")
        assert torch.tape_stats()["records"] <= records, f"{what} raised and left records on the tape"
        return True
    del result
    return False


def with_history(t: Any, which: int) -> Any:
    """A leaf that needs a gradient, a computed tensor, or a plain one."""
    if not t.dtype.is_floating_point or which == 2:
        return t
    leaf = t.clone().requires_grad_()
    (leaf * 2).sum().backward()
    return leaf if which == 0 else leaf * 1


@pytest.mark.parametrize("op", pointwise_ops(), ids=lambda op: op.name)
def test_pointwise(op: Op) -> None:
    rng = rng_for(op)
    n = len(op.inputs)
    refused = 0
    forms = [("op", torch._tensor.apply_pointwise)]
    for label, table in (("function", FUNCTIONS), ("method", METHODS)):
        if op.name in table and not op.params:
            forms.append((label, table[op.name]))
    for history in range(3):
        good = [
            with_history(tensor(draw(rng, (3, 4), input_dtype(op, k, op.dtypes[0]), op.domain)), history)
            for k in range(n)
        ]
        for label, f in forms:
            for k in range(n):
                for what, bad in (*bad_tensors(good[k].detach()), *bad_numbers()):
                    args = [*good[:k], bad, *good[k + 1 :]]
                    if label == "op":
                        params = (0.5,) * len(op.params) or None
                        call = lambda args=args, params=params: torch._tensor.apply_pointwise(  # noqa: E731
                            op.id, tuple(args), None, params
                        )
                    else:
                        call = lambda args=args, f=f: f(*args)  # noqa: E731
                    refused += attempt(call, args, f"{label} {op.name}, {what} as argument {k}")
    assert refused >= 3 * n, "what is no tensor and no number is refused"


@pytest.mark.parametrize("op", [op for op in pointwise_ops() if op.name + "_" in METHODS], ids=lambda op: op.name)
def test_in_place(op: Op) -> None:
    rng = rng_for(op)
    n = len(op.inputs)
    f = METHODS[op.name + "_"]
    refused = 0
    for self_kind in ("plain", "computed", "leaf", "view", "view of leaf", "expanded", "row", "integers"):
        for k in range(n):
            good = [tensor(draw(rng, (3, 4), input_dtype(op, j, op.dtypes[0]), op.domain)) for j in range(n)]
            x = good[0]
            floating = x.dtype.is_floating_point
            if self_kind in ("computed", "leaf", "view", "view of leaf") and not floating:
                continue
            if self_kind == "computed":
                x = x.clone().requires_grad_() * 1
            elif self_kind == "leaf":
                x = x.clone().requires_grad_()
                (x * 2).sum()  # gives the leaf its record
            elif self_kind == "view":
                x = (x.clone().requires_grad_() * 1)[1:]
            elif self_kind == "view of leaf":
                x = x.clone().requires_grad_()[1:]
            elif self_kind == "expanded":
                x = x[:1].expand(3, 4)
            elif self_kind == "row":
                x = x[0]
            elif self_kind == "integers":
                x = x.to(torch.int64)
            good[0] = x
            spoiled = [("nothing wrong", None)] if k == 0 else [*bad_tensors(good[k].detach()), *bad_numbers()]
            for what, bad in spoiled:
                args = good if k == 0 else [*good[:k], bad, *good[k + 1 :]]
                refused += attempt(
                    lambda args=args: f(*args), args, f"{op.name}_ on {self_kind}, {what} as argument {k}"
                )
    assert refused, "leaves, expanded tensors or wrong operands are refused"


# What only the engine calls, with the geometry of a view that it checked itself.
INTERNAL = ("unview", "overwrite")


@pytest.mark.parametrize("op", [op for op in WITH_RULE if op.name not in INTERNAL], ids=lambda op: op.name)
def test_structured(op: Op) -> None:
    rng = rng_for(op)
    refused = 0
    seen = 0
    for history in range(3):
        for what, arrays, _exact, options in calls(op, op.dtypes[0], rng):
            if sum(a.size for a in arrays if a is not None) > 2000:
                continue
            seen += 1
            good = [t if t is None else with_history(t, history) for t in as_tensors(arrays)]
            for k, t in enumerate(good):
                if t is None:
                    continue
                for wrong, bad in (*bad_tensors(t.detach()), *bad_numbers()):
                    args = [*good[:k], bad, *good[k + 1 :]]
                    refused += attempt(
                        lambda args=args, options=options: run(op, args, options, float32), args,
                        f"{op.name} {what}: {wrong} as input {k}",
                    )  # fmt: skip
            for name in options:
                for wrong, bad in bad_numbers():
                    spoiled = {**options, name: bad}
                    refused += attempt(
                        lambda good=good, spoiled=spoiled: run(op, good, spoiled, float32), good,
                        f"{op.name} {what}: {wrong} as {name}", Exception,  # the functions above check the kinds
                    )  # fmt: skip
            if seen > 8 * (history + 1):
                break
    assert refused, "nothing was refused"


@pytest.mark.parametrize("where", ["functions", "methods", "methods of the class"])
def test_none_in_the_first_place_is_refused(where: str) -> None:
    """In a process of its own: what takes it for a tensor reads memory that is not there."""
    program = f"""
        import tapegrad as torch
        from tapegrad._functions.base import FUNCTIONS, METHODS
        own = {{n: getattr(torch.Tensor, n) for n in dir(torch.Tensor) if callable(getattr(torch.Tensor, n, None))}}
        table = {{"functions": FUNCTIONS, "methods": METHODS, "methods of the class": own}}[{where!r}]
        skip = ("__new__", "__init_subclass__", "__subclasshook__", "__class__")
        for name, function in table.items():
            for rest in ((), (0,), (-1, 0), (0, 0, 1), (None,), (None, None)):
                if name in skip:
                    continue
                print(name, rest, flush=True)
                try:
                    function(None, *rest)
                except (TypeError, AttributeError, RuntimeError, ValueError, IndexError):
                    pass
    """
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stdout[-100:] + child.stderr[-1000:]
