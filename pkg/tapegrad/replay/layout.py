"""Lays a program out as a `Machine`: instructions, relocations, one arena."""

from __future__ import annotations

import struct
from array import array
from itertools import chain
from typing import Any

from .._generator import STATE_BYTES, in_order
from .._layout import (
    CHUNK_ELEMENTS,
    FRAME_BLAS,
    FRAME_EXT,
    FRAME_GRAIN,
    FRAME_IN,
    FRAME_N,
    FRAME_PARAMS,
    FRAME_PHASES,
    FRAME_SCRATCH,
    FRAME_SCRATCH_BYTES,
    FRAME_STEP,
    HEAVY_ELEMENTS,
    PARALLEL_ELEMENTS,
)
from ..ops.registry import kernel_error
from . import _look, _machine, _plans, _undoing
from ._machine import (
    B_ARGUMENT,
    B_FRESH,
    B_GRADIENT,
    I_FRAME,
    I_GRAIN,
    I_ITEMS,
    I_KERNEL,
    I_MODE,
    I_PHASES,
    I_WORDS,
    MODE_CHUNKS,
    MODE_ONE_CALL,
    MODE_THREADS,
)
from .effects import Made
from .planning import plan_memory
from .program import ARGUMENT, CONSTANT, FRESH, GRADIENT, INSIDE, OUTSIDE, Operand, Program, Step
from .rooms import Rooms

__all__ = ["lay_out", "write_cells"]

SOURCES = {FRESH: B_FRESH, ARGUMENT: B_ARGUMENT, GRADIENT: B_GRADIENT}
ALIGN = 64
WORTH_DROPPING = 1 << 18  # bytes of gradients: for less, giving them up first takes longer than it helps


