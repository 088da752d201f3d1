"""Generators of random numbers: the Mersenne Twister of PyTorch's CPU device, seed by seed.

A generator is one buffer of 632 words of 64 bits, and that buffer is laid out as the 5056 bytes of
`torch.Generator.get_state`. So saving the state copies it, PyTorch reads what we save, and the
kernels of `ops/random.py` advance it in place through its address:

    word 0          the seed
    word 1          two 32-bit halves: `left` (words until the next refill, counting from 1) and `seeded`
    word 2          `next`, the index of the next of the 624 words
    words 3..626    the 624 words of the twister, each in the low half of its word
    word 628        the cached normal (float64); words 627 and 629 are zero
    word 630        1 if that value is valid
    word 631        a cached float32 normal and its flag, which the CPU never uses
"""

from __future__ import annotations

import operator
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

__all__ = [
    "Generator",
    "default_generator",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]

STATE_WORDS = 632
STATE_BYTES = 8 * STATE_WORDS
WORD_SEED, WORD_NEXT, WORD_STATE = 0, 2, 3
WORD_NORMAL, WORD_NORMAL_VALID, WORD_FLOAT_NORMAL = 628, 630, 631
HALF_LEFT, HALF_SEEDED = 2, 3  # indices into the same buffer seen as 32-bit integers
TWISTER_WORDS = 624
DEFAULT_SEED = 67280421310721  # what PyTorch gives a new Generator


def seeded_words(seed: int) -> list[int]:
    """The 624 words that the low 32 bits of a seed spread to (Knuth's recurrence)."""
    word = seed & 0xFFFFFFFF
    words = [word]
    for i in range(1, TWISTER_WORDS):
        word = (1812433253 * (word ^ (word >> 30)) + i) & 0xFFFFFFFF
        words.append(word)
    return words


def _seed_value(seed: Any) -> int:
    """A seed as 64 unsigned bits; PyTorch's errors for what is no integer or does not fit."""
    if isinstance(seed, bool | float | str | bytes):
        raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
    try:
        value = operator.index(seed)
    except TypeError:
        raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}") from None
    if not -(2**63) <= value < 2**64:
        raise ValueError("Overflow when unpacking long long")
    return value % 2**64


def _system_seed() -> int:
    return int.from_bytes(os.urandom(8), "little")


_living: weakref.WeakSet[Generator] = weakref.WeakSet()
_held: list[Generator] = []  # while the process forks


def in_order(generators: Iterable[Generator]) -> list[Generator]:
    """The order in which locks of several generators are taken everywhere, so that nobody waits in a circle."""
    return sorted(generators, key=id)


def _before_fork() -> None:
    """No kernel may be drawing: the child would have its lock for good, and half of its state."""
    for g in in_order(list(_living)):
        g.lock.acquire()
        _held.append(g)


def _after_fork() -> None:
    while _held:
        _held.pop().lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


class Generator:
    """A stream of random numbers of its own; the same seed gives PyTorch's numbers.

    Pass it as `generator=` where PyTorch takes one. Sharing one generator between threads gives
    each number once but in no fixed order; a generator per thread is reproducible.

    Whoever runs a kernel on `address` without the GIL holds `lock` meanwhile.

    >>> import tapegrad as torch
    >>> g = torch.Generator().manual_seed(0)
    >>> g.initial_seed()
    0
    """

    # Turns the saved bytes into what get_state returns; the floor that has Tensors sets it.
    state_factory: Callable[[np.ndarray], Any] = staticmethod(lambda state: state)
    # Told when Python sets or reads a state: what a recorded program does not do again.
    watch: Callable[[str], None] = staticmethod(lambda what: None)

    __slots__ = ("__weakref__", "_address", "_halves", "_seeded", "_words", "device", "lock")

    def __init__(self, device: Any = "cpu") -> None:
        self._allocate(device)
        type(self).watch("a random generator is made")
        self._set_seed(DEFAULT_SEED)

    def _allocate(self, device: Any) -> None:
        if str(device) not in ("cpu", "cpu:0"):
            raise RuntimeError(f"tapegrad has generators on the device cpu only, not on {device}")
        self.device = "cpu"
        self.lock = threading.RLock()
        _living.add(self)
        self._words = np.zeros(STATE_WORDS, np.int64)
        self._halves = self._words.view(np.int32)
        self._address = self._words.ctypes.data
        self._seeded = False

    def _set_seed(self, seed: int) -> None:
        with self.lock:
            words = self._words
            words[:] = 0
            words.view(np.uint64)[WORD_SEED] = seed
            words[WORD_STATE : WORD_STATE + TWISTER_WORDS] = seeded_words(seed)
            self._halves[HALF_LEFT] = 1
            self._halves[HALF_SEEDED] = 1
            self._seeded = True

    @property
    def address(self) -> int:
        """Address of the state words, for kernels (FRAME_EXT); seeds an unseeded generator first."""
        if not self._seeded:
            self._set_seed(_system_seed())
        return self._address

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of `seed` (64 bits, negative ones wrap; the low 32 matter) and return self.

        Also forgets the second half of a pair of normals, as PyTorch does. RuntimeError for a
        seed that is no integer, ValueError for one of more than 64 bits.

        >>> import tapegrad as torch
        >>> torch.Generator().manual_seed(-1).initial_seed() == 2**64 - 1
        True
        """
        value = _seed_value(seed)
        type(self).watch("a random generator is seeded")
        self._set_seed(value)
        return self

    def seed(self) -> int:
        """Start a stream from the operating system's randomness and return its seed.

        >>> import tapegrad as torch
        >>> g = torch.Generator()
        >>> g.seed() == g.initial_seed()
        True
        """
        seed = _system_seed()
        type(self).watch("a random generator is seeded")
        self._set_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed of the current stream.

        >>> import tapegrad as torch
        >>> torch.Generator().initial_seed()
        67280421310721
        """
        if not self._seeded:
            self.seed()
        type(self).watch("the state of a random generator is read")
        return int(self._words.view(np.uint64)[WORD_SEED])

    def get_state(self) -> Any:
        """The state as 5056 bytes (uint8), the same bytes as PyTorch's after the same calls.

        >>> import tapegrad as torch
        >>> torch.Generator().get_state().shape[0]
        5056
        """
        if not self._seeded:
            self.seed()
        type(self).watch("the state of a random generator is read")
        with self.lock:
            return type(self).state_factory(self._words.view(np.uint8).copy())

    def set_state(self, new_state: Any) -> Generator:
        """Continue from a state of `get_state`, ours or PyTorch's (5056 values of type uint8).

        TypeError for another type, RuntimeError for another size or for bytes that are no state;
        the generator is unchanged then.

        >>> import tapegrad as torch
        >>> g = torch.Generator().manual_seed(3)
        >>> torch.Generator().set_state(g.get_state()).initial_seed()
        3
        """
        words = _checked_state(new_state)
        type(self).watch("the state of a random generator is set")
        with self.lock:
            self._words[:] = words
            self._seeded = True
        return self

    def clone_state(self) -> Generator:
        """A second generator at the same place in the same stream.

        >>> import tapegrad as torch
        >>> g = torch.Generator().manual_seed(5)
        >>> g.clone_state().initial_seed()
        5
        """
        other = type(self).__new__(type(self))
        other._allocate(self.device)
        if not self._seeded:
            self.seed()
        with self.lock:
            other._words[:] = self._words
        other._seeded = True
        return other

    def get_offset(self) -> int:
        """CPU generators have no offset: RuntimeError, as in PyTorch."""
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        """CPU generators have no offset: RuntimeError, as in PyTorch."""
        raise RuntimeError("CPU Generator does not use offset")

    def __reduce__(self) -> tuple[Any, ...]:
        if not self._seeded:
            self.seed()
        return _restore, (type(self), self._words.tobytes())

    def __deepcopy__(self, memo: dict[int, Any]) -> Generator:
        return self.clone_state()

    def __repr__(self) -> str:
        return f"<tapegrad.Generator of device {self.device} at {id(self):#x}>"


