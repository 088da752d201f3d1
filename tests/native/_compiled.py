"""The functions of `vecmath` as users get them: symbols in a kernel of `native.compile_kernel`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
from tapegrad import dtypes, native
from tapegrad._layout import FRAME_IN, FRAME_OUT, FRAME_WORDS
from tapegrad.dtypes import float64 as T
from tapegrad.native import symbols
from tapegrad.native.symbols import exp as formula
from tapegrad.native.symbols import pointer


def unary(f, lo, hi):
    x = pointer(f[FRAME_IN], T)
    y = pointer(f[FRAME_OUT], T)
    for i in range(lo, hi):
        y[i] = formula(x[i])
    return 0


def binary(f, lo, hi):
    a = pointer(f[FRAME_IN], T)
    b = pointer(f[FRAME_IN + 1], T)
    y = pointer(f[FRAME_OUT], T)
    for i in range(lo, hi):
        y[i] = formula(a[i], b[i])
    return 0


def array_function(name: str, dtype_name: str) -> Callable[..., np.ndarray]:
    """`f(*arrays) -> array`: the symbol applied to each element."""
    bindings = {"T": getattr(dtypes, dtype_name), "formula": getattr(symbols, name)}
    address = native.compile_kernel(binary if name == "pow" else unary, bindings, name=f"{name}.{dtype_name}")
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(address)

    def run(*arrays: np.ndarray) -> np.ndarray:
        inputs = [np.ascontiguousarray(a) for a in arrays]
        out = np.empty_like(inputs[0])
        frame = np.zeros(FRAME_WORDS, np.int64)
        frame[FRAME_OUT] = out.ctypes.data
        for i, a in enumerate(inputs):
            frame[FRAME_IN + i] = a.ctypes.data
        assert call(frame.ctypes.data, 0, out.size) == 0
        return out

    return run
