"""The comparison script itself: it refuses different numbers, and finds nothing where nothing differs."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
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
        self.values, self.ran, self.refreshed = values, 0, 0

    def refresh(self):
        self.refreshed += 1

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
    for work in works[2:]:
        assert work.ran > 0
        assert work.refreshed >= 4  # a training is timed from its beginning, in every round
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


@pytest.fixture
def bench(monkeypatch):
    """The benchmark scripts as modules; PyTorch is only needed where one is run."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


def test_compiled_steps_do_what_eager_steps_do(bench):
    """Every compiled work replays, with the losses of the eager one, bit for bit."""
    compiled = bench("benchmarks.compiled")
    import tapegrad

    for name in ("digits 32x32 SGD", "digits 1x32 Adam", "rnn"):
        work = compiled.MAKES[name](tapegrad, tapegrad.compile)
        assert work.losses(8) == compiled.MAKES[name](tapegrad, compiled.plain).losses(8)
        assert work.step.counters.replayed >= 3
    assert compiled.chain(tapegrad, size=5000).losses(2)[0] > 0


def test_hand_written_steps_have_the_same_losses(bench):
    contenders, compiled = bench("contenders"), bench("benchmarks.compiled")
    import tapegrad

    for optimizer in ("SGD", "Adam"):
        by_hand = contenders.numba_digits(tapegrad, 32, 32, optimizer).losses(10)
        assert by_hand == pytest.approx(compiled.digits(tapegrad, 32, 32, optimizer).losses(10), rel=1e-4)
    assert contenders.numba_rnn(tapegrad).losses(5) == pytest.approx(compiled.rnn(tapegrad).losses(5), rel=1e-4)
    chain = compiled.chain(tapegrad, size=5000).losses(2)
    assert contenders.numba_chain(5000).losses(2) == pytest.approx(chain, rel=1e-4)


def test_an_eager_step_is_not_timed_as_a_compiled_one(bench):
    compare_compiled, compiled = bench("compare_compiled"), bench("benchmarks.compiled")
    import tapegrad

    real = compiled.digits(tapegrad, 1, 32, "SGD", tapegrad.compile)
    real.run(6)
    compare_compiled.replaying(real)

    class Step:
        class counters:
            replayed, eager = 3, 8

    work = Counting([])
    work.step = Step
    with pytest.raises(bench("compare_torch").Disagreement, match="does not replay"):
        compare_compiled.replaying(work)


def test_readme_shows_a_generated_block(bench):
    readme_table = bench("readme_table")
    _, block, _ = readme_table.split(readme_table.README.read_text(encoding="utf-8"))
    assert readme_table.same_form(block) == []


def test_a_block_written_by_hand_is_noticed(bench):
    readme_table = bench("readme_table")
    block = readme_table.render(readme_table.example(), "two cores of a machine")
    assert readme_table.same_form(block) == []
    lines = block.splitlines()
    rows = [i for i, line in enumerate(lines) if line.startswith("| digits step")]
    assert readme_table.same_form("\n".join(lines[: rows[0]] + lines[rows[0] + 1 :]))
    assert readme_table.same_form(block.replace("1.50-1.50", "about 1.5"))
    assert readme_table.same_form(block.replace("Whole training steps.", "Ours is faster."))
    assert readme_table.same_form(block.replace("| step |", "| work |"))


def test_every_public_function_is_compared_or_left_out_with_a_reason(bench):
    """By the public tables: each name is called in the list of compare_calls.py, or the list says why not."""
    calls = bench("benchmarks.calls")
    import tapegrad
    from tapegrad import api
    from tapegrad.nn import functional

    public = {*api.__all__, *functional.__all__}
    functions = {
        name
        for name in public
        if callable(getattr(api, name) if hasattr(api, name) else getattr(functional, name))
        and not isinstance(getattr(api, name, None), tapegrad.dtype | type)
    }
    called = set(re.findall(r"\b(\w+)\(", "\n".join(calls.EVERY_SIZE + calls.ONE_SIZE)))
    assert functions - called - set(calls.LEFT_OUT) == set()
    assert set(calls.LEFT_OUT) & called == set(), "left out and called"
    assert set(calls.LEFT_OUT) <= functions | set(dir(api)), "left out, but no function"
    assert all(calls.LEFT_OUT.values())


@pytest.mark.slow
def test_calls_compute_pytorchs_numbers(reference):
    """Values and gradients of every call; times are nobody's business in a test."""
    command = [sys.executable, str(BENCH / "compare_calls.py"), "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["failures"] == []


def test_other_numbers_in_a_call_are_refused(bench):
    compare_calls = bench("compare_calls")
    compare_calls.compare_values("call", (1.0, 2), (1.0, 2), True)
    compare_calls.compare_values("call", 1.0, 2.0, False)
    for ours, theirs in ((1.0, 1.1), (1.0, 1), ((1.0,), (1.0, 1.0)), (float("nan"), 1.0)):
        with pytest.raises(compare_calls.Disagreement):
            compare_calls.compare_values("call", ours, theirs, True)


def test_slow_calls_come_first_with_their_reasons(bench, monkeypatch):
    compare_calls, calls = bench("compare_calls"), bench("benchmarks.calls")
    monkeypatch.setattr(calls, "REASONS", {"^f": "the reason"})
    rows = [compare_calls.Row(name, "10", False, 1.0, 1.0, r) for name, r in (("e", 0.5), ("f", 1.2), ("g", 3.0))]
    head, *lines = compare_calls.report(rows)
    assert "median 1.20" in head
    assert "2 above 1.1, 1 of them without a reason" in head
    assert [line.split()[0] for line in lines] == ["3.00", "1.20", "0.50"]
    assert lines[0].endswith("?")
    assert lines[1].endswith("the reason")


def test_patterns_find_what_differs(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    patterns = importlib.import_module("compile_patterns")
    a = patterns.flat((1.5, None, {"x": [2, "s"]}))
    assert a == [1.5, None, 2, "s"]
    assert patterns.same_bits(a, list(a))
    assert not patterns.same_bits([0.0], [0])
    assert not patterns.same_bits([np.float32(1).reshape(1)], [np.float64(1).reshape(1)])
    assert not patterns.same_bits([np.zeros(2)], [-np.zeros(2)])
    assert patterns.largest_difference([np.ones(2)], [np.ones(2) * 1.5]) == pytest.approx(1 / 3)
    assert patterns.largest_difference([None], [1.0]) == float("inf")


def test_patterns_agree(monkeypatch):
    """A few loops of each kind, plain against compiled; `compile_patterns.py --quick` does it with all."""
    monkeypatch.syspath_prepend(str(BENCH))
    patterns = importlib.import_module("compile_patterns")
    assert len(patterns.LOOPS) >= 60
    for name in list(patterns.LOOPS)[::7]:
        assert patterns.check_bits(name, 8), name
