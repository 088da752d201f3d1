"""Loads object code into the process, without Numba and mostly without LLVM.

Plain ELF objects are put into memory by `_loader`; what it does not know goes into one MCJIT engine of llvmlite,
which lives as long as the process, since addresses handed out stay in op tables and records. Loading LLVM takes 30 ms,
so nothing else of it is asked either where kernels only have to be loaded: what the CPU is, is read by `_cpu`.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from importlib.machinery import PathFinder
from typing import Any

from . import _cpu, _loader

__all__ = [
    "EngineError",
    "cpu_words",
    "host_features",
    "how_loaded",
    "load_object",
    "target_cpu",
    "target_features",
    "version_file",
]

_lock = threading.RLock()
_engine: Any = None
_keep: list[Any] = []


class EngineError(RuntimeError):
    """Object code that cannot run in this process."""


def version_file(package: str) -> bytes:
    """What tells one version of a package from another, without importing it or any metadata (20 ms)."""
    spec = PathFinder.find_spec(package)
    if spec is None or spec.origin is None:
        return b"none"
    try:
        with open(os.path.join(os.path.dirname(spec.origin), "_version.py"), "rb") as file:
            return file.read()
    except OSError:  # installed without sources
        import importlib.metadata

        return importlib.metadata.version(package).encode()


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


@functools.cache
def cpu_words() -> str:
    """What decides `target_cpu()` beside the environment: the CPU's own words, or else what LLVM makes of them."""
    return _cpu.words() or " ".join(cpu_of(None, None))


@functools.cache
def host_features() -> frozenset[str]:
    """Features of the CPU itself, whatever kernels are compiled for: those that decide something here."""
    known: frozenset[str] | None = _cpu.features()
    if known is not None:
        return known
    import llvmlite.binding as llvm

    return frozenset(name for name, there in llvm.get_host_cpu_features().items() if there)


def target_features() -> frozenset[str]:
    """The same of the CPU that kernels are compiled for."""
    if os.environ.get("NUMBA_CPU_NAME") or "NUMBA_CPU_FEATURES" in os.environ:
        return frozenset(f[1:] for f in target_cpu()[1].split(",") if f.startswith("+"))
    return host_features()


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


def how_loaded() -> str:
    """Who puts object code into memory here, for `show_config()`."""
    if _engine is None:
        return "by tapegrad" if _loader.available else "by LLVM (tapegrad's own loader does not know this platform)"
    return f"{len(_keep)} by LLVM" + (", the others by tapegrad" if _loader.available else "")


def load_object(object_code: bytes, symbol: str, undefined: tuple[str, ...]) -> int:
    """Address of `symbol` in the given object code.

    `undefined` are the names the object takes from the process. LLVM ends the process when one of
    them cannot be found, so they are looked up first: EngineError.
    """
    address = _loader.load(object_code, symbol)
    if address:
        return address
    return _load_with_llvm(object_code, symbol, undefined)


def _load_with_llvm(object_code: bytes, symbol: str, undefined: tuple[str, ...]) -> int:
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
