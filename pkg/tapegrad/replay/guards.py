"""What a compiled function depends on besides its arguments, and whether it is still the same.

`Reach` walks from the function: closure cells, globals that its code names, modules, optimizers, containers and
the plain objects among them. `Guards` remembers what it found; a number that changed to an equal one, or an
optimizer's hyperparameter that the program reads from a cell, is no difference.
"""

from __future__ import annotations

from typing import Any

from ._guards import Snapshot, View
from .reach import Reach

__all__ = ["Guards"]

PLAIN = (int, float, complex, str, bytes, bool, type(None))
MOST_ENTRIES = 1 << 16  # of a container: looking at more in each call would cost more than the call
MOST_BYTES = 1 << 20  # of a NumPy array
DYNAMIC = frozenset(("getattr", "vars", "__dict__", "eval", "exec", "attrgetter", "methodcaller", "__getattribute__"))
LIBRARY = __name__.split(".")[0]


def same(a: Any, b: Any) -> bool:
    """Whether two values are plain and equal, so that a program recorded with one serves the other."""
    if type(a) is not type(b):
        return False
    if isinstance(a, PLAIN):
        return bool(a == b) or (a != a and b != b)
    if isinstance(a, (tuple, frozenset)):
        return len(a) == len(b) and all(x is y or same(x, y) for x, y in zip(a, b, strict=True))
    return False


class Guards:
    """What was reached, to be compared with what is there at a call.

    `cells` are the entries whose values the program reads from memory: by id of the dict, their keys. `difference`
    sets `stale_cells` when one of them has changed.
    """

    def __init__(self, reach: Reach) -> None:
        reach.finish()
        self.containers = reach.containers
        self.paths = reach.paths
        self.snapshot = Snapshot(self.containers)
        self.contents = [(path, now, now()) for path, now in reach.contents]
        self.objects = reach.objects  # held, so that what is reached stays what it is
        self.cells: dict[int, frozenset[str]] = {}
        self.stale_cells = False

    def difference(self) -> str | None:
        """The name of something that is no longer what it was, or None."""
        at = self.snapshot.first_difference()
        while at >= 0:
            name = self._really(at)
            if name is not None:
                return name
            self.snapshot.accept(at)
            at = self.snapshot.first_difference(at + 1)
        for path, now, before in self.contents:
            if now() != before:
                return path
        return None

    def same_contents(self) -> bool:
        """Whether what is compared by value is what it was."""
        return all(now() == before for _, now, before in self.contents)

    def _really(self, at: int) -> str | None:
        """The name of an entry of container `at` that differs in value, or None."""
        container, path = self.containers[at], self.paths[at]
        before = self.snapshot.was(at)
        if isinstance(container, dict):
            now = list(container.items())
            if len(now) != len(before):
                return path
            cells = self.cells.get(id(container), frozenset())
            for (k0, v0), (k1, v1) in zip(before, now, strict=True):
                if k0 is not k1 and k0 != k1:
                    return path
                if v0 is v1 or same(v0, v1):
                    continue
                if k0 in cells and isinstance(v1, (int, float, tuple)):
                    self.stale_cells = True
                    continue
                return f"{path}.{k0}" if isinstance(k0, str) and k0.isidentifier() else f"{path}[{k0!r}]"
            return None
        if isinstance(container, View):
            for n, v0, v1 in zip(container.names, before, container.values(), strict=True):
                if v0 is not v1 and not same(v0, v1):
                    return f"{path}.{n}" if path else str(n)
            return None
        now_values = list(container) if isinstance(container, list) else [cell_contents(container)]
        if len(now_values) != len(before):
            return path
        for v0, v1 in zip(before, now_values, strict=True):
            if v0 is not v1 and not same(v0, v1):
                return path
        return None


def cell_contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None
