"""What the tests derived from the registry share: values, layouts, and the check of derivatives.

Nothing here knows an op by name. Derivatives are checked along random directions: one number says
whether a gradient agrees with finite differences, in float64, whatever the shapes are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tapegrad as tg
from tapegrad import _tensor
from tapegrad.dtypes import bool_, dtype, float32, float64, uint8
from tapegrad.ops.registry import NOT_IMPLEMENTED, PROMOTE_FLOAT, Op

Array = Any
LARGE = (203, 211)  # more elements than one chunk
PARAMETER = 0.7  # the value of every parameter of a pointwise op


def rng_for(op: Op) -> np.random.Generator:
    """The same numbers for an op in each run, whatever ran before."""
    return np.random.default_rng([ord(c) for c in op.name])


def draw(rng: np.random.Generator, shape: Sequence[int], t: dtype, domain: tuple[float, float]) -> Array:
    """Random numbers of a type between the two of `domain`; a whole number at least when t is integral."""
    if t is bool_:
        return np.asarray(rng.random(shape) < 0.5)
    low, high = domain
    if t.is_floating_point:
        return np.asarray(rng.uniform(low, high, shape)).astype(t.numpy)
    low, high = int(np.ceil(low)), int(np.floor(high))
    return np.asarray(rng.integers(max(low, 0) if t is uint8 else low, high + 1, shape)).astype(t.numpy)


# ---- layouts ------------------------------------------------------------------------------------


def contiguous(a: Array) -> Array:
    """The same numbers in row-major order (and an array of no dimensions stays one)."""
    return np.array(a, order="C")


def transposed(a: Array) -> Array:
    """The same numbers with the memory order of the dimensions reversed."""
    return np.array(a, order="F")


def strided(a: Array) -> Array:
    """The same numbers with gaps between them, and an offset."""
    if a.ndim == 0:
        return np.array([a, a, a])[1:2].reshape(())
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1] + 1), a.dtype)
    wide[..., 1::2] = a
    return wide[..., 1::2]


def expanded(a: Array) -> Array:
    """The first row of the numbers, repeated with stride 0."""
    if a.ndim == 0 or a.shape[0] == 0:
        return a
    row = a[:1].copy()
    return np.lib.stride_tricks.as_strided(row, a.shape, (0, *row.strides[1:]))


LAYOUTS = (contiguous, transposed, strided, expanded)


def tensor(a: Array, requires_grad: bool = False) -> Any:
    """The tensor over this array's memory, with its strides."""
    t = tg.from_numpy(a if isinstance(a, np.ndarray) else np.asarray(a))
    return t.requires_grad_() if requires_grad else t


def numpy(t: Any) -> Array:
    return t.detach().numpy()


# ---- calling ops --------------------------------------------------------------------------------


def pointwise(op: Op, *args: Any, inplace: Any = None) -> Any:
    """The op through the recorder, as its public function calls it."""
    return _tensor.apply_pointwise(op.id, args, inplace, (PARAMETER,) * len(op.params) or None)


def pointwise_reference(op: Op, *arrays: Any) -> Array:
    """The op's reference on the same numbers, floats in float64."""
    assert op.reference is not None, f"{op.name} declares no reference"
    promote = op.promotion == PROMOTE_FLOAT
    exact = [a.astype(np.float64) if a.dtype == np.float32 or promote else a for a in arrays]
    with np.errstate(all="ignore"):
        return np.asarray(op.reference(*exact, *([(PARAMETER,)] if op.params else [])))


def input_dtype(op: Op, k: int, compute: dtype) -> dtype:
    """The type of input k when the op computes in `compute`."""
    return (op.input_dtypes[k] if k < len(op.input_dtypes) else None) or compute


def differentiable(op: Op) -> list[int]:
    """The inputs of a pointwise op that a gradient flows to."""
    if op.result is not None and not op.result.is_floating_point:
        return []
    return [k for k, d in enumerate(op.derivatives) if d is not None and d != NOT_IMPLEMENTED]


