"""Objects of all kinds that a compiled function reads: what becomes of them between calls is seen."""

import collections
import copy
import dataclasses
import enum
import operator
import types

import pytest
import tapegrad as torch

X = torch.arange(6.0).reshape(2, 3)


def hidden_by_the_object():
    class A:
        k = 2.0

    a = A()
    return (lambda x: x * a.k), [lambda: setattr(a, "k", 3.0), lambda: delattr(a, "k"), lambda: setattr(A, "k", 5.0)]


def hidden_by_a_derived_class():
    class B:
        def go(self, x):
            return x * self.k()

        def k(self):
            return 2.0

    class D(B):
        pass

    d = D()
    return (lambda x: d.go(x)), [
        lambda: setattr(D, "k", lambda self: 3.0),
        lambda: setattr(B, "go", lambda self, x: x * 7),
    ]


def dynamic_attributes():
    class A:
        def __init__(self):
            self.held = {"k": 2.0}

        def __getattr__(self, name):
            return self.held[name]

    a = A()
    return (lambda x: x * a.k), [lambda: a.held.update(k=3.0)]


def another_class():
    class C:
        k = 2.0

    class D:
        k = 5.0

    c = C()
    return (lambda x: x * c.k), [lambda: setattr(c, "__class__", D)]


def property_of_a_metaclass():
    class M(type):
        @property
        def k(cls):
            return cls.held

    class C(metaclass=M):
        held = 2.0

    return (lambda x: x * C.k), [lambda: setattr(C, "held", 3.0)]


def descriptor():
    class Double:
        def __get__(self, o, kind):
            return o.q * 2

    class C:
        k = Double()

    c = C()
    c.q = 1.0
    return (lambda x: x * c.k), [lambda: setattr(c, "q", 2.0)]


def getter_object():
    c = types.SimpleNamespace(inner=types.SimpleNamespace(k=2.0))
    get = operator.attrgetter("inner.k")
    return (lambda x: x * get(c)), [lambda: setattr(c.inner, "k", 3.0)]


def caller_object():
    class C:
        def go(self, x, *, by):
            return x * self.k * by

    c = C()
    c.k = 2.0
    go = operator.methodcaller("go", X, by=2.0)
    return (lambda x: x + go(c)), [lambda: setattr(c, "k", 3.0), lambda: setattr(C, "go", lambda self, x, by: x)]


def user_dict():
    d = collections.UserDict(a=2.0)
    return (lambda x: x * d["a"]), [lambda: d.update(a=3.0)]


def chain_map():
    d = collections.ChainMap({"a": 2.0}, {"b": 3.0})
    return (lambda x: x * d["a"] * d["b"]), [lambda: d.maps[1].update(b=4.0), lambda: d.maps.insert(0, {"a": 5.0})]


def mapping_proxy():
    d = {"k": 2.0, "all": [1.0]}
    m = types.MappingProxyType(d)
    return (lambda x: x * m["k"] + m["all"][0]), [lambda: d.update(k=3.0), lambda: d["all"].insert(0, 4.0)]


def view_of_values():
    d = {"a": 2.0}
    values = d.values()
    return (lambda x: x * sum(values)), [lambda: d.update(a=3.0), lambda: d.update(b=1.0)]


def protocols():
    class C:
        def __init__(self):
            self.v = [2.0, 3.0]

        def __len__(self):
            return len(self.v)

        def __getitem__(self, i):
            return self.v[i]

        def __contains__(self, k):
            return k in self.v

    c = C()
    return (lambda x: x * c[0] + len(c) + (3.0 in c)), [lambda: c.v.append(4.0), lambda: c.v.remove(3.0)]


def enumeration():
    class E(enum.Enum):
        A = 2.0
        B = 3.0

    c = types.SimpleNamespace(e=E.A)
    return (lambda x: x * c.e.value), [lambda: setattr(c, "e", E.B)]


def far_down():
    c = {"a": ({"b": [{"k": 2.0}]},)}
    return (lambda x: x * c["a"][0]["b"][0]["k"]), [
        lambda: c["a"][0]["b"][0].update(k=3.0),
        lambda: c["a"][0]["b"].insert(0, {"k": 7.0}),
    ]


@pytest.mark.parametrize(
    "make",
    [
        hidden_by_the_object, hidden_by_a_derived_class, dynamic_attributes, another_class, property_of_a_metaclass,
        descriptor, getter_object, caller_object, user_dict, chain_map, mapping_proxy, view_of_values,
        protocols, enumeration, far_down,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_changes_are_seen(make):
    step, changes = make()
    run = torch.compile(step)
    for _ in range(4):
        assert run(X).tolist() == step(X).tolist()
    assert run.counters.replayed == 2
    for change in changes:
        change()
        for _ in range(4):
            assert run(X).tolist() == step(X).tolist()
    assert run.counters.replayed >= 2 + 2 * len(changes)
    assert run.counters.eager == 0


@dataclasses.dataclass
class Settings:
    rate: float = 0.1
    clip: bool = False


class Trainer:
    """A step whose object counts and collects around it."""

    def __init__(self, settings):
        self.model = torch.nn.Linear(2, 1)
        self.settings = settings
        self.optimizer = torch.optim.SGD(self.model.parameters(), settings.rate)
        self.losses = []
        self.calls = 0

    def step(self, x):
        self.optimizer.zero_grad()
        loss = self.model(x).pow(2).mean()
        loss.backward()
        if self.settings.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss


def test_what_an_object_collects_beside_a_dataclass():
    """The methods of a dataclass name `__class__`, by which code could make another object."""
    t = Trainer(Settings())
    step = torch.compile(t.step)
    for _ in range(6):
        t.calls += 1
        t.losses.append(step(torch.ones(3, 2)).item())
    assert step.counters.replayed == 4
    t.settings.clip = True
    for _ in range(4):
        t.losses.append(step(torch.ones(3, 2)).item())
    assert step.counters.replayed == 6


def test_what_makes_another_of_its_class():
    class Pair:
        factor = 2.0

        def __init__(self, a):
            self.a = a * self.factor

        def other(self):
            return self.__class__(self.a)

    p = Pair(3.0)
    f = torch.compile(lambda x: x * p.other().a)
    for factor in (2.0, 5.0):
        Pair.factor = factor
        for _ in range(4):
            assert f(torch.ones(1)).item() == 6.0 * factor
    assert f.counters.replayed == 4


@dataclasses.dataclass
class Options:
    rate: float = 1.0
    steps: int = 0


@pytest.mark.parametrize(
    "look",
    [
        lambda o: dataclasses.astuple(o)[0],
        lambda o: sum(dataclasses.asdict(o).values()),
        lambda o: next(getattr(o, f.name) for f in dataclasses.fields(o)),
        lambda o: dataclasses.replace(o, steps=3).rate,
        lambda o: float(o == Options()),
        lambda o: len(repr(o)),
        lambda o: copy.copy(o).rate,
    ],
)
def test_fields_that_are_looked_at_without_their_names(look):
    o = Options()
    f = torch.compile(lambda x: x * look(o))
    x = torch.ones(2)
    for rate in (1.0, 1.0, 1.0, 2.0, 3e10):
        o.rate = rate
        assert f(x).tolist() == (x * look(o)).tolist()
    assert f.counters.replayed == 1
