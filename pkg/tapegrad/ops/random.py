"""What a random call means: which kernel draws, with what parameters, into what shape and type.

The functions here are pure: they check arguments with PyTorch's rules and messages and return a
`Draw`. Whoever has tensors allocates the result, passes `draw.words` as FRAME_PARAMS, the address
of a generator as FRAME_EXT, and makes one serial call of RANDOM_KERNELS[draw.kernel], compiled with
T = draw.kernel_dtype. A Draw without elements needs no call and leaves the generator alone.

Names end in an underscore where PyTorch's in-place method is meant; those take shape and type of
the tensor. PyTorch fills a tensor that is not contiguous in the order of its memory (dimensions by
falling stride), and `normal_` then takes its scalar way at any size: pass contiguous=False.

Differs from PyTorch in one place: on Intel processors its wheels draw `bernoulli_(p)` with a number
p, and so dropout masks, from an MKL stream. Here it is on every machine what PyTorch draws on the
others: a float64 per element, less than p.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import dtype, float32
from . import random_kernels, random_normal
from .random_draw import C_NAMES, CLASS_NAMES, DIGITS, Draw, checked_shape
from .random_integers import plan_randint, plan_random_, plan_randperm
from .registry import FLOATS, NUMBERS, structured

__all__ = [
    "RANDOM_ERRORS",
    "RANDOM_KERNELS",
    "Draw",
    "plan_bernoulli",
    "plan_bernoulli_",
    "plan_exponential_",
    "plan_normal",
    "plan_normal_",
    "plan_rand",
    "plan_randint",
    "plan_randn",
    "plan_random_",
    "plan_randperm",
    "plan_uniform_",
]

RANDOM_KERNELS: dict[str, Callable[..., Any]] = {
    kernel.__name__: kernel
    for kernel in (
        random_kernels.uniform_float32,
        random_kernels.uniform_float64,
        random_kernels.bernoulli,
        random_kernels.bernoulli_float32,
        random_kernels.bernoulli_float64,
        random_kernels.randint_32,
        random_kernels.randint_64,
        random_kernels.randperm,
        random_normal.normal_scalar,
        random_normal.normal_float32,
        random_normal.normal_float64,
        random_normal.exponential,
    )
}


def _bad_probability(detail0: int, detail1: int) -> Exception:
    return RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")


# Status of a kernel -> the error to raise, as in an op's declaration.
RANDOM_ERRORS: dict[str, dict[int, Callable[[int, int], Exception]]] = {
    "bernoulli_float32": {1: _bad_probability},
    "bernoulli_float64": {1: _bad_probability},
}


_LARGEST = {t: float(np.finfo(t.numpy).max) for t in DIGITS}


def plan_uniform_(shape: Sequence[int], dtype: dtype, low: float = 0.0, high: float = 1.0) -> Draw:
    """`tensor.uniform_(low, high)`.

    RuntimeError for bounds out of the type's range or low > high, NotImplementedError for integers.

    >>> from tapegrad.dtypes import float32
    >>> from tapegrad.ops.random import plan_uniform_
    >>> plan_uniform_((2, 3), float32, -1.0, 1.0).kernel
    'uniform_float32'
    """
    if dtype not in DIGITS:
        raise NotImplementedError(f"\"check_uniform_bounds\" not implemented for '{CLASS_NAMES[dtype]}'")
    low, high = float(low), float(high)
    limit = _LARGEST[dtype]
    for name, value in (("from", low), ("to", high)):
        if not -limit <= value <= limit:
            raise RuntimeError(f"{name} is out of bounds for {C_NAMES[dtype]}")
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}"
        )
    if high - low > limit:
        raise RuntimeError(
            f"uniform_ expects to-from <= std::numeric_limits<{CLASS_NAMES[dtype]}>::max(), but found "
            f"to={high:g} and from={low:g} which result in to-from to exceed the limit"
        )
    return Draw("uniform_" + dtype.name, tuple(shape), dtype, (low, high))


def plan_rand(*size: Any, dtype: dtype = float32) -> Draw:
    """`rand(*size)`: uniform in [0, 1), sizes as numbers or as one sequence.

    >>> from tapegrad.ops.random import plan_rand
    >>> plan_rand(2, 3).shape
    (2, 3)
    """
    if not size:
        raise TypeError("rand() received an invalid combination of arguments - got (), but expected (*size)")
    return plan_uniform_(checked_shape("rand", size), dtype)


def plan_normal_(
    shape: Sequence[int], dtype: dtype, mean: float = 0.0, std: float = 1.0, contiguous: bool = True
) -> Draw:
    """`tensor.normal_(mean, std)`; 16 elements and more that lie side by side have their own algorithm.

    RuntimeError for a negative std, NotImplementedError for integers.

    >>> from tapegrad.dtypes import float32
    >>> from tapegrad.ops.random import plan_normal_
    >>> plan_normal_((15,), float32).kernel, plan_normal_((16,), float32).kernel
    ('normal_scalar', 'normal_float32')
    """
    mean, std = float(mean), float(std)
    if not std >= 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if dtype not in DIGITS:
        raise NotImplementedError(f"\"normal_kernel_cpu\" not implemented for '{CLASS_NAMES[dtype]}'")
    filled = contiguous and math.prod(shape) >= 16
    return Draw("normal_" + dtype.name if filled else "normal_scalar", tuple(shape), dtype, (mean, std))


def plan_randn(*size: Any, dtype: dtype = float32) -> Draw:
    """`randn(*size)`: standard normal.

    >>> from tapegrad.ops.random import plan_randn
    >>> plan_randn((4, 4)).params
    (0.0, 1.0)
    """
    if not size:
        raise TypeError("randn() received an invalid combination of arguments - got (), but expected (*size)")
    return plan_normal_(checked_shape("randn", size), dtype)


def plan_normal(mean: float, std: float, size: Sequence[int], dtype: dtype = float32) -> Draw:
    """`normal(mean, std, size)` of two numbers.

    With a tensor of means PyTorch adds it to normal_(0, std); with a tensor of standard deviations
    it computes normal_(0, 1) * std + mean, product and sum rounded on their own.

    >>> from tapegrad.ops.random import plan_normal
    >>> plan_normal(1.0, 2.0, (3,)).params
    (1.0, 2.0)
    """
    return plan_normal_(checked_shape("normal", (size,)), dtype, mean, std)


def plan_exponential_(shape: Sequence[int], dtype: dtype, lambd: float = 1.0) -> Draw:
    """`tensor.exponential_(lambd)`; RuntimeError unless lambd > 0 and the type is floating point.

    >>> from tapegrad.dtypes import float32
    >>> from tapegrad.ops.random import plan_exponential_
    >>> plan_exponential_((3,), float32, 2.0).params
    (2.0,)
    """
    lambd = float(lambd)
    if not lambd > 0.0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    if dtype not in DIGITS:
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. "
            f"dtype must be a floating point but you specified {CLASS_NAMES[dtype]}"
        )
    return Draw("exponential", tuple(shape), dtype, (lambd,))


def plan_bernoulli_(shape: Sequence[int], dtype: dtype, p: float = 0.5) -> Draw:
    """`tensor.bernoulli_(p)` of a number p: ones with that probability, as dropout needs them.

    RuntimeError unless 0 <= p <= 1. Differs from PyTorch on Intel processors, see the module.

    >>> from tapegrad.dtypes import float32
    >>> from tapegrad.ops.random import plan_bernoulli_
    >>> plan_bernoulli_((8,), float32, 0.9).params
    (0.9,)
    """
    p = float(p)
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    return Draw("bernoulli", tuple(shape), dtype, (p,))


def plan_bernoulli(
    shape: Sequence[int], dtype: dtype, p: float | None = None, p_dtype: dtype | None = None
) -> Draw:
    """`bernoulli(input, p)`, and with p_dtype `tensor.bernoulli_(p_tensor)`.

    Without a number p the probabilities are a contiguous tensor of that shape in FRAME_IN, of type
    p_dtype (default: dtype). NotImplementedError if that type is no floating point.

    >>> from tapegrad.dtypes import float32
    >>> from tapegrad.ops.random import plan_bernoulli
    >>> plan_bernoulli((2,), float32).kernel
    'bernoulli_float32'
    """
    if p is not None:
        return plan_bernoulli_(shape, dtype, p)
    p_dtype = dtype if p_dtype is None else p_dtype
    if p_dtype not in DIGITS:
        kind = CLASS_NAMES[p_dtype]
        raise NotImplementedError(f"\"bernoulli_tensor_cpu_p_\" not implemented for '{kind}'")
    return Draw("bernoulli_" + p_dtype.name, tuple(shape), dtype)


# What the kernels write: a type of their own, or any that they are compiled for.
_WRITES = {"uniform": FLOATS, "normal": FLOATS, "exponential": FLOATS}
_SIZES = ((0,), (1,), (7,), (3, 211))  # the last one needs more than one refill of the generator


def _samples(name: str) -> list[tuple[dict[str, Any]]]:
    """Calls for the tests: the shape, the parameters, and of which type a tensor of probabilities is."""
    if name.startswith("bernoulli_"):
        return [({"shape": s, "params": (), "p": name.removeprefix("bernoulli_")},) for s in _SIZES]
    sizes: list[tuple[int, ...]] = list(_SIZES)
    if name.startswith("normal_float"):
        sizes = [s for s in sizes if math.prod(s) >= 16] + [(16,), (37,)]
    params: dict[str, tuple[tuple[float | int, ...], ...]] = {
        "bernoulli": ((0.3,), (0.0,), (1.0,)),
        "randint_32": ((10, -3), (2**31, 0)),
        "randint_64": ((2**33 + 5, -7), (0, 0)),
        "randperm": ((),),
        "exponential": ((2.5,),),
        "uniform": ((0.0, 1.0), (-2.0, 3.0)),
        "normal": ((0.0, 1.0), (5.0, 0.5)),
    }
    if name == "randperm":
        sizes = [(math.prod(s),) for s in _SIZES]
    kind = name if name in params else name.split("_")[0]
    return [({"shape": s, "params": p},) for s in sizes for p in params[kind]]


for _name, _kernel in RANDOM_KERNELS.items():
    _own = next((t for t in FLOATS if _name in (f"uniform_{t.name}", f"normal_{t.name}")), None)
    structured(
        "draw_" + _name,
        inputs=(),
        rule=None,
        forward=_kernel,
        dtypes=(_own,) if _own else _WRITES.get(_name.split("_")[0], NUMBERS),
        errors=RANDOM_ERRORS.get(_name),
        doc="Random numbers from a generator's stream, in one serial call.",
        samples=_samples(_name),
    )
