"""The steps of a program, from the log of a capture."""

from __future__ import annotations

import functools
import struct
from typing import Any

from .._layout import (
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
from ..ops.optimizer import UPDATES
from ..ops.registry import OPS
from . import _look, _machine
from .addresses import Addresses, Unfit
from .program import ARGUMENT, CONSTANT, FRESH, INSIDE, OUTSIDE, Buffer, Operand, Program, Step, itemsize

__all__ = ["StepReader", "copy_step"]

FRAME = struct.Struct(f"{FRAME_WORDS}q")


class StepReader(Addresses):
    """Reads the log; the second floor of `recording.Reader`."""

    def _steps(self) -> list[Step]:
        updates = {at: (numbers, group) for at, numbers, group, _ in self.capture.updates}
        generators = dict(self.capture.generators)
        steps: list[Step] = []
        self.position: list[int] = []  # step of each log entry
        made, there = self.capture.made, 0
        for at, entry in enumerate(self.capture.log):
            self.position.append(len(steps))
            while there < len(made) and made[there][0] <= at:
                there += 1
                self._made_there(there)
            kind, line = entry[0], entry[-1]
            try:
                if kind == "kernel":
                    step = self._kernel(entry, generators.get(at))
                    step.update = updates.get(at)
                    step.handled = at in self.capture.handled
                elif kind == "copy":
                    _, out, source, nbytes, _ = entry
                    step = copy_step(self._operand(out, line), self._operand(source, line), nbytes, line)
                else:
                    _, out, data, _ = entry
                    step = self._constant(self._operand(out, line), data, line)
            except LookupError as unknown:
                raise Unfit(str(unknown), line) from None
            steps.append(step)
        for number in range(there, len(made)):
            self._made_there(number + 1)
        self.position.append(len(steps))
        for n, step in enumerate(steps):
            step.at = n
        return steps

    def _made_there(self, number: int) -> None:
        """From here on the memory of the storage of this number is its."""
        _, storage, address, nbytes, _ = self.capture.made[number - 1]
        self.places.put(address, address + max(nbytes, 1), number if storage else 0)

    def _constant(self, out: Operand, data: bytes, line: Any) -> Step:
        b = Buffer(len(self.buffers), CONSTANT, len(data), data)
        self.buffers[b.number] = b
        return copy_step(out, Operand(b.number, 0), len(data), line)

    def _kernel(self, entry: Any, generator: Any) -> Step:
        (_, op, role, layout, dt, address, items, raw, reads, writes, words, params, table, values, line) = entry
        row = OPS[op]
        frame = FRAME.unpack(raw)
        operands = self.places.operands(raw, reads | writes, line)
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
            words_of(reads).intersection(operands), words_of(writes).intersection(operands),
            words=words, params=params, scalars=self._scalars(row, dt, values), generator=generator, line=line,
        )  # fmt: skip
        if table is not None:
            addresses = struct.unpack(f"{len(table) // 8}q", table)
            step.table = {i: self.places.operand(a, line) for i, a in enumerate(addresses) if a}
            step.table_reads = frozenset(step.table)
            step.table_size = len(addresses)
        elif row.name.startswith("update_"):
            self._update_table(step, frame[FRAME_N], row.name.removeprefix("update_"))
        if row.kind == KIND_STRUCTURED and generator is None:  # draws have no planning call
            step.plan = _look.plan_call(address, raw, words, params, table, FRAME_IN)
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
                step.table[at] = self.places.operand(words[at], step.line)
                reads.append(at)
                if is_written:
                    written.append(at)
                words[at] = 0
        step.words = struct.pack(f"{len(words)}q", *words)
        step.table_reads, step.table_writes = frozenset(reads), frozenset(written)

    def _check_reads(self, program: Program) -> None:
        """Memory made inside must be written before it is read, and constants may be what they are."""
        unwritten = {b.number for b in program.buffers.values() if b.kind in (INSIDE, FRESH) and b.nbytes}
        for step in program.steps:
            if not unwritten.isdisjoint(step.read_buffers):
                raise Unfit("memory is read that no recorded operation has filled (NumPy has, say)", step.line)
            unwritten -= step.written_buffers

    def _writes_doubtful(self, steps: list[Step]) -> bool:
        """Whether memory of an argument that is reached in another way too is written."""
        ranges = [_look.memory_of(self.arguments[i])[1:3] for i in self.doubtful]
        for step in steps:
            for number in step.written_buffers:
                b = self.buffers[number]
                if b.kind == ARGUMENT and b.source in self.doubtful:
                    return True
                if b.kind == OUTSIDE:
                    _, start, nbytes, _, _ = _look.memory_of(b.source)
                    if any(start < lo + n and lo < start + nbytes for lo, n in ranges):
                        return True
        return False


@functools.cache
def words_of(mask: int) -> frozenset[int]:
    """The words that the bits of a mask name."""
    return frozenset(w for w in range(FRAME_WORDS) if mask >> w & 1)


def copy_step(out: Operand, source: Operand, nbytes: int, line: Any = None) -> Step:
    """A copy of bytes."""
    frame = [0] * FRAME_WORDS
    frame[FRAME_N] = nbytes
    return Step(
        -1, -1, 0, 0, _machine.copy_kernel(), 1, tuple(frame), {FRAME_OUT: out, FRAME_IN: source},
        frozenset({FRAME_IN}), frozenset({FRAME_OUT}), line=line, name="copy",
    )  # fmt: skip
