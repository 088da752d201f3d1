"""Where the items of a strided loop lie: a plan's words, read row by row.

Dividing an item's number into indices costs tens of nanoseconds, so it is done once for the rows of one matrix
(the last two dimensions), and from row to row a stride is added.
"""

from __future__ import annotations

from .._layout import PLAN_SHAPE

__all__ = ["D", "block_end", "row_step", "start"]

D = 8  # words per operand in a plan: MAX_DIMS


def start(w, item, base, n):
    """The offset of an operand at an item, without the last dimension's part."""
    offset = 0
    rest = item
    for k in range(n):
        d = n - 1 - k
        size = w[PLAN_SHAPE + d]
        index = rest % size
        rest = rest // size
        if d < n - 1:
            offset += index * w[base + d]
    return offset


def block_end(w, item, hi, n):
    """The end of the items from `item` on that lie in one matrix of the last two dimensions."""
    if n == 1:
        return hi
    size = w[PLAN_SHAPE + n - 2] * w[PLAN_SHAPE + n - 1]
    return min(hi, item - item % size + size)


def row_step(w, base, n):
    """The stride from one row of the last dimension to the next."""
    return w[base + n - 2] if n > 1 else 0
