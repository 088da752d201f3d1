"""Where Python's and NumPy's global random generators stand: code that draws from them cannot be replayed."""

from __future__ import annotations

import ctypes
import random
import sys
from typing import Any

__all__ = ["random_states"]

WORDS = 625  # of NumPy's Mersenne twister: the key, and the place in it

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
