"""`compile_kernel`: from a plain function to an address, through memory, the disk or the compiler."""

from __future__ import annotations

import os
import threading
import time
import types
from collections.abc import Callable, Mapping
from typing import Any

from .._config import add_section, settings
from .._interrupts import held_back
from ..dtypes import dtype
from .engine import EngineError, how_loaded, load_object, target_cpu
from .keys import KernelError, kernel_key
from .objects import ObjectStore, StoredObject

__all__ = ["clear_cache", "compile_kernel", "is_compiled", "statistics", "store"]

store = ObjectStore(settings.cache_dir, settings.cache_bytes)
_addresses: dict[str, int] = {}
_pending: dict[str, threading.Event] = {}
_lock = threading.Lock()
_counts = {"compiled": 0, "loaded": 0, "reused": 0, "stored": 0, "rejected": 0}
_seconds = {"compile": 0.0, "load": 0.0}


def compile_kernel(
    function: Callable[..., Any], bindings: Mapping[str, Any] | None = None, name: str | None = None
) -> int:
    """Address of the C function `int64 (int64 *frame, int64 lo, int64 hi)` made from `function`.

    `bindings` replaces globals of the function, and of the functions it calls, by name: a dtype
    (usually as `T`), a symbol, a plain function, a `Formula`, or a number. `name` shows up in
    profiles. A kernel compiled before, here or in an earlier process, is not compiled again, and
    threads that ask for the same kernel at once wait for one compilation. Raises `KernelError`
    for code that cannot be a kernel.

    >>> from tapegrad import native
    >>> from tapegrad.dtypes import float32 as T
    >>> from tapegrad.native.symbols import pointer
    >>> def ones(f, lo, hi):
    ...     out = pointer(f[0], T)
    ...     for i in range(lo, hi):
    ...         out[i] = T(1.0)
    ...     return 0
    >>> native.compile_kernel(ones, {"T": T}) != 0
    True
    """
    if not isinstance(function, types.FunctionType):
        raise KernelError(f"a kernel is a plain function, not a {type(function).__name__}")
    bound = dict(bindings or {})
    if "T" not in bound and isinstance(function.__globals__.get("T"), dtype):
        bound["T"] = function.__globals__["T"]  # so that helpers and literals have one compute type
    key = kernel_key(function, bound)
    while True:
        with held_back():
            address, other = _find_or_make(key, function, bound, name or function.__name__)
        if other is None:
            return address
        other.wait()  # if the other thread failed we try ourselves, for our own traceback


def _find_or_make(
    key: str, function: types.FunctionType, bound: dict[str, Any], name: str
) -> tuple[int, threading.Event | None]:
    """The address, or 0 and what to wait for where another thread is at it."""
    with _lock:
        known = _addresses.get(key)
        if known is not None:
            _counts["reused"] += 1
            return known, None
        if key in _pending:
            return 0, _pending[key]
        mine = _pending[key] = threading.Event()
    try:
        address = _load(key)
        if address is None:
            address = _compile(key, function, bound, name)
        with _lock:
            _addresses[key] = address
        return address, None
    finally:
        with _lock:
            del _pending[key]
        mine.set()


def is_compiled(function: Callable[..., Any], bindings: Mapping[str, Any]) -> bool:
    """Whether `compile_kernel` would find this kernel in memory or on disk."""
    key = kernel_key(function, bindings)  # type: ignore[arg-type]
    with _lock:
        if key in _addresses:
            return True
    return store.has(key)


def _count(what: str, started: float | None = None, timer: str = "") -> None:
    with _lock:
        _counts[what] += 1
        if started is not None:
            _seconds[timer] += time.perf_counter() - started


def _load(key: str) -> int | None:
    started = time.perf_counter()
    found = store.get(key)
    if found is None:
        return None
    try:
        address = load_object(found.code, found.symbol, found.undefined)
    except (EngineError, RuntimeError):  # made where another C library is; compile for this one
        _count("rejected")
        return None
    _count("loaded", started, "load")
    return address


def _compile(key: str, function: types.FunctionType, bindings: dict[str, Any], name: str) -> int:
    from .progress import compiling

    started = time.perf_counter()
    readable = "".join(c if c.isalnum() else "_" for c in name)
    with compiling(name, store.where()):
        from . import compiler

        made: StoredObject = compiler.compile_object(function, bindings, f"tg_{readable}_{key[:12]}")
    address = load_object(made.code, made.symbol, made.undefined)
    _count("compiled", started, "compile")
    if store.put(key, made):
        _count("stored")
    return address


def statistics() -> dict[str, float]:
    """Counts since the process started: kernels `compiled`, `loaded` from disk, `reused` from memory,
    `stored` on disk, `rejected` as unfit, and the seconds spent compiling and loading.

    >>> from tapegrad import native
    >>> sorted(native.statistics())[:2]
    ['compile_seconds', 'compiled']
    """
    with _lock:
        return {**_counts, **{name + "_seconds": value for name, value in _seconds.items()}}


def clear_cache() -> int:
    """Remove all kernels kept on disk, and say how many; those in memory go on working."""
    return store.clear()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _pending.clear()  # the threads that were at it do not exist in the child


def _configuration() -> dict[str, object]:
    store.usable()
    cpu, features = target_cpu()
    shown = [f for f in ("avx2", "fma", "avx512f", "neon", "sve") if f"+{f}" in features.split(",")]
    return {
        "cpu": f"{cpu} ({' '.join(shown) or 'no vector extensions listed'})",
        "cache": f"{store.root or '-'} ({store.state}, at most {store.limit >> 20} MiB)",
        "put into memory": how_loaded(),
        **statistics(),
    }


add_section("kernels", _configuration)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
