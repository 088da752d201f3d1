"""A compiled module stands for its module: attributes, modes, hooks, copies, and what its forward reads."""

from __future__ import annotations

import copy
import itertools
import pickle

import pytest
import tapegrad as torch

TEMPERATURE = 2.0


class Config:
    scale = 2.0


class Net(torch.nn.Module):
    factor = 1.0

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 4)
        self.config = Config()
        self.scale = 1.0

    def forward(self, x):
        return helped(self.layer(x)) * self.scale * self.config.scale * self.factor * TEMPERATURE


def helped(x):
    return x * Config.scale


class Below(torch.nn.Sequential):
    """The library's forward calls what is written here."""

    def __iter__(self):
        return iter([*super().__iter__(), *[torch.relu] * EXTRA])

    def forward(self, x):
        for f in self:
            x = f(x)
        return x


EXTRA = 0


def ways(net):
    return [torch.compile(net), torch.compile(lambda x: net(x)), torch.compile(torch.nn.Sequential(net))]


def forward_replaced(self, x):
    return x * 9


@pytest.mark.parametrize(
    "change",
    [
        lambda net, patch: patch.setitem(globals(), "TEMPERATURE", 5.0),
        lambda net, patch: patch.setattr(net.config, "scale", 3.0, raising=False),
        lambda net, patch: patch.setattr(Config, "scale", 4.0),
        lambda net, patch: patch.setattr(Net, "factor", 7.0),
        lambda net, patch: patch.setattr(Net, "forward", forward_replaced),
        lambda net, patch: patch.setitem(globals(), "helped", lambda x: x - 1),
        lambda net, patch: patch.setattr(net, "scale", -1.0),
        lambda net, patch: patch.setattr(net, "forward", lambda x: x + 1),
    ],
)
def test_what_forward_reads_is_guarded(change, monkeypatch):
    net = Net()
    x = torch.randn(2, 3)
    functions = ways(net)
    for f in functions:
        for _ in range(4):
            f(x)
        assert f.counters.replayed == 2
    before = net(x)
    change(net, monkeypatch)
    expected = net(x)
    assert not torch.equal(before, expected)
    for f in functions:
        for _ in range(4):
            assert torch.equal(f(x), expected)
        assert f.counters.replayed > 2


def test_what_derived_classes_of_the_library_read(monkeypatch):
    net = Below(torch.nn.Linear(3, 3))
    f = torch.compile(net)
    x = torch.randn(4, 3)
    for _ in range(4):
        f(x)
    monkeypatch.setitem(globals(), "EXTRA", 1)
    assert torch.equal(f(x), net(x))


def test_methods_that_are_not_called_are_not_guarded():
    class Trainer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)
            self.log = []

        def forward(self, x):
            return self.layer(x)

        def fit(self, f, x):
            for _ in range(6):
                self.log.append(f(x).sum().item())

    t = Trainer()
    f = torch.compile(t)
    t.fit(f, torch.ones(2, 3))
    assert f.counters.replayed == 4, f.counters


@pytest.mark.torch
def test_attributes_as_in_pytorch():
    reference = pytest.importorskip("torch", reason="PyTorch is not installed")

    def run(torch, compile):
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = torch.nn.Linear(3, 4)
                self.scale = 1.0

            def forward(self, x):
                return self.fc(x) * self.scale

        seen = []
        m = compile(Net())
        m.scale = 0.0
        seen.append(m(torch.ones(1, 3)).abs().sum().item())
        m.fc = torch.nn.Linear(3, 2)
        seen.append((tuple(m(torch.ones(1, 3)).shape), len(list(m.parameters())), sorted(m.state_dict())))
        m.training = False
        seen.append((m.training, m._orig_mod.training, m._orig_mod.fc.training))
        m.train()
        seen.append((m.training, m._orig_mod.training, m._orig_mod.fc.training))
        m._orig_mod.eval()
        seen.append(m.training)
        del m.scale
        seen.append((hasattr(m, "scale"), hasattr(m._orig_mod, "scale"), "fc" in dir(m)))
        m = compile(torch.nn.Linear(2, 1, bias=False))
        m.register_forward_hook(lambda mod, args, out: out * 0 + 7)
        handle = m.register_forward_pre_hook(lambda mod, args: (args[0] * 0,))
        seen.append([m(torch.ones(1, 2)).item() for _ in range(4)])
        handle.remove()
        s = compile(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()))
        seen.append(len(s))
        return seen

    assert run(torch, torch.compile) == run(reference, lambda m: reference.compile(m, backend="eager"))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("calls", [0, 4])
def test_copies(again, calls):
    m = torch.compile(torch.nn.Linear(3, 2))
    x = torch.randn(2, 3)
    for _ in range(calls):
        m(x)
    other = again(m)
    assert torch.equal(other(x), m(x))
    with torch.no_grad():
        other.weight.zero_()
        other.bias.zero_()
    for _ in range(4):
        assert torch.equal(other(x), torch.zeros(2, 2))
        assert not torch.equal(m(x), torch.zeros(2, 2))
    assert other.counters.replayed >= 2


def test_compiled_modules_in_compiled_functions():
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.5))
    m = torch.compile(net)
    f = torch.compile(lambda x: m(x) * 2)
    x = torch.ones(50, 3)
    for _ in range(4):
        f(x)
    m.eval()
    for _ in range(4):
        assert torch.equal(f(x), net(x) * 2)
    m.register_forward_hook(lambda module, args, out: out + 1)
    for _ in range(4):
        assert torch.equal(f(x), (net(x) + 1) * 2)


def test_zero_and_minus_zero():
    box = {"k": 0.0}
    f = torch.compile(lambda x: 1 / (x * box["k"]))
    for k in (0.0, -0.0, 0.0, float("nan"), -0.0):
        box["k"] = k
        for _ in range(4):
            assert str(float(f(torch.ones(1)))) == str(float(1 / (torch.ones(1) * k)))


def test_dictionaries_with_tensors_as_keys():
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)

    @torch.compile
    def step(x):
        optimizer.zero_grad()
        loss = net(x).square().sum()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(5):
        step(torch.ones(2, 3))
    optimizer.state.pop(net.weight)
    losses = [step(torch.ones(2, 3)).item() for _ in range(4)]
    assert len(optimizer.state) == 2
    assert all(a != b for a, b in itertools.pairwise(losses))
    assert all(len(reason) < 100 for reason in step.counters.reasons), step.counters
