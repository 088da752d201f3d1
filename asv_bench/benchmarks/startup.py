"""Import, and the first training step, cold and warm, each in a fresh process."""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
from pathlib import Path

from . import common

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


class Import:
    """`import` in a fresh interpreter; NumPy alone is the floor under all of them."""

    params = (["numpy", *common.LIBRARIES],)
    param_names = ("library",)
    repeat = 5
    number = 1

    def setup(self, library: str) -> None:
        if importlib.util.find_spec(library) is None:
            raise NotImplementedError(f"{library} is not installed")

    def timeraw_import(self, library: str) -> str:
        return f"import {library}"


class FirstStep:
    """Seconds from process start to the end of the first training step."""

    params = (common.LIBRARIES,)
    param_names = ("library",)
    timeout = 300

    def setup(self, library: str) -> None:
        if importlib.util.find_spec(library) is None:
            raise NotImplementedError(f"{library} is not installed")

    def track_cold(self, library: str) -> float:
        import first_step

        with tempfile.TemporaryDirectory() as folder:
            return first_step.measure(library, Path(folder)).seconds

    def track_warm(self, library: str) -> float:
        import first_step

        with tempfile.TemporaryDirectory() as folder:
            first_step.measure(library, Path(folder))
            return statistics.median(first_step.measure(library, Path(folder)).seconds for _ in range(5))

    track_cold.unit = "s"  # type: ignore[attr-defined]
    track_warm.unit = "s"  # type: ignore[attr-defined]
