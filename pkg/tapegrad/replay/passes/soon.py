"""Steps that read a whole large result go right behind the step that makes it, while it is in the cache.

In a backward sweep the derivative of an activation runs after both products of its layer, and after the update of
the layer's weights, which has driven its gradient out of the cache by then.
"""

from __future__ import annotations

from ..program import Program, Step
from .order import stays, with_steps

__all__ = ["read_soon"]

LEAST = 65536  # bytes that do not fit the first cache next to something else
BETWEEN = 262144  # bytes of the steps that are passed, together


def read_soon(program: Program, least: int = LEAST, between: int = BETWEEN) -> Program:
    """Moves pointwise steps and sums over rows up, where nothing that they read or write stands in the way.

    Nothing crosses a random draw or a step that can fail, and no step is moved that makes more than it reads.
    """
    order: list[int] = []
    steps = program.steps
    moved: set[int] = set()
    for i, step in enumerate(steps):
        order.append(i)
        if not follows(step) or stays(step):
            continue
        reads, writes = step.read_buffers(), step.written_buffers()
        at = len(order) - 1
        passed: set[int] = set()
        found = False
        while at > 0:
            other = steps[order[at - 1]]
            if other.written_buffers() & reads:
                found = max(program.buffers[n].nbytes for n in other.written_buffers() & reads) >= least
                break
            if stays(other) or other.touched_buffers() & writes:
                break
            passed |= other.touched_buffers()
            at -= 1
        made = sum(program.buffers[n].nbytes for n in writes)
        if not found or made > sum(program.buffers[n].nbytes for n in reads):
            continue
        if sum(program.buffers[n].nbytes for n in passed) >= between:
            order.insert(at, order.pop())
            moved.add(i)
    if not moved:
        return program
    return with_steps(program, [(steps[i], None if i in moved else i) for i in order])


def follows(step: Step) -> bool:
    """Whether a step is over before what it reads has left the cache."""
    op = step.declaration
    if op is None:
        return False
    return step.flat or (op.name == "linear" and step.role == 3)
