"""What passes that put two buffers at one place share."""

from __future__ import annotations

from ..program import Operand, Program, Step

__all__ = ["Merged"]


class Merged:
    """Buffers that lie in others, while a pass goes through the steps in order.

    `first` and `last` are the steps that touch a buffer and those merged into it.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.moves: dict[int, Operand] = {}
        lifetimes = program.lifetimes()
        self.first = {n: first for n, (first, _) in lifetimes.items()}
        self.last = {n: last for n, (_, last) in lifetimes.items()}

    def at(self, o: Operand) -> Operand:
        """Where an operand lies now."""
        while (to := self.moves.get(o.buffer)) is not None:
            o = Operand(to.buffer, to.offset + o.offset)
        return o

    def move(self, buffer: int, to: Operand) -> None:
        """Puts a whole buffer at `to`; both as `at` gives them."""
        self.moves[buffer] = to
        self.first[to.buffer] = min(self.first[to.buffer], self.first[buffer])
        self.last[to.buffer] = max(self.last[to.buffer], self.last[buffer])

    def step(self, step: Step) -> Step:
        """The step with its operands where they lie now."""
        moved = self.moves.keys() & {o.buffer for o in (*step.operands.values(), *step.table.values())}
        return step.with_operands({n: self.at(Operand(n, 0)) for n in moved}) if moved else step
