"""Functions that draw random numbers: PyTorch's numbers from PyTorch's seeds."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _structured, _tensor
from ._arrays import from_numpy
from ._default_dtype import check_dtype
from ._device import require_cpu
from ._generator import Generator, default_generator
from ._sized import sized
from ._tensor import Tensor
from .dtypes import dtype, float64, int64
from .ops import random as draws
from .ops.checks import check_deviations, check_weights
from .ops.random import Draw
from .ops.random_draw import CLASS_NAMES
from .ops.reduction import argmax
from .ops.registry import BY_NAME
from .tape import _capture

__all__ = [
    "bernoulli",
    "multinomial",
    "normal",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
]

Generator.state_factory = staticmethod(from_numpy)
Generator.watch = staticmethod(_capture.refuse)


def _check_generator(generator: Any) -> Generator:
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(f"argument 'generator' must be torch.Generator, not {type(generator).__name__}")
    return generator


def _fill(out: Tensor, draw: Draw, generator: Any, inputs: tuple[Tensor, ...] = ()) -> Tensor:
    """Makes the draw into existing contiguous memory, in one serial call under the generator's lock."""
    g = default_generator if generator is None else _check_generator(generator)
    if out.numel() == 0:
        return out
    op, dt, parameters = BY_NAME["draw_" + draw.kernel].id, draw.kernel_dtype.index, draw.packed
    with g.lock:
        _capture.note_generator(g)
        _structured.run_kernel(op, dt, out, inputs, (), parameters, g.address, True)
    return out


@functools.lru_cache(maxsize=256)
def _standard(plan: Callable[..., Draw], shape: tuple[int, ...], d: dtype) -> Draw:
    return plan(shape, dtype=d)


def _standard_draw(name: str, plan: Callable[..., Draw], size: tuple[Any, ...], d: dtype | None) -> Draw:
    """The draw of `rand` and `randn`; of a shape that was met before it is not planned again."""
    t = check_dtype(name, d)
    shape = tuple(size[0]) if len(size) == 1 and isinstance(size[0], tuple) else size
    for n in shape:
        if type(n) is not int:
            return plan(*size, dtype=t)
    return _standard(plan, shape, t) if size else plan(dtype=t)  # of nothing it raises


@functools.lru_cache(maxsize=256)
def _bounded(low: int, high: int, shape: tuple[int, ...], d: dtype) -> Draw:
    return draws.plan_randint(low, high, shape, dtype=d)


def _integers(args: tuple[Any, ...], d: dtype) -> Draw | None:
    """The draw of `randint` with plain arguments, planned once; None for those that need a closer look or a warning."""
    if len(args) == 2:
        args = (0, *args)
    if len(args) != 3 or type(args[0]) is not int or type(args[1]) is not int or not isinstance(args[2], tuple):
        return None
    low, high, shape = args
    if d.is_floating_point and not -(2**24) <= low < high <= 2**24:
        return None
    for n in shape:
        if type(n) is not int:
            return None
    return _bounded(low, high, tuple(shape), d)


def _new(draw: Draw, generator: Any, requires_grad: bool = False, inputs: tuple[Tensor, ...] = ()) -> Tensor:
    if requires_grad is not False and not isinstance(requires_grad, bool):
        raise TypeError(f"argument 'requires_grad' must be bool, not {type(requires_grad).__name__}")
    if requires_grad and not draw.dtype.is_floating_point:  # before the generator moves
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    t = _tensor.fresh(_fill(_tensor.empty(draw.shape, draw.dtype.index), draw, generator, inputs))
    return t.requires_grad_(True) if requires_grad else t


def _in_place(self: Tensor, plan: Callable[..., Draw], generator: Any) -> Tensor:
    """A draw into an existing tensor; one with gaps is filled in the order of its memory, as in PyTorch."""
    _check_generator(generator)
    _tensor.check_writable(self)  # before the generator moves
    if self.is_contiguous():
        draw = plan(tuple(self.shape), self.dtype)
        if self.requires_grad or self.numel() == 0:
            return _tensor.copy_(self, _new(draw, generator))
        return _fill(self, draw, generator)
    strides = self.stride()
    order = sorted(range(self.ndim), key=lambda d: (-strides[d], d))
    shape = tuple(self.shape[d] for d in order)
    try:
        draw = plan(shape, self.dtype, contiguous=False)
    except TypeError:
        draw = plan(shape, self.dtype)
    filled = _new(draw, generator)
    back = sorted(range(self.ndim), key=lambda k: order[k])
    return _tensor.copy_(self, filled.permute(*back) if self.ndim else filled)


