"""What a compiled function depends on besides its arguments, and whether it is still the same.

`Reach` walks from the function: closure cells, globals that its code names, modules, optimizers, containers and
the plain objects among them. `Guards` remembers what it found; a number that changed to an equal one, or an
optimizer's hyperparameter that the program reads from a cell, is no difference.
"""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Iterable
from typing import Any

from .._tensor import Tensor
from ._call import Caller
from ._guards import Snapshot

__all__ = ["Guards", "Reach"]

PLAIN = (int, float, complex, str, bytes, bool, type(None))
MOST_ENTRIES = 4096
LIBRARY = __name__.split(".")[0]


class Reach:
    """Everything reached from a function and its arguments that are not tensors."""

    def __init__(self) -> None:
        self.containers: list[Any] = []
        self.paths: list[str] = []
        self.tensors: dict[int, tuple[Tensor, str]] = {}
        self.names: list[tuple[dict[str, Any], str]] = []  # single names of namespaces
        self.groups: dict[int, Any] = {}  # id of a parameter group -> its optimizer
        self.objects: list[Any] = []
        self._seen: set[int] = set()

    def add(self, root: Any, path: str) -> None:
        """Walks from `root`, which users know under the name `path`."""
        pending = [(root, path)]
        while pending:
            o, name = pending.pop()
            if isinstance(o, PLAIN) or id(o) in self._seen:
                continue
            self._seen.add(id(o))
            self.objects.append(o)
            if isinstance(o, Tensor):
                self.tensors[id(o)] = (o, name)
                continue
            pending.extend(self._into(o, name))

    def _into(self, o: Any, name: str) -> Iterable[tuple[Any, str]]:
        if isinstance(o, types.FunctionType):
            return self._function(o, name)
        if isinstance(o, Caller):  # compiled itself: what counts is what it calls
            return [(o.fn, name)]
        if isinstance(o, types.MethodType):
            return [(o.__self__, name.rpartition(".")[0] or name), (o.__func__, name)]
        if isinstance(o, types.CellType):
            self._keep(o, name)
            try:
                return [(o.cell_contents, name)]
            except ValueError:
                return []
        if isinstance(o, dict):
            if len(o) > MOST_ENTRIES:
                return []
            self._keep(o, name)
            return [(v, f"{name}[{k!r}]") for k, v in o.items()]
        if isinstance(o, list):
            if len(o) > MOST_ENTRIES:
                return []
            self._keep(o, name)
            return [(v, f"{name}[{i}]") for i, v in enumerate(o)]
        if isinstance(o, (tuple, set, frozenset)):
            return [(v, f"{name}[{i}]") for i, v in enumerate(o)] if len(o) <= MOST_ENTRIES else []
        if isinstance(o, (types.ModuleType, type, types.BuiltinFunctionType)):
            return []
        inner = getattr(o, "__dict__", None)
        if not isinstance(inner, dict) or type(o).__module__ == "builtins":
            return []
        for group in inner.get("param_groups", ()) if isinstance(inner.get("param_groups"), list) else ():
            self.groups[id(group)] = o
        self._keep(inner, name)
        found = []
        for key, value in inner.items():
            short = key in ("_parameters", "_buffers", "_modules")
            if short and isinstance(value, dict):
                self._seen.add(id(value))
                self._keep(value, name)
                found += [(v, f"{name}.{k}") for k, v in value.items()]
            else:
                found.append((value, f"{name}.{key}"))
        method = getattr(type(o), "forward", None) or vars(type(o)).get("__call__")
        if isinstance(method, types.FunctionType) and not of_library(method):
            found.append((method, name))
        return found

    def _function(self, f: types.FunctionType, name: str) -> list[tuple[Any, str]]:
        if of_library(f):
            return []
        found: list[tuple[Any, str]] = []
        for cell_name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            found.append((cell, cell_name))
        used = [n for n in globals_of(f.__code__) if n in f.__globals__]
        for n in sorted(used):
            value = f.__globals__[n]
            found.append((value, n))
        # The whole of a module's globals would be too much: just the names that the code uses.
        if used:
            self.names += [(f.__globals__, n) for n in sorted(used)]
        for default in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
            found.append((default, name))
        return found

    def _keep(self, container: Any, name: str) -> None:
        self.containers.append(container)
        self.paths.append(name)


@functools.cache
def globals_of(code: types.CodeType) -> tuple[str, ...]:
    """The global names that a function's code, or a function defined in it, loads."""
    loads = (i for c in codes_of(code) for i in dis.get_instructions(c) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    return tuple(sorted({i.argval for i in loads}))


def codes_of(code: types.CodeType) -> list[types.CodeType]:
    """A code object and those of the functions defined in it."""
    found = [code]
    for c in code.co_consts:
        if isinstance(c, types.CodeType):
            found += codes_of(c)
    return found


def of_library(f: types.FunctionType) -> bool:
    """Whether a function is tapegrad's, or the standard library's or another installed package's."""
    top = (f.__module__ or "").partition(".")[0]
    return top == LIBRARY or top in sys.stdlib_module_names or "site-packages" in f.__code__.co_filename


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

    `cells` are the (group, keys) whose values the program reads at each run; `refresh` is called when one of
    them has changed.
    """

    def __init__(self, reach: Reach) -> None:
        self.snapshot = Snapshot(reach.containers, reach.names)
        self.containers = reach.containers
        self.paths = reach.paths
        self.objects = reach.objects  # held, so that what is reached stays what it is
        self.cells: dict[int, frozenset[str]] = {}
        self.stale_cells = False

    def difference(self) -> str | None:
        """The name of something that is no longer what it was, or None."""
        for name, before, now in self.snapshot.changed_names():
            if not same(before, now):
                return str(name)
        self.snapshot.accept_names()
        at = self.snapshot.first_difference()
        while at >= 0:
            name = self._really(at)
            if name is not None:
                return name
            self.snapshot.accept(at)
            at = self.snapshot.first_difference(at + 1)
        return None

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
