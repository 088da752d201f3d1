"""What is reached from a function: closure cells, globals and attributes that its code names, modules, containers."""

from __future__ import annotations

import abc
import collections
import contextvars
import functools
import gc
import operator
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from .._tensor import Tensor
from ..utils.hooks import RemovableHandle
from . import _look
from ._guards import HOME, Names, View
from .code_names import HANDLES, module_named, names_in
from .contents import CACHED, CONTAINERS, entries_by_identity, held_by_cache, members_of, referent, state_of
from .effects import PLAIN
from .hidden import hidden_in
from .in_c import context_of, hides_state, is_function, kind_of_state
from .libraries import (
    HEAP_TYPE,
    LIBRARY,
    builtin,
    library_below,
    library_module,
    of_library,
    of_library_type,
    standard,
)  # fmt: skip
from .named import Named
from .standard import CHECKS, EQUATING, STATEFUL, is_abstract, is_namespace, kept_by

__all__ = ["Reach", "shown"]

MOST_ENTRIES = 1 << 16  # of a container: looking at more in each call would cost more than the call
MOST_BYTES = 1 << 20  # of a NumPy array
DYNAMIC = frozenset((
    "getattr", "setattr", "delattr", "hasattr", "AttributeError", "vars", "__dict__", "eval", "exec", "attrgetter",
    "methodcaller", "__getattribute__", "__setattr__", "__delattr__", "__match_args__", "dir", "getmembers",
    "getattr_static", "pickle", "dumps",
))  # fmt: skip
HANDLING = frozenset((HANDLES, "suppress", "getattr", "hasattr"))
DYNAMIC_FUNCTIONS = (getattr, hasattr, setattr, delattr, vars)
COMPUTED = frozenset(("globals", "eval", "exec"))
CONSTRUCTORS = frozenset(("__init__", "__new__", "__post_init__"))
CONSTRUCTING = frozenset(("type", "__class__", "replace", "_replace", "_make"))  # names by which objects are copied
SLOTS = (types.WrapperDescriptorType, types.MethodDescriptorType, types.ClassMethodDescriptorType)
SHOWN_DICTS: tuple[type, ...] = (types.MappingProxyType, type({}.keys()), type({}.values()), type({}.items()))


