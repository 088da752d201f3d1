"""Whose memory an address is: made inside, an argument's, a gradient's, or something from outside."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

from .._layout import (
    COPY_SEQ,
    COPY_WORDS,
)
from .._tensor import Tensor
from ..tape._capture import Capture
from . import _look, _plans
from .effects import Leaf, Made
from .program import (
    ARGUMENT,
    GRADIENT,
    INSIDE,
    OUTSIDE,
    Buffer,
    Operand,
)

__all__ = ["Addresses", "Unfit"]


class Unfit(Exception):
    """The code cannot be replayed: why, and the (code, offset) of the line. `lasting` if trying again is no use.

    `state` gives what changes when the code runs, where that would tell the line.
    """

    def __init__(self, why: str, line: Any = None, lasting: bool = False, state: Any = None) -> None:
        super().__init__(why)
        self.why = why
        self.line = line
        self.lasting = lasting
        self.state = state


class Memory:
    """Which buffer an address belongs to."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ranges: list[tuple[int, int, Any]] = []

    def add(self, start: int, end: int, what: Any) -> None:
        at = bisect_right(self.starts, start)
        self.starts.insert(at, start)
        self.ranges.insert(at, (start, end, what))

    def find(self, address: int) -> tuple[int, Any] | None:
        at = bisect_right(self.starts, address) - 1
        if at >= 0 and address < self.ranges[at][1]:
            return self.ranges[at][0], self.ranges[at][2]
        return None


