"""Where an error would go: whether the code of the function does something about an error at the line that runs.

A replay has no Python frames, so no `except`, `finally` or `__exit__` could run in it. Calls that may fail are
looked up in the exception tables of the frames around them while they are recorded; where such a call fails in a
replay, what the run has changed is put back (`passes/keep_for_handlers.py`), and the function runs as Python.
"""

from __future__ import annotations

import functools
import opcode
import sys
from types import CodeType

from ..ops.registry import OPS
from ..tape._capture import Capture
from .tracing import PACKAGE

__all__ = ["HANDLED", "new_capture", "spans_of"]

HANDLED = "an error was handled inside"  # why a call runs eagerly

PUSH_EXC_INFO, WITH_EXCEPT_START, RERAISE, CACHE = (
    opcode.opmap[name] for name in ("PUSH_EXC_INFO", "WITH_EXCEPT_START", "RERAISE", "CACHE")
)
QUIET = frozenset(("__getitem__", "__del__"))  # whose errors the interpreter itself may take: as the end of a sequence


def new_capture() -> Capture:
    """A capture that notes which of its calls may fail where the code below the caller of this handles the error."""
    outermost = sys._getframe(1).f_code
    return Capture(fallible(len(OPS)), lambda contexts: handled(outermost, contexts))


@functools.lru_cache(1)
def fallible(count: int) -> frozenset[int]:
    """Those of so many ops whose kernels may fail."""
    return frozenset(n for n, op in enumerate(OPS[:count]) if op.errors)


def handled(outermost: CodeType, contexts: set[tuple[CodeType, int]]) -> bool:
    """Whether user code between the running line and the frame of `outermost` does something about an error.

    `contexts` are the places of `with` statements that only set a gradient mode.
    """
    frame = sys._getframe(1)
    while frame.f_code is not outermost:
        code = frame.f_code
        ours = code.co_filename.startswith(PACKAGE)
        if not ours and (code.co_name in QUIET or handles(code, frame.f_lasti, contexts)):
            return True
        if frame.f_back is None:
            return True  # who called this cannot be seen
        frame = frame.f_back
    return False


def handles(code: CodeType, at: int, contexts: set[tuple[CodeType, int]]) -> bool:
    """Whether an error at this offset comes to something that code does not merely pass on."""
    spans, words = spans_of(code), code.co_code
    seen = set()
    while True:
        target = next((to for start, end, to in spans if start <= at < end), None)
        if target is None or target in seen:
            return False
        seen.add(target)
        if words[target] == PUSH_EXC_INFO:  # all else cleans the stack up and raises again
            entered = min(start for start, _, to in spans if to == target) - 2
            while words[entered] == CACHE:
                entered -= 2
            if words[target + 2] != WITH_EXCEPT_START or (code, entered) not in contexts:
                return True
        # What is around the handler sees the error where that raises it again.
        at = target
        while at < len(words) and words[at] != RERAISE:
            at += 2


def spans_of(code: CodeType) -> list[tuple[int, int, int]]:
    """(start, end, handler), in bytes, of the stretches that have one.

    The table's format: four numbers per stretch (start, length and handler in words of two bytes, and how deep the
    stack is), each in groups of six bits, the highest first, with bit 6 where another follows
    (CPython, InternalDocs/exception_handling.md).
    """
    numbers: list[int] = []
    value = 0
    for byte in code.co_exceptiontable:
        value = value << 6 | byte & 63
        if not byte & 64:
            numbers.append(value)
            value = 0
    starts, lengths, targets = numbers[::4], numbers[1::4], numbers[2::4]
    return [(2 * s, 2 * (s + n), 2 * to) for s, n, to in zip(starts, lengths, targets, strict=True)]
