"""The CUDA side: for now the formulas of operations as CUDA kernels, compiled and judged without a GPU.

Importing this costs nothing: numba-cuda is imported by the first compilation. Tensors live on the CPU
in this version, so `is_available()` is False whatever the machine has.
"""

from __future__ import annotations

from typing import Any

__all__ = ["compile_formula", "device_count", "is_available"]


def is_available() -> bool:
    """Whether tensors can live on a GPU: not in this version.

    >>> from tapegrad import cuda
    >>> cuda.is_available()
    False
    """
    return False


def device_count() -> int:
    """The number of GPUs that tensors can live on: none in this version.

    >>> from tapegrad import cuda
    >>> cuda.device_count()
    0
    """
    return 0


def __getattr__(name: str) -> Any:
    if name == "compile_formula":
        from .formulas import compile_formula

        return compile_formula
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