class Addresses:
    """Whose memory each address of a capture is; the first floor of `recording.Reader`."""

    def __init__(
        self,
        capture: Capture,
        arguments: Sequence[Tensor],
        known: Iterable[Tensor],
        result: Any,
        strict: bool = False,
    ) -> None:
        self.capture = capture
        self.strict = strict  # an argument that is reached in another way too is that very tensor
        self.arguments = tuple(arguments)
        self.known = {id(t): t for t in known}
        self.result = result
        # What `.data` showed is its tensor's memory, which is known.
        shown = capture.shared
        self.from_outside = [t for t in capture.outside.values() if _look.memory_of(t)[0] not in shown]
        self.buffers: dict[int, Buffer] = {}
        self.by_key: dict[Any, Buffer] = {}
        self.inside = Memory()
        self.entries = Memory()
        self.lent = Memory()
        self.outside = Memory()
        self.made_of: dict[int, Made] = {}
        self.seen: set[int] = set()  # tensors that the caller gets
        self.fixed_arguments: set[int] = set()
        self.doubtful: list[int] = []  # arguments whose memory is reached in another way too, and only read
        # Arguments i, j of one memory: bytes between them, whether they are one object.
        self.relations: list[tuple[int, int, int, bool]] = []
        self.guarded: dict[int, Tensor] = {}
        self.made = {storage: (address, nbytes) for storage, address, nbytes in capture.made}

    def _forget_views(self) -> None:
        """Lets go of views that the code itself made: what they show is noted, and they would keep records alive."""
        outside = self.capture.outside
        for key, t in list(outside.items()):
            rec = _look.record_of(t)
            if rec >= 0 and t._base is not None and not t.is_leaf and self._made_inside(rec):
                del outside[key]

    def _made_inside(self, rec: int) -> bool:
        words = struct.unpack(f"{COPY_WORDS}q", _look.record_words(rec)[0])
        return bool(words[COPY_SEQ] >= self.capture.first_sequence)

    def _leaves(self) -> None:
        """The leaves whose gradients were touched, and what those were at the start."""
        puts = list(self.capture.gradient_puts)
        without: dict[int, Tensor] = {}
        gradients: dict[int, tuple[bool, Any]] = {}  # in the order of their first mention, as far as it is known
        for at, t, read in self.capture.without_record:
            rec = _look.record_of(t)
            if rec < 0:  # still none: it stays so, as in eager code
                rec = -id(t)
                without[rec] = t
            gradients.setdefault(rec, (read, None))
            if not read:
                puts.append((at, rec, 0))
        gradients = {**gradients, **{k: v for k, v in self.capture.gradients.items() if k not in gradients}}
        self.gradient_puts = sorted(puts, key=lambda put: put[0])
        owners: dict[int, Tensor] = dict(without)
        for t in (*self.known.values(), *self.arguments, *self.from_outside):
            rec = _look.record_of(t)
            if rec >= 0:
                owners.setdefault(rec, t)
        self.owners = owners
        self.leaves: list[Leaf] = []
        self.leaf_of: dict[int, int] = {}
        for rec, (read, held) in gradients.items():
            if rec not in owners:
                if _look.is_record(rec) and _look.record_object(rec) is not None:
                    raise Unfit("a gradient of a tensor made inside the function is kept")
                continue
            self.leaf_of[rec] = len(self.leaves)
            owner: Any = owners[rec]
            for i, a in enumerate(self.arguments):
                if a is owner and id(a) not in self.known:
                    owner = _plans.Argument(i)
                    break
            self.leaves.append(Leaf(owner, None if not read else held is not None, held if read else None))

    def _lay_out_memory(self) -> None:
        for storage, address, nbytes in self.capture.made:
            self.inside.add(address, address + max(nbytes, 1), storage)
        held = set()
        for i, leaf in enumerate(self.leaves):
            if leaf.held is not None:
                _, start, _, first, end = _look.memory_of(leaf.held)
                if self.inside.find(first) is None:
                    self.entries.add(first, max(end, first + 1), i)
                    held.add(start)
                    held.add(id(leaf.held))
        owned = {_look.memory_of(t)[1] for t in self.known.values()}
        lent = set()
        for i, t in enumerate(self.arguments):
            _, start, _, first, end = _look.memory_of(t)
            if start in owned and not self.strict and not t.requires_grad:
                # One of the function's own batches, say. Two recordings with different ones tell which is meant.
                self.doubtful.append(i)
            elif start in owned:
                # The same memory as a parameter's, say: right for this very memory only.
                self.fixed_arguments.add(i)
                self.guarded[id(t)] = t
                self._add_outside(t)
                continue
            lent.add(start)
            for j, other in enumerate(self.arguments[:i]):
                if _look.memory_of(other)[1] == start:
                    self.relations.append((j, i, first - _look.memory_of(other)[3], other is t))
            if end > first or not any(first == lo for lo, _, _ in self.lent.ranges):
                self._lend(first, max(end, first + 1), i)
        doubtful = {id(self.arguments[i]) for i in self.doubtful}
        for t in (*self.known.values(), *self.from_outside):
            start = _look.memory_of(t)[1]
            if id(t) in held or start in held or (start in lent and id(t) not in self.known):
                continue
            if id(t) not in self.known and start in owned and t._base is not None:
                continue
            self._add_outside(t)
            if id(t) in self.capture.outside and id(t) not in doubtful:
                self.guarded[id(t)] = t

    def _lend(self, first: int, end: int, i: int) -> None:
        """Argument i's memory, as far as no argument before it has it."""
        for lo, hi, _ in sorted((*r[:2], 0) for r in self.lent.ranges):
            if lo < end and first < hi:
                if first < lo:
                    self.lent.add(first, lo, i)
                first = hi
        if first < end:
            self.lent.add(first, end, i)

    def _add_outside(self, t: Tensor) -> None:
        _, start, nbytes, _, _ = _look.memory_of(t)
        if self.outside.find(start) is None:
            self.outside.add(start, start + max(nbytes, 1), t)

    def _buffer(self, kind: str, key: Any, nbytes: int, source: Any) -> Buffer:
        found = self.by_key.get((kind, key))
        if found is None:
            found = Buffer(len(self.buffers), kind, nbytes, source)
            self.buffers[found.number] = found
            self.by_key[(kind, key)] = found
        return found

    def _operand(self, address: int, line: Any = None) -> Operand:
        found = self.inside.find(address)
        if found is not None:
            start, storage = found
            b = self._buffer(INSIDE, storage, self.made[storage][1], None)
            b.storage = storage
            return Operand(b.number, address - start)
        found = self.entries.find(address)
        if found is not None:
            start, i = found
            _, _, _, first, end = _look.memory_of(self.leaves[i].held)
            return Operand(self._buffer(GRADIENT, i, end - first, i).number, address - start)
        found = self.lent.find(address)
        if found is not None:
            _, i = found
            _, _, _, first, end = _look.memory_of(self.arguments[i])
            return Operand(self._buffer(ARGUMENT, i, end - first, i).number, address - first)
        found = self.outside.find(address)
        if found is not None:
            start, t = found
            return Operand(self._buffer(OUTSIDE, start, _look.memory_of(t)[2], t).number, address - start)
        raise Unfit("memory is used that the recording does not know", line)
