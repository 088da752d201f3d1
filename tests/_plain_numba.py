"""Compiles a kernel with Numba alone: each symbol gets its plainest meaning, nothing is cached.

Slower and simpler than the package's compiler, for tests of kernels where that is not built.
"""

import math
from types import FunctionType

from numba import cfunc, njit, types
from numba.extending import intrinsic
from tapegrad.dtypes import dtype
from tapegrad.native.symbols import Symbol

SIGNATURE = types.int64(types.CPointer(types.int64), types.int64, types.int64)


@intrinsic
def pointer(context, address, element):
    result = types.CPointer(element.dtype)
    return result(address, element), lambda c, b, s, a: b.inttoptr(a[0], c.get_value_type(result))


@intrinsic
def bitcast(context, value, element):
    result = element.dtype
    return result(value, element), lambda c, b, s, a: b.bitcast(a[0], c.get_value_type(result))


@intrinsic
def fma(context, x, y, z):
    assert x == y == z, "fma of different types"
    return x(x, y, z), lambda c, b, s, a: b.fma(*a)


@intrinsic
def where(context, condition, x, y):
    assert x == y, "where of different types"
    return x(condition, x, y), lambda c, b, s, a: b.select(*a)


@intrinsic
def ceil(context, x):
    return x(x), lambda c, b, s, a: b.call(b.module.declare_intrinsic("llvm.ceil", [a[0].type]), a)


@njit
def sqrt(x):
    return math.sqrt(x)


MEANING = {"pointer": pointer, "bitcast": bitcast, "fma": fma, "where": where, "ceil": ceil, "sqrt": sqrt}
_alive = []


def _bound(function, bindings, done):
    """The function with the globals that it names replaced, and so on in what it calls."""
    if function not in done:
        names = {}
        for name in function.__code__.co_names:
            value = bindings.get(name, function.__globals__.get(name))
            if isinstance(value, Symbol):
                names[name] = MEANING[value.name]
            elif isinstance(value, dtype):
                names[name] = getattr(types, value.name)
            elif isinstance(value, FunctionType):
                names[name] = njit(error_model="numpy")(_bound(value, bindings, done))
            elif value is not None:
                names[name] = value
        done[function] = FunctionType(function.__code__, names, function.__name__)
    return done[function]


def compile_kernel(function, bindings, name):
    """The address of the kernel's machine code."""
    _alive.append(cfunc(SIGNATURE, error_model="numpy")(_bound(function, bindings, {})))
    return _alive[-1].address
