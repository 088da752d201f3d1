"""Nothing is recorded before it pays, and what cannot be replayed costs next to nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
import warnings
from itertools import pairwise

import pytest
import tapegrad as torch
from _twins import Twins
from tapegrad.replay import _call
from tapegrad.replay.compiled import CompiledFunction
from tapegrad.replay.losses import LOSES, Losses
from tapegrad.replay.patience import MOST_FRUITLESS, Patience


def scaled(x, factor):
    return x * factor if isinstance(factor, float) else x * 2


def told(f, calls):
    """The warnings that these calls lead to."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for arguments in calls:
            assert torch.equal(f(*arguments), f.fn(*arguments))
    return [str(w.message) for w in caught]


@pytest.fixture
def looks(monkeypatch):
    """How often calls are looked at."""
    seen = []
    usual = CompiledFunction._form
    monkeypatch.setattr(CompiledFunction, "_form", lambda self, *a: seen.append(1) or usual(self, *a))
    return seen


X = torch.ones(3)
THINGS = {
    "number": (lambda k: 0.5 + k, "factor is another number"),
    "text": (str, "factor is another text"),
    "list": (lambda k: [1, k], r"factor\[1\] is another number"),
    "longer": (lambda k: [1] * k, "factor is a list of other things"),
    "dict": (lambda k: {"a": 1, "b": str(k)}, r"factor\['b'\] is another text"),
    "function": (lambda k: lambda: k, "factor is another function"),
    "shape": (lambda k: torch.ones(k + 1), "factor is a tensor of another shape"),
}


@pytest.mark.parametrize("what", THINGS)
def test_the_argument_that_changes_is_named(what, looks):
    make, words = THINGS[what]
    f = torch.compile(scaled, options={"record_after": 0})
    made = [make(k) for k in range(1500)]
    found = told(f, [(X, a) for a in made])
    assert len(found) == 1
    assert re.search(words, found[0]), found
    assert f.counters.recorded <= MOST_FRUITLESS, f.counters
    assert f.counters.recorded + f.counters.eager + f.counters.replayed == 1500
    assert len(looks) < 300


def test_keywords_are_named():
    f = torch.compile(scaled, options={"record_after": 0})
    with pytest.warns(UserWarning, match="factor is another number"):
        [f(X, factor=float(k)) for k in range(200)]


def test_eight_recordings_without_a_replay():
    f = torch.compile(scaled, options={"record_after": 0})
    for k in range(8):
        f(X, k + 0.5)
    assert f.counters.recorded <= MOST_FRUITLESS
    patience = Patience(0)
    for _ in range(MOST_FRUITLESS):
        assert not patience.worn_out(new=False)
        patience.fruitless += 1
    assert patience.worn_out(new=False)
    patience.look(1)
    assert not patience.worn_out(new=False)


def test_given_up_calls_are_seldom_looked_at(looks):
    f = torch.compile(lambda x: x * x.sum().item())
    with pytest.warns(UserWarning, match="read by Python"):
        [f(X) for _ in range(20_000)]
    assert len(looks) < 150
    assert f.counters.eager + f.counters.recorded == 20_000
    assert sum(f.counters.reasons.values()) == 20_000


def test_shapes_in_turn_are_all_replayed():
    f = torch.compile(lambda x: x * 2, options={"record_after": 0})
    assert told(f, [(torch.ones(1 + k % 16),) for k in range(320)]) == []
    assert f.counters.replayed > 200, f.counters


def test_a_short_loop_is_not_recorded():
    f = torch.compile(lambda x: x * 2 + 1)
    f._patience = Patience(None)  # as users have it
    for _ in range(20):
        f(X)
    assert f.counters.recorded == 0
    assert f.counters.eager == 20


def test_a_long_loop_is_replayed():
    f = torch.compile(lambda x: (x @ x).exp().sum())
    f._patience = Patience(None)
    x = torch.ones(200, 200)
    for _ in range(2000):
        f(x)
    assert f.counters.recorded == 2
    assert f.counters.replayed > 100, f.counters


def test_forms_that_never_come_again_are_not_recorded(looks):
    f = torch.compile(scaled)
    f._patience = Patience(None)
    f._patience._spent = -(10**12)
    assert len(told(f, [(X, k + 0.5) for k in range(2000)])) == 1
    assert f.counters.recorded == 0
    assert len(looks) < 300


def test_time_until_a_recording_pays():
    patience = Patience(None)
    waits = [patience.until_paid(0, ns) for ns in (0, 10_000, 100_000, 10_000_000)]
    assert waits[0] == 1
    assert all(a >= b for a, b in pairwise(waits[1:]))
    needed = {ns: next(n for n in range(10**5) if not patience.until_paid(n, ns)) for ns in (20_000, 10_000_000)}
    assert 100 < needed[20_000] < 1500
    assert needed[10_000_000] <= 8
    patience.took(20_000_000, 20_000)  # it took long
    assert patience.until_paid(needed[20_000], 20_000)