# ---- comparing ----------------------------------------------------------------------------------


def check_close(got: Any, want: Array, t: dtype, what: str, rtol: float | None = None) -> None:
    """Values of type t against exact ones: equal for integers, a few roundings for floats."""
    got = numpy(got) if isinstance(got, tg.Tensor) else got
    assert got.dtype == t.numpy, f"{what}: {got.dtype}, expected {t.numpy}"
    assert got.shape == want.shape, f"{what}: {got.shape}, expected {want.shape}"
    if not t.is_floating_point:
        np.testing.assert_array_equal(got, want.astype(t.numpy), err_msg=what)
        return
    relative = rtol or (1e-6 if t is float32 else 2e-14)
    with np.errstate(over="ignore"):
        want = want.astype(t.numpy)
    np.testing.assert_allclose(got, want, rtol=relative, atol=relative / 2, err_msg=what)


def check_same(got: Any, want: Any, what: str) -> None:
    """The same type, shape and bits."""
    a, b = numpy(got), numpy(want)
    assert a.dtype == b.dtype, what
    assert a.shape == b.shape, what
    assert a.tobytes() == b.tobytes(), f"{what}:\n{a}\n{b}"


# ---- derivatives --------------------------------------------------------------------------------


def _inner(a: Any, b: Any) -> float:
    return float((np.asarray(a, np.float64) * np.asarray(b, np.float64)).sum())


def _gradients(f: Callable[..., Any], xs: list[Any], which: Sequence[int], w: Any, **options: Any) -> list[Any]:
    y = f(*xs)
    assert y.requires_grad, "the result has no history"
    return list(tg.autograd.grad(y, [xs[k] for k in which], w, allow_unused=True, **options))


def _leaves(arrays: Sequence[Any], which: Sequence[int]) -> list[Any]:
    return [
        tensor(a, k in which) if isinstance(a, np.ndarray) else a for k, a in enumerate(arrays)
    ]


def _moved(arrays: Sequence[Any], moves: dict[int, Array], step: float) -> list[Any]:
    return [np.asarray(a + step * moves[k]) if k in moves else a for k, a in enumerate(arrays)]


def check_derivatives(
    f: Callable[..., Any],
    arrays: Sequence[Any],
    which: Sequence[int],
    rng: np.random.Generator,
    what: str,
    step: float = 1e-6,
    tolerance: float = 1e-6,
    second: bool = True,
    numeric: bool = True,
) -> None:
    """The gradients of f(*tensors) in the inputs `which`, at arrays of float64, in every way we can.

    Each input alone and all together; kernels against the derivative in tensor operations; two
    backward passes against twice the gradient; first order, and second order through
    `create_graph`, against central differences of f and of the first order.
    """
    xs = _leaves(arrays, which)
    y = f(*xs)
    assert y.requires_grad, f"{what}: no gradient flows"
    weights = rng.standard_normal(tuple(y.shape)).astype(numpy(y).dtype)
    w = tensor(weights)
    moves = {k: rng.standard_normal(arrays[k].shape) for k in which}
    together = _gradients(f, xs, which, w)
    derived = _gradients(f, xs, which, w, create_graph=True)
    for k, g, h in zip(which, together, derived, strict=True):
        where = f"{what}, input {k}"
        assert g is not None, where
        assert g.shape == xs[k].shape, where
        assert g.dtype is xs[k].dtype, where
        alone = _gradients(f, _leaves(arrays, [k]), [k], w)[0]
        check_same(alone, g, f"{where}: alone against together")
        finite = np.abs(numpy(g)[np.isfinite(numpy(g))])
        bound = 1e-12 * float(finite.max(initial=1.0))
        np.testing.assert_allclose(
            numpy(h), numpy(g), rtol=1e-12, atol=bound, err_msg=f"{where}: tensor derivative against kernel"
        )
        if not numeric:
            continue
        _check_slope(
            lambda t, k=k: _inner(weights, numpy(f(*_leaves(_moved(arrays, {k: moves[k]}, t), [])))),
            _inner(numpy(g), moves[k]), step, tolerance, where,
        )
    _check_accumulation(f, arrays, which, w, together, what)
    if second:
        _check_second(f, arrays, which, weights, moves, rng, step, tolerance, what)


