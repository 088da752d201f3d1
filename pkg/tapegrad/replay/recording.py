"""From a capture to a program: whose memory each address is, and what the code left behind.

`Reader` goes through the log of a `Capture` while its memory is still held. What cannot be replayed raises
`Unfit` with the reason and the line.
"""

from __future__ import annotations

import gc
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from .._layout import (
    COPY_EDGE,
    COPY_EXT,
    COPY_FLAGS,
    COPY_OBJ,
    COPY_PTR,
    COPY_REFS,
    COPY_SAVED,
    COPY_SEQ,
    COPY_VERSIONS,
    COPY_WORDS,
    EXT_AUX,
    EXT_BODY,
    EXT_EDGES,
    EXT_PARAMS,
    EXT_WORDS,
    FLAG_LEAF,
    FLAG_SCALAR_SHIFT,
    FRAME_ACC,
    FRAME_GX_N,
    FRAME_IN,
    FRAME_N,
    FRAME_OUT,
    FRAME_STEP,
    FRAME_WORDS,
    KIND_POINTWISE,
    KIND_STRUCTURED,
)
from .._tensor import Tensor
from ..ops.optimizer import UPDATES
from ..ops.registry import OPS
from ..tape._capture import Capture
from . import _machine
from .effects import Effects, Leaf, Made, Record
from .program import (
    ARGUMENT,
    CONSTANT,
    FRESH,
    GRADIENT,
    INSIDE,
    OUTSIDE,
    Buffer,
    Operand,
    Program,
    Step,
    itemsize,
)

__all__ = ["Reader", "Unfit"]

FRAME = struct.Struct(f"{FRAME_WORDS}q")
PLAIN = (int, float, str, bool, bytes, type(None), complex)


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


