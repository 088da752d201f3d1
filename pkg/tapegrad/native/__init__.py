"""The only door to Numba, LLVM, BLAS and threads.

`compile_kernel` turns a plain function into the address of a C function, once per machine: the
object code is kept on disk, and a process that finds everything there never imports Numba.
"""

from __future__ import annotations

from .. import _config
from . import symbols
from ._cpu import set_flush_denormal
from .blas import table_address as blas_table
from .formula import Formula
from .kernels import clear_cache, compile_kernel, is_compiled, statistics
from .keys import KernelError
from .threads import get_num_threads, run_parallel, set_num_threads

show_config = _config.show_config

__all__ = [
    "Formula",
    "KernelError",
    "blas_table",
    "clear_cache",
    "compile_kernel",
    "get_num_threads",
    "is_compiled",
    "run_parallel",
    "set_flush_denormal",
    "set_num_threads",
    "show_config",
    "statistics",
    "symbols",
]
