"""Small kernels for the tests of floor 1, and a way to run them without the floors above."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from tapegrad import native
from tapegrad._layout import FRAME_ERROR, FRAME_IN, FRAME_OUT, FRAME_PARAMS, FRAME_WORDS
from tapegrad.dtypes import float32 as T
from tapegrad.native.symbols import pointer

_CALL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


def formula(x):
    return x


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


def square(x):
    return x * x


def fail_at(f, lo, hi):
    """Writes its items, and fails in every chunk from the one that starts at f[FRAME_PARAMS] on."""
    y = pointer(f[FRAME_OUT], T)
    for i in range(lo, hi):
        y[i] = T(i)
    if lo >= f[FRAME_PARAMS]:
        f[FRAME_ERROR] = lo
        f[FRAME_ERROR + 1] = hi
        return 7
    return 0


def frame(out: np.ndarray, *inputs: np.ndarray, params: int = 0) -> np.ndarray:
    """A frame for arrays, which the caller must keep."""
    words = np.zeros(FRAME_WORDS, np.int64)
    words[FRAME_OUT] = out.ctypes.data
    for i, x in enumerate(inputs):
        words[FRAME_IN + i] = x.ctypes.data
    words[FRAME_PARAMS] = params
    return words


def call(address: int, words: np.ndarray, lo: int, hi: int) -> int:
    return _CALL(address)(words.ctypes.data, lo, hi)


def apply(kernel, bindings, out: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
    """Compile a kernel and run it over whole arrays."""
    words = frame(out, *inputs)
    assert call(native.compile_kernel(kernel, bindings), words, 0, out.size) == 0
    return out


def run_python(code: str, cache: Path | str, check: bool = True, **environment: str) -> str:
    """Run code in a fresh process that can import this module; returns what it printed.

    A variable given as an empty string is not set, except the folder: empty means none.
    """
    env = {
        name: value for name, value in {**os.environ, **environment}.items() if environment.get(name) != ""
    }
    env["TAPEGRAD_CACHE_DIR"] = str(cache)
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    if check:
        assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
