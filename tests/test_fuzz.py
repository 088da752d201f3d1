"""Random arguments of every kind at every public name: exceptions, but never a crash or a hang.

The short run is a few seconds; TAPEGRAD_FUZZ_SECONDS and TAPEGRAD_FUZZ_SEEDS make a long one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = float(os.environ.get("TAPEGRAD_FUZZ_SECONDS", "8"))
SEEDS = int(os.environ.get("TAPEGRAD_FUZZ_SEEDS", "2"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of time and memory need POSIX")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_arguments(seed, tmp_path):
    log = tmp_path / "last"
    child = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("fuzz_child.py")), str(seed), str(SECONDS)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS + 240,
        env={**os.environ, "TAPEGRAD_FUZZ_LOG": str(log)},
        check=False,
    )
    last = log.read_text(errors="replace").strip() if log.exists() else "nothing was called"
    assert child.returncode == 0, f"exit {child.returncode} after {last}\n{child.stderr[-3000:]}"
    assert "calls" in child.stdout
