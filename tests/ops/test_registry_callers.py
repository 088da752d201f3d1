"""Ops without a rule: random draws against NumPy's words, optimizer updates against `naive`.

Every op without a rule belongs to one of the two families, or the test fails.
"""

from __future__ import annotations

import math
from typing import Any

import naive
import numpy as np
import pytest
import tapegrad as tg
from ops.derive import check_same, numpy, rng_for, tensor, threads
from tapegrad import _runtime, _structured
from tapegrad.dtypes import DTYPES, float32
from tapegrad.ops.optimizer import UPDATES
from tapegrad.ops.random_draw import Draw
from tapegrad.ops.registry import Op, structured_ops

WITHOUT_RULE = [op for op in structured_ops() if op.rule is None]
DRAWS = pytest.mark.parametrize(
    "op", [op for op in WITHOUT_RULE if op.name.startswith("draw_")], ids=lambda op: op.name
)
STEPS = pytest.mark.parametrize(
    "op", [op for op in WITHOUT_RULE if op.name.startswith("update_")], ids=lambda op: op.name
)
SEED = 20240607


def test_every_op_without_a_rule_is_one_of_these() -> None:
    for op in WITHOUT_RULE:
        assert op.samples, f"{op.name} declares no samples"
        assert op.name.startswith(("draw_", "update_")), f"nothing here calls {op.name}"


# ---- random draws -------------------------------------------------------------------------------


class Words:
    """The stream of 32-bit words of MT19937, from NumPy."""

    def __init__(self, seed: int) -> None:
        self.bits = np.random.MT19937()
        self.bits._legacy_seeding(seed)
        self.cached: float | None = None

    def word(self) -> int:
        return int(self.bits.random_raw())

    def pair(self) -> int:
        high = self.word()
        return (high << 32) | self.word()

    def uniform32(self) -> float:
        return (self.word() & (2**24 - 1)) / 2**24

    def uniform64(self) -> float:
        return (self.pair() & (2**53 - 1)) / 2**53

    def normal(self) -> float:
        """Box and Muller; the sine waits for the next call."""
        if self.cached is not None:
            value, self.cached = self.cached, None
            return value
        turn, u = self.uniform64(), self.uniform64()
        radius = math.sqrt(-2 * math.log1p(-u))
        self.cached = radius * math.sin(2 * math.pi * turn)
        return radius * math.cos(2 * math.pi * turn)

    def normals(self, n: int, uniform: Any) -> list[float]:
        """Blocks of 16: 8 radii, then 8 angles; the last 16 are drawn again if n is no multiple."""
        values = [uniform() for _ in range(n)]
        starts = list(range(0, n - 15, 16)) + ([n - 16] if n % 16 else [])
        for start in starts:
            if start % 16:
                values[start:] = [uniform() for _ in range(16)]
            for j in range(start, start + 8):
                radius = math.sqrt(-2 * math.log(1 - values[j]))
                angle = 2 * math.pi * values[j + 8]
                values[j], values[j + 8] = radius * math.cos(angle), radius * math.sin(angle)
        return values


def drawn(name: str, words: Words, n: int, params: Any, p: Any) -> list[float]:
    """The slow truth of a draw."""
    p = [] if p is None else p.ravel().tolist()
    if name == "randperm":
        order = list(range(n))
        for i in range(n - 1):
            j = i + words.word() % (n - i)
            order[i], order[j] = order[j], order[i]
        return order
    if name == "normal_float32":
        return [params[0] + params[1] * z for z in words.normals(n, words.uniform32)]
    if name == "normal_float64":
        return [params[0] + params[1] * z for z in words.normals(n, words.uniform64)]
    one: dict[str, Any] = {
        "uniform_float32": lambda _: params[0] + (params[1] - params[0]) * words.uniform32(),
        "uniform_float64": lambda _: params[0] + (params[1] - params[0]) * words.uniform64(),
        "bernoulli": lambda _: words.uniform64() < params[0],
        "bernoulli_float32": lambda i: words.uniform32() < p[i],
        "bernoulli_float64": lambda i: words.uniform64() < p[i],
        "randint_32": lambda _: params[1] + words.word() % params[0],
        "randint_64": lambda _: (params[1] + words.pair() % (params[0] or 2**64) + 2**63) % 2**64 - 2**63,
        "normal_scalar": lambda _: params[0] + params[1] * words.normal(),
        "exponential": lambda _: -math.log1p(-words.uniform64()) / params[0],
    }
    return [one[name](i) for i in range(n)]


