"""The names that formulas and kernels use, and what each means in each place.

A formula is a plain Python function such as `def sigmoid_dx(g, y): return g * y * (1.0 - y)`.
The same text runs in four places. Called directly, a name below looks at its arguments: numbers
and NumPy arrays get the NumPy reference, Tensors the tensor function of that name. Compiled for
the CPU or for CUDA, the compiler swaps the name for its native meaning (see `jit.py`).

Kernel-only names (`pointer`, `call_kernel`, ...) have no meaning outside compiled code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


class Symbol:
    """A name with one meaning per place; the compiler swaps it by identity."""

    __slots__ = ("name", "reference", "tensor_function")

    def __init__(self, name: str, reference: Callable[..., Any] | None = None) -> None:
        self.name = name
        self.reference = reference
        self.tensor_function: Callable[..., Any] | None = None  # set by the floor that has Tensors

    def __call__(self, *args: Any) -> Any:
        for a in args:
            if hasattr(a, "requires_grad"):
                if self.tensor_function is None:
                    raise NotImplementedError(f"{self.name} has no meaning on tensors yet")
                return self.tensor_function(*args)
        if self.reference is None:
            raise NotImplementedError(f"{self.name} exists in compiled kernels only")
        return self.reference(*args)

    def __repr__(self) -> str:
        return f"<symbol {self.name}>"


def _sigmoid(x: Any) -> Any:
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-x))


def _erf(x: Any) -> Any:
    import math

    return np.vectorize(math.erf, otypes=[np.float64])(x)


# Math: each takes and returns the op's compute type.
exp = Symbol("exp", np.exp)
expm1 = Symbol("expm1", np.expm1)
log = Symbol("log", np.log)
log1p = Symbol("log1p", np.log1p)
log2 = Symbol("log2", np.log2)
log10 = Symbol("log10", np.log10)
tanh = Symbol("tanh", np.tanh)
sigmoid = Symbol("sigmoid", _sigmoid)
sin = Symbol("sin", np.sin)
cos = Symbol("cos", np.cos)
tan = Symbol("tan", np.tan)
erf = Symbol("erf", _erf)
normal_cdf = Symbol("normal_cdf", lambda x: 0.5 * (1.0 + _erf(x / np.sqrt(2.0))))  # to an absolute error
pow = Symbol("pow", np.power)
sqrt = Symbol("sqrt", np.sqrt)
floor = Symbol("floor", np.floor)
ceil = Symbol("ceil", np.ceil)
trunc = Symbol("trunc", np.trunc)
rint = Symbol("rint", np.rint)  # to nearest, ties to even
fabs = Symbol("fabs", np.abs)
maximum = Symbol("maximum", np.maximum)  # NaN if either is
minimum = Symbol("minimum", np.minimum)
isnan = Symbol("isnan", np.isnan)
where = Symbol("where", np.where)  # (condition, a, b): a select, both sides are evaluated
fma = Symbol("fma", lambda a, b, c: a * b + c)  # one rounding in compiled code

# Kernel-only.
pointer = Symbol("pointer")  # pointer(address, dtype): an indexable pointer
bitcast = Symbol("bitcast")  # bitcast(value, dtype): same bits as another type of the same size
call_kernel = Symbol("call_kernel")  # call_kernel(address, frame_address, lo, hi) -> int64
call_int = Symbol("call_int")  # call_int(address, int64) -> int64, a C function of one word
call_words = Symbol("call_words")  # (kernel address, lo, hi, (a, b, ...)) -> int64, on a frame of these
prefetch_read = Symbol("prefetch_read")  # prefetch_read(address): this cache line will be read soon
prefetch_write = Symbol("prefetch_write")  # ... or written
address_of = Symbol("address_of")  # address_of(pointer) -> int64
call_sgemm = Symbol("call_sgemm")  # (address, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) column-major BLAS
call_dgemm = Symbol("call_dgemm")
vector_lanes = Symbol("vector_lanes")  # vector_lanes(dtype): elements of a vector, 0 where tiles are no use
product_tile = Symbol("product_tile")  # see `tiles.py`
transpose_tile = Symbol("transpose_tile")


def outlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a helper with loops of its own that kernels call instead of taking it in.

    Helpers are inlined otherwise, so a long one that is used in several places multiplies the time
    a kernel takes to compile.
    """
    function.outlined = True  # type: ignore[attr-defined]
    return function
