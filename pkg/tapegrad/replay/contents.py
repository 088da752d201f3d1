"""What containers and objects without a dict hold, as something to compare, without running code of their classes."""

from __future__ import annotations

import collections
import functools
import gc
import random
import sys
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["CACHED", "CONTAINERS", "entries_by_identity", "held_by_cache", "members_of", "referent", "state_of"]

CACHED = type(functools.cache(id))

CONTAINERS: tuple[Any, ...] = (collections.OrderedDict, dict, list, tuple, set, frozenset, collections.deque)


def members_of(container: Any) -> list[Any]:
    """The values of a list, tuple, set or deque, the keys of a dict, whatever its own `__iter__` gives."""
    kind = next(c for c in CONTAINERS if issubclass(type(container), c))
    return list(kind.__iter__(container))


def state_of(o: Any) -> Callable[[], Any] | None:
    """A function that gives what an object without a dict holds, where that can be compared."""
    numpy = sys.modules["numpy"]
    if isinstance(o, numpy.ndarray):
        if o.dtype.hasobject:
            return lambda: [id(x) for x in o.flat]
        return lambda: (o.dtype.str, o.shape, o.tobytes())
    if type(o).__module__ == "array":
        return lambda: (o.typecode, o.tobytes())
    if isinstance(o, (bytearray, memoryview)) or any(c.__module__ == "_ctypes" for c in type(o).__mro__):
        return lambda: bytes(o)
    if isinstance(o, random.Random):
        return lambda: random.Random.getstate(o)
    if isinstance(o, numpy.random.Generator):
        return lambda: repr(o.bit_generator.state)
    if isinstance(o, numpy.random.BitGenerator):
        return lambda: repr(o.state)
    if isinstance(o, numpy.random.RandomState):
        return lambda: repr(o.get_state())
    return None


def entries_by_identity(kind: type) -> list[tuple[str, int]]:
    return [(key, id(value)) for key, value in vars(kind).copy().items()]


def held_by_cache(function: Any) -> list[Any]:
    """What a `functools.lru_cache` holds: its dict, whose values change with the entries, and keys and results.

    The dict of a cache with a limit has links, which are used again for other entries: then `misses` has grown.
    """
    return [x for x in gc.get_referents(function) if x is not function.__dict__]


def referent(r: weakref.ref[Any]) -> Any:
    """What a reference leads to: of a method (`WeakMethod`, which makes another one at each call) its object."""
    return weakref.ref.__call__(r)
