"""Handles by which a registered hook is taken out again."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["RemovableHandle"]


class RemovableHandle:
    """Removes one hook from the dictionary it was put into; also a context manager.

    >>> from tapegrad.utils.hooks import RemovableHandle
    >>> hooks = HookDict()
    >>> handle = RemovableHandle(hooks)
    >>> hooks[handle.id] = print
    >>> handle.remove()
    >>> len(hooks)
    0
    """

    _ids = itertools.count()

    def __init__(self, hooks: HookDict, *, extra: tuple[HookDict, ...] = ()) -> None:
        self.id = next(RemovableHandle._ids)
        self._dicts = tuple(weakref.ref(d) for d in (hooks, *extra))

    def remove(self) -> None:
        """Take the hook out; does nothing if it is gone already."""
        for reference in self._dicts:
            hooks = reference()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class HookDict(dict[int, Callable[..., Any]]):
    """A dictionary that may be weakly referenced: a handle must not keep a module alive."""

    __slots__ = ("__weakref__",)
