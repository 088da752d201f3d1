"""Runs an article's program and gives back what it printed.

A program is a function of the module it is to use: `program(torch)`. Its text is compared with one
recorded from PyTorch 2.13 and, where PyTorch is installed, with what PyTorch prints here and now.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from types import ModuleType

import pytest

Program = Callable[[ModuleType], object]


@pytest.fixture
def printed() -> Callable[[Program, ModuleType], list[str]]:
    """printed(program, torch): the lines that the program printed."""

    def run(program: Program, module: ModuleType) -> list[str]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            program(module)
        return out.getvalue().splitlines()

    return run