def test_the_first_call_is_not_measured_and_short_ones_count():
    caller = _call.Caller()
    waits = iter([5_000_000, 0, 200_000, 0])
    caller.fn = lambda: [None for _ in range(next(waits))] and None
    times = []
    for _ in range(4):
        caller.run_plain((), {})
        times.append(caller.typical)
    assert times[0] == 0
    assert times[1] > 0
    assert times[2] <= times[1] * 2 + 2


@pytest.mark.parametrize("value", [-1, 1.5, True, "2"])
def test_the_option_is_a_number_of_calls(value):
    with pytest.raises(ValueError, match="record_after is a number of calls"):
        torch.compile(scaled, options={"record_after": value})


def test_a_number_of_calls():
    f = torch.compile(lambda x: x * 2, options={"record_after": 5})
    for _ in range(10):
        f(X)
    assert (f.counters.eager, f.counters.recorded, f.counters.replayed) == (5, 2, 3)


def test_the_default_is_measured():
    code = (
        "import tapegrad as torch\n"
        "f = torch.compile(lambda x: x * 2)\n"
        "for _ in range(12): f(torch.ones(2))\n"
        "g = torch.compile(lambda x: x * 2, fullgraph=True)\n"
        "for _ in range(12): g(torch.ones(2))\n"
        "print(f.counters.recorded, f.counters.eager, g.counters.recorded, g.counters.replayed)\n"
    )
    env = {k: v for k, v in os.environ.items() if k != "TAPEGRAD_RECORD_AFTER"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "12", "2", "10"]


def trainer():
    torch.manual_seed(0)
    w = types.SimpleNamespace(model=torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)))
    w.optimizer = torch.optim.Adam(w.model.parameters(), lr=0.01)

    def step(x, y):
        w.optimizer.zero_grad()
        try:
            loss = (w.model(x) - y).square().mean()
            loss.backward()
        except IndexError:
            return None
        w.optimizer.step()
        return loss

    w.step = step
    return w


def test_programs_get_their_passes_when_they_have_earned_them():
    t = Twins(trainer)
    f = t.functions[1]
    f._patience = Patience(None)
    f._patience._spent = -(10**12)
    seen = []
    for k in range(400):
        x = torch.randn(5, 4)
        if k % 50 == 0:
            t.both(lambda w, k=k: w.optimizer.param_groups[0].__setitem__("lr", 0.01 / (1 + k)))
        t.call(x, x.sum(1, keepdim=True))
        seen += [len(e.program.steps) for s in f._signatures.values() for e in s.entries]
    assert f.counters.replayed > 380, f.counters
    assert seen[0] > seen[-1]
    assert len(set(seen)) == 2
    assert 128 <= seen.index(seen[-1]) <= 140
    (entry,) = next(iter(f._signatures.values())).entries
    assert not entry.waits
    assert f.memory(x, x.sum(1, keepdim=True)).peak > 0


def test_forms_in_turn_get_their_passes_too(monkeypatch):
    f = torch.compile(lambda x: (x * 2 + 1).exp().sum())
    monkeypatch.setattr(f._losses, "note", lambda *_: 0)  # a clock decides otherwise whether these go on
    f._patience = Patience(None)
    f._patience._spent = -(10**12)
    x = [torch.ones(3), torch.ones(4)]
    for k in range(600):
        assert torch.equal(f(x[k % 2]), f.fn(x[k % 2]))
    assert [e.waits for s in f._signatures.values() for e in s.entries] == [False, False]
    assert f.counters.replayed > 590, f.counters


def test_an_account_of_what_slow_replays_lose() -> None:
    losses = Losses()
    assert [losses.note(took=90, typical=100, fast=0) for _ in range(200)] == [0] * 200  # they win
    found = [losses.note(took=200, typical=100, fast=0) for _ in range(40)]
    assert found.index(64) == 32  # beyond 32 plain calls
    assert found[33:37] == [0, 0, 0, 0]
    assert 128 in found[37:]  # longer the next time
    assert losses.note(took=200, typical=100, fast=1000) == 0  # calls that are alike make up for it
    assert [losses.note(took=200, typical=100, fast=0) for _ in range(40)].index(64) > 28
    assert losses.note(took=10**9, typical=0, fast=0) == 0  # nothing is known


def test_replays_that_lose_give_way_to_plain_calls(monkeypatch):
    """Whatever the account says, results are those of plain code."""
    f = torch.compile(lambda x: (x * 2 + 1).exp().sum())
    f._patience = Patience(None)
    f._patience._spent = -(10**12)
    x = [torch.ones(3), torch.ones(4)]
    for k in range(500):
        monkeypatch.setattr(f._losses, "note", lambda *_, k=k: 5 if k > 400 else 0)
        assert torch.equal(f(x[k % 2]), f.fn(x[k % 2]))
    assert f.counters.reasons[LOSES] >= 60
    assert f.counters.replayed > 390