class Pool:
    """Words and bytes that instructions point to, in one piece of memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, data: bytes) -> int:
        at = len(self.data)
        self.data += data
        self.data += bytes(-len(self.data) % ALIGN)
        return at


class Cells:
    """The numbers of an optimizer update, where the program reads them."""

    def __init__(self, update: Any, at: int, count: int) -> None:
        self.numbers, self.group = update
        self.at = at
        self.count = count


def write_cells(cells: list[Cells], memory: Any) -> bool:
    """Puts the hyperparameters where the program reads them; False if it does not serve them."""
    for cell in cells:
        try:
            values = cell.numbers(cell.group)
            data = None if values is None else struct.pack(f"{cell.count}d", *values)
        except (ValueError, TypeError, OverflowError, struct.error):
            return False  # eager code says what is wrong with them
        if data is None:
            return False
        memory.write(cell.at, data)
    return True


def calls(step: Step) -> tuple[int, int, int, int, int]:
    """(items, grain, phases, mode, bytes of scratch): how the kernel is called, as eager code does it."""
    if step.generator is not None or (step.op < 0 and step.plan is None):
        return step.frame[FRAME_N] if step.op >= 0 else 1, 1 << 62, 1, MODE_ONE_CALL, 0
    if step.plan is not None:
        items, grain, phases, scratch = step.plan
        mode = MODE_ONE_CALL if items <= grain and phases == 1 else MODE_CHUNKS if items <= grain else MODE_THREADS
        return items, grain, phases, mode, scratch
    n = step.frame[FRAME_N]
    if n <= HEAVY_ELEMENTS or (step.role > 0 and not step.frame[FRAME_STEP + step.role - 1]):
        return n, 1 << 62, 1, MODE_ONE_CALL, 0  # a broadcast input's gradient is one sum
    return n, CHUNK_ELEMENTS, 1, MODE_THREADS if n >= PARALLEL_ELEMENTS else MODE_CHUNKS, 0


def lay_out(program: Program, rooms: Rooms | None = None) -> Any:
    """The machine of a program, the cells of its optimizer updates, and the memory that these lie in.

    It works in one of `rooms`, or in a room of its own.
    """
    pool = Pool()
    spots: list[tuple[Any, int, int]] = []  # (word of the code, or (pool offset,)), base, offset
    static: list[tuple[Any, Operand]] = []
    pool_words: list[tuple[int, int, int]] = []  # (instruction, frame word, pool offset)
    cells: list[Cells] = []
    touched = set().union(*(s.touched_buffers for s in program.steps)) | {
        m.buffer
        for m in made_of((program.effects.result, program.effects.exits, program.effects.events))
        if m.buffer >= 0
    }
    touched |= {s[1].buffer for r in program.effects.records for s in r.saved if s[1] is not None}
    base_of: dict[int, int] = {}
    bases: list[tuple[int, int, int, int, int]] = []
    written = set().union(*(s.written_buffers for s in program.steps)) if program.steps else set()
    versions = {}
    outside_bumps = []
    changed_at = {}
    for where, count, at in program.effects.versions:
        if isinstance(where, tuple):
            versions[where] = count
            changed_at[where] = at
        else:
            outside_bumps.append((where, count, at))
    places: list[tuple[int, ...]] = []
    for b in program.buffers.values():
        if b.kind in SOURCES and b.number in touched:
            base_of[b.number] = len(bases)
            number = b.source if b.kind != FRESH else 0
            if b.kind == FRESH:
                count, at = program.effects.fresh_versions.get(b.number, (0, ()))
            else:
                count, at = versions.get((b.kind, b.source), 0), changed_at.get((b.kind, b.source), ())
            bases.append((SOURCES[b.kind], number, b.nbytes, b.number in written, count))
            places.append(at)
    for argument in needed_arguments(program):
        if not any(s == B_ARGUMENT and n == argument for s, n, *_ in bases):
            bases.append((B_ARGUMENT, argument, 0, 0, versions.get((ARGUMENT, argument), 0)))
            places.append(changed_at.get((ARGUMENT, argument), ()))
    argument_base = {n: k for k, (s, n, *_) in enumerate(bases) if s == B_ARGUMENT}

    plan = plan_memory(program)
    offsets = plan.offsets
    constants = {n: pool.add(b.source) for n, b in program.buffers.items() if b.kind == CONSTANT and n in touched}
    code: list[list[int]] = []
    for i, step in enumerate(program.steps):
        items, grain, phases, mode, scratch_bytes = calls(step)
        frame = list(step.frame)
        frame[FRAME_GRAIN], frame[FRAME_PHASES], frame[FRAME_SCRATCH_BYTES] = min(grain, 1 << 40), phases, scratch_bytes
        frame[FRAME_BLAS] = _machine.blas_address()
        words = [0] * I_FRAME + frame
        words[I_KERNEL], words[I_ITEMS], words[I_GRAIN] = step.kernel, items, grain
        words[I_PHASES], words[I_MODE] = phases, mode
        code.append(words)
        at = i * I_WORDS + I_FRAME
        for word, operand in step.operands.items():
            place(program, base_of, spots, static, at + word, operand)
        for word, data in step.scalars:
            pool_words.append((i, word, pool.add(data)))
        if step.params is not None:
            where = pool.add(step.params)
            pool_words.append((i, FRAME_PARAMS, where))
            if step.update is not None:
                cells.append(Cells(step.update, where, len(step.params) // 8))
        if step.generator is not None:
            code[-1][I_FRAME + FRAME_EXT] = step.generator.address
        elif step.words is not None:
            where = pool.add(step.words)
            pool_words.append((i, FRAME_EXT, where))
            if not step.table_size:
                for n, operand in step.table.items():
                    place(program, base_of, spots, static, (where + 8 * n,), operand)
        if step.table_size:
            where = pool.add(bytes(8 * step.table_size))
            pool_words.append((i, FRAME_IN, where))
            for n, operand in step.table.items():
                place(program, base_of, spots, static, (where + 8 * n,), operand)

    room = (rooms or Rooms()).take(plan.arena + plan.scratch)
    memory = _plans.Arena(len(pool.data) + ALIGN)

    def address(o: Operand) -> int:
        b = program.buffers[o.buffer]
        if b.kind == INSIDE:
            return room.address + offsets[o.buffer] + o.offset
        if b.kind == CONSTANT:
            return memory.address + constants[o.buffer] + o.offset
        assert b.kind == OUTSIDE
        return _look.memory_of(b.source)[1] + o.offset

    for where, operand in static:
        if isinstance(where, tuple):
            struct.pack_into("q", pool.data, where[0], address(operand))
        else:
            code[where // I_WORDS][where % I_WORDS] = address(operand)
    for i, word, where in pool_words:
        code[i][I_FRAME + word] = memory.address + where
    for i in range(len(code)):
        if code[i][I_FRAME + FRAME_SCRATCH_BYTES]:
            shared = plan.scratch_offsets.get(i)
            code[i][I_FRAME + FRAME_SCRATCH] = room.address + (plan.arena if shared is None else shared)
    memory.write(0, bytes(pool.data))
    machine = _machine.Machine(
        array("q", chain.from_iterable(code)).tobytes(),
        tuple((memory.address + w[0] if isinstance(w, tuple) else w, b, o) for w, b, o in spots),
        tuple(bases),
        (memory, [b.source for b in program.buffers.values() if b.kind == OUTSIDE]),
        room,
    )
    if any(step.handled for step in program.steps):
        machine.undoing = undoing_of(program, base_of, address)
    machine.order = tuple(step.at for step in program.steps)
    machine.base_places = tuple(places)
    set_effects(machine, program, base_of, argument_base, outside_bumps)
    return machine, cells, memory


def place(program: Program, base_of: Any, spots: Any, static: Any, where: Any, operand: Operand) -> None:
    base = base_of.get(operand.buffer)
    if base is None:
        static.append((where, operand))
    else:
        spots.append((where, base, operand.offset))


def needed_arguments(program: Program) -> set[int]:
    """Arguments that results or records refer to."""
    found = {kind[1] for kind, *_ in program.effects.versions if isinstance(kind, tuple) and kind[0] == ARGUMENT}
    for record in program.effects.records:
        found |= {s[2].number for s in record.saved if isinstance(s[2], _plans.Argument)}
    return found


def undoing_of(program: Program, base_of: dict[int, int], address: Any) -> _undoing.Undoing:
    """What it takes to undo a run that meets an error which the function handles."""
    spans = []
    for number, to in program.effects.kept:
        base = base_of.get(number, -1)
        spans.append((
            base, address(Operand(number, 0)) if base < 0 else 0, program.buffers[number].nbytes,
            address(Operand(to, 0)),
        ))  # fmt: skip
    states = tuple((g.address, STATE_BYTES) for g in program.effects.generators)
    return _undoing.Undoing(frozenset(i for i, s in enumerate(program.steps) if s.handled), tuple(spans), states)


def made_of(template: Any) -> list[Made]:
    if isinstance(template, Made):
        return [template]
    if isinstance(template, _plans.Rebuild):
        return made_of(template.parts)
    if isinstance(template, dict):
        template = list(template.values())
    if isinstance(template, (list, tuple)):
        return [m for t in template for m in made_of(t)]
    return []


def dropped(program: Program) -> tuple[int, ...]:
    """Leaves whose gradients nothing reads and which are None, or others, before any step that can fail."""
    if sum(b.nbytes for b in program.buffers.values() if b.kind == FRESH) < WORTH_DROPPING:
        return ()
    read = {b.source for n in program.lifetimes() if (b := program.buffers[n]).kind == GRADIENT}
    fails = next((i for i, step in enumerate(program.steps) if step.can_fail), len(program.steps))
    back = {leaf for _, leaf, what in program.effects.events if what is None}
    first: dict[int, tuple[int, int]] = {}
    for at, leaf, storage in program.effects.events:
        first.setdefault(leaf, (at, storage))
    return tuple(
        leaf
        for leaf, (at, storage) in first.items()
        if not storage and at <= fails and leaf not in read | back and program.effects.exits[leaf] is not None
    )


class Templates:
    """Results as the machine makes them: one tensor in two places stays one."""

    def __init__(self, base_of: dict[int, int]) -> None:
        self.base_of = base_of
        self.made: dict[int, Any] = {}

    def plan(self, m: Any) -> Any:
        if isinstance(m, Made):
            return self._tensor(m)
        if isinstance(m, _plans.Rebuild):
            return _plans.Rebuild(m.kind, m.make, self.plan(m.parts))
        if type(m) is tuple:
            return tuple([self.plan(x) for x in m])
        if type(m) is list:
            return [self.plan(x) for x in m]
        if type(m) is dict:
            return {k: self.plan(x) for k, x in m.items()}
        return m

    def _tensor(self, m: Made) -> Any:
        found = self.made.get(id(m))
        if found is not None:
            found.shared = True
            return found
        over = m.over if m.buffer < 0 else self.base_of[m.buffer]
        found = self.made[id(m)] = _plans.TensorPlan(
            over, m.offset, m.dt, tuple(m.shape), tuple(m.strides), m.record, m.requires, m.inference,
            m.marks,
        )
        found.view_of = self.plan(m.base)
        if isinstance(m.base, Made):
            self.made[id(m.base)].shared = True
        return found


def set_effects(machine: Any, program: Program, base_of: Any, argument_base: Any, outside_bumps: Any) -> None:
    effects = program.effects
    templates = Templates(base_of)
    plan = templates.plan
    exits = tuple(plan(e) for e in effects.exits)
    machine.guarded = tuple(_plans.Guarded(t) for t in effects.guarded)
    machine.leaves = tuple(leaf.tensor for leaf in effects.leaves)
    machine.entry = tuple(leaf.entry for leaf in effects.leaves)
    machine.exit = exits
    machine.fixed = effects.fixed
    machine.relations = effects.relations
    machine.turned_on = effects.turned_on
    machine.apart = tuple({*effects.apart, *effects.turned_on})
    machine.switches = effects.switches
    machine.together = effects.together
    machine.twice = effects.twice
    machine.modes = tuple((at, module.__dict__, mode) for at, module, mode in effects.modes)
    machine.events = tuple([(at, leaf, plan(what)) for at, leaf, what in effects.events])
    machine.dropped = dropped(program)
    machine.bumps = tuple(outside_bumps)
    machine.result = plan(effects.result)
    machine.shared_plans = tuple(p for p in templates.made.values() if p.shared)
    stamps = []
    for record in effects.records:
        saved = []
        for slot, operand, outside, offset, passed in record.saved:
            if operand is not None:
                saved.append((slot, base_of[operand.buffer], None, operand.offset, passed))
            elif isinstance(outside, _plans.Argument):
                saved.append((slot, argument_base[outside.number], None, offset, passed))
            else:
                saved.append((slot, -1, outside, offset, passed))
        stamps.append(_plans.Stamp(record.words, record.ext, record.edges, tuple(saved)))
    machine.stamps = tuple(stamps)
    written = set()
    for step in program.steps:
        for o in step.written_operands():
            b = program.buffers[o.buffer]
            if b.kind == OUTSIDE:
                _, start, nbytes, _, _ = _look.memory_of(b.source)
                written.add((start, start + nbytes))
    machine.set_written(tuple(written))
    ops = [step.op for step in program.steps]

    def fail(i: int, status: int, first: int, second: int) -> None:
        raise kernel_error(ops[i], status, first, second)

    machine.fail = fail
    machine.locks = tuple(g.lock for g in in_order(effects.generators))
