"""What users read and may use: `dir`, `table()` without a program, `fullgraph`, `torch.compiler`, `Module.compile`."""

from __future__ import annotations

import copy
import pickle
import types

import pytest
import tapegrad as torch
from tapegrad.replay import CompiledFunction

X = torch.ones(3)


def double(x):
    return x * 2


def test_dir_shows_what_users_may_use():
    double.note = 1
    f = torch.compile(double)
    assert {n for n in dir(f) if not n.startswith("__")} == {"counters", "fn", "memory", "note", "table"}
    assert {"__call__", "__wrapped__", "__name__"} <= {*dir(f)}
    assert all(hasattr(f, n) for n in dir(f) if n != "__abstractmethods__")
    del double.note
    m = torch.compile(torch.nn.Linear(2, 2))
    assert "_compiled" not in dir(m)
    assert {"weight", "counters", "table"} <= {*dir(m)}


@pytest.mark.parametrize(
    ("fn", "calls", "words"),
    [
        (double, 0, "it has not been called"),
        (double, 1, "a second call is to confirm the first"),
        (lambda x: x * x.sum().item(), 4, "the value of a tensor is read by Python; return the tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_a_table_that_is_not_there_says_why(fn, calls, words):
    f = torch.compile(fn)
    for _ in range(calls):
        f(X)
    for ask in (f.table, f.memory):
        with pytest.raises(RuntimeError, match=words):
            ask(X)


def test_a_table_before_a_recording_pays_says_so():
    f = torch.compile(double, options={"record_after": 50})
    f(X)
    with pytest.raises(RuntimeError, match="calls have not taken long enough"):
        f.table(X)


def world():
    torch.manual_seed(0)
    w = types.SimpleNamespace(model=torch.nn.Linear(3, 1), seen=0, log=[], best={})
    w.optimizer = torch.optim.Adam(w.model.parameters(), lr=0.1)
    return w


def read(w, x):
    return w.loss(x).item()


def counted(w, x):
    w.seen += 1
    return w.loss(x)


def logged(w, x):
    w.log.append(w.seen)
    w.best["loss"] = 1.0
    loss = w.loss(x)
    return loss * loss.item()


def picture(w):
    state = [{k: v.tolist() for k, v in s.items()} for s in w.optimizer.state.values()]
    grads = [None if p.grad is None else p.grad.tolist() for p in w.model.parameters()]
    values = [p.tolist() for p in w.model.parameters()]
    versions = [p._version for p in w.model.parameters()]
    return values, grads, versions, state, w.seen, list(w.log), dict(w.best), torch.get_rng_state().tolist()


@pytest.mark.parametrize("fn", [read, logged])
def test_fullgraph_raises_before_anything_has_changed(fn):
    w = world()

    def loss(x):
        w.optimizer.zero_grad()
        loss = (w.model(x + torch.rand(3))).square().sum()
        loss.backward()
        w.optimizer.step()
        return loss

    w.loss = loss
    f = torch.compile(lambda x: fn(w, x), fullgraph=True)
    before = picture(w)
    for _ in range(3):
        with pytest.raises(RuntimeError, match=rf"read by Python \(.*test_words.py:\d+, in {fn.__name__}\); return"):
            f(X)
        assert picture(w) == before
    fn(w, X)
    after = picture(w)
    assert after != before
    with pytest.raises(RuntimeError, match="cannot be replayed"):
        f(X)
    assert picture(w) == after


def test_fullgraph_knows_some_code_without_a_run():
    ran = []

    def step(x):
        import threading

        ran.append(1)
        threading.Thread(target=print).start()
        return x

    f = torch.compile(step, fullgraph=True)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"threads are started inside \(in .*test_words.py:\d+\)"):
            f(X)
    assert not ran


def test_reset():
    f, g = torch.compile(double), torch.compile(double)
    for _ in range(3):
        f(X)
    torch.compiler.reset()
    for _ in range(3):
        assert torch.equal(f(X), X * 2)
        g(X)
    assert (f.counters.recorded, f.counters.replayed) == (4, 2)
    assert (g.counters.recorded, g.counters.replayed) == (2, 1)


def test_disable():
    inner = torch.compile(double)

    @torch.compiler.disable
    def plain(x):
        return inner(x) + 1

    @torch.compiler.disable(recursive=False, reason="an example")
    def shallow(x):
        return inner(x) + 1

    for _ in range(4):
        assert torch.equal(plain(X), X * 3)
    assert inner.counters.recorded == 0
    for _ in range(4):
        assert torch.equal(shallow(X), X * 3)
    assert inner.counters.replayed == 2
    outer = torch.compile(lambda x: plain(x) * 2)
    with pytest.warns(UserWarning, match="not to be compiled is called .*call it outside"):
        assert torch.equal(outer(X), X * 6)
    assert torch.equal(outer(X), X * 6)
    assert outer.counters.replayed == 0
    with pytest.raises(TypeError, match="takes a function or a module"):
        torch.compiler.disable(3)
    with pytest.raises(ZeroDivisionError):
        torch.compiler.disable(lambda: 1 // 0)()
    for _ in range(3):  # what is disabled is so while such a function runs
        inner(X)
    assert inner.counters.replayed == 5


def test_disabled_modules_and_methods():
    m = torch.compiler.disable(torch.compile(torch.nn.Linear(3, 2)))
    assert m.weight.shape == (2, 3)
    assert m(X).shape == (2,)

    class Trainer:
        @torch.compiler.disable
        def step(self, x):
            return self, x

    t = Trainer()
    assert t.step(X)[0] is t
    assert torch.compiler.is_compiling() is False
    again = pickle.loads(pickle.dumps(torch.compiler.disable(double)))
    assert torch.equal(again(X), X * 2)


def test_modules_are_compiled_in_place():
    m = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh())
    m.register_forward_hook(lambda module, args, output: output + 1)
    usual = copy.deepcopy(m)
    assert m.compile() is None
    m.compile(fullgraph=True)
    for _ in range(5):
        assert torch.equal(m(X), usual(X))
    assert isinstance(m.forward, CompiledFunction)
    assert m.forward.counters.replayed == 3
    assert m.state_dict().keys() == usual.state_dict().keys()
    other = copy.deepcopy(m)
    with torch.no_grad():
        other[0].weight.zero_()
    for _ in range(3):
        assert torch.equal(m(X), usual(X))
        assert torch.equal(other(X), other[1](other[0](X)) + 1)
    again = pickle.loads(pickle.dumps(torch.nn.Sequential(torch.nn.Linear(3, 3))))
    again.compile()
    assert pickle.loads(pickle.dumps(again))(X).shape == (3,)
