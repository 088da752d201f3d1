"""Python's and NumPy's random numbers: another thread may draw them; code that could is told apart."""

from __future__ import annotations

import abc
import collections
import contextlib
import enum
import functools
import importlib
import itertools
import random
import sys
import threading
import time
import warnings
from random import gauss
from random import random as draw

import numpy as np
import pytest
import tapegrad as torch
from tapegrad.replay.randomness import may_draw
from tapegrad.replay.reach import Reach


@pytest.fixture
def another_thread_draws():
    stop = threading.Event()

    def loop():
        while not stop.is_set():
            random.random()
            np.random.rand()
            time.sleep(0)

    thread = threading.Thread(target=loop, daemon=True)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    yield
    stop.set()
    thread.join()
    sys.setswitchinterval(before)


def test_training_goes_on_while_a_loader_draws(another_thread_draws):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 200), torch.nn.Tanh(), torch.nn.Linear(200, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    weights = np.array([1.0, 2.0, 1.0])

    def step(x):
        optimizer.zero_grad()
        loss = model(x).square().mean() * float(weights.sum())
        for m in model.modules():
            if isinstance(m, torch.nn.Linear):
                loss = loss + m.weight.abs().sum() * np.pi
        loss.backward()
        optimizer.step()
        return loss

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = torch.compile(step, fullgraph=True)
        for _ in range(20):
            compiled(torch.ones(50, 20))
    assert compiled.counters.replayed >= 15, compiled.counters


class Drawing(random.Random):
    pass


class Holder:
    def __init__(self):
        self.draw = np.random.rand


class Lazy:
    @property
    def value(self):
        return draw()


class Operator:
    def __mul__(self, other):
        return other * draw()


class Kind(enum.Enum):
    ONE = 1

    @classmethod
    def _missing_(cls, value):
        draw()
        return cls.ONE


class Static:
    __call__ = staticmethod(draw)


class Builtin:
    __call__ = draw


class Hooked(abc.ABC):  # noqa: B024
    @classmethod
    def __class_getitem__(cls, key):
        return draw()


def of_an_enumeration(x):
    return x * Kind(5).value


def computed_name(x):
    return x * getattr(np, "ran" + "dom").rand()


def imports(x):
    from random import random as inner

    return x * inner()


def imports_by_name(x):
    return x * __import__("ran" + "dom").random()


def importlib_imports(x):
    return x * importlib.import_module("ran" + "dom").random()


def of_all_modules(x):
    return x * sys.modules["ran" + "dom"].random()


@contextlib.contextmanager
def noisy():
    yield draw()


def in_a_context(x):
    with noisy() as k:
        return x * k


def in_a_comprehension(x):
    return x * sum(f() for f in [draw])


def through_map(x):
    return x * next(iter([*map(draw.__self__.getrandbits, [5])]))




HOLDER, LAZY, OPERATOR, STATIC, BUILTIN = Holder(), Lazy(), Operator(), Static(), Builtin()
FUNCTIONS = {"draw": draw}
PARTIAL = functools.partial(gauss, 0.0, 1.0)
NAMED = np


def default(x, k=draw):
    return x * k()


def closing_over(k):
    return lambda x: x * k()


@pytest.mark.parametrize(
    "function",
    [
        computed_name, imports, imports_by_name, importlib_imports, of_all_modules, in_a_context, in_a_comprehension,
        through_map, of_an_enumeration, lambda x: STATIC() * x, lambda x: BUILTIN() * x, lambda x: x * Hooked[1],
        default, closing_over(draw), closing_over(np.random.rand), closing_over(np.random.mtrand.rand),
        closing_over(functools.partial(random.uniform, 1, 2)),
        lambda x: x * HOLDER.draw(), lambda x: x * LAZY.value, lambda x: OPERATOR * x,
        lambda x: x * FUNCTIONS["draw"](), lambda x: x * PARTIAL(), lambda x: x * NAMED.random.rand(),
        lambda x: x * float(NAMED.random.permutation(5)[0]),
        lambda x: x * next(iter(itertools.starmap(draw, [()]))),
    ],
)  # fmt: skip
def test_what_could_draw_is_never_replayed(function):
    reach = Reach()
    reach.add(function, "f")
    assert may_draw(reach.objects, reach.names)
    f = torch.compile(function)
    x = torch.ones(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(12):
            random.seed(i)
            np.random.seed(i)
            found = f(x)
            after = random.random(), np.random.rand()
            random.seed(i)
            np.random.seed(i)
            assert found.tolist() == function(x).tolist()
            assert after == (random.random(), np.random.rand())
    assert f.counters.replayed == 0


@pytest.mark.parametrize("base", [list, tuple, dict, set, frozenset, collections.deque, collections.OrderedDict])
def test_looking_at_a_container_runs_no_code_of_its_class(base):
    calls = []

    class Own(base):
        def __len__(self):
            calls.append("len")
            return base.__len__(self)

        def __iter__(self):
            calls.append("iter")
            return base.__iter__(self)

    held = Own({"a": 1.0} if issubclass(base, dict) else [1.0])
    f = torch.compile(lambda x: x * (2.0 if held is not None else 1.0))
    for _ in range(4):
        assert f(torch.ones(1)).item() == 2.0
    assert calls == []
