"""Passes over a program, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable

from ..program import Program
from .fuse import fuse_pointwise

__all__ = ["PASSES", "run_passes"]

PASSES: tuple[Callable[[Program], Program], ...] = (fuse_pointwise,)


def run_passes(program: Program) -> Program:
    """The program after all passes."""
    for change in PASSES:
        program = change(program)
    return program
