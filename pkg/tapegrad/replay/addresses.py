"""Whose memory an address is: made inside, an argument's, a gradient's, or something from outside."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from .._layout import COPY_SEQ, COPY_WORDS
from .._tensor import Tensor
from ..tape._capture import Capture
from . import _look, _plans
from ._places import Places
from .effects import Leaf, Made
from .program import ARGUMENT, GRADIENT, INSIDE, OUTSIDE, Buffer, Operand

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


class Addresses:
    """Whose memory each address of a capture is; the first floor of `recording.Reader`."""

    def __init__(
        self,
        capture: Capture,
        arguments: Sequence[Tensor],
        known: Iterable[Tensor],
        result: Any,
        strict: bool = False,
        objects: Sequence[Any] = (),
        containers: Sequence[Any] = (),
    ) -> None:
        self.places: Places  # while it is read
        self.capture = capture
        self.strict = strict  # an argument that is reached in another way too is that very tensor
        self.arguments = tuple(arguments)
        self.known = {id(t): t for t in known}
        self.result = result
        self.objects = objects  # what the guards hold
        self.containers = containers  # among the arguments, with what they hold
        # What `.data` showed is its tensor's memory, which is known.
        shown = capture.shared
        self.from_outside = [t for t in capture.outside.values() if _look.memory_of(t)[0] not in shown]
        self.buffers: dict[int, Buffer] = {}
        self.owners_outside: list[tuple[str, Any, int]] = []  # kind, source and bytes of owners -1, -2, ...
        self.first_lines: dict[int, Any] = {}  # the line that first used a storage made inside
        # Where the storages lie that were made inside and are still there: their numbers.
        self.living = {capture.made[number - 1][2]: number for number in capture.living.values()}
        self.made_of: dict[int, Made] = {}
        self.fixed_arguments: set[int] = set()
        self.doubtful: list[int] = []  # arguments whose memory is reached in another way too, and only read
        # Arguments i, j of one memory: bytes between them, whether they are one object.
        self.relations: list[tuple[int, int, int, bool]] = []
        self.guarded: dict[int, Tensor] = {}
        self.apart: tuple[int, ...] = ()  # arguments that the code may compare with what it reaches otherwise
        self.returned: list[Any] = []  # lists and dicts, which must not be met again

    def _forget_views(self) -> None:
        """Lets go of views that the code itself made: what they show is noted, and they would keep records alive."""
        outside = self.capture.outside
        for key, t in list(outside.items()):
            rec = _look.record_of(t)
            if rec >= 0 and t._base is not None and not t.is_leaf and self._made_inside(rec):
                del outside[key]
        self.from_outside = [t for t in self.from_outside if id(t) in outside]

    def _made_inside(self, rec: int) -> bool:
        words = struct.unpack(f"{COPY_WORDS}q", _look.record_words(rec)[0])
        return bool(words[COPY_SEQ] >= self.capture.first_sequence)

    def _leaves(self) -> None:
        """The leaves whose gradients were touched, and what those were at the start."""
        puts = list(self.capture.gradient_puts)
        without: dict[int, Tensor] = {}
        gradients: dict[int, tuple[bool, bool, Any]] = {}  # in the order of their first mention, as far as it is known
        for at, leaf, read in self.capture.without_record:
            t = leaf()
            if t is None:
                continue
            rec = _look.record_of(t)
            if rec < 0:  # still none: it stays so, as in eager code
                rec = -id(t)
                without[rec] = t
            gradients.setdefault(rec, (read, False, None))
            if not read:
                puts.append((at, rec, 0, 0))
        gradients = {**gradients, **{k: v for k, v in self.capture.gradients.items() if k not in gradients}}
        self.gradient_puts = sorted(puts, key=lambda put: put[0])
        owners: dict[int, Tensor] = dict(without)
        for t in (*self.known.values(), *self.arguments, *self.from_outside):
            rec = _look.record_of(t)
            if rec >= 0:
                owners.setdefault(rec, t)
        self.owners = owners
        self.leaves: list[Leaf] = []
        self.untouched: set[int] = set()  # leaves that have the gradient that they had
        self.held: dict[int, Tensor] = {}  # the gradients that leaves had at the start, by the leaf's number
        self.leaf_of: dict[int, int] = {}
        for rec, (read, there, held) in gradients.items():
            if rec not in owners:
                if not self._orphan(rec) and _look.is_record(rec) and _look.record_object(rec) is not None:
                    raise Unfit("a gradient of a tensor made inside the function is kept")
                continue
            self.leaf_of[rec] = len(self.leaves)
            owner: Any = owners[rec]
            for i, a in enumerate(self.arguments):
                if a is owner and id(a) not in self.known:
                    owner = _plans.Argument(i)
                    break
            if read and held is not None:
                self.held[len(self.leaves)] = held
            self.leaves.append(Leaf(owner, there if read else None))

    def _orphan(self, rec: int) -> bool:
        """Whether a leaf had this record that was made inside and is gone: nobody can ask for its gradient."""
        leaf = self.capture.leaves.get(rec)
        return leaf is not None and leaf() is None

    def _lay_out_memory(self) -> None:
        """Puts what was there before the function; what later lines hide comes first."""
        entries: list[tuple[int, int, int]] = []
        held = set()
        for i, gradient in self.held.items():
            if not gradient.is_contiguous():
                raise Unfit("a gradient is transposed, or has gaps")
            _, start, _, first, end = _look.memory_of(gradient)
            if start not in self.living:
                entries.append((first, end, i))
                held.add(start)
                held.add(id(gradient))
        owned = {_look.memory_of(t)[1] for t in self.known.values()}
        taken = owned | {_look.memory_of(t)[1] for t in self.arguments}
        if len({first for first, _, _ in entries}) < len(entries) or not held.isdisjoint(taken):
            raise Unfit("a gradient shares its memory with another tensor", lasting=True)
        self._refuse_overlaps()
        lent: dict[int, list[tuple[int, int]]] = {}  # by where the memory starts: arguments and their first elements
        outside: dict[int, Tensor] = {}
        for i, t in enumerate(self.arguments):
            _, start, _, first, _ = _look.memory_of(t)
            if start in owned and not self.strict and not t.requires_grad:
                # One of the function's own batches, say. Two recordings with different ones tell which is meant.
                self.doubtful.append(i)
            elif start in owned:
                # The same memory as a parameter's, say: right for this very memory only.
                self.fixed_arguments.add(i)
                self.guarded[id(t)] = t
                outside.setdefault(start, t)
                continue
            for j, before in lent.setdefault(start, []):
                self.relations.append((j, i, first - before, self.arguments[j] is t))
            lent[start].append((i, first))
        doubtful = {id(self.arguments[i]) for i in self.doubtful}
        for t in (*self.known.values(), *self.from_outside):
            start = _look.memory_of(t)[1]
            if id(t) in held or start in held or (start in lent and id(t) not in self.known):
                continue
            if id(t) not in self.known and start in owned and t._base is not None:
                continue
            outside.setdefault(start, t)
            if id(t) in self.capture.outside and id(t) not in doubtful:
                self.guarded[id(t)] = t
        for start, t in outside.items():
            nbytes = _look.memory_of(t)[2]
            self._put(OUTSIDE, t, nbytes, start, start + nbytes)
        for i in sorted((i for pairs in lent.values() for i, _ in pairs), reverse=True):
            _, _, _, first, end = _look.memory_of(self.arguments[i])
            if end > first or self.places.owner(first) is None:
                self._put(ARGUMENT, i, end - first, first, end)
        for first, end, i in entries:
            self._put(GRADIENT, i, end - first, first, end)

    def _refuse_overlaps(self) -> None:
        """Memory that NumPy shares out in overlapping pieces is nobody's in particular."""
        tensors = (*self.known.values(), *self.arguments, *self.from_outside, *self.held.values())
        end = -1
        for start, nbytes in sorted({_look.memory_of(t)[1:3] for t in tensors}):
            if start < end:
                raise Unfit("tensors share parts of memory that NumPy gave them", lasting=True)
            end = max(end, start + nbytes)

    def _put(self, kind: str, source: Any, nbytes: int, first: int, end: int) -> None:
        """Memory that was there before the function has this owner."""
        self.owners_outside.append((kind, source, nbytes))
        self.places.put(first, max(end, first + 1), -len(self.owners_outside))

    def _number_of(self, owner: int, line: Any) -> int:
        """A buffer for an owner in `places`: a storage made inside, by its number, or one of `owners_outside`."""
        if owner > 0:
            b = Buffer(len(self.buffers), INSIDE, self.capture.made[owner - 1][3], None, owner)
            self.first_lines[owner] = line
        elif owner < 0:
            kind, source, nbytes = self.owners_outside[-1 - owner]
            b = Buffer(len(self.buffers), kind, nbytes, source)
        else:
            raise Unfit("memory that another thread made meanwhile is used", line)
        self.buffers[b.number] = b
        return b.number

    def _operand(self, address: int, line: Any = None) -> Operand:
        try:
            operand: Operand = self.places.operand(address, line)
        except LookupError as unknown:
            raise Unfit(str(unknown), line) from None
        return operand
