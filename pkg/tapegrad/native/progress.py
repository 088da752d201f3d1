"""What is said on stderr while kernels are compiled: after a second that it happens, on a terminal also which.

A first run of a program compiles for some seconds, and would look as if it hung. TAPEGRAD_QUIET=1 says nothing.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from .._config import settings
from .._interrupts import set_notice

__all__ = ["compiling"]

PATIENCE = 1.0  # seconds of compiling, all kernels together, before anything is said
CLEAR = "\r\x1b[K"  # to the begin of the line, which is then empty
_spent = 0.0
_count = 0
_said = False


@contextlib.contextmanager
def compiling(name: str, kept: str) -> Iterator[None]:
    """Says what it has to say about the compilation that happens inside; `kept` tells where the result goes."""
    global _spent, _count
    if settings.quiet or sys.stderr is None:
        yield
        return
    started = time.perf_counter()
    _count += 1
    timer = None
    if not _said:
        timer = threading.Timer(max(PATIENCE - _spent, 0.0), _say, (kept,))
        timer.daemon = True
        with contextlib.suppress(RuntimeError):  # no new threads while the interpreter ends
            timer.start()
    set_notice("\ntapegrad: stopping as soon as this kernel is compiled, which is kept\n")
    on_terminal = _said and sys.stderr.isatty()
    if on_terminal:
        _write(f"{CLEAR}tapegrad: kernel {_count} ({name})")
    try:
        yield
    finally:
        set_notice(None)
        if timer is not None:
            timer.cancel()
        if on_terminal:
            _write(CLEAR)
        _spent += time.perf_counter() - started


def _say(kept: str) -> None:
    global _said
    if not _said:
        _said = True
        _write(f"tapegrad: compiling the kernels that this program needs; {kept}\n")


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or taken away meanwhile
        sys.stderr.write(text)
        sys.stderr.flush()
