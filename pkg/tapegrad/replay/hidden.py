"""What code may do that leaves no trace to compare: threads that it starts, generators that it seeds, frames."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .code_names import CodeNames

__all__ = ["hidden_in"]

THREADS = frozenset((
    "Thread", "Timer", "ThreadPoolExecutor", "ProcessPoolExecutor", "start_new_thread", "Process", "Pool", "ThreadPool",
    "to_thread", "run_in_executor",
))  # fmt: skip
MODULES_OF_THREADS = ("threading", "concurrent", "multiprocessing", "_thread", "asyncio")
FRAMES = frozenset(("__globals__", "_getframe", "currentframe", "f_globals", "f_locals", "f_back", "f_builtins"))
SEEDS = frozenset(("seed", "setstate", "set_state"))


def hidden_in(code: CodeNames, namespace: Mapping[str, Any]) -> str | None:
    """Why code with these names cannot be replayed, whatever two recordings show; None if nothing tells so."""
    if not code.names.isdisjoint(FRAMES):
        return f"what {min(code.names & FRAMES)} gives cannot be known"
    if uses(THREADS, lambda o: top_of(o) in MODULES_OF_THREADS, code, namespace):
        return "threads are started inside"
    if uses(SEEDS, is_generator, code, namespace):
        return "Python's or NumPy's random numbers are seeded inside"
    return None


def uses(wanted: frozenset[str], fits: Callable[[Any], bool], code: CodeNames, namespace: Mapping[str, Any]) -> bool:
    """Whether code has one of these attributes beside a global that fits, or a global of such a name that does."""
    found = code.names & wanted
    if not found:
        return False
    used = [namespace[n] for n in (code.globals if found - code.globals else found) if n in namespace]
    used += [sys.modules[n] for n in code.imports if n in sys.modules]
    return any(fits(o) for o in used)


def top_of(o: Any) -> str:
    """The package of a module, or the one in which a class or function was made."""
    name = o.__name__ if isinstance(o, type(sys)) else getattr(o, "__module__", None)
    return str(name).partition(".")[0]


def is_generator(o: Any) -> bool:
    """Whether random numbers come from it: the modules, their generators, and methods of these."""
    if isinstance(o, type(sys)):
        return o.__name__ in ("random", "numpy", "numpy.random")
    owner = getattr(o, "__self__", o)
    return isinstance(owner, random.Random) or type(owner).__module__.startswith("numpy.random")