@sized
def rand(
    *size: Any,
    dtype: dtype | None = None,
    device: Any = None,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1).

    >>> import tapegrad as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.rand(3)
    tensor([0.4963, 0.7682, 0.0885])
    """
    require_cpu(device)
    return _new(_standard_draw("rand", draws.plan_rand, size, dtype), generator, requires_grad)


@sized
def randn(
    *size: Any,
    dtype: dtype | None = None,
    device: Any = None,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal numbers of mean 0 and variance 1.

    >>> import tapegrad as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.randn(3)
    tensor([ 1.5410, -0.2934, -2.1788])
    """
    require_cpu(device)
    return _new(_standard_draw("randn", draws.plan_randn, size, dtype), generator, requires_grad)


def randint(
    *args: Any,
    dtype: dtype | None = None,
    device: Any = None,
    generator: Generator | None = None,
    requires_grad: bool = False,
    **named: Any,
) -> Tensor:
    """`randint(high, size)` and `randint(low, high, size)`: integers in [low, high).

    >>> import tapegrad as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.randint(10, (3,))
    tensor([4, 9, 3])
    """
    require_cpu(device)
    d = check_dtype("randint", dtype, int64)
    draw = None if named else _integers(args, d)
    return _new(draw or draws.plan_randint(*args, dtype=d, **named), generator, requires_grad)


