"""What a compiled function depends on besides its arguments, and whether it is still the same.

`Reach` walks from the function: closure cells, globals that its code names, modules, optimizers, containers and
the plain objects among them. `Guards` remembers what it found; a number that changed to an equal one, or an
optimizer's hyperparameter that the program reads from a cell, is no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import Any

from .._tensor import Tensor
from . import _look
from ._guards import Names, Snapshot, View, missing
from .code_names import ANY_OPTION
from .contents import members_of
from .effects import same
from .reach import Reach, shown

__all__ = ["Guards", "reach_from"]

# What the standard library notes on a class when it first meets it.
NOTED = frozenset(("__slotnames__", "__annotations__"))


class Guards:
    """What was reached, to be compared with what is there at a call.

    `tensors` are those among it. `cells` are the keys of parameter groups, by the group's identity, whose values
    the program reads at each run, `options` the tensors among them with their contents; `stale_cells` is set where
    one of them has changed.
    """

    def __init__(
        self,
        containers: list[Any],
        paths: list[str],
        contents: Iterable[tuple[str, Callable[[], Any]]],
        objects: list[Any],
        tensors: list[Tensor],
        names: Set[str] = frozenset(),
        groups: Set[int] = frozenset(),
    ) -> None:
        self.containers = containers
        self.paths = paths
        self.snapshot = Snapshot(containers)
        self.contents = [(path, now, now()) for path, now in contents]
        self.objects = objects  # held, so that what is reached stays what it is
        self.tensors = tensors
        self.names = names  # that code uses, and texts in it
        self.groups = groups  # parameter groups of which code may read all: it has them without their optimizer
        self.cells: dict[int, frozenset[str]] = {}
        self.stale_cells = False
        self.options: list[tuple[Tensor, bytes]] = []

    @classmethod
    def of(cls, reach: Reach) -> Guards:
        """Guards on all that was reached, as it is now."""
        tensors = [t for t, _ in reach.tensors.values()]
        return cls(reach.containers, reach.paths, reach.contents, reach.objects, tensors, reach.names, reach.groups)

    def renewed(self) -> Guards:
        """The same as they are now: what is reached is the same where there is no difference."""
        contents = [(path, now) for path, now, _ in self.contents]
        return Guards(self.containers, self.paths, contents, self.objects, self.tensors, self.names, self.groups)

    def unread(self, group: Any, keys: frozenset[str]) -> frozenset[str]:
        """The options of a group among these that code does not look at, for all that its names tell."""
        if id(group) in self.groups or not self.names.isdisjoint(("state_dict", "get_last_lr", ANY_OPTION)):
            return frozenset()
        if "param_groups" in self.names and not self.names.isdisjoint(("items", "values", "copy")):
            return frozenset()
        return keys - self.names

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
        self.stale_cells |= not self._same_options()
        return None

    def note_hooks(self) -> None:
        """Counts hooks on the gradients of what was reached too: code that cannot be replayed may be without them."""
        listened_to = [t for t in self.tensors if _look.is_listened_to(t)]
        if listened_to:
            now = lambda: all(map(_look.is_listened_to, listened_to))  # noqa: E731
            self.contents.append(("hooks", now, True))

    def by_value(self) -> bool:
        """Whether there is anything to be compared by value."""
        return bool(self.contents or self.options)

    def same_contents(self) -> bool:
        """Whether what is compared by value is what it was."""
        return all(now() == before for _, now, before in self.contents) and self._same_options()

    def _same_options(self) -> bool:
        return all(_look.read_tensor(t) == before for t, before in self.options)

    def take_options(self) -> None:
        """The cells are read again now."""
        self.stale_cells = False
        self.options = [(t, _look.read_tensor(t)) for t, _ in self.options]

    def _really(self, at: int) -> str | None:
        """The name of an entry of container `at` that differs in value, or None."""
        container, path = self.containers[at], self.paths[at]
        before = self.snapshot.was(at)
        if isinstance(container, dict):
            now = list(dict.copy(container).items())
            if len(now) != len(before):
                return path
            cells = self.cells.get(id(container), frozenset())
            for (k0, v0), (k1, v1) in zip(before, now, strict=True):
                if k0 is not k1 and not same(k0, k1):
                    return path
                if v0 is v1 or same(v0, v1):
                    continue
                if k0 in cells and isinstance(v1, (int, float, tuple)):
                    self.stale_cells = True
                    continue
                return f"{path}.{k0}" if isinstance(k0, str) and k0.isidentifier() else f"{path}[{shown(k0)}]"
            return None
        if isinstance(container, View):
            for n, v0, v1 in zip(container.names, before, container.values(), strict=True):
                if v0 is not v1 and not same(v0, v1):
                    return f"{path}.{n}" if path else str(n)
            return None
        if isinstance(container, Names):
            (order, *then), (now_order, *now_names) = before[0], container.values()
            changed = set(then) ^ set(now_names)
            others = changed & self.names if not container.exact else changed - (NOTED - self.names)
            if order is now_order and not others:
                return None
            return f"{path}.{min(map(str, changed))}" if changed else path
        now_values = members_of(container) if isinstance(container, list) else [cell_contents(container)]
        if len(now_values) != len(before):
            return path
        for v0, v1 in zip(before, now_values, strict=True):
            if v0 is not v1 and not same(v0, v1):
                return path
        return None


def reach_from(fn: Callable[..., Any], name: str, others: list[Any]) -> Reach:
    """What a function of this name reaches, and what its arguments `others` do."""
    reach = Reach()
    try:
        reach.add(fn, name)
        for o in others:
            reach.add(o, "an argument")
        reach.finish()
    except Exception as error:  # an object of the user's may raise anything when it is looked at
        reach = Reach()
        reach.refused.append(f"what it uses cannot be known ({type(error).__name__}: {error})")
    return reach


def cell_contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return missing
