"""Objects, classes and modules of which only the attributes matter that code names."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any

from ._guards import Names, View
from .effects import PLAIN

__all__ = ["Named", "slots_of"]


class Named:
    """An object, class or module of which only named attributes matter."""

    def __init__(self, owner: Any, path: str, namespaces: list[Any], *, skip: bool = False) -> None:
        self.owner = owner
        self.path = path
        self.namespaces = namespaces
        self.skip = skip  # a module's own entries are guarded already
        self.instance = not issubclass(type(owner), (type, types.ModuleType))
        self.slots = frozenset(s for c in type(owner).__mro__ for s in slots_of(c) if self.instance)
        self.taken: set[str] = set()
        self.absent: set[str] = set()  # of a module
        self.called: set[str] = set()  # attributes that cannot be called, of names that code only calls

    def look(self, names: set[str], read: set[str], everything: bool, stored: set[str]) -> list[tuple[Any, str]]:
        """What is newly taken, given all names that code uses, and those that it does not just call.

        `stored` are the attributes that it sets. Where `step()` is all that code does with the name, a counter
        `step` is not what it means: that counter may change as long as it cannot be called.
        """
        found = []
        instance = self.instance
        for space in self.namespaces:
            # By a computed name code gets anything of an object, and the numbers and texts of classes and modules.
            wanted = [n for n in space if n in names or (everything and (instance or type(space[n]) in PLAIN))]
            for n in wanted:
                if n in self.taken or (self.skip and (n.startswith("_") or n == "training")):
                    continue
                self.absent.discard(n)
                if instance and not everything and n not in read and not callable(space[n]):
                    self.called.add(n)
                    continue
                self.called.discard(n)
                self.taken.add(n)
                found.append((space[n], f"{self.path}.{n}"))
            if isinstance(self.owner, types.ModuleType):
                self.absent |= stored.difference(space)
        for n in self.slots:
            if (n in names or everything) and n not in self.taken:
                self.taken.add(n)
                found.append((getattr(self.owner, n, None), f"{self.path}.{n}"))
        return found

    def views(self, handles: bool) -> Iterable[tuple[Any, str]]:
        """Views of what was taken, with the path that goes before a name.

        Of an object all names count that code has, since one may come to hide its class's; of a module where code
        `handles` that there is none.
        """
        for space in self.namespaces:
            if self.instance or (handles and isinstance(self.owner, types.ModuleType)):
                yield Names(space, exact=False), self.path
            names = sorted((n for n in self.taken | self.absent if n not in self.slots), key=str)
            if names:
                yield View(space, tuple(names)), self.path
            if called := sorted(n for n in self.called if isinstance(n, str)):
                yield View(space, tuple(called), called=True), self.path
        slots = sorted(self.taken & self.slots)
        if slots:
            yield View({}, tuple(slots), self.owner), self.path


def slots_of(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    found = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(s for s in found if s not in ("__dict__", "__weakref__"))
