"""Where the program's own buffers lie: one arena, shared by buffers that are not alive at the same time."""

from __future__ import annotations

from .program import INSIDE, Program

__all__ = ["plan_arena"]

ALIGN = 64


def plan_arena(program: Program) -> tuple[dict[int, int], int]:
    """(offset of each inside buffer, bytes of the arena)."""
    offsets: dict[int, int] = {}
    at = 0
    for number in program.lifetimes():
        b = program.buffers[number]
        if b.kind == INSIDE:
            offsets[number] = at
            at += (b.nbytes + ALIGN - 1) // ALIGN * ALIGN
    return offsets, at
