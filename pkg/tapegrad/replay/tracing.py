"""Which line of the user's code changes something: the code is run once more, watched line by line."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

__all__ = ["watched"]

PACKAGE = str(Path(__file__).resolve().parents[1])
LIBRARY = tuple(
    {PACKAGE, *(sysconfig.get_paths()[k] for k in ("stdlib", "platstdlib", "purelib", "platlib")), "<frozen"}
)


def users(code: CodeType) -> bool:
    return not code.co_filename.startswith(LIBRARY)


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
