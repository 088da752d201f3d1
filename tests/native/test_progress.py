"""What is said while kernels are compiled: one line after a second, on a terminal also which kernel."""

from __future__ import annotations

import io
import time

import pytest
from sample import run_python
from tapegrad._config import Settings
from tapegrad.native import progress


class Screen(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.fixture
def said(monkeypatch):
    monkeypatch.setattr(progress.settings, "quiet", False)
    monkeypatch.setattr(progress, "PATIENCE", 0.05)
    for name, value in (("_spent", 0.0), ("_count", 0), ("_said", False)):
        monkeypatch.setattr(progress, name, value)

    def run(seconds, terminal=False):
        screen = Screen(terminal)
        monkeypatch.setattr("sys.stderr", screen)
        for k, duration in enumerate(seconds):
            with progress.compiling(f"kernel{k}", "kept here"):
                time.sleep(duration)
        return screen.getvalue()

    return run


LINE = "tapegrad: compiling the kernels that this program needs; kept here\n"


def test_one_line_however_long_it_takes(said):
    assert said([0.5, 0.1, 0.1]) == LINE


def test_short_compilations_add_up(said):
    assert said([0.03] * 20) == LINE


def test_what_is_fast_says_nothing(said, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", 60.0)
    assert said([0.0, 0.0]) == ""


def test_a_terminal_shows_each_kernel_and_is_left_clean(said):
    text = said([0.5, 0.0, 0.0], terminal=True)
    clear = progress.CLEAR
    assert text == LINE + "".join(f"{clear}tapegrad: kernel {k + 1} (kernel{k}){clear}" for k in (1, 2))


def test_quiet(said, monkeypatch):
    monkeypatch.setattr(progress.settings, "quiet", True)
    assert said([0.3]) == ""
    assert [Settings.from_environment({"TAPEGRAD_QUIET": v}).quiet for v in ("", "0", "1", "yes")] == [
        *(False, False, True, True)
    ]
    assert not Settings.from_environment({}).quiet


def test_a_closed_screen_is_no_error(said, monkeypatch):
    screen = Screen(False)
    screen.close()
    monkeypatch.setattr("sys.stderr", screen)
    with progress.compiling("kernel", "kept here"):
        time.sleep(0.2)


def test_a_first_run_and_a_second_one(tmp_path):
    code = "import tapegrad as torch; (torch.ones(2, 3).softmax(1).sum() + torch.ones(3).exp().sum()).item()"
    first = run_python(code, tmp_path, TAPEGRAD_QUIET="")
    assert first.splitlines() == [
        f"tapegrad: compiling the kernels that this program needs; it happens once, they are kept in {tmp_path}"
    ]
    assert run_python(code, tmp_path, TAPEGRAD_QUIET="") == ""


def test_an_interrupt_that_waits_says_so(tmp_path):
    code = """
import os, signal, threading, tapegrad as torch
x = torch.ones(3)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    while True:
        x.exp(), x.log1p(), x.sum(), x.softmax(0), x.std()
except KeyboardInterrupt:
    print("stopped")
"""
    said = run_python(code, tmp_path, TAPEGRAD_QUIET="")
    assert said.startswith("stopped\n")
    assert said.count("tapegrad: stopping as soon as this kernel is compiled, which is kept") == 1
    assert "tapegrad: stopping" not in run_python(code, tmp_path / "other", TAPEGRAD_QUIET="1")
