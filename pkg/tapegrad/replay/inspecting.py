"""Looking at a compiled function: its program as a table, with the time of each step."""

from __future__ import annotations

from typing import Any

from . import layout
from .program import ARGUMENT, CONSTANT, FRESH, GRADIENT, INSIDE, OUTSIDE, Program, Step

__all__ = ["Table", "table_of"]


# How the table calls buffers, by kind.
SHORT = {INSIDE: "m", FRESH: "new", ARGUMENT: "arg", GRADIENT: "grad", OUTSIDE: "out", CONSTANT: "const"}


class Table:
    """The steps of a program before and after the passes; `str()` shows them side by side in two lists.

    `before` and `after` are lists of (operation, elements, reads, writes, nanoseconds per run).
    """

    def __init__(self, before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]) -> None:
        self.before = before
        self.after = after

    def __str__(self) -> str:
        parts = []
        for title, rows in (("before the passes", self.before), ("after the passes", self.after)):
            total = sum(r[-1] for r in rows)
            parts.append(f"{title}: {len(rows)} steps, {total / 1000:.2f} us")
            width = max((len(r[0]) for r in rows), default=0)
            for name, elements, reads, writes, ns in rows:
                parts.append(f"  {name:<{width}}  {elements:>10}  {ns / 1000:>10.2f} us  {writes} <- {reads}")
        return "\n".join(parts)

    __repr__ = __str__


def shown(program: Program, numbers: frozenset[int]) -> str:
    return ", ".join(f"{SHORT[program.buffers[n].kind]}{n}" for n in sorted(numbers))


def elements(step: Step) -> int:
    return max(step.elements, step.items if step.plan is not None else 0)


def rows_of(program: Program, times: list[int], runs: int) -> list[tuple[Any, ...]]:
    return [
        (
            step.label,
            elements(step),
            shown(program, step.read_buffers),
            shown(program, step.written_buffers),
            t / runs,
        )
        for step, t in zip(program.steps, times, strict=True)
    ]


def table_of(before: Program, after: Program, state: Any, arguments: tuple[Any, ...], runs: int) -> Table:
    """Times both programs on the saved state, which is put back after each run."""
    found = []
    for program in (before, after):
        machine, cells, memory = layout.lay_out(program)
        layout.write_cells(cells, memory)
        machine.timed = True
        for n in range(runs + 1):
            try:
                done, _ = machine.run(arguments)
            finally:
                state.restore()
            if not done:
                raise RuntimeError("the arguments do not fit the program")
            if n == 0:
                machine.times(True)
        found.append(rows_of(program, machine.times(), runs))
    return Table(found[0], found[1])
