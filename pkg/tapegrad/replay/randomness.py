"""Where Python's and NumPy's global random generators stand: code that draws from them cannot be replayed.

Another thread may draw while code is recorded; what tells the two apart is whether the code reaches anything
that could.
"""

from __future__ import annotations

import ctypes
import random
import sys
import types
from collections.abc import Iterable, Set
from typing import Any

from .libraries import LIBRARY, library_module

__all__ = ["may_draw", "random_states"]

WORDS = 625  # of NumPy's Mersenne twister: the key, and the place in it

# Packages whose code draws nothing by itself, whatever it is given.
HARMLESS = frozenset((
    LIBRARY, "builtins", "math", "cmath", "operator", "_operator", "itertools", "functools", "_functools",
    "collections", "_collections", "_collections_abc", "types", "typing", "dataclasses", "enum", "abc", "_abc",
    "contextlib", "numbers", "time", "string", "copy", "copyreg", "warnings", "weakref", "_weakref",
))  # fmt: skip
LEADING = frozenset(("__import__", "random"))  # anywhere, or there
COMPUTED = frozenset(("getattr", "__getattribute__", "__dict__", "vars", "attrgetter", "methodcaller"))
ARRAYS = frozenset(("ndarray", "dtype", "generic"))

_addresses: dict[int, tuple[Any, int]] = {}  # by identity: a generator, and where its words lie (0: nowhere known)


def random_states() -> tuple[Any, Any]:
    """The state of both, as something to compare; None for NumPy's while it is not imported."""
    return random.getstate(), numpy_state()


def numpy_state() -> Any:
    find = getattr(sys.modules.get("numpy.random"), "get_bit_generator", None)
    if find is None:  # not imported, or another thread is about it
        return None
    generator = find()
    known = _addresses.get(id(generator))
    if known is None:
        known = _addresses[id(generator)] = generator, address_of(generator)
    if known[1]:
        # Two microseconds, where its state takes thirty to make.
        return id(generator), ctypes.string_at(known[1], 4 * WORDS)
    state = generator.state
    if "pos" in state["state"]:  # too long for repr, which would leave out the middle
        return id(generator), state["state"]["key"].tobytes(), state["state"]["pos"]
    return id(generator), repr(state)


def address_of(generator: Any) -> int:
    """Where the words of a Mersenne twister lie, if what lies there is what its state says; else 0."""
    if type(generator).__name__ != "MT19937":
        return 0
    address = int(generator.ctypes.state_address)
    state = generator.state["state"]
    key, place = state["key"], state["pos"]
    there = ctypes.string_at(address, 4 * WORDS)
    return address if there == key.tobytes() + int(place).to_bytes(4, sys.byteorder) else 0


def may_draw(objects: Iterable[Any], names: Set[str]) -> bool:
    """Whether code that reaches these objects and uses these names could draw from either generator.

    It could where it reaches a module, function or object of another library than this one, but for NumPy's arrays.
    Of NumPy itself only what is named `random` draws.
    """
    if not names.isdisjoint(LEADING):
        return True
    numpy = sys.modules.get("numpy") if names.isdisjoint(COMPUTED) else None
    return any(o is not numpy and foreign(o) for o in objects)


def foreign(o: Any) -> bool:
    if isinstance(o, types.ModuleType):
        return strange(o.__name__)
    if isinstance(o, types.FunctionType):
        return strange(o.__module__)
    if isinstance(o, types.BuiltinFunctionType) or type(o).__module__.startswith("_cython_"):
        return not harmless(o.__module__)  # the user's own too: its code cannot be seen
    kinds = o.__mro__ if isinstance(o, type) else type(o).__mro__
    return any(strange(k.__module__) and not (k.__module__ == "numpy" and k.__name__ in ARRAYS) for k in kinds)


def strange(module: Any) -> bool:
    """Whether what a module of this name defines is neither the user's own nor known to be harmless."""
    return not harmless(module) and (module is None or library_module(module))


def harmless(module: Any) -> bool:
    return isinstance(module, str) and module.partition(".")[0] in HARMLESS
