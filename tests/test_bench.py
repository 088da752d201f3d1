"""The comparison script itself: it refuses different numbers, and finds nothing where nothing differs."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "asv_bench"


@pytest.fixture
def compare_torch(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("compare_torch")


class Counting:
    """Work whose losses are given; counts what it was asked to do."""

    unit, per_run = "step", 1

    def __init__(self, values):
        self.values, self.ran = values, 0

    def run(self, n):
        self.ran += n

    def losses(self, n):
        return self.values[:n]


@pytest.mark.parametrize("bad", [1.001, float("nan"), float("inf")])
def test_different_numbers_are_refused(compare_torch, bad):
    with pytest.raises(compare_torch.Disagreement, match="number 1"):
        compare_torch.check("row", Counting([1.0, bad]), Counting([1.0, 1.0]), 1e-4, 2)
    assert compare_torch.check("row", Counting([1.0, 1.00005]), Counting([1.0, 1.0]), 1e-4, 2) > 0


def test_rounds_are_alternated(compare_torch):
    works = []

    def make(module):
        works.append(Counting([1.0]))
        return works[-1]

    result = compare_torch.compare("row", make, "ours", "theirs", rounds=4, slice_s=1e-4, rtol=1e-4)
    assert len(works) == 4  # two for the check, two for the clock
    assert works[0].ran == works[1].ran == 0
    assert works[2].ran > 0
    assert works[3].ran > 0
    assert result.low <= result.ratio <= result.high


def test_every_row_has_a_name_of_its_own(compare_torch):
    names = list(compare_torch.rows())
    assert len(names) == len(set(names)) == 20
    for batch, hidden in ((1, 32), (32, 32), (32, 128), (128, 512)):
        assert f"digits step ({batch},{hidden}) SGD" in names
        assert f"digits step ({batch},{hidden}) Adam" in names


def test_bad_options(compare_torch, capsys):
    with pytest.raises(SystemExit):
        compare_torch.main(["--rounds", "0"])
    assert compare_torch.main(["--rows", "no such row"]) == 2
    assert "no row matches" in capsys.readouterr().out


def test_pytorch_against_itself(reference):
    command = [sys.executable, str(BENCH / "compare_torch.py"), "--ours", "torch", "--quick", "--json"]
    done = subprocess.run([*command, "--rows", "articles|add"], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["failures"] == []
    assert len(report["results"]) == 3
    assert all(row["loss_difference"] == 0.0 for row in report["results"])
    assert all(0.1 < row["ratio"] < 10 for row in report["results"])


def test_tapegrad_computes_pytorchs_numbers_in_every_row(reference):
    """The rows' losses only; times are nobody's business in a test."""
    command = [sys.executable, str(BENCH / "compare_torch.py"), "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failures"] == []