def _check_slope(
    function: Callable[[float], float], analytic: float, step: float, tolerance: float, what: str
) -> None:
    ahead, behind = function(step), function(-step)
    if np.isnan(ahead) and np.isnan(behind):
        return  # the mean of nothing has no slope
    numeric = (ahead - behind) / (2 * step)
    # What the difference cannot see: the rounding of the two values, divided by the step.
    blur = 64 * np.finfo(np.float64).eps * (abs(ahead) + abs(behind)) / step
    error = abs(numeric - analytic)
    assert error <= tolerance * max(1.0, abs(numeric)) + blur, f"{what}: numeric {numeric}, analytic {analytic}"


def _check_accumulation(
    f: Callable[..., Any], arrays: Sequence[Any], which: Sequence[int], w: Any, once: list[Any], what: str
) -> None:
    xs = _leaves(arrays, which)
    for _ in range(2):
        f(*xs).backward(w)
    for k, g in zip(which, once, strict=True):
        check_same(xs[k].grad, g * 2.0, f"{what}, input {k}: two backward passes")
    # Used twice in one graph, behind an op, so that gradients meet in flight as well as in leaves.
    xs = _leaves(arrays, which)
    middle = [x * 1.0 if k in which else x for k, x in enumerate(xs)]
    y = f(*middle) + f(*middle)
    y.backward(w)
    for k, g in zip(which, once, strict=True):
        scale = max(1.0, float(np.abs(numpy(g)).max(initial=0.0)))
        np.testing.assert_allclose(
            numpy(xs[k].grad), 2.0 * numpy(g), rtol=1e-12, atol=1e-12 * scale, err_msg=f"{what}, input {k}: used twice"
        )


def _check_second(
    f: Callable[..., Any],
    arrays: Sequence[Any],
    which: Sequence[int],
    weights: Array,
    moves: dict[int, Array],
    rng: np.random.Generator,
    step: float,
    tolerance: float,
    what: str,
) -> None:
    targets = {k: rng.standard_normal(arrays[k].shape) for k in which}
    turn = rng.standard_normal(weights.shape).astype(weights.dtype)

    def first(t: float) -> float:
        """The first derivatives along `targets`, from the kernels, with everything moved by t."""
        xs = _leaves(_moved(arrays, moves, t), which)
        gs = _gradients(f, xs, which, tensor(np.asarray(weights + t * turn).astype(weights.dtype)))
        return sum(_inner(numpy(g), targets[k]) for k, g in zip(which, gs, strict=True))

    xs = _leaves(arrays, which)
    w = tensor(weights, True)
    gs = _gradients(f, xs, which, w, create_graph=True)
    total = sum((g * tensor(targets[k])).sum() for k, g in zip(which, gs, strict=True))
    assert total.requires_grad, f"{what}: the gradient does not depend on the incoming one"
    found = tg.autograd.grad(total, [*(xs[k] for k in which), w], allow_unused=True)
    analytic = sum(_inner(numpy(g), moves[k]) for k, g in zip(which, found, strict=False) if g is not None)
    assert found[-1] is not None, f"{what}: no gradient of the incoming gradient"
    analytic += _inner(numpy(found[-1]), turn)
    _check_slope(first, analytic, step, tolerance * 10, f"{what}, second order")


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Runs with n threads."""
    before = tg.get_num_threads()
    tg.set_num_threads(n)
    try:
        yield
    finally:
        tg.set_num_threads(before)


def step_for(op: Op) -> tuple[float, float]:
    """Step and tolerance of finite differences: wide where the result is a float32."""
    return (1e-6, 1e-6) if op.result in (None, float64) else (1e-2, 1e-4)