class Reader:
    """Reads one capture.

    `arguments` are the tensor arguments, `known` the tensors that the guards reach (parameters, optimizer
    state), `result` what the function returned.
    """

    def __init__(self, capture: Capture, arguments: Sequence[Tensor], known: Iterable[Tensor], result: Any) -> None:
        self.capture = capture
        self.arguments = tuple(arguments)
        self.known = {id(t): t for t in known}
        self.result = result
        # What `.data` showed is its tensor's memory, which is known.
        shown = capture.shared
        self.from_outside = [t for t in capture.outside.values() if _machine.memory_of(t)[0] not in shown]
        self.buffers: dict[int, Buffer] = {}
        self.by_key: dict[Any, Buffer] = {}
        self.inside = Memory()
        self.entries = Memory()
        self.lent = Memory()
        self.outside = Memory()
        self.made_of: dict[int, Made] = {}
        self.seen: set[int] = set()  # tensors that the caller gets
        self.fixed_arguments: set[int] = set()
        self.relations: list[tuple[int, int, int, bool]] = []  # arguments i, j of one memory: bytes between, same object
        self.guarded: dict[int, Tensor] = {}
        self.made = {storage: (address, nbytes) for storage, address, nbytes in capture.made}

    def read(self) -> Program:
        """The program; Unfit where the code cannot be replayed."""
        capture = self.capture
        if capture.refusals:
            why, line = capture.refusals[0]
            raise Unfit(why, line, lasting=True)
        if not capture.whole:
            raise Unfit("there was no memory to note every storage")
        self._forget_views()
        self._leaves()
        self._lay_out_memory()
        steps = self._steps()
        effects = self._effects(steps)
        program = Program(self.buffers, steps, set(), effects)
        self._check_reads(program)
        return program

    # ---------------------------------------------------------------- memory

    def _forget_views(self) -> None:
        """Lets go of views that the code itself made: what they show is noted, and they would keep records alive."""
        outside = self.capture.outside
        for key, t in list(outside.items()):
            rec = _machine.record_of(t)
            if rec >= 0 and t._base is not None and not t.is_leaf and self._made_inside(rec):
                del outside[key]

    def _made_inside(self, rec: int) -> bool:
        words = struct.unpack(f"{COPY_WORDS}q", _machine.record_words(rec)[0])
        return bool(words[COPY_SEQ] >= self.capture.first_sequence)

    def _leaves(self) -> None:
        """The leaves whose gradients were touched, and what those were at the start."""
        owners: dict[int, Tensor] = {}
        for t in (*self.known.values(), *self.arguments, *self.from_outside):
            rec = _machine.record_of(t)
            if rec >= 0:
                owners.setdefault(rec, t)
        self.owners = owners
        self.leaves: list[Leaf] = []
        self.leaf_of: dict[int, int] = {}
        for rec, (read, held) in self.capture.gradients.items():
            if rec not in owners:
                if _machine.is_record(rec) and _machine.record_object(rec) is not None:
                    raise Unfit("a gradient of a tensor made inside the function is kept")
                continue
            self.leaf_of[rec] = len(self.leaves)
            owner: Any = owners[rec]
            for i, a in enumerate(self.arguments):
                if a is owner and id(a) not in self.known:
                    owner = _machine.Argument(i)
                    break
            self.leaves.append(Leaf(owner, None if not read else held is not None, held if read else None))

    def _lay_out_memory(self) -> None:
        for storage, address, nbytes in self.capture.made:
            self.inside.add(address, address + max(nbytes, 1), storage)
        held = set()
        for i, leaf in enumerate(self.leaves):
            if leaf.held is not None:
                _, start, _, first, end = _machine.memory_of(leaf.held)
                if self.inside.find(first) is None:
                    self.entries.add(first, max(end, first + 1), i)
                    held.add(start)
                    held.add(id(leaf.held))
        owned = {_machine.memory_of(t)[1] for t in self.known.values()}
        lent = set()
        for i, t in enumerate(self.arguments):
            _, start, _, first, end = _machine.memory_of(t)
            if start in owned:
                # The same memory as a parameter's, say: right for this very memory only.
                self.fixed_arguments.add(i)
                self.guarded[id(t)] = t
                self._add_outside(t)
                continue
            lent.add(start)
            for j, other in enumerate(self.arguments[:i]):
                if _machine.memory_of(other)[1] == start:
                    self.relations.append((j, i, first - _machine.memory_of(other)[3], other is t))
            if end > first or not any(first == lo for lo, _, _ in self.lent.ranges):
                self._lend(first, max(end, first + 1), i)
        for t in (*self.known.values(), *self.from_outside):
            start = _machine.memory_of(t)[1]
            if id(t) in held or start in held or (start in lent and id(t) not in self.known):
                continue
            if id(t) not in self.known and start in owned and t._base is not None:
                continue
            self._add_outside(t)
            if id(t) in self.capture.outside:
                self.guarded[id(t)] = t

    def _lend(self, first: int, end: int, i: int) -> None:
        """Argument i's memory, as far as no argument before it has it."""
        for lo, hi, _ in sorted(r[:2] + (0,) for r in self.lent.ranges):
            if lo < end and first < hi:
                if first < lo:
                    self.lent.add(first, lo, i)
                first = hi
        if first < end:
            self.lent.add(first, end, i)

    def _add_outside(self, t: Tensor) -> None:
        _, start, nbytes, _, _ = _machine.memory_of(t)
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
            _, _, _, first, end = _machine.memory_of(self.leaves[i].held)
            return Operand(self._buffer(GRADIENT, i, end - first, i).number, address - start)
        found = self.lent.find(address)
        if found is not None:
            _, i = found
            _, _, _, first, end = _machine.memory_of(self.arguments[i])
            return Operand(self._buffer(ARGUMENT, i, end - first, i).number, address - first)
        found = self.outside.find(address)
        if found is not None:
            start, t = found
            return Operand(self._buffer(OUTSIDE, start, _machine.memory_of(t)[2], t).number, address - start)
        raise Unfit("memory is used that the recording does not know", line)

    # ---------------------------------------------------------------- steps

    def _steps(self) -> list[Step]:
        updates = {at: (numbers, group) for at, numbers, group in self.capture.updates}
        generators = dict(self.capture.generators)
        steps: list[Step] = []
        self.constants: list[tuple[int, Operand, bytes, Any]] = []
        self.position: list[int] = []  # step of each log entry
        for at, entry in enumerate(self.capture.log):
            self.position.append(len(steps))
            kind, line = entry[0], entry[-1]
            if kind == "kernel":
                step = self._kernel(entry, generators.get(at))
                step.update = updates.get(at)
                steps.append(step)
            elif kind == "copy":
                _, out, source, nbytes, _ = entry
                steps.append(copy_step(self._operand(out, line), self._operand(source, line), nbytes, line))
            else:
                _, out, data, _ = entry
                steps.append(self._constant(self._operand(out, line), data, line))
        self.position.append(len(steps))
        for n, step in enumerate(steps):
            step.at = n
        return steps

    def _constant(self, out: Operand, data: bytes, line: Any) -> Step:
        b = Buffer(len(self.buffers), CONSTANT, len(data), data)
        self.buffers[b.number] = b
        return copy_step(out, Operand(b.number, 0), len(data), line)

    def _kernel(self, entry: Any, generator: Any) -> Step:
        (_, op, role, layout, dt, address, items, raw, reads, writes, words, params, table, values, line) = entry
        row = OPS[op]
        frame = FRAME.unpack(raw)
        absent = sum(1 << w for w in range(FRAME_WORDS) if not frame[w])  # an optional input that was not given
        reads, writes = reads & ~absent, writes & ~absent
        addressed = reads | writes
        operands = {w: self._operand(frame[w], line) for w in range(FRAME_WORDS) if addressed >> w & 1}
        kept = [0] * FRAME_WORDS
        kept[FRAME_N] = frame[FRAME_N]
        if row.kind == KIND_POINTWISE:
            for k in range(len(row.inputs)):
                kept[FRAME_STEP + k] = frame[FRAME_STEP + k] & 1
        if role > 0:
            kept[FRAME_GX_N] = frame[FRAME_GX_N]
            kept[FRAME_ACC] = frame[FRAME_ACC]
            if row.variadic:
                kept[FRAME_IN] = frame[FRAME_IN]
        if params is not None and row.kind == KIND_POINTWISE:
            params = params[: itemsize(dt) * len(row.params)] or None
        step = Step(
            op, role, layout, dt, address, items, tuple(kept), operands,
            frozenset(w for w in range(FRAME_WORDS) if reads >> w & 1),
            frozenset(w for w in range(FRAME_WORDS) if writes >> w & 1),
            words=words, params=params, scalars=self._scalars(row, dt, values), generator=generator, line=line,
        )  # fmt: skip
        if table is not None:
            addresses = struct.unpack(f"{len(table) // 8}q", table)
            step.table = {i: self._operand(a, line) for i, a in enumerate(addresses) if a}
            step.table_reads = frozenset(step.table)
            step.table_size = len(addresses)
        elif row.name.startswith("update_"):
            self._update_table(step, frame[FRAME_N], row.name.removeprefix("update_"))
        if row.kind == KIND_STRUCTURED and generator is None:  # draws have no planning call
            step.plan = _machine.plan_call(address, raw, words, params, table, FRAME_IN)
        return step

    def _scalars(self, row: Any, dt: int, values: Any) -> tuple[tuple[int, bytes], ...]:
        """Inputs given by value, without the bytes behind the value."""
        found = []
        for word, data in values:
            t = row.input_dtypes[word - FRAME_IN] if len(row.input_dtypes) > word - FRAME_IN else None
            size = itemsize(dt) if t is None else t.itemsize
            found.append((word, data[:size].ljust(8, b"\0")))
        return tuple(found)

    def _update_table(self, step: Step, rows: int, name: str) -> None:
        """An optimizer's update: per parameter its number of elements, then an address per column."""
        writes = UPDATES[name].writes
        width = 1 + len(writes)
        assert step.words is not None
        words = list(struct.unpack(f"{len(step.words) // 8}q", step.words))
        reads, written = [], []
        for row in range(rows):
            for c, is_written in enumerate(writes):
                at = row * width + 1 + c
                if words[row * width] == 0 and UPDATES[name].columns[c] != "step":
                    words[at] = 0
                    continue
                step.table[at] = self._operand(words[at], step.line)
                reads.append(at)
                if is_written:
                    written.append(at)
                words[at] = 0
        step.words = struct.pack(f"{len(words)}q", *words)
        step.table_reads, step.table_writes = frozenset(reads), frozenset(written)

    def _check_reads(self, program: Program) -> None:
        """Memory made inside must be written before it is read, and constants may be what they are."""
        written: set[int] = set()
        for step in program.steps:
            for number in step.read_buffers():
                b = program.buffers[number]
                if b.kind in (INSIDE, FRESH) and b.nbytes and number not in written:
                    raise Unfit("memory is read that no recorded operation has filled (NumPy has, say)", step.line)
            written |= step.written_buffers()

    # ---------------------------------------------------------------- effects

    def _effects(self, steps: list[Step]) -> Effects:
        capture = self.capture
        alive = capture.alive()
        expected: Counter[int] = Counter()
        counted: set[int] = set()
        for b in self.by_key.values():
            if b.kind == INSIDE and b.storage in alive:
                b.kind = FRESH
        self.alive = alive
        self.records: list[Record] = []
        self.stamp_of: dict[int, int] = {}
        pending: list[Tensor] = []

        def count(t: Tensor) -> None:
            while t is not None and id(t) not in counted:
                counted.add(id(t))
                storage, start, _, _, _ = _machine.memory_of(t)
                if storage in alive:
                    expected[storage] += 1
                else:
                    found = self.inside.find(start)
                    if found is not None:
                        expected[found[1]] += 1
                t = t._base

        def see(t: Tensor) -> None:
            if id(t) not in self.known and id(t) not in {id(a) for a in self.arguments}:
                count(t)
                pending.append(t)
                self.seen.add(id(t))

        exits: list[Any] = []
        for rec, i in self.leaf_of.items():
            leaf = self.leaves[i]
            now = _machine.record_object(rec)
            if now is not None and not isinstance(now, Tensor):
                if now.pre or now.post:
                    raise Unfit("a parameter has hooks on its gradient", lasting=True)
                now = now.grad
            if now is not None and now is leaf.held:
                exits.append(None)
            else:
                exits.append(False if now is None else now)
                if now is not None:
                    see(now)
        tensors_of(self.result, see)
        self._stamp(pending, expected)
        self._check_escapes(alive, expected, counted)
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
            fixed=tuple((i, self.arguments[i]) for i in sorted(self.fixed_arguments)),
            relations=tuple(self.relations),
            generators=list({id(g): g for _, g in capture.generators}.values()),
        )

    def _check_escapes(self, alive: dict[int, Any], expected: Counter[int], counted: set[int]) -> None:
        over = [s for s, (refs, _) in alive.items() if refs > expected[s]]
        if over:
            # What was made inside is young; a full collection takes longer than thousands of small steps where
            # other libraries have filled the heap.
            gc.collect(1)
            again = self.capture.alive()
            over = [s for s in over if s in again and again[s][0] > expected[s]]
        if over:
            raise Unfit("a tensor made inside the function is kept somewhere else than in its results", self._line_of(over))

    def _line_of(self, storages: list[int]) -> Any:
        for entry in self.capture.log:
            if entry[0] == "kernel":
                frame = FRAME.unpack(entry[7])
                for w in range(FRAME_WORDS):
                    if entry[9] >> w & 1:
                        found = self.inside.find(frame[w])
                        if found is not None and found[1] in storages:
                            return entry[-1]
        return None

    def _events(self) -> list[tuple[int, int, Any]]:
        """What gradients became, by step, for programs that end in an error."""
        events = []
        for at, rec, storage in self.capture.gradient_puts:
            if rec in self.leaf_of:
                events.append((self.position[at], self.leaf_of[rec], storage))
        return events

    def _versions(self, steps: list[Step]) -> list[tuple[Any, int, tuple[int, ...]]]:
        """(tensor, argument's number or leaf, how often it was changed, and by which steps)."""
        writers: dict[tuple[str, Any], list[int]] = {}
        for step in steps:
            for number in step.written_buffers():
                writers.setdefault((self.buffers[number].kind, self.buffers[number].source), []).append(step.at)
        found = []
        seen = set()
        for t in self.from_outside:
            storage = _machine.memory_of(t)[0]
            if storage in seen:
                continue
            seen.add(storage)
            bumps = _machine.storage_words(storage)[1] - self.capture.versions[storage]
            if bumps:
                where: Any = t
                for i, leaf in enumerate(self.leaves):
                    if leaf.held is not None and _machine.memory_of(leaf.held)[0] == storage:
                        where = (GRADIENT, i)
                for i, a in enumerate(self.arguments):
                    if i not in self.fixed_arguments and _machine.memory_of(a)[0] == storage:
                        where = (ARGUMENT, i)
                if where is t:
                    at = next((v for (kind, o), v in writers.items() if kind == OUTSIDE and _machine.memory_of(o)[1] == _machine.memory_of(t)[1]), [])
                else:
                    at = writers.get(where, [])
                found.append((where, bumps, tuple(at)))
        return found

    # ---------------------------------------------------------------- results and their records

    def _template(self, result: Any) -> Any:
        if isinstance(result, Tensor):
            for i, a in enumerate(self.arguments):
                if result is a:
                    return _machine.Argument(i)
            if id(result) in self.known or self.inside.find(_machine.memory_of(result)[1]) is None:
                if id(result) in self.known or id(result) in self.guarded:
                    return result
            return self._made(result)
        if isinstance(result, PLAIN):
            return result
        if isinstance(result, tuple):
            parts = tuple(self._template(r) for r in result)
            if type(result) is tuple:
                return parts
            if hasattr(result, "_fields"):
                return _machine.Rebuild(type(result)._make, list(parts))
            if all(isinstance(p, int) for p in result):
                return result
        elif type(result) is list:
            return [self._template(r) for r in result]
        elif type(result) is dict:
            return {k: self._template(v) for k, v in result.items()}
        raise Unfit(f"the function returns an object of type {type(result).__name__}", lasting=True)

    def _made(self, t: Tensor) -> Made:
        """A tensor to make anew at each run: the same object wherever it is met."""
        found = self.made_of.get(id(t))
        if found is None:
            found = self.made_of[id(t)] = self._make(t)
        return found

    def _make(self, t: Tensor) -> Made:
        dt, shape, strides, requires, leaf, inference = _machine.layout_of(t)
        if type(t) is not Tensor:
            raise Unfit(f"the function makes a {type(t).__name__} that outlives it")
        storage, start, _, first, _ = _machine.memory_of(t)
        if storage in self.capture.shared:
            raise Unfit("what .data gave is returned or kept")
        stamp = -1
        if requires and not leaf:
            stamp = self.stamp_of[_machine.record_of(t)]
        found = self.inside.find(start)
        if found is not None:
            operand = self._operand(start)
            self.buffers[operand.buffer].kind = FRESH
            return Made(operand.buffer, first - start, dt, shape, strides, stamp, requires, inference, None, self._base_of(t))
        for i, a in enumerate(self.arguments):
            if _machine.memory_of(a)[1] == start:
                offset = first - _machine.memory_of(a)[3]
                over = _machine.Argument(i)
                return Made(-1, offset, dt, shape, strides, stamp, requires, inference, over, self._base_of(t))
        for owner in (*self.known.values(), *self.guarded.values()):
            if _machine.memory_of(owner)[1] == start:
                offset = first - _machine.memory_of(owner)[3]
                return Made(-1, offset, dt, shape, strides, stamp, requires, inference, owner, self._base_of(t))
        raise Unfit("the function returns memory that the recording does not know")

    def _base_of(self, t: Tensor) -> Any:
        """What a view is of, where the caller has that too: in-place operations on one change the other's history."""
        base = t._base
        if base is None:
            return None
        for i, a in enumerate(self.arguments):
            if a is base:
                return _machine.Argument(i)
        if id(base) in self.known or id(base) in self.guarded:
            return base
        return self._made(base) if id(base) in self.seen else None

    def _stamp(self, tensors: list[Tensor], expected: Counter[int]) -> None:
        """Templates of the records that the results keep alive, oldest first."""
        start = self.capture.first_sequence
        found: dict[int, Any] = {}
        pending = [r for t in tensors if t.requires_grad and not t.is_leaf and (r := _machine.record_of(t)) >= 0]
        while pending:
            i = pending.pop()
            if i in found or i in self.owners:
                continue
            raw, ext, address = _machine.record_words(i)
            words = struct.unpack(f"{COPY_WORDS}q", raw)
            if words[COPY_FLAGS] & FLAG_LEAF:
                raise Unfit("the result depends on a leaf made inside the function")
            if words[COPY_SEQ] < start:
                raise Unfit("the result depends on a graph from before the function, and not through an argument")
            if words[COPY_OBJ]:
                raise Unfit("a hook or a kept gradient on an intermediate value", lasting=True)
            if words[COPY_EXT]:
                expected[words[COPY_EXT]] += 1
            edges = list(words[COPY_EDGE : COPY_EDGE + 3])
            extension = struct.unpack(f"{len(ext) // 8}q", ext) if ext is not None else None
            if extension is not None and extension[EXT_EDGES]:
                at = EXT_BODY + (extension[EXT_PARAMS] + 7 >> 3) + extension[EXT_WORDS]
                edges = list(extension[at : at + extension[EXT_EDGES]])
            found[i] = (words, extension, edges, address)
            pending += [e for e in edges if e >= 0]
        order = sorted(found, key=lambda i: found[i][0][COPY_SEQ])
        self.stamp_of = {i: n for n, i in enumerate(order)}
        for i in order:
            self.records.append(self._record(found[i], expected))

    def _record(self, copy: Any, expected: Counter[int]) -> Record:
        words, extension, edges, address = copy
        out = list(words)
        kinds: list[tuple[int, int, Any]] = []
        for n, e in enumerate(edges):
            if e < 0:
                continue
            if e in self.stamp_of:
                kinds.append((n, 0, self.stamp_of[e]))
                continue
            owner = self.owners[e]
            for i, a in enumerate(self.arguments):
                if a is owner:
                    kinds.append((n, 2, i))
                    break
            else:
                self.guarded[id(owner)] = owner
                kinds.append((n, 1, owner))
        saved: list[tuple[int, Operand | None, Any, int, int]] = []
        for k in range(4):
            storage = words[COPY_SAVED + k]
            if storage:
                version = words[COPY_VERSIONS + (k >> 1)] >> (32 * (k & 1)) & 0x7FFFFFFF
                saved.append((k, *self._saved(storage, words[COPY_PTR + k], version, expected)))
            out[COPY_SAVED + k] = 0
            scalar = k < 3 and words[COPY_FLAGS] >> (FLAG_SCALAR_SHIFT + k) & 1
            out[COPY_PTR + k] = words[COPY_PTR + k] - address if scalar else 0
        if extension is not None:
            extension = list(extension)
            if extension[EXT_AUX]:
                _, _, start, _ = _machine.storage_words(extension[EXT_AUX])
                saved.append((4, *self._saved(extension[EXT_AUX], start, 0, expected)))
            extension[EXT_AUX] = 0
            if extension[EXT_EDGES]:  # records' numbers, which are others in each recording
                at = EXT_BODY + (extension[EXT_PARAMS] + 7 >> 3) + extension[EXT_WORDS]
                extension[at : at + extension[EXT_EDGES]] = [-1] * extension[EXT_EDGES]
        out[COPY_SEQ] = out[COPY_REFS] = 0
        out[COPY_OBJ] = out[COPY_EXT] = out[COPY_VERSIONS] = out[COPY_VERSIONS + 1] = 0
        out[COPY_EDGE : COPY_EDGE + 3] = [-1, -1, -1]
        return Record(
            struct.pack(f"{COPY_WORDS}q", *out),
            None if extension is None else struct.pack(f"{len(extension)}q", *extension),
            tuple(kinds),
            tuple(saved),
        )

    def _saved(self, storage: int, address: int, version: int, expected: Counter[int]) -> tuple[Any, Any, int, int]:
        """(operand or None, tensor from outside or None, offset, versions passed since it was saved)."""
        _, now, start, _ = _machine.storage_words(storage)
        passed = (now - version) & 0x7FFFFFFF
        if storage in self.made:
            expected[storage] += 1
            operand = self._operand(address)
            self.buffers[operand.buffer].kind = FRESH
            return operand, None, 0, passed
        for i, a in enumerate(self.arguments):
            if _machine.memory_of(a)[0] == storage and i not in self.fixed_arguments:
                first = _machine.memory_of(a)[3]
                return None, _machine.Argument(i), address - first, passed
        for owner in (*self.known.values(), *self.from_outside):
            if _machine.memory_of(owner)[0] == storage:
                self.guarded[id(owner)] = owner
                return None, owner, address - _machine.memory_of(owner)[3], passed
        raise Unfit("a value is saved for backward that the recording does not know")


def copy_step(out: Operand, source: Operand, nbytes: int, line: Any = None) -> Step:
    """A copy of bytes."""
    frame = [0] * FRAME_WORDS
    frame[FRAME_N] = nbytes
    return Step(
        -1, -1, 0, 0, _machine.copy_kernel(), 1, tuple(frame), {FRAME_OUT: out, FRAME_IN: source},
        frozenset({FRAME_IN}), frozenset({FRAME_OUT}), line=line, name="copy",
    )  # fmt: skip


def tensors_of(result: Any, see: Any) -> None:
    """Calls `see` with each tensor in nested tuples, lists and dicts."""
    if isinstance(result, Tensor):
        see(result)
    elif isinstance(result, (tuple, list)):
        for r in result:
            tensors_of(r, see)
    elif isinstance(result, dict):
        for r in result.values():
            tensors_of(r, see)
