"""What a process can ask and set about its resources: threads, memory, configuration."""

from __future__ import annotations

import operator

from . import _structured, native
from ._tensor import Tensor
from .ops import optimizer
from .ops.registry import BY_NAME
from .tape import _execute, _storage, _tape
from .tape._capture import refuse


def get_num_threads() -> int:
    """How many threads kernels may use.

    >>> import tapegrad as torch
    >>> torch.get_num_threads() >= 1
    True
    """
    return native.get_num_threads()


def set_num_threads(n: int) -> None:
    """Sets how many threads kernels may use; results do not depend on it. RuntimeError unless n >= 1."""
    if not hasattr(n, "__index__") or isinstance(n, bool):
        raise TypeError(f"set_num_threads expects an int, but got {type(n).__name__}")
    n = operator.index(n)
    if n < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    native.set_num_threads(n)
    _execute.set_hook("n_threads", native.get_num_threads())


def set_flush_denormal(mode: bool) -> bool:
    """Sets whether numbers below the normal ones count as 0, in this thread and in the kernels it starts.

    False where that is not possible. Many processors are slow with such numbers. It holds for all arithmetic of the
    thread, Python's own as well.

    >>> import tapegrad as torch
    >>> torch.set_flush_denormal(False) in (True, False)
    True
    """
    if not isinstance(mode, bool):
        raise RuntimeError(f"flush_denormal expects a bool, but got {type(mode).__name__}")
    refuse("set_flush_denormal changes what the thread computes from then on")
    return native.set_flush_denormal(mode)


def _multi_tensor_update(
    name: str, columns: tuple[list[Tensor], ...], params: tuple[float, ...], only_check: bool = False
) -> bool:
    """One native optimizer update; False, with nothing written, if the tensors are not uniform.

    `only_check` writes nothing in either case.
    """
    update = optimizer.UPDATES[name]
    done: bool = _structured.multi_tensor_update(
        BY_NAME["update_" + name].id, columns, params, update.writes, update.columns[-1] == "step", only_check
    )
    return done


def memory_stats() -> dict[str, int]:
    """Counts of the storage cache: live, cached and peak bytes, live blocks, system allocations."""
    stats: dict[str, int] = _storage.memory_stats()
    return stats


def empty_cache() -> None:
    """Gives the memory that storage cache and tape keep for reuse back to the system."""
    _storage.empty_cache()
    _tape.empty_cache()


def tape_stats() -> dict[str, int]:
    """Live records of the tape and the bytes of its segments."""
    stats: dict[str, int] = _tape.tape_stats()
    return stats


def show_config() -> str:
    """What this process computes with: versions, CPU, BLAS, threads, the object cache."""
    return native.show_config()
