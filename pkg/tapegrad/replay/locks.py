"""Locks that are free in a forked child, where the thread that held them does not exist."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

__all__ = ["give_lock"]

_owners: weakref.WeakSet[Any] = weakref.WeakSet()


def give_lock(owner: Any) -> None:
    """`owner._lock` is a re-entrant lock, and another one in a child."""
    owner._lock = threading.RLock()
    _owners.add(owner)


def _after_fork() -> None:
    for owner in list(_owners):
        owner._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