@DRAWS
def test_draws(op: Op) -> None:
    """Every dtype, twice in a row from one generator: the values, and the place in the stream."""
    name = op.name.removeprefix("draw_")
    for compute in op.dtypes:
        for sample in op.samples:
            options = sample[-1]
            shape, n = options["shape"], math.prod(options["shape"])
            generator, words = tg.Generator().manual_seed(SEED), Words(SEED)
            for _ in range(2):
                p = rng_for(op).random(shape).astype(options["p"]) if "p" in options else None
                call = Draw(name, shape, compute, options["params"])
                packed = b"".join(w.to_bytes(8, "little", signed=True) for w in call.words)
                inputs = () if p is None else (tensor(p),)
                out = tensor(np.full(shape, 7, compute.numpy))
                version = out._version
                if n:
                    _structured.run_kernel(op.id, compute.index, out, inputs, (), packed, generator.address, True)
                    assert out._version == version + 1
                want = drawn(name, words, n, options["params"], p)
                what = f"{compute.name} {options}"
                if compute.is_floating_point:
                    rtol = 2e-5 if compute is float32 else 1e-13
                    np.testing.assert_allclose(
                        numpy(out).ravel(), np.array(want, np.float64), rtol=rtol, atol=rtol / 10, err_msg=what
                    )
                else:
                    size = 8 * compute.itemsize
                    wrapped = np.array([int(v) % 2**size for v in want], f"u{compute.itemsize}")
                    np.testing.assert_array_equal(numpy(out).ravel().view(wrapped.dtype), wrapped, err_msg=what)


# ---- optimizer updates --------------------------------------------------------------------------


def by_hand(name: str, p: Any, gradients: Any, numbers: dict[str, Any]) -> Any:
    if name.startswith("sgd"):
        numbers = {k: bool(v) if k in ("nesterov", "maximize") else v for k, v in numbers.items() if k != "first"}
        return naive.sgd(p, gradients, **numbers)
    kept = {k: numbers[k] for k in ("lr", "eps", "weight_decay")}
    flags = {k: bool(numbers[k]) for k in ("maximize", "decoupled")}
    betas = (numbers["beta1"], numbers["beta2"])
    return naive.adam(p, gradients, betas=betas, amsgrad=name == "adam_amsgrad", **kept, **flags)


@STEPS
def test_updates(op: Op) -> None:
    """Three steps over several parameters at once; the same bits from two threads."""
    name = op.name.removeprefix("update_")
    update = UPDATES[name]
    for compute in op.dtypes:
        for sample in op.samples:
            numbers = {k: v for k, v in sample[-1].items() if k != "shapes"}
            shapes = sample[-1]["shapes"]
            rng = rng_for(op)
            starts = [rng.standard_normal(s).astype(compute.numpy) for s in map(tuple, shapes)]
            starts = [np.asarray(a, compute.numpy) for a in starts]
            steps = [[np.asarray(rng.standard_normal(s), compute.numpy) for s in shapes] for _ in range(3)]
            runs = []
            for count in (1, 2):
                with threads(count):
                    runs.append(updated(name, update, starts, steps, numbers))
            for one, two in zip(*runs, strict=True):
                check_same(one, two, f"{compute.name} {numbers}")
            for k, start in enumerate(starts):
                want = by_hand(name, start, [step[k] for step in steps], numbers)
                rtol = 2e-5 if compute is float32 else 1e-12
                np.testing.assert_allclose(
                    numpy(runs[0][k]), want, rtol=rtol, atol=rtol / 2, err_msg=f"{compute.name} {numbers}"
                )


def updated(name: str, update: Any, starts: Any, steps: Any, numbers: dict[str, Any]) -> list[Any]:
    columns: dict[str, list[Any]] = {"param": [tensor(a.copy()) for a in starts]}
    for column in update.columns[2:]:
        columns[column] = [
            tg.zeros((), dtype=float32) if column == "step" else tg.zeros(p.shape, dtype=p.dtype)
            for p in columns["param"]
        ]
    for number, gradients in enumerate(steps):
        columns["grad"] = [tensor(g.copy()) for g in gradients]
        kept = [g.clone() for g in columns["grad"]]
        before = [[t._version for t in columns[c]] for c in update.columns]
        values = dict(numbers)
        if "first" in values:
            values["first"] = float(number == 0)
        params = tuple(values[p] for p in update.params)
        assert _runtime._multi_tensor_update(name, tuple(columns[c] for c in update.columns), params)
        for c, versions, writes in zip(update.columns, before, update.writes, strict=True):
            assert [t._version for t in columns[c]] == [v + int(writes) for v in versions], c
        for g, same in zip(columns["grad"], kept, strict=True):
            check_same(g, same, "gradients are not written")
    if "step" in columns:
        assert [t.item() for t in columns["step"]] == [float(len(steps))] * len(starts)
    return columns["param"]


def test_dtypes_are_the_librarys() -> None:
    for op in WITHOUT_RULE:
        assert set(op.dtypes) <= set(DTYPES)
