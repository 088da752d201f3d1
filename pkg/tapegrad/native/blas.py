"""A private OpenBLAS: its own copy of the library, one thread, the fastest kernels for the CPU.

Opening the file of the `scipy-openblas32` wheel itself could return a library that the user's
program has loaded and set up already, hence the copy, which is kept in the cache folder. We split
products over our own threads, so OpenBLAS gets one. It chooses its kernels by CPU when it is
loaded and misses AVX-512 on CPUs newer than itself, so we say what the CPU can do. (With
AVX-512, `SKYLAKEX` is all there is in that wheel: Cooperlake and SapphireRapids resolve to it.)
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from importlib.machinery import PathFinder

from .._config import add_section, settings
from .._interrupts import held_back
from ..dtypes import dtype, float32, float64
from .engine import host_features, target_features
from .kernels import compile_kernel, store
from .panels import panel_kernel

__all__ = ["ROUTINES", "SGEMM", "call_table", "table_address"]

# Words of the table that FRAME_BLAS points to: Fortran entry points with 32-bit ints.
ROUTINES = ("sgemm", "dgemm", "sgemv", "dgemv", "sdot", "ddot", "saxpy", "daxpy", "sger", "dger")
SGEMM, DGEMM, SGEMV, DGEMV, SDOT, DDOT, SAXPY, DAXPY, SGER, DGER = range(len(ROUTINES))

# After them: per dtype the address of the kernel of `panels.py`, or 0.
PANELS = len(ROUTINES)

_lock = threading.Lock()
_table: ctypes.Array[ctypes.c_int64] | None = None
_library: ctypes.CDLL | None = None
_how = "not loaded yet"


def table_address(real: dtype = float32) -> int:
    """Address of the int64 words that hold the BLAS entry points, in the order of `ROUTINES`.

    The library is loaded at the first call, and our own kernel for products of type `real` made at
    the first for that type. ImportError if there is no library.
    """
    table = call_table()
    slot = PANELS + (real is not float32)
    if table[slot] == 0 and real in (float32, float64) and panels_pay():
        table[slot] = compile_kernel(panel_kernel, {"T": real}, f"panel.{real.name}")
    return ctypes.addressof(table)


def panels_pay() -> bool:
    """Whether kernels are compiled for a CPU whose vectors `tiles.py` is written for."""
    return target_features() >= {"avx512f", "avx512vl"}


def call_table() -> ctypes.Array[ctypes.c_int64]:
    """The table itself, an array of int64."""
    global _table, _library
    with held_back(), _lock:
        if _table is None:
            _library = _load()
            addresses = [
                ctypes.cast(getattr(_library, f"scipy_{name}_"), ctypes.c_void_p).value or 0
                for name in ROUTINES
            ]
            _table = (ctypes.c_int64 * (len(ROUTINES) + 2))(*addresses)
        return _table


def _original() -> str:
    """The library file of the wheel, found without importing the package."""
    spec = PathFinder.find_spec("scipy_openblas32")
    folder = os.path.join(os.path.dirname(spec.origin), "lib") if spec and spec.origin else ""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    for name in sorted(names):
        if "openblas" in name and (name.endswith((".dylib", ".dll")) or ".so" in name):
            return os.path.join(folder, name)
    raise ImportError("tapegrad needs OpenBLAS: pip install scipy-openblas32")


def core_type() -> str | None:
    """The OpenBLAS kernels to ask for; None leaves the choice to OpenBLAS."""
    if settings.blas_coretype is not None:
        return settings.blas_coretype
    wanted = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd")
    if "OPENBLAS_CORETYPE" not in os.environ and all(name in host_features() for name in wanted):
        return "SKYLAKEX"
    return None


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """What OpenBLAS reads while it is loaded; the user's other libraries must not see it."""
    wanted = {"OPENBLAS_NUM_THREADS": "1"}
    core = core_type()
    if core is not None:
        wanted["OPENBLAS_CORETYPE"] = core
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _load() -> ctypes.CDLL:
    global _how
    original = _original()
    problems = []
    with _environment():
        for source, attempt in (("kept copy", _open_kept), ("temporary copy", _open_temporary)):
            try:
                library = attempt(original)
                _how = source
                break
            except OSError as error:  # no space, a folder mounted noexec, a library beside it not found
                problems.append(str(error))
        else:
            library = ctypes.CDLL(original)
            _how = f"the installed file itself ({'; '.join(problems)})"
    library.scipy_openblas_set_num_threads(1)
    return library


def _open_kept(original: str) -> ctypes.CDLL:
    if not store.usable():
        raise OSError(f"no folder to keep a copy in: {store.state}")
    folder = os.path.join(store.root, "blas")
    info = os.stat(original)
    stem, dot, ending = os.path.basename(original).partition(".")
    path = os.path.join(folder, f"{stem}-{info.st_size:x}-{info.st_mtime_ns:x}{dot}{ending}")
    if not _is_copy(path, info):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        import shutil
        import tempfile

        handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=folder)
        os.close(handle)
        try:
            shutil.copyfile(original, temporary)
            os.utime(temporary, ns=(info.st_atime_ns, info.st_mtime_ns))
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _remove_old(folder)
    return ctypes.CDLL(path)


def _is_copy(path: str, original: os.stat_result) -> bool:
    """Size and time are those of the original: reading 25 MB at each start would cost too much."""
    try:
        info = os.stat(path)
    except OSError:
        return False
    return info.st_size == original.st_size and info.st_mtime_ns == original.st_mtime_ns


def _remove_old(folder: str, keep: int = 3) -> None:
    """Copies made for other versions: more than a few are left over from updates."""
    with contextlib.suppress(OSError):
        files = sorted(os.scandir(folder), key=lambda entry: entry.stat().st_ctime, reverse=True)
        for entry in files[keep:]:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def _open_temporary(original: str) -> ctypes.CDLL:
    import shutil
    import tempfile

    handle, path = tempfile.mkstemp(suffix=os.path.basename(original))
    os.close(handle)
    try:
        shutil.copyfile(original, path)
        return ctypes.CDLL(path)
    finally:
        with contextlib.suppress(OSError):  # Windows keeps the file until the process ends
            os.unlink(path)


def _configuration() -> dict[str, object]:
    if _library is None:
        return {"library": _how, "kernels asked for": core_type() or "OpenBLAS's own choice"}
    name = _library.scipy_openblas_get_corename
    name.restype = ctypes.c_char_p
    return {
        "library": _how,
        "kernels": name().decode(),
        "threads": _library.scipy_openblas_get_num_threads(),
    }


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


add_section("blas", _configuration)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
