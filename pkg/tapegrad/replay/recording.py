"""From a capture to a program: whose memory each address is, and what the code left behind.

`Reader` goes through the log of a `Capture` while its memory is still held. What cannot be replayed raises
`Unfit` with the reason and the line.
"""

from __future__ import annotations

import gc
import itertools
import operator
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Set
from functools import partial
from typing import Any

from .._tensor import Tensor
from . import _look, _plans
from ._places import Places
from .addresses import Unfit
from .code_names import COMPARES
from .effects import Effects, Made
from .program import ARGUMENT, FRESH, GRADIENT, INSIDE, OUTSIDE, Operand, Program, Step
from .results import ResultReader, tensors_of

__all__ = ["Reader", "Unfit", "pairs_of_one"]


# Names by which code can look at a tensor that it does not compute with.
METADATA = frozenset((
    "requires_grad", "shape", "size", "numel", "dim", "ndim", "dtype", "stride", "is_contiguous", "is_leaf", "nelement",
    "is_floating_point", "element_size", "nbytes", "len", "grad_fn", "type", "to", "type_as", "result_type",
    "expand_as", "view_as", "reshape_as", "empty_like", "zeros_like", "ones_like", "full_like", "rand_like",
    "randn_like", "randint_like", "new_empty", "new_zeros", "new_ones", "new_full", "new_tensor",
))  # fmt: skip
COMPARING = frozenset((COMPARES, "id", "index", "count", "is_", "is_not", "contains"))


