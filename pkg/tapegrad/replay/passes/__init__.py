"""Passes over a program, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable

from ..program import Program
from .copies import remove_copies
from .dead import remove_dead
from .update_early import split_updates

__all__ = ["PASSES", "run_passes"]

PASSES: tuple[Callable[[Program], Program], ...] = (remove_dead, remove_copies, split_updates,)


def run_passes(program: Program) -> Program:
    """The program after all passes."""
    for change in PASSES:
        program = change(program)
    return program
