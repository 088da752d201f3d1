"""The one parallel function of the library. Imports Numba, so only the first region loads this.

Compiling it takes 0.8 s where loading takes a few ms, so its code is kept in the object folder as
well; unlike a kernel it needs Numba's runtime, hence Numba's own form of it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
from typing import Any

import numba
from llvmlite import ir
from numba.core import types
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps
from numba.extending import intrinsic

from .._interrupts import held_back
from .flags import EXACT
from .kernels import store
from .keys import file_key
from .objects import StoredObject
from .progress import compiling

__all__ = ["layer", "run", "start"]

_SIGNATURE = (types.int64,) * 3
_lock = threading.Lock()
_region: Any = contextlib.nullcontext()
_drive: Any = None


@intrinsic
def _call(typing_context, address, words, lo, hi):  # type: ignore[no-untyped-def]
    word = ir.IntType(64)

    def make(context, builder, sig, args):  # type: ignore[no-untyped-def]
        function = ir.FunctionType(word, [word] * 3).as_pointer()
        return builder.call(builder.inttoptr(args[0], function), args[1:])

    return types.int64(types.int64, types.int64, types.int64, types.int64), make


def _drive_chunks(driver, words, chunks):  # type: ignore[no-untyped-def]
    """Call driver(words, c, c + 1) for each chunk c."""
    # set_num_threads in here would put an address of this process into the code.
    for chunk in numba.prange(chunks):
        _call(driver, words, chunk, chunk + 1)


def run(driver: int, words: int, chunks: int, threads: int) -> None:
    """One region; the GIL is released inside."""
    start()
    before = numba.get_num_threads()  # of this thread; the user's own Numba code may have set it
    if before != threads:
        numba.set_num_threads(threads)
    try:
        with _region:
            _drive(driver, words, chunks)
    finally:
        if before != threads:
            numba.set_num_threads(before)


def start() -> None:
    """Gets the function that runs regions ready, and the threads."""
    global _drive
    if _drive is None:
        with held_back(), _lock:
            if _drive is None:
                _drive = _start()


def layer() -> str:
    """Numba's threading layer: tbb, omp or workqueue."""
    return "not started yet" if _drive is None else str(numba.threading_layer())


@global_compiler_lock
def _start() -> Any:
    global _region
    from numba.np.ufunc.parallel import _launch_threads

    _launch_threads()  # with the GIL held; code from the folder does not do it by itself
    if numba.threading_layer() == "workqueue":
        _region = threading.Lock()  # two regions at once abort the process there
    options = {name: value for name, value in EXACT.items() if not name.startswith("no_")}
    drive = numba.njit(**options, parallel=True, nogil=True)(_drive_chunks)
    key = file_key(__file__)
    if not _restore(drive, key):
        with compiling("parallel loops", store.where()):
            drive.compile(_SIGNATURE)
        _keep(drive, key)
    drive.disable_compile()
    return drive


def _restore(drive: Any, key: str) -> bool:
    found = store.get(key)
    if found is None:
        return False
    drive.targetctx.refresh()  # starts Numba's runtime, as loading from its own cache does
    result = CompileResult._rebuild(drive.targetctx, *pickle.loads(found.code))
    drive.targetctx.insert_user_function(result.entry_point, result.fndesc, [result.library])
    drive.add_overload(result)
    return True


def _keep(drive: Any, key: str) -> None:
    result = drive.overloads[_SIGNATURE]
    if result.library.has_dynamic_globals:
        return  # an address of this process is in the code: in another one it would crash
    store.put(key, StoredObject(dumps(result._reduce()), "parallel", ()))


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
