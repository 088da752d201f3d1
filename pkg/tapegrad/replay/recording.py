"""From a capture to a program: whose memory each address is, and what the code left behind.

`Reader` goes through the log of a `Capture` while its memory is still held. What cannot be replayed raises
`Unfit` with the reason and the line.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Set
from functools import partial
from typing import Any

from .._tensor import Tensor
from . import _look
from ._places import Places
from .addresses import Unfit
from .effects import Effects
from .program import ARGUMENT, FRESH, GRADIENT, INSIDE, OUTSIDE, Operand, Program, Step
from .results import ResultReader, tensors_of

__all__ = ["Reader", "Unfit"]


# Attributes by which code can look at a tensor that it does not compute with.
METADATA = frozenset((
    "requires_grad", "shape", "size", "numel", "dim", "ndim", "dtype", "stride", "is_contiguous", "is_leaf", "nelement",
    "is_floating_point", "element_size", "nbytes", "len", "grad_fn",
))  # fmt: skip


class Reader(ResultReader):
    """Reads one capture.

    `arguments` are the tensor arguments, `known` the tensors that the guards reach (parameters, optimizer
    state), `result` what the function returned.
    """

    def refuse(self) -> None:
        """Unfit where the capture has seen that the code cannot be replayed."""
        if self.capture.refusals:
            why, line = self.capture.refusals[0]
            raise Unfit(why, line, lasting=True)
        if not self.capture.whole:
            raise Unfit("there was no memory to note every storage")

    def guard_looked_at(self, names: Set[str]) -> None:
        """Every tensor that is reached must stay as it is where code, which uses these names, may ask how it is."""
        if not METADATA.isdisjoint(names):
            self.guarded.update(self.known)

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
            else:
                exits.append(False if now is None else now)
                if now is not None:
                    see(now)
        tensors_of(self.result, see)
        self._stamp(list(seen.values()), expected)
        self._check_escapes(alive, expected)
        gradients = [e if e is None or e is False else self._made(e) for e in exits]
        return Effects(
            leaves=self.leaves,
            exits=gradients,
            events=self._events(),
            result=self._template(self.result),
            records=self.records,
            guarded=list(self.guarded.values()),
            versions=self._versions(steps),
            fresh_versions={b.number: alive[b.storage][1] for b in self.buffers.values() if b.kind == FRESH},
            fixed_arguments=frozenset(self.fixed_arguments),
            doubtful=tuple((i, self.arguments[i]) for i in self.doubtful),
            fixed=tuple((i, self.arguments[i]) for i in sorted(self.fixed_arguments)),
            relations=tuple(self.relations),
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

    def _events(self) -> list[tuple[int, int, Any]]:
        """What gradients became, by step, for programs that end in an error."""
        events = []
        for at, rec, storage in self.gradient_puts:
            if rec in self.leaf_of:
                number = self.capture.living.get(storage, -1) if storage else 0
                if number > 0 and self.capture.made[number - 1][0] > at:
                    number = -1  # another one had this place then
                events.append((self.position[at], self.leaf_of[rec], number))
        return events

    def _versions(self, steps: list[Step]) -> list[tuple[Any, int, tuple[int, ...]]]:
        """(tensor, argument's number or leaf, how often it was changed, and by which steps)."""
        changed: dict[int, list[int]] = {}  # by buffer
        for step in steps:
            for number in step.written_buffers:
                changed.setdefault(number, []).append(step.at)
        writers: dict[tuple[str, Any], list[int]] = {}
        for number, at in changed.items():
            b = self.buffers[number]
            writers[b.kind, _look.memory_of(b.source)[1] if b.kind == OUTSIDE else b.source] = at
        places: dict[int, Any] = {}  # of storages that are not named by their tensor
        for i, gradient in self.held.items():
            places[_look.memory_of(gradient)[0]] = (GRADIENT, i)
        for i, a in enumerate(self.arguments):
            if i not in self.fixed_arguments:
                places[_look.memory_of(a)[0]] = (ARGUMENT, i)
        found = []
        seen = set()
        for t in self.from_outside:
            storage, start, _, _, _ = _look.memory_of(t)
            if storage in seen:
                continue
            seen.add(storage)
            bumps = _look.storage_words(storage)[1] - self.capture.versions[storage]
            if bumps:
                where = places.get(storage, t)
                at = writers.get((OUTSIDE, start) if where is t else where, [])
                found.append((where, bumps, tuple(at)))
        return found
