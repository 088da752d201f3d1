"""Loads object code into the process with llvmlite alone: Numba is not needed to run a kernel.

All objects go into one MCJIT engine, which lives as long as the process, since addresses handed
out stay in op tables and records.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from typing import Any

__all__ = ["EngineError", "host_features", "llvm_version", "load_object", "target_cpu"]

_lock = threading.RLock()
_engine: Any = None
_keep: list[Any] = []


class EngineError(RuntimeError):
    """Object code that cannot run in this process."""


def llvm_version() -> str:
    """Version of llvmlite, which fixes that of LLVM."""
    import llvmlite

    return str(llvmlite.__version__)


def target_cpu() -> tuple[str, str]:
    """Name and features of the CPU that kernels are compiled for, as Numba decides them."""
    return cpu_of(os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES"))


@functools.cache
def cpu_of(name: str | None, features: str | None) -> tuple[str, str]:
    """The same for these names in the environment; the host's where there is none."""
    import llvmlite.binding as llvm

    name = name or llvm.get_host_cpu_name()
    if features is None:
        features = "" if name == "generic" else llvm.get_host_cpu_features().flatten()
    return name, features


def host_features() -> frozenset[str]:
    """Features of the CPU itself, whatever kernels are compiled for."""
    import llvmlite.binding as llvm

    return frozenset(name for name, there in llvm.get_host_cpu_features().items() if there)


def _start() -> Any:
    global _engine
    if _engine is None:
        import llvmlite.binding as llvm

        try:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
        except RuntimeError:  # newer llvmlite starts by itself and says so
            pass
        machine = llvm.Target.from_default_triple().create_target_machine(jit=True, codemodel="jitdefault")
        _engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    return _engine


def load_object(object_code: bytes, symbol: str, undefined: tuple[str, ...]) -> int:
    """Address of `symbol` in the given object code.

    `undefined` are the names the object takes from the process. LLVM ends the process when one of
    them cannot be found, so they are looked up first: EngineError.
    """
    import llvmlite.binding as llvm

    with _lock:
        engine = _start()
        for name in undefined:
            # On macOS C names have an underscore in front, which the search adds by itself.
            if not llvm.address_of_symbol(name) and not _in_process(name):
                raise EngineError(f"{symbol} needs {name}, which this process does not have")
        reference = llvm.ObjectFileRef.from_data(object_code)
        engine.add_object_file(reference)
        address = int(engine.get_function_address(symbol))
        _keep.append(reference)
    if not address:
        raise EngineError(f"{symbol} is not defined by its object code")
    return address


def _in_process(name: str) -> bool:
    import ctypes

    library = ctypes.CDLL(None) if sys.platform != "win32" else ctypes.cdll.msvcrt
    return hasattr(library, name)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # its owner may not exist in the child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
