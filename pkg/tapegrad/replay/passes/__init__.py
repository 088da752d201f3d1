"""Passes over a program, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable

from ..program import Program
from .copies import remove_copies
from .dead import remove_dead
from .fuse import fuse_pointwise
from .in_place import write_in_place
from .update_early import split_updates

__all__ = ["PASSES", "run_passes"]

# Updates are split when the steps are in their final form, and buffers merged last, for lifetimes end earlier then.
PASSES: tuple[Callable[[Program], Program], ...] = (
    remove_dead,
    remove_copies,
    fuse_pointwise,
    split_updates,
    write_in_place,
)


def run_passes(program: Program) -> Program:
    """The program after all passes."""
    for change in PASSES:
        program = change(program)
    return program