class Reach:
    """Everything reached from a function and its arguments that are not tensors.

    Dicts, lists and closure cells are taken whole; of objects, classes and modules only what the code that was
    reached names, since nothing else of them can matter (code that asks for attributes by computed names makes
    it everything).
    """

    def __init__(self) -> None:
        self.containers: list[Any] = []
        self.paths: list[str] = []
        self.contents: list[tuple[str, Callable[[], Any]]] = []  # what must be compared by value
        self.tensors: dict[int, tuple[Tensor, str]] = {}
        self.groups: set[int] = set()  # parameter groups that are reached otherwise than through their optimizer
        self.objects: list[Any] = []
        self.refused: list[str] = []  # why what was reached cannot be guarded
        self.names: set[str] = set()
        self._read: set[str] = set()  # names that code does more with than to call what they give
        self._stored: set[str] = set()
        self._strings: set[str] = set()
        self._everything = False
        self._with_context = False
        self._of_objects: set[type] = set()  # classes whose objects were reached; code may construct others or not
        self._constructors: list[tuple[Any, str]] = []
        self._named: list[Named] = []
        self._bare: list[tuple[types.FunctionType, str]] = []
        self._weak: list[tuple[weakref.ref[Any], str]] = []
        self._namespaces: list[tuple[Any, str]] = []
        self._compared = 0  # so many of them are taken whole
        self._seen: set[int] = set()
        self._pending: list[tuple[Any, str]] = []

    def add(self, root: Any, path: str) -> None:
        """Walks from `root`, which users know under the name `path`."""
        self._pending.append((root, path))
        looked = -1
        while self._pending or looked != len(self.names) + len(self._read):
            while self._pending:
                self._visit(*self._pending.pop())
            looked = len(self.names) + len(self._read)
            if self._everything or self._stored:  # functions may be asked for attributes that they do not have yet
                self._named += [Named(f, name, [f.__dict__]) for f, name in self._bare]
                self._bare.clear()
            if self._constructors and not self.names.isdisjoint(CONSTRUCTING):
                self._pending += self._constructors
                self._constructors.clear()
            if len(self._namespaces) > 1 and not self.names.isdisjoint(EQUATING):
                for o, name in self._namespaces[self._compared :]:
                    self._pending += self._whole(vars(o), name)
                self._compared = len(self._namespaces)
            for named in self._named:
                self._pending += named.look(self.names, self._read, self._everything, self._stored)

    def finish(self) -> None:
        """Makes the views of what was taken by name, and looks at what weak references lead to."""
        for r, name in self._weak:
            target = referent(r)
            if target is not None and id(target) not in self._seen:  # a program would keep it alive
                self.refused.append(f"what {name} stands for is reached by a weak reference alone")
            self.contents.append((name, functools.partial(lambda r: id(referent(r)), r)))
            del target
        for named in self._named:
            for view, path in named.views(handles=not self.names.isdisjoint(HANDLING)):
                self._keep(view, path)
            if self._everything and named.instance:  # attributes that are not there yet, too
                for space in named.namespaces:
                    self._keep(space, named.path)
            if self._everything and isinstance(named.owner, types.ModuleType):
                self._keep(Names(vars(named.owner)), named.path)
            if not self.names.isdisjoint(("setattr", "delattr")) and issubclass(type(named.owner), type):
                self.contents.append((named.path, functools.partial(entries_by_identity, named.owner)))
        self._named.clear()
        if not self.names.isdisjoint(CHECKS) and any(map(is_abstract, self.objects)):
            self.contents.append(("an abstract class", abc.get_cache_token))
        own = {n for n in self._stored | (self._strings if self._everything else set()) if not hasattr(Tensor, n)}
        bare = [t for t, _ in self.tensors.values() if not _look.attributes_of(t)]
        if own and bare:  # tensors that have no attributes yet
            self.contents.append((self.tensors[id(bare[0])][1], lambda: [bool(_look.attributes_of(t)) for t in bare]))

    def _visit(self, o: Any, name: str) -> None:
        if type(o) is dict and "params" in o and ".param_groups[" not in name:
            self.groups.add(id(o))
        if type(o) in PLAIN or id(o) in self._seen:
            return
        self._seen.add(id(o))
        self.objects.append(o)
        if issubclass(type(o), weakref.ProxyTypes):
            self.refused.append(f"what {name} stands for cannot be known (a weak proxy)")
            return
        if isinstance(o, Tensor):
            self.tensors[id(o)] = (o, name)
            inner = _look.attributes_of(o)
            if inner:
                self._pending.extend(self._whole(inner, name))
            return
        if (context := context_of(o)) is not None and not self._with_context:
            self._with_context = True
            self.contents.append(("the context of decimal numbers", context))
        self._pending.extend(self._into(o, name))
        if isinstance(o, CONTAINERS) and not of_library_type(type(o)):  # attributes and methods of its own, too
            self._pending.extend(self._object(o, name))

    def _into(self, o: Any, name: str) -> Iterable[tuple[Any, str]]:
        kind = type(o)  # whatever its __class__ says
        if issubclass(kind, dict):
            if dict.__len__(o) > MOST_ENTRIES:
                self.refused.append(f"{name} has too many entries to look at in each call")
                return []
            self._keep(o, name)
            if issubclass(kind, collections.OrderedDict):  # its order is not the dict's
                self.contents.append((name, lambda: [id(k) for k in members_of(o)]))
            if issubclass(kind, collections.defaultdict):
                self._keep(View({}, ("default_factory",), o), name)
                self._pending.append((o.default_factory, name))
            entries = [(k, v, f"{name}[{shown(k)}]") for k, v in dict.copy(o).items()]
            return [(x, n) for k, v, n in entries for x in (k, v) if type(x) not in PLAIN]
        if issubclass(kind, list):
            if list.__len__(o) > MOST_ENTRIES:
                self.refused.append(f"{name} has too many entries to look at in each call")
                return []
            self._keep(o, name)
            return [(v, f"{name}[{i}]") for i, v in enumerate(members_of(o)) if type(v) not in PLAIN]
        if issubclass(kind, types.FunctionType):
            return self._function(o, name)
        if issubclass(kind, types.MethodType):
            return [(o.__self__, name.rpartition(".")[0] or name), (o.__func__, name)]
        if issubclass(kind, types.BuiltinFunctionType):
            owner = o.__self__
            self._everything |= any(o is f for f in DYNAMIC_FUNCTIONS)
            return [] if owner is None or isinstance(owner, types.ModuleType) else [(owner, name)]
        if kind is CACHED:
            self.contents.append((name, lambda: o.cache_info().misses))
            return [(x, name) for x in held_by_cache(o)]
        if issubclass(kind, functools.partial):
            self._named.append(Named(o, name, [o.__dict__]))
            return [(o.func, name), (o.args, name), (o.keywords, name)]
        if issubclass(kind, functools.partialmethod):
            return [(o.func, name), (o.args, name), (o.keywords, name)]
        if issubclass(kind, functools.cached_property):
            return [(o.func, name)]
        if kind is types.MethodWrapperType:
            return [(o.__self__, name)]
        if issubclass(kind, (staticmethod, classmethod)):
            return [(o.__func__, name)]
        if issubclass(kind, property):
            return [(f, name) for f in (o.fget, o.fset) if f is not None]
        if issubclass(kind, types.CellType):
            self._keep(o, name)
            try:
                return [(o.cell_contents, name)]
            except ValueError:
                return []
        if issubclass(kind, (tuple, set, frozenset, collections.deque)):
            entries = members_of(o)
            if len(entries) > MOST_ENTRIES and not issubclass(kind, frozenset):
                self.refused.append(f"{name} has too many entries to look at in each call")
                return []
            if issubclass(kind, (set, collections.deque)):
                self.contents.append((name, lambda: [id(x) for x in members_of(o)]))
                self.objects.append(entries)  # held, so that their identities stay theirs
            return [(v, f"{name}[{i}]") for i, v in enumerate(entries)]
        if kind in SHOWN_DICTS:
            return [(inner, name) for inner in gc.get_referents(o)]
        if issubclass(kind, types.ModuleType):
            if not library_module(o.__name__):
                self._named.append(Named(o, o.__name__.rpartition(".")[2], [vars(o)]))
            return []
        if issubclass(kind, type):
            return self._class(o)
        return self._object(o, name)

    def _object(self, o: Any, name: str) -> Iterable[tuple[Any, str]]:
        state = state_of(o)
        if state is not None and getattr(o, "nbytes", 0) > MOST_BYTES:
            self.refused.append(f"{name} has too many bytes to look at in each call")
            return []
        if isinstance(o, weakref.ref):
            self._weak.append((o, name))
            target = referent(o)  # classes as keys are what `functools.singledispatch` notes
            return [(target, name)] if isinstance(target, type) else []
        if state is not None:
            self.contents.append((name, state))
            held: list[tuple[Any, str]] = []
            if type(o).__module__ == "numpy" and o.dtype.hasobject:
                held.append((list(o.flat), name))
            attributes = getattr(o, "__dict__", None)
            return [*held, *self._whole(attributes, name)] if attributes else held
        if any(c.__module__.startswith("concurrent.futures") for c in type(o).__mro__):
            self.refused.append(f"what {name} runs in other threads cannot be known")
            return []
        if isinstance(o, (threading.local, contextvars.ContextVar)):
            self.refused.append(f"{name} has a value of its own in each thread or context")
            return []
        if hasattr(type(o), "__next__"):
            self.refused.append(f"what {name} gives next cannot be foreseen (an iterator)")
            return []
        if is_function(type(o)):
            return []
        if hides_state(type(o)):
            self.refused.append(f"what {name} holds cannot be compared (it is in C: {kind_of_state(o)})")
            return []
        if type(o).__module__.startswith(f"{LIBRARY}.replay"):  # a compiled function
            if hasattr(type(o), "fn"):
                return [(o.fn, name)]
            hooks = [(k, v) for k, v in getattr(o, "__dict__", {}).items() if "hook" in k]
            if not hooks:
                return []
            self._keep(View(vars(o), ("_hooked", *[k for k, _ in hooks if k != "_hooked"])), name)
            return [(o._orig_mod, name), *[(v, f"{name}.{k}") for k, v in hooks]]  # a compiled module
        inner = getattr(o, "__dict__", None)
        if not isinstance(inner, dict):
            inner = None
        kind = type(o)
        for view in kept_by(o):
            self._keep(view, name)
            self._pending += [(v, name) for v in view.values()]
        if is_namespace(kind):
            self._namespaces.append((o, name))
        if builtin(kind) or kind is RemovableHandle:  # whose references lead to hooks, which are looked at elsewhere
            return []
        home = (kind.__module__ or "").partition(".")[0]
        module = inner is not None and "_parameters" in inner and "_modules" in inner
        if inner is not None and (
            home in (LIBRARY, "collections")
            or (library_module(kind.__module__) and (home in STATEFUL or not standard(kind.__module__)))
        ):
            if not module and kind.__dictoffset__:
                self._keep(View({}, HOME, o), name)
            return self._whole(inner, name)
        if kind in (operator.attrgetter, operator.methodcaller):
            return self._getter(o, name)
        found = self._class_of_object(kind)
        if found or kind in self._of_objects:
            self._keep(View({}, HOME if kind.__dictoffset__ else ("__class__",), o), name)
        derived = any(of_library_type(c) for c in kind.__mro__[:-1])
        if inner is not None and "_parameters" not in inner and derived and not standard(kind.__module__):
            # A library's class below the user's reads what it likes.
            return [*found, *self._whole(inner, name)]
        if module:
            self.names.add("forward")  # a call of the module calls it
        if module and library_below(kind):
            return [*found, *self._whole(inner or {}, name)]
        if module:
            assert inner is not None
            own = {k for k in inner if k.startswith("_") or k == "training"}
            self._keep(View(inner, tuple(sorted(own))), name)
            for key in own:
                found += self._attribute(key, inner[key], name)
        self._named.append(Named(o, name, [inner] if inner is not None else [], skip=module))
        return found

    def _getter(self, o: Any, name: str) -> list[tuple[Any, str]]:
        """What an attrgetter or methodcaller names is taken of all objects."""
        make, given = o.__reduce__()
        if isinstance(make, functools.partial):
            given = (*make.args, *make.keywords.values(), *given)
        for text in given:
            if isinstance(text, str):
                self.names.update(text.split("."))
                self._read.update(text.split("."))
        return [(value, name) for value in given]

    def _class_of_object(self, kind: type) -> list[tuple[Any, str]]:
        """What the class of an object brings along: not how objects are constructed, unless code can do that."""
        if id(kind) in self._seen or kind in self._of_objects or of_library_type(kind):
            return []
        self._of_objects.add(kind)
        found, constructors = self._special_methods(kind)
        self._constructors += constructors
        return found + [f for base in (*kind.__bases__, type(kind)) for f in self._class_of_object(base)]

    def _class(self, kind: type) -> list[tuple[Any, str]]:
        if of_library_type(kind):
            return []
        found, constructors = self._special_methods(kind)
        return found + constructors + [(base, base.__name__) for base in (*kind.__bases__, type(kind))]

    def _special_methods(self, kind: type) -> tuple[list[tuple[Any, str]], list[tuple[Any, str]]]:
        """The class's methods that are called without being named: operators and protocols, and constructors."""
        named = Named(kind, kind.__name__, [vars(kind)])
        self._named.append(named)
        found: tuple[list[tuple[Any, str]], list[tuple[Any, str]]] = ([], [])
        below = library_below(kind)
        if kind.__flags__ & HEAP_TYPE:
            self._keep(Names(kind), kind.__name__)
        for key, value in vars(kind).copy().items():  # another thread may add to it
            special = key.startswith("_") and key.endswith("_")  # an enumeration's are `_missing_` and the like
            # Methods that a library's class below may call, by names that no code of the user's has.
            made = callable(value) or isinstance(value, (staticmethod, classmethod))
            if (special or below) and made and not isinstance(value, SLOTS):
                named.taken.add(key)
                found[key in CONSTRUCTORS].append((value, f"{kind.__name__}.{key}"))
        return found

    def _whole(self, inner: dict[str, Any], name: str) -> list[tuple[Any, str]]:
        """All entries of an object's dict."""
        self._keep(inner, name)
        found: list[tuple[Any, str]] = []
        for key, value in inner.copy().items():
            if not isinstance(value, PLAIN):
                found += self._attribute(key, value, name)
        return found

    def _attribute(self, key: str, value: Any, name: str) -> list[tuple[Any, str]]:
        if key == "_non_persistent_buffers_set":  # for state_dict alone
            return []
        if key in ("_parameters", "_buffers", "_modules") and isinstance(value, dict):
            self._seen.add(id(value))
            self._keep(value, name)
            return [(v, f"{name}.{k}") for k, v in dict.copy(value).items() if v is not None]
        return [(value, f"{name}.{key}")]

    def _function(self, f: types.FunctionType, name: str) -> list[tuple[Any, str]]:
        found: list[tuple[Any, str]] = []
        library = of_library(f)
        for cell_name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            if cell_name == "__class__" and "super" in f.__code__.co_names:  # it finds a method, and makes no object
                self._keep(cell, cell_name)
                found += self._class_of_object(cell.cell_contents)
            else:
                found.append((cell, f"{name}.{cell_name}" if library else cell_name))
        last_first = reversed(f.__code__.co_varnames[: f.__code__.co_argcount])
        found += [(value, next(last_first, name)) for value in reversed(f.__defaults__ or ())]
        found += [(value, parameter) for parameter, value in (f.__kwdefaults__ or {}).items()]
        if library:
            return found
        code = names_in(f.__code__)
        self.names |= code.names | code.strings
        self._strings |= code.strings
        if hidden := hidden_in(code, f.__globals__):
            self.refused.append(hidden)
        self._stored |= code.stored
        self._read |= code.read
        if code.names & DYNAMIC:
            self._everything = True
        if computed := code.globals & COMPUTED - f.__globals__.keys():
            self.refused.append(f"what {name} gets by {min(computed)}() cannot be known")
        used = sorted(code.globals)  # those that are not there may come, and hide a builtin
        found += [(f.__globals__[n], n) for n in used if n in f.__globals__]
        modules = {module_named(n, f.__globals__.get("__package__")) for n in code.imports}
        found += [(sys.modules[n], n) for n in modules if n in sys.modules]
        if modules:
            self._keep(View(sys.modules, tuple(sorted(modules))), "sys.modules")
        if used:
            self._keep(View(f.__globals__, tuple(used)), "")
        self._keep(View({}, ("__code__", "__defaults__", "__kwdefaults__"), f), name)
        if f.__kwdefaults__:
            self._keep(f.__kwdefaults__, name)
        if f.__dict__ or self._everything:
            self._named.append(Named(f, name, [f.__dict__]))
        else:
            self._bare.append((f, name))
        return found

    def _keep(self, container: Any, name: str) -> None:
        self.containers.append(container)
        self.paths.append(name)


def shown(key: Any) -> str:
    """A key in a name; optimizer state has parameters as keys, which would be printed with all their numbers."""
    return repr(key) if isinstance(key, (str, bytes, int, float)) else type(key).__name__
