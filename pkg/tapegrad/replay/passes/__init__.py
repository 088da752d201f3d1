"""Passes over a program, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable

from ..program import Program
from .copies import remove_copies
from .dead import remove_dead
from .fuse import fuse_pointwise
from .in_place import write_in_place
from .keep_for_handlers import bytes_to_keep, keep_for_handlers
from .pack_weights import pack_weights
from .recompute import recompute
from .update_early import split_where_it_saves

__all__ = ["PASSES", "run_needed", "run_passes"]

# Buffers are merged last: their lifetimes end earlier by then.
PASSES: tuple[Callable[[Program], Program], ...] = (
    remove_dead,
    remove_copies,
    pack_weights,
    fuse_pointwise,
    split_where_it_saves,
    write_in_place,
    keep_for_handlers,
)


def run_needed(program: Program) -> Program:
    """The program after the pass without which it may not run; the others make it faster, which it is to earn."""
    return keep_for_handlers(program)


def run_passes(program: Program, limit: int | None = None) -> Program:
    """The program after all passes.

    With a `limit` of bytes on what a run holds of its own (`MemoryPlan.peak`), values are computed again
    instead of kept until it is met, or as far as that goes.
    """
    for change in PASSES:
        if limit is not None and change is write_in_place:
            program = recompute(program, max(limit - bytes_to_keep(program), 0))
        program = change(program)
    return program
