"""Optimizer updates go right behind the gradient, whose memory is free after it if nobody sees it later.

That is what it is for: with the gradients in the cache a step is not measurably faster, at no size that was
tried, so updates are split only where the plan of memory shrinks by it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

from ..._layout import FRAME_IN, FRAME_N, FRAME_WORDS
from .. import _look
from ..planning import plan_memory
from ..program import Program, Step
from .order import stays, with_steps

__all__ = ["split_updates", "split_where_it_saves"]

LEAST = 16384  # elements of a parameter that is worth a call of its own
WORTH = 16  # a sixteenth of the memory is worth the calls


def split_where_it_saves(program: Program) -> Program:
    """The program with updates split, if it needs noticeably less memory then; otherwise as it was."""
    after = split_updates(program)
    if after is program:
        return program
    now = plan_memory(program).peak
    return after if (now - plan_memory(after).peak) * WORTH > now else program


def split_updates(program: Program, least: int = LEAST) -> Program:
    """Splits the updates of large parameters off, each as early as its gradient and parameter allow.

    Nothing is moved across a random draw or a step that can fail: an error leaves the parameters as eager code
    does. An update two of whose rows share memory stays as it is.
    """
    steps: list[tuple[Step, int | None]] = []
    for i, step in enumerate(program.steps):
        if step.update is None or step.words is None or step.table_size:
            steps.append((step, i))
            continue
        sizes = row_sizes(step)
        parts = {row: rows_of(step, [row]) for row, n in enumerate(sizes) if n >= least}
        stay = [row for row in range(len(sizes)) if row not in parts]
        if parts and independent(step, len(sizes)):
            for row, part in parts.items():
                at = earliest(steps, part)
                if at < len(steps):
                    steps.insert(at, (part, None))
                else:
                    stay.append(row)
        else:
            stay = list(range(len(sizes)))
        if len(stay) == len(sizes):
            steps.append((step, i))
        elif stay:
            steps.append((rows_of(step, sorted(stay)), i))
    if all(old is not None for _, old in steps):
        return program
    return with_steps(program, steps)


def row_sizes(step: Step) -> list[int]:
    """Elements of each parameter of an update."""
    assert step.words is not None
    words = struct.unpack(f"{len(step.words) // 8}q", step.words)
    width = len(words) // step.frame[FRAME_N]
    return [words[row * width] for row in range(step.frame[FRAME_N])]


def rows_of(step: Step, rows: Sequence[int]) -> Step:
    """The update of some of its parameters."""
    assert step.words is not None
    width = len(step.words) // step.frame[FRAME_N]  # bytes
    words = b"".join(step.words[row * width : (row + 1) * width] for row in rows)
    place = {row * width // 8 + c: k * width // 8 + c for k, row in enumerate(rows) for c in range(width // 8)}
    frame = list(step.frame)
    frame[FRAME_N] = len(rows)
    plan = _look.plan_call(step.kernel, struct.pack(f"{FRAME_WORDS}q", *frame), words, step.params, None, FRAME_IN)
    return replace(
        step,
        frame=tuple(frame),
        words=words,
        items=plan[0],
        plan=plan,
        table={place[p]: o for p, o in step.table.items() if p in place},
        table_reads=frozenset(place[p] for p in step.table_reads if p in place),
        table_writes=frozenset(place[p] for p in step.table_writes if p in place),
    )


def independent(step: Step, n_rows: int) -> bool:
    """Whether no row writes what another row touches."""
    owner: dict[int, int] = {}
    written: set[int] = set()
    shared: set[int] = set()
    width = len(step.words or b"") // 8 // n_rows
    for place, o in step.table.items():
        row = place // width
        if owner.setdefault(o.buffer, row) != row:
            shared.add(o.buffer)
        if place in step.table_writes:
            written.add(o.buffer)
    return not shared & written


def earliest(steps: Sequence[tuple[Step, int | None]], part: Step) -> int:
    """The first place from which on nothing stands in the way of `part`, at the end of `steps`."""
    reads, writes = part.read_buffers, part.written_buffers
    at = len(steps)
    while at > 0:
        step = steps[at - 1][0]
        if stays(step) or step.touched_buffers & writes or step.written_buffers & reads:
            break
        at -= 1
    return at