class Reader(ResultReader):
    """Reads one capture.

    `arguments` are the tensor arguments, `known` the tensors that the guards reach (parameters, optimizer
    state), `result` what the function returned.
    """

    def refuse(self) -> None:
        """Unfit where the capture has seen that the code cannot be replayed."""
        if self.capture.failed is not None:
            raise Unfit("the function handles the error of a line that fails", self.capture.failed)
        if self.capture.refusals:
            why, line = self.capture.refusals[0]
            raise Unfit(why, line, lasting=True)
        if not self.capture.whole:
            raise Unfit("there was no memory to note every storage")

    def guard_looked_at(self, names: Set[str]) -> None:
        """Every tensor that is reached must stay as it is where code, which uses these names, may ask how it is.

        Unfit where it may ask for an attribute of an argument.
        """
        if not METADATA.isdisjoint(names) or not COMPARING.isdisjoint(names):
            self.guarded.update(self.known)
        asked = self.capture.asked  # whether a leaf is one of these makes a difference
        self.guarded.update({i: t for i, t in self.known.items() if i in asked})
        if asked or not COMPARING.isdisjoint(names):
            self.apart = tuple(i for i, a in enumerate(self.arguments) if id(a) not in self.known)
        for a in self.arguments:  # whose attributes are not known by value
            found = names & (_look.attributes_of(a) or {}).keys()
            if found and id(a) not in self.known:
                raise Unfit(f"the attribute {min(found)} of an argument is used", lasting=True)

    def read(self) -> Program:
        """The program; Unfit where the code cannot be replayed."""
        self.places = Places(self._number_of, partial(tuple.__new__, Operand))
        try:
            return self._read()
        except RecursionError:
            raise Unfit("what the function returns holds itself, or is nested too deep", lasting=True) from None
        finally:
            del self.places  # it refers back to this object, which holds the tensors of the recording

    def _read(self) -> Program:
        capture = self.capture
        self._forget_views()
        self._leaves()
        self._lay_out_memory()
        steps = self._steps()
        if self.doubtful and self._writes_doubtful(steps):
            known = self.known.values()
            again = Reader(capture, self.arguments, known, self.result, True, self.objects, self.containers)
            again.guarded.update(self.guarded)
            again.apart = self.apart
            return again.read()
        self._check_options(steps)
        effects = self._effects(steps)
        program = Program(self.buffers, steps, set(), effects)
        self._check_reads(program)
        return program

    def _effects(self, steps: list[Step]) -> Effects:
        capture = self.capture
        alive = capture.alive()
        for b in self.buffers.values():
            if b.kind == INSIDE and b.storage in alive:
                b.kind = FRESH
        expected: Counter[int] = Counter()  # references to storages that results account for
        not_made = self.known.keys() | {id(a) for a in self.arguments}
        seen: dict[int, Tensor] = {}  # what the caller gets, with what those are views of

        def see(t: Any) -> None:
            while t is not None and id(t) not in seen and id(t) not in not_made:
                seen[id(t)] = t
                storage, start, _, _, _ = _look.memory_of(t)
                number = capture.living.get(storage) or self.living.get(start)
                if number is not None:
                    expected[number] += 1
                t = t._base  # in-place operations on a view will go through it

        exits: list[Any] = []
        for rec, i in self.leaf_of.items():
            now = _look.record_object(rec) if rec >= 0 else None
            if now is not None and not isinstance(now, Tensor):
                if now.pre or now.post:
                    raise Unfit("a parameter has hooks on its gradient", lasting=True)
                now = now.grad
            if now is not None and now is self.held.get(i):
                exits.append(None)
                self.untouched.add(i)
            else:
                exits.append(False if now is None else now)
                if now is not None:
                    see(now)
        tensors_of(self.result, see)
        self._stamp(list(seen.values()), expected)
        self._check_escapes(alive, expected)
        outside = {id(t) for t in (*self.known.values(), *self.arguments, *self.from_outside)}
        if any(isinstance(e, Tensor) and id(e) in outside for e in exits):
            raise Unfit("a tensor from outside is made a gradient inside", lasting=True)
        gradients = [e if e is None or e is False else self._made(e) for e in exits]
        events = self._events(steps, gradients)
        return Effects(
            leaves=self.leaves,
            exits=gradients,
            events=events,
            result=self._template(self.result),
            records=self.records,
            guarded=list(self.guarded.values()),
            versions=self._versions(),
            fresh_versions=self._fresh_versions(alive),
            fixed_arguments=frozenset(self.fixed_arguments),
            doubtful=tuple((i, self.arguments[i]) for i in self.doubtful),
            fixed=tuple((i, self.arguments[i]) for i in sorted(self.fixed_arguments)),
            relations=tuple(self.relations),
            together=tuple(self._together()),
            apart=self.apart,
            twice=pairs_of_one(self.arguments),
            switches=tuple(self._switches()),
            options=tuple({id(t): t for t in capture.options}.values()),
            generators=list({id(g): g for _, g in capture.generators}.values()),
        )

    def _check_escapes(self, alive: dict[int, Any], expected: Counter[int]) -> None:
        over = [s for s, (refs, _) in alive.items() if refs > expected[s]]
        if over:
            # What was made inside is young; a full collection takes longer than thousands of small steps where
            # other libraries have filled the heap.
            gc.collect(1)
            again = self.capture.alive()
            over = [s for s in over if s in again and again[s][0] > expected[s]]
        if over:
            why = "a tensor made inside the function is kept somewhere else than in its results"
            raise Unfit(why, next((self.first_lines[s] for s in over if s in self.first_lines), None))

    def _check_options(self, steps: list[Step]) -> None:
        """Tensors among an optimizer's options must be there at each call, with the values of before the run."""
        wanted = {}
        for t in self.capture.options:
            if id(t) not in self.known:
                raise Unfit("an option of an optimizer is a tensor made inside", lasting=True)
            wanted[_look.memory_of(t)[1]] = t
        for step in steps if wanted else ():
            for number in step.written_buffers:
                b = self.buffers[number]
                owner = self.arguments[b.source] if b.kind == ARGUMENT else b.source
                if b.kind in (ARGUMENT, OUTSIDE) and _look.memory_of(owner)[1] in wanted:
                    raise Unfit("a tensor among an optimizer's options is changed inside", step.line, lasting=True)

    def _events(self, steps: list[Step], exits: list[Any]) -> list[tuple[int, int, Any]]:
        """What gradients became, by step, for programs that end in an error."""
        puts = [put for put in self.gradient_puts if put[1] in self.leaf_of]
        fails = [n for n, step in enumerate(steps) if step.can_fail]
        events: list[tuple[int, int, Any]] = []
        following: dict[int, int] = {}  # by leaf: where it gets its next gradient
        for at, rec, storage, first in reversed(puts):
            leaf, place = self.leaf_of[rec], self.position[at]
            until = following.get(leaf, len(steps))
            following[leaf] = place
            if not storage:
                events.append((place, leaf, False))
            elif bisect_left(fails, place) < bisect_left(fails, until):
                events.append((place, leaf, self._gradient_then(at, leaf, storage, first, exits)))
        return events[::-1] + self._required()

    def _gradient_then(self, at: int, leaf: int, storage: int, first: int, exits: list[Any]) -> Made | None:
        """The gradient that a leaf got at this place, if the run ends before it gets another one; None as at first."""
        if leaf in self.held and _look.memory_of(self.held[leaf])[0] == storage:
            return None
        made = self.capture.made
        number = next((n for n in range(len(made), 0, -1) if made[n - 1][1] == storage and made[n - 1][0] <= at), 0)
        buffer = next((b for b in self.buffers.values() if number and b.storage == number), None)
        put = exits[leaf]
        if isinstance(put, Made) and buffer is not None and put.buffer == buffer.number:
            return put
        if buffer is None or not first:
            raise Unfit("a gradient that is not new is put where a later line may fail", lasting=True)
        buffer.kind = FRESH  # somebody may see it, though it is gone at the end
        dt, shape, _, _, _, _ = _look.layout_of(self.leaves[leaf].owner(self.arguments))
        strides = tuple(itertools.accumulate(shape[:0:-1], operator.mul, initial=1))[::-1] if shape else ()
        return Made(buffer.number, first - made[number - 1][2], dt, shape, strides, -1, False, False, False, None, None)

    def _switched(self) -> dict[int, list[tuple[int, bool]]]:
        """Where requires_grad of what was there before is switched, by the tensor's identity."""
        there = {id(a) for a in self.arguments} | self.known.keys() | self.capture.outside.keys()
        found: dict[int, list[tuple[int, bool]]] = {}
        for at, t, required in self.capture.required:
            if t in there:
                found.setdefault(t, []).append((at, required))
        return found

    def _required(self) -> list[tuple[int, int, Any]]:
        """Where arguments, counted -1, -2, ..., begin to require gradients."""
        numbers = {id(a): -1 - i for i, a in enumerate(self.arguments)}
        places = {t: found for t, found in self._switched().items() if len(found) == 1}
        return [(self.position[found[0][0]], numbers[t], True) for t, found in places.items() if t in numbers]

    def _switches(self) -> list[tuple[int, Any, bool]]:
        """Where requires_grad is switched that is switched again later."""
        tensors = {id(t): t for t in (*self.capture.outside.values(), *self.known.values())}
        arguments = {id(a): _plans.Argument(i) for i, a in enumerate(self.arguments)}
        again = {t: found for t, found in self._switched().items() if len(found) > 1}
        found = [(at, arguments.get(t) or tensors[t], on) for t, places in again.items() for at, on in places]
        return sorted(found, key=lambda switch: switch[0])

    def _fresh_versions(self, alive: dict[int, Any]) -> dict[int, tuple[int, tuple[int, ...]]]:
        """By buffer: how often what was made inside is changed in place, and behind which steps."""
        capture = self.capture
        changed: dict[int, list[int]] = {}  # by number
        now: dict[int, int] = {}  # whose storage it is when a change is made
        there = 0
        for n, (at, storage) in enumerate(capture.changes):
            while there < len(capture.made) and capture.made[there][4] <= n:
                there += 1
                now[capture.made[there - 1][1]] = there
            changed.setdefault(now.get(storage, 0), []).append(self.position[at] - 1)
        found = {}
        for b in self.buffers.values():
            if b.kind == FRESH:
                places = tuple(changed.get(b.storage, ()))
                found[b.number] = (alive[b.storage][1] if b.storage in alive else len(places), places)
        return found

    def _together(self) -> Iterable[tuple[int, int]]:
        """Leaves whose gradients are views of one memory that is changed: one count serves them."""
        first: dict[int, int] = {}
        for i, gradient in self.held.items():
            storage = _look.memory_of(gradient)[0]
            if first.setdefault(storage, i) != i and any(s == storage for _, s in self.capture.changes):
                yield first[storage], i

    def _versions(self) -> list[tuple[Any, int, tuple[int, ...]]]:
        """(tensor, argument's number or leaf, how often it was changed, and behind which steps)."""
        changed: dict[int, list[int]] = {}  # by storage
        for at, storage in self.capture.changes:
            changed.setdefault(storage, []).append(self.position[at] - 1)
        places: dict[int, Any] = {}  # of storages that are not named by their tensor
        used = {b.source for b in self.buffers.values() if b.kind == GRADIENT}  # of one memory any of these will do
        for i in sorted(self.held, key=used.__contains__):
            places[_look.memory_of(self.held[i])[0]] = (GRADIENT, i)
        for i, a in enumerate(self.arguments):
            if i not in self.fixed_arguments:
                places[_look.memory_of(a)[0]] = (ARGUMENT, i)
        found = []
        seen = set()
        for t in self.from_outside:
            storage = _look.memory_of(t)[0]
            if storage in seen:
                continue
            seen.add(storage)
            bumps = _look.storage_words(storage)[1] - self.capture.versions[storage]
            if bumps:
                found.append((places.get(storage, t), bumps, tuple(changed.get(storage, ()))))
        return found


def pairs_of_one(arguments: tuple[Tensor, ...]) -> int:
    """How many pairs of arguments are one object."""
    return sum(a is b for a, b in itertools.combinations(arguments, 2))