def _restore(cls: type[Generator], state: bytes) -> Generator:
    generator = cls.__new__(cls)
    generator._allocate("cpu")
    return generator.set_state(np.frombuffer(state, np.uint8))


def _checked_state(new_state: Any) -> np.ndarray:
    """A copy of a saved state in normal form; raises what PyTorch raises, before anything changes."""
    state = new_state
    if hasattr(state, "detach") and hasattr(state, "numpy"):  # a Tensor, ours or PyTorch's
        state = state.detach().numpy()
    if not isinstance(state, np.ndarray):
        raise TypeError(f"expected a torch.ByteTensor, but got {type(new_state).__name__}")
    if state.dtype != np.uint8:
        raise TypeError("RNG state must be a torch.ByteTensor")
    if state.size != STATE_BYTES:
        raise RuntimeError(
            f"Expected a CPUGeneratorImplState of size {STATE_BYTES} "
            f"but found the input RNG state size to be {state.size}"
        )
    words = np.frombuffer(state.tobytes(), np.int64).copy()
    halves = words.view(np.int32)
    words[WORD_STATE : WORD_STATE + TWISTER_WORDS] &= 0xFFFFFFFF
    words[WORD_NEXT] &= 0xFFFFFFFF
    left, position = int(halves[HALF_LEFT]), int(words[WORD_NEXT])
    # PyTorch does not ask that the words left lie inside the state. It would read past them then, so we do.
    if not (halves[HALF_SEEDED] and 0 < left <= TWISTER_WORDS and position + left - 1 <= TWISTER_WORDS):
        raise RuntimeError("Invalid mt19937 state")
    halves[HALF_SEEDED] = 1
    valid = bool(halves[2 * WORD_NORMAL_VALID])
    words[WORD_NORMAL - 1] = words[WORD_NORMAL + 1] = 0
    words[WORD_NORMAL_VALID] = valid
    if not valid:
        words[WORD_NORMAL] = 0
    if halves[2 * WORD_FLOAT_NORMAL + 1] & 0xFF:
        halves[2 * WORD_FLOAT_NORMAL + 1] = 1
    else:
        words[WORD_FLOAT_NORMAL] = 0
    return words


def _unseeded() -> Generator:
    generator = Generator.__new__(Generator)
    generator._allocate("cpu")
    return generator


# Seeded at first use, so that importing the package neither costs the recurrence nor reads the system.
default_generator: Generator = _unseeded()


def manual_seed(seed: Any) -> Generator:
    """Start the default generator's stream of `seed` and return that generator.

    As in PyTorch anything that `int` takes is a seed. ValueError if it has more than 64 bits.

    >>> import tapegrad as torch
    >>> torch.manual_seed(0).initial_seed()
    0
    """
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Start the default generator from the system's randomness; the seed it took.

    >>> import tapegrad as torch
    >>> torch.seed() == torch.initial_seed()
    True
    """
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator's stream.

    >>> import tapegrad as torch
    >>> torch.manual_seed(7).initial_seed() == torch.initial_seed()
    True
    """
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """The state of the default generator, see `Generator.get_state`.

    >>> import tapegrad as torch
    >>> torch.get_rng_state().shape[0]
    5056
    """
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Continue the default generator from a saved state, see `Generator.set_state`.

    >>> import tapegrad as torch
    >>> torch.set_rng_state(torch.get_rng_state())
    """
    default_generator.set_state(new_state)
