"""Compile a formula of `vecmath` into a loop over arrays, with Numba alone.

Formulas reach users through `native.compile_kernel`; this small stand-in lets them be judged without the
rest (no extension need be built), and tell whether an error is in a formula or in the compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from tapegrad.dtypes import dtype
from tapegrad.native import symbols
from tapegrad.native.vecmath import IMPLEMENTATIONS


@intrinsic
def _fma(ctx, a, b, c):
    if not a == b == c:
        raise TypeError(f"fma of {a}, {b}, {c}")

    def generate(context, builder, signature, args):
        return builder.fma(*args)

    return a(a, b, c), generate


def _unary(name: str) -> Any:
    @intrinsic
    def op(ctx, a):
        def generate(context, builder, signature, args):
            return builder.call(builder.module.declare_intrinsic(f"llvm.{name}", [args[0].type]), args)

        return a(a), generate

    return op


@intrinsic
def _where(ctx, condition, a, b):
    if a != b or condition != types.boolean:
        raise TypeError(f"where of {condition}, {a}, {b}")

    def generate(context, builder, signature, args):
        return builder.select(*args)

    return a(condition, a, b), generate


@intrinsic
def _bitcast(ctx, value, target):
    to = target.instance_type

    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir_type(to))

    return to(value, target), generate


def ir_type(t: Any) -> ir.Type:
    return {
        "float32": ir.FloatType(),
        "float64": ir.DoubleType(),
        "int32": ir.IntType(32),
        "int64": ir.IntType(64),
    }[t.name]


_NATIVE = {
    "fma": _fma,
    "where": _where,
    "bitcast": _bitcast,
    "floor": _unary("floor"),
    "rint": _unary("rint"),
    "fabs": _unary("fabs"),
    "sqrt": _unary("sqrt"),
}


def native(func: Callable[..., Any], done: dict | None = None) -> Any:
    """The formula with every name swapped for its native meaning, compiled lazily by Numba."""
    done = {} if done is None else done
    if func in done:
        return done[func]
    names: dict[str, Any] = {}
    for name in func.__code__.co_names:
        if name not in func.__globals__:
            continue
        value = func.__globals__[name]
        if isinstance(value, symbols.Symbol):
            value = _NATIVE[value.name]
        elif isinstance(value, dtype):
            value = getattr(numba, value.name)
        elif isinstance(value, FunctionType):
            value = native(value, done)
        names[name] = value
    clone = FunctionType(func.__code__, names, func.__name__, func.__defaults__)
    done[func] = numba.njit(error_model="numpy", no_cpython_wrapper=True, forceinline=True)(clone)
    return done[func]


def array_function(name: str, dtype_name: str) -> Callable[..., np.ndarray]:
    """`f(*arrays) -> array`: the formula of a symbol applied to each element."""
    formula = IMPLEMENTATIONS[name][dtype_name]
    f = native(formula)
    t = getattr(numba, dtype_name)[::1]

    if formula.__code__.co_argcount == 1:

        @numba.njit((t, t), error_model="numpy")
        def loop(out, x):
            for i in range(out.size):
                out[i] = f(x[i])
    else:

        @numba.njit((t, t, t), error_model="numpy")
        def loop(out, x, y):
            for i in range(out.size):
                out[i] = f(x[i], y[i])

    def run(*arrays: np.ndarray) -> np.ndarray:
        out = np.empty_like(arrays[0])
        loop(out, *(np.ascontiguousarray(a) for a in arrays))
        return out

    run.loop = loop  # type: ignore[attr-defined]
    return run
