"""What a function reaches by weak references: not kept alive by its program, and seen when it goes."""

from __future__ import annotations

import functools
import gc
import weakref

import pytest
import tapegrad as torch

eager_is_allowed = pytest.mark.filterwarnings("ignore:.*runs eagerly")
X = torch.ones(2)


def one():
    model = torch.nn.Linear(2, 2)
    r = weakref.ref(model)

    def f(x):
        m = r()
        return x if m is None else m(x)

    return f, [model]


def of_a_tensor():
    t = torch.full((2,), 3.0)
    r = weakref.ref(t)

    def f(x):
        return x if r() is None else x * r()

    return f, [t]


def method():
    class Scale:
        factor = 3.0

        def __call__(self, x):
            return x * self.factor

        def apply(self, x):
            return x * self.factor

    s = Scale()
    r = weakref.WeakMethod(s.apply)

    def f(x):
        m = r()
        return x if m is None else m(x)

    return f, [s]


def in_a_set():
    models = [torch.nn.Linear(2, 2) for _ in range(2)]
    living = weakref.WeakSet(models)

    def f(x):
        return x + sum(m(x).sum() for m in living)

    return f, models


def by_name():
    models = [torch.nn.Linear(2, 2) for _ in range(2)]
    living = weakref.WeakValueDictionary({"a": models[0], "b": models[1]})

    def f(x):
        for m in living.values():
            x = m(x)
        return x

    return f, models


def as_keys():
    models = [torch.nn.Linear(2, 2) for _ in range(2)]
    factors = weakref.WeakKeyDictionary({models[0]: 2.0, models[1]: 3.0})

    def f(x):
        for m, factor in list(factors.items()):
            x = m(x) * factor
        return x

    return f, models


@eager_is_allowed
@pytest.mark.parametrize("make", [one, of_a_tensor, method, in_a_set, by_name, as_keys])
def test_it_goes_when_it_would_go(make):
    found = []
    for wrap in (lambda f: f, torch.compile):
        torch.manual_seed(0)
        f, strong = make()
        f = wrap(f)
        watched = [weakref.ref(s) for s in strong]
        results = []
        while True:
            for _ in range(4):
                results.append(f(X).tolist())
            if not strong:
                break
            strong.pop()
            gc.collect()
            results.append([w() is not None for w in watched])
        found.append(results)
    assert found[0] == found[1]


@eager_is_allowed
@pytest.mark.parametrize("make", [one, of_a_tensor, in_a_set, by_name, as_keys])
def test_it_is_replayed_where_the_function_holds_it_too(make):
    f, strong = make()
    held = list(strong)
    g = torch.compile(lambda x: f(x) + len(held))
    for _ in range(4):
        assert g(X).tolist() == (f(X) + len(held)).tolist()
    assert g.counters.replayed == 2, g.counters


def test_a_part_that_knows_the_whole():
    class Part(torch.nn.Module):
        def __init__(self, whole):
            super().__init__()
            self.whole = weakref.ref(whole)

        def forward(self, x):
            return x * self.whole().factor

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = 2.0
            self.part = Part(self)

        def forward(self, x):
            return self.part(x) + 1

    model = Whole()
    f = torch.compile(model)
    for factor in (2.0, 3.0):
        model.factor = factor
        for _ in range(4):
            assert f(X).tolist() == [factor + 1] * 2
    assert f.counters.replayed == 4


def test_a_function_that_is_chosen_by_class():
    @functools.singledispatch
    def scale(value):
        return 2.0

    @scale.register
    def _(value: int):
        return 3.0

    class Whole(int):
        pass

    whole = Whole(2)
    f = torch.compile(lambda x: x * scale(whole) * scale("text"))
    scale(whole), scale("text")
    for k in range(12):
        if k == 6:
            scale.register(Whole, lambda value: 5.0)
            scale(whole), scale("text")
        assert f(torch.ones(1)).item() == (6.0 if k < 6 else 10.0)
    assert f.counters.replayed >= 6, f.counters


def test_a_handle_of_a_hook_is_no_obstacle():
    model = torch.nn.Linear(2, 2)

    class Trainer:
        def __init__(self):
            self.handle = model.register_forward_hook(lambda m, args, out: out * 2)

        def step(self, x):
            return model(x) if self.handle is not None else x

    trainer = Trainer()
    f = torch.compile(trainer.step)
    for _ in range(4):
        assert f(X).tolist() == trainer.step(X).tolist()
    assert f.counters.replayed == 2
    handle = torch.ones(2, requires_grad=True).register_hook(lambda g: g)
    trainer.handle.remove()
    trainer.handle = handle
    for _ in range(4):
        assert f(X).tolist() == trainer.step(X).tolist()
    assert f.counters.replayed == 4
