from collections.abc import Iterable
from typing import Any

from .._tensor import Tensor
from ._plans import Arena, Guarded, Stamp, TensorPlan
from ._undoing import Undoing

I_KERNEL: int
I_ITEMS: int
I_GRAIN: int
I_PHASES: int
I_MODE: int
I_TIME: int
I_STATUS: int
I_FRAME: int
I_WORDS: int
MODE_ONE_CALL: int
MODE_THREADS: int
MODE_CHUNKS: int
B_FRESH: int
B_ARGUMENT: int
B_GRADIENT: int

def copy_kernel() -> int: ...
def blas_address() -> int: ...

class Machine:
    @property
    def busy(self) -> bool: ...
    timed: bool
    guarded: tuple[Guarded, ...]
    leaves: tuple[Tensor, ...]
    entry: tuple[bool | None, ...]
    exit: tuple[Any, ...]
    events: tuple[tuple[int, int, Any], ...]
    turned_on: tuple[int, ...]
    apart: tuple[int, ...]
    twice: int
    switches: tuple[tuple[int, Any, bool], ...]
    modes: tuple[tuple[int, dict[str, Any], bool], ...]
    dropped: tuple[int, ...]
    order: tuple[int, ...]
    base_places: tuple[tuple[int, ...], ...]
    shared_plans: tuple[TensorPlan, ...]
    fixed: tuple[tuple[int, Tensor], ...]
    relations: tuple[tuple[int, int, int, bool], ...]
    bumps: tuple[Any, ...]
    stamps: tuple[Stamp, ...]
    result: Any
    fail: Any
    undoing: Undoing | None
    together: tuple[tuple[int, int], ...]
    locks: tuple[Any, ...]
    def __init__(
        self,
        code: bytes,
        spots: tuple[tuple[int, int, int], ...],
        bases: tuple[tuple[int, int, int, int, int], ...],
        keep: Any,
        room: Arena,
    ) -> None: ...
    def set_written(self, ranges: Iterable[tuple[int, int]]) -> None: ...
    def fits_now(self, arguments: tuple[Tensor, ...]) -> bool: ...
    def run(self, arguments: tuple[Tensor, ...]) -> tuple[bool | None, Any]: ...
    def times(self, clear: bool = False) -> list[int]: ...