def randperm(
    n: int,
    *,
    dtype: dtype | None = None,
    device: Any = None,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The numbers 0 to n - 1 in random order.

    >>> import tapegrad as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.randperm(4)
    tensor([0, 1, 3, 2])
    """
    require_cpu(device)
    return _new(draws.plan_randperm(n, check_dtype("randperm", dtype, int64)), generator, requires_grad)


def bernoulli(input: Tensor, p: float | None = None, *, generator: Generator | None = None) -> Tensor:
    """Ones with the probabilities in `input` (or with probability p, then only the shape counts), else zeros."""
    if not isinstance(input, Tensor):
        raise TypeError(f"bernoulli(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    draw = draws.plan_bernoulli(tuple(input.shape), input.dtype, p)
    return _new(draw, generator, False, () if p is not None else (input.detach().contiguous(),))


def normal(
    mean: Any,
    std: Any = 1.0,
    size: Sequence[int] | None = None,
    *,
    dtype: dtype | None = None,
    device: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Normal numbers of this mean and standard deviation, numbers (with a size) or tensors."""
    require_cpu(device)
    if isinstance(mean, Tensor) or isinstance(std, Tensor):
        if isinstance(std, Tensor):
            check_deviations(std.detach() if std.is_floating_point() else std.double())
        shape = (mean + std).shape
        d = mean.dtype if isinstance(mean, Tensor) else std.dtype
        if not isinstance(std, Tensor):
            return _new(draws.plan_normal(0.0, std, tuple(shape), d), generator) + mean
        return _new(draws.plan_normal(0.0, 1.0, tuple(shape), d), generator) * std + mean
    if size is None:
        raise TypeError("normal() of two numbers needs a size")
    return _new(draws.plan_normal(mean, std, size, check_dtype("normal", dtype)), generator)


def rand_like(
    input: Tensor,
    *,
    dtype: dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """`rand` in the shape and dtype of another tensor."""
    return rand(
        tuple(input.shape), dtype=dtype or input.dtype, device=device, requires_grad=requires_grad, generator=generator
    )


def randn_like(
    input: Tensor,
    *,
    dtype: dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """`randn` in the shape and dtype of another tensor."""
    return randn(
        tuple(input.shape), dtype=dtype or input.dtype, device=device, requires_grad=requires_grad, generator=generator
    )


def randint_like(
    input: Tensor, *bounds: int, dtype: dtype | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """`randint` in the shape and dtype of another tensor."""
    return randint(*bounds, tuple(input.shape), dtype=dtype or input.dtype, device=device, requires_grad=requires_grad)


def uniform_(
    self: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None, **named: float
) -> Tensor:
    """In place: uniform numbers in [from, to)."""
    low = named.pop("from", from_)
    return _in_place(self, lambda shape, d: draws.plan_uniform_(shape, d, low, to), generator)


def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """In place: normal numbers of this mean and standard deviation."""
    return _in_place(
        self, lambda shape, d, contiguous=True: draws.plan_normal_(shape, d, mean, std, contiguous), generator
    )


def random_(self: Tensor, *bounds: int | None, generator: Generator | None = None) -> Tensor:
    """In place: integers in [from, to), [0, to), or all that the dtype holds."""
    return _in_place(self, lambda shape, d: draws.plan_random_(shape, d, *bounds), generator)


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """In place: exponentially distributed numbers of this rate."""
    return _in_place(self, lambda shape, d: draws.plan_exponential_(shape, d, lambd), generator)


def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """In place: ones with probability p (a number or a tensor of probabilities), else zeros."""
    if isinstance(p, Tensor):
        p = p.detach().expand(*self.shape).contiguous()
        draw = draws.plan_bernoulli(tuple(self.shape), self.dtype, None, p.dtype)
        return _tensor.copy_(self, _new(draw, generator, False, (p,)))
    return _in_place(self, lambda shape, d: draws.plan_bernoulli_(shape, d, p), generator)


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Places drawn with probabilities proportional to the weights along the last dimension of `input`.

    RuntimeError for weights that are negative or not finite, for rows of zeros, and for more samples
    than weights without replacement.

    >>> import tapegrad as torch
    >>> torch.multinomial(torch.tensor([0.0, 3.0, 0.0]), 2, replacement=True)
    tensor([1, 1])
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"multinomial(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    if isinstance(num_samples, bool) or not hasattr(num_samples, "__index__"):
        kind = type(num_samples).__name__
        raise TypeError(f"multinomial(): argument 'num_samples' (position 2) must be int, not {kind}")
    num_samples = operator.index(num_samples)
    if not input.is_floating_point():
        kind = CLASS_NAMES[input.dtype]
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {kind}")
    if input.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > input.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if input.shape[-1] > 1 << 24:
        raise RuntimeError("number of categories cannot exceed 2^24")
    weights = input.detach().contiguous()
    if weights.shape[-1] == 0:
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if weights.numel() == 0:
        return _tensor.empty((*weights.shape[:-1], num_samples), int64.index)
    by_order = not replacement or num_samples == 1
    check_weights(weights, not by_order)
    if not by_order:
        u = rand(*weights.shape[:-1], num_samples, dtype=float64, generator=generator)
        return from_numpy(_places_of(weights.numpy(), u.numpy()))
    # Exponential numbers divided by the weights come in the order of draws without replacement.
    by_columns = weights.ndim == 2 and 0 < input.stride(0) < input.stride(1)  # then PyTorch draws in this order
    drawn = exponential_(_tensor.empty(weights.shape[:: -1 if by_columns else 1], weights._dt), generator=generator)
    keys = weights / (drawn.t() if by_columns else drawn)
    if num_samples == 1:
        first: Tensor = argmax(keys, -1, True)
        return first
    order = np.argsort(-keys.numpy(), axis=-1, kind="stable")
    return from_numpy(order[..., :num_samples].astype(np.int64))


def _places_of(weights: Any, u: Any) -> Any:
    """Where the numbers in [0, 1) fall among the running sums of the weights, row by row."""
    sums = np.cumsum(weights, axis=-1, dtype=weights.dtype)
    sums /= sums[..., -1:].copy()
    sums[..., -1] = 1
    if sums.ndim == 1:
        return np.searchsorted(sums, u).astype(np.int64)
    return np.stack([np.searchsorted(s, v) for s, v in zip(sums, u, strict=True)]).astype(np.int64)


METHODS = {
    "multinomial": multinomial,
    "uniform_": uniform_,
    "normal_": normal_,
    "random_": random_,
    "exponential_": exponential_,
    "bernoulli_": bernoulli_,
    "bernoulli": bernoulli,
}
