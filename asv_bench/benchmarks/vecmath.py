"""Speed of the vectorised math functions; run as a script it prints ns per element beside NumPy's.

PYTHONPATH=pkg python asv_bench/benchmarks/vecmath.py
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tapegrad import dtypes, native
from tapegrad._layout import FRAME_IN, FRAME_OUT, FRAME_WORDS
from tapegrad.dtypes import float64 as T
from tapegrad.native import symbols
from tapegrad.native.symbols import exp as formula
from tapegrad.native.symbols import pointer
from tapegrad.native.vecmath import IMPLEMENTATIONS

N = 8192  # three arrays fit into the second-level cache


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


def prepare(name: str, dtype_name: str) -> tuple[Callable[[], Any], list[np.ndarray]]:
    """A call of the compiled loop over N elements, and the arrays it touches."""
    kernel = binary if name == "pow" else unary
    bindings = {"T": getattr(dtypes, dtype_name), "formula": getattr(symbols, name)}
    address = native.compile_kernel(kernel, bindings, name=f"{name}.{dtype_name}")
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(address)
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.1, 5, N).astype(dtype_name) for _ in range(3)]
    frame = np.zeros(FRAME_WORDS, np.int64)
    for word, a in zip((FRAME_OUT, FRAME_IN, FRAME_IN + 1), arrays, strict=True):
        frame[word] = a.ctypes.data
    base = frame.ctypes.data
    return lambda: call(base, 0, N), [frame, *arrays]


class Functions:
    params = (list(IMPLEMENTATIONS), ["float32", "float64"])
    param_names = ("function", "dtype")

    def setup(self, name: str, dtype_name: str) -> None:
        self.call, self.keep = prepare(name, dtype_name)

    def time_8192_elements(self, name: str, dtype_name: str) -> None:
        self.call()


def best(call: Callable[[], Any]) -> float:
    """Shortest of many runs, in ns per element."""
    shortest = 1.0
    for _ in range(200):
        started = time.perf_counter()
        call()
        shortest = min(shortest, time.perf_counter() - started)
    return shortest / N * 1e9


def main() -> None:
    print(f"{'ns per element':16}{'float32':>10}{'NumPy':>10}{'float64':>10}{'NumPy':>10}")
    for name in IMPLEMENTATIONS:
        row = f"{name:16}"
        for dtype_name in ("float32", "float64"):
            call, (_, out, x, y) = prepare(name, dtype_name)
            numpy = getattr(np, {"pow": "power"}.get(name, name), None)
            arguments = (x, y) if name == "pow" else (x,)
            theirs = f"{best(lambda f=numpy, a=arguments, o=out: f(*a, out=o)):10.2f}" if numpy else " " * 10
            row += f"{best(call):10.2f}{theirs}"
        print(row)


if __name__ == "__main__":
    main()
