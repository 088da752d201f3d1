"""Which line of the user's code changes something, and how messages call it: code is run once more, line by line."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

__all__ = ["frames_of_library", "name_of", "names_of", "watched", "where"]

PACKAGE = str(Path(__file__).resolve().parents[1])
LIBRARY = tuple(
    {PACKAGE, *(sysconfig.get_paths()[k] for k in ("stdlib", "platstdlib", "purelib", "platlib")), "<frozen"}
)


def users(code: CodeType) -> bool:
    return not code.co_filename.startswith(LIBRARY)


def frames_of_library() -> int:
    """How many frames lie between the caller of this and the user's code, itself included."""
    frame, count = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, count = frame.f_back, count + 1
    return count - 1


class Watch:
    """A trace function: asks `changed()` after each line of the user's code and notes the first that did it."""

    def __init__(self, changed: Callable[[], bool]) -> None:
        self.changed = changed
        self.last: tuple[CodeType, int] | None = None
        self.found: tuple[CodeType, int] | None = None

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if self.found is not None or not users(frame.f_code):
            return None
        if event in ("line", "return") and self.last is not None and self.changed():
            self.found = self.last
            return None
        self.last = frame.f_code, frame.f_lasti
        if event == "return" and frame.f_back is not None and users(frame.f_back.f_code):
            self.last = frame.f_back.f_code, frame.f_back.f_lasti
        return self


def watched(run: Callable[[], Any], changed: Callable[[], bool]) -> tuple[Any, tuple[CodeType, int] | None]:
    """`run()`, and the (code, offset) of the line after which `changed()` was true first; None if it never was.

    Where a debugger or a coverage tool watches already, there is no line.
    """
    if sys.gettrace() is not None:
        return run(), None
    watch = Watch(changed)
    sys.settrace(watch)
    try:
        result = run()
    finally:
        sys.settrace(None)
    return result, watch.found


def names_of(kinds: tuple[type, ...]) -> str:
    return ", ".join(kind.__name__ for kind in kinds)


def name_of(fn: Any) -> str:
    return str(getattr(fn, "__qualname__", None) or type(fn).__name__)


def where(line: Any, fn: Any) -> str:
    """The line of a (code, offset), as text."""
    if line is None:
        code = getattr(fn, "__code__", None)
        return f" (in {code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    code, offset = line
    number = code.co_firstlineno
    for start, end, n in code.co_lines():
        if start <= offset < end and n is not None:
            number = n
            break
    return f" ({code.co_filename}:{number}, in {code.co_name})"
