"""The only door to Numba, LLVM, BLAS and threads.

`compile_kernel` turns a plain function into the address of a C function, once per machine: the
object code is kept on disk, and a process that finds everything there never imports Numba.
"""

from __future__ import annotations

from . import symbols
from .formula import Formula
from .kernels import clear_cache, compile_kernel, statistics
from .keys import KernelError

__all__ = ["Formula", "KernelError", "clear_cache", "compile_kernel", "statistics", "symbols"]
