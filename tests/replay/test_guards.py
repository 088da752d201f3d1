"""What must be seen: recorded anew, refused, or run eagerly with one warning that names the line; never wrong."""

from __future__ import annotations

import collections
import contextvars
import dataclasses
import functools
import gc
import inspect
import itertools
import os
import random
import re
import sys
import threading
import time
import types
import warnings
import weakref

import numpy as np
import pytest
import tapegrad as torch
import tapegrad.nn.functional as F
from _twins import Twins, batch, world
from tapegrad.replay import compile
from tapegrad.replay._guards import Snapshot

SCALE = 2.0
TABLE = {"scale": 2.0}
ARRAY = np.ones(3)
MODULE = types.ModuleType("a_users_module")
MODULE.lr = 0.5
MODULE.unused = 1


def X(n=4, seed=0):
    return batch(n, seed=seed)[0]


def line_of(function, mark="# here"):
    """The number of the line of a function that carries a mark."""
    lines, first = inspect.getsourcelines(function)
    return first + next(i for i, text in enumerate(lines) if mark in text)


def check_eager(function, match, *, mark="# here", calls=6, args=(), at=None):
    """The compiled function runs eagerly with exactly one warning that names the line; refused by fullgraph."""
    f = compile(function)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(calls):
            f(*args)
    seen = [w for w in seen if "compiled" in str(w.message)]
    assert len(seen) == 1, [str(w.message) for w in seen]
    text = str(seen[0].message)
    assert re.search(match, text), text
    if mark is not None:
        assert f"{__file__}:{line_of(at or function, mark)}" in text, (text, line_of(at or function, mark))
    assert f.counters.replayed == 0, f.counters
    assert f.counters.eager >= 1, f.counters
    g = compile(function, fullgraph=True)

    def call_often() -> None:
        for _ in range(calls):
            g(*args)

    with pytest.raises(RuntimeError, match=match):
        call_often()


# ---------------------------------------------------------------- values that Python reads


def branch(x):
    if x.sum() > 0:  # here
        return x * 2
    return x


def item(x):
    return x * x.sum().item()  # here


def as_float(x):
    return x * float(x.sum())  # here


def as_int(x):
    return x * int(x.sum())  # here


def as_bool(x):
    return x * bool(x.any())  # here


def as_index(x):
    return [1, 2, 3][x.argmax() * 0]  # here


def to_list(x):
    return x + x.tolist()[0][0]  # here


def to_numpy(x):
    return x + float(x.detach().numpy().sum())  # here


def printing(x):
    print(x.sum())  # here
    return x


def length(x):
    return x * len(x.nonzero())  # here


def nonzero(x):
    return x.nonzero()  # here


def masked(x):
    return x[x > 0]  # here


def formatted(x):
    return f"{x.sum()}"  # here


def contained(x):
    return x * (0 in x.sign())  # here


def compared(x):
    return x if torch.equal(x, x + 1) else x * 2  # here


def close(x):
    return x if torch.allclose(x, x + 1) else x * 2  # here


def maximum_of_python(x):
    return max(x.sum(), x.mean())  # here


def shared_with_numpy(x):
    return x + torch.from_numpy(np.ones((4, 6), "f4"))  # here


def data_set(x):
    y = x.clone()
    y.data = x * 2  # here
    return y


@pytest.mark.parametrize(
    "function",
    [
        branch, item, as_float, as_int, as_bool, as_index, to_list, to_numpy, printing, length, nonzero,
        masked, formatted,
        contained, compared, close, maximum_of_python, shared_with_numpy, data_set,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_values_that_python_reads(function, capsys):
    check_eager(function, "read by|branches on|shares its memory|depends on the values|exchanged", args=(X(),))
    t = Twins(lambda: world(step=function))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(5):
            t.call(X(seed=i))


# ---------------------------------------------------------------- random numbers and time


def python_random(x):
    y = x * 2
    return y * random.random()  # here


def numpy_random(x):
    y = x + 1
    noise = np.random.rand()  # here
    return y * noise


RNG = np.random.default_rng(0)
PYTHON_RNG = random.Random(0)


def numpy_generator(x):
    return x * RNG.standard_normal()  # here


def own_python_generator(x):
    return x * PYTHON_RNG.random()  # here


def library_shuffles(x):
    order = [1, 2, 3]
    random.shuffle(order)  # here
    return x * order[0]


COUNT = itertools.count()


def counting(x):
    return x * next(COUNT)


def clock(x):
    return x * (time.perf_counter() * 1e6 % 1e3)  # here


def reseeded(x):
    torch.manual_seed(3)  # here
    return x + torch.randn(4, 6)


def restored(x):
    state = torch.get_rng_state()  # here
    y = torch.randn(4, 6)
    torch.set_rng_state(state)
    return x + y


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (python_random, "Python's random numbers"),
        (numpy_random, "NumPy's random numbers"),
        (numpy_generator, "RNG"),
        (own_python_generator, "PYTHON_RNG"),
        (library_shuffles, "Python's random numbers"),
        (clock, "differs from call to call"),
        (reseeded, "generator"),
        (restored, "generator"),
    ],
    ids=lambda f: getattr(f, "__name__", None),
)
def test_randomness_and_time(function, match):
    check_eager(function, match, args=(X(),))


def test_an_iterator_inside():
    check_eager(counting, "COUNT.*iterator", mark=None, args=(X(),))


def test_random_numbers_are_those_of_eager_code():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for function, seed in ((python_random, random.seed), (numpy_random, np.random.seed)):
            f = compile(function)
            seed(0)
            a = [f(X()).sum().item() for _ in range(6)]
            seed(0)
            assert a == [function(X()).sum().item() for _ in range(6)]


class Fresh:
    """Gives a new object at each look at its attribute."""

    __slots__ = ("scale",)

    def __getattribute__(self, name):
        found = object.__getattribute__(self, name)
        return float(str(found)) if name == "scale" else found


def test_an_object_that_makes_its_attributes_anew():
    settings = Fresh()
    settings.scale = 2.0

    def step(x):
        return (x * settings.scale).sum()

    f = compile(step)
    for k in range(40):
        settings.scale = 2.0 if k < 30 else 3.0
        assert f(X()).item() == step(X()).item()
    assert f.counters.replayed >= 30


def test_a_global_that_hides_a_builtin():
    space = {}
    exec("def step(x):\n    return x * abs(-2.0)", space)
    f = compile(space["step"])
    for _ in range(4):
        assert torch.equal(f(X()), X() * 2)
    space["abs"] = lambda v: 7.0
    assert torch.equal(f(X()), X() * 7)


SCALE = 2.0
LOCAL = threading.local()
LOCAL.scale = 2.0
CONTEXT = contextvars.ContextVar("scale", default=2.0)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: x * globals()["SCALE"], "globals"),
        (lambda x: x * eval("SCALE"), "eval"),
        (lambda x: x * LOCAL.scale, "LOCAL has a value of its own"),
        (lambda x: x * CONTEXT.get(), "CONTEXT has a value of its own"),
    ],
    ids=["globals", "eval", "local", "context"],
)
def test_values_that_cannot_be_guarded(function, match, monkeypatch):
    check_eager(function, match, mark=None, args=(X(),))
    f = compile(function)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(8):
            monkeypatch.setitem(globals(), "SCALE", 2.0 if k < 4 else 3.0)
            LOCAL.scale = SCALE
            token = CONTEXT.set(SCALE)
            assert torch.equal(f(X()), X() * SCALE)
            CONTEXT.reset(token)


def test_a_function_of_ones_own_that_is_called_eval():
    space = {}
    exec("def eval(x):\n    return x * 2\ndef step(x):\n    return eval(x)", space)
    f = compile(space["step"])
    for _ in range(5):
        assert torch.equal(f(X()), X() * 2)
    assert f.counters.replayed == 3


def test_numbers_of_numpy_among_the_arguments():
    f = compile(lambda x, k: x * float(k))
    for i in range(9):
        k = np.float32(2.0) if i < 5 else np.int64(3)
        assert torch.equal(f(X(), k), X() * float(k))
    assert f.counters.replayed == 5


def test_a_global_that_is_only_named_like_an_attribute():
    space = {"torch": torch, "net": types.SimpleNamespace(i=torch.ones(3), scale=2.0), "i": 0, "unused": 0}
    exec("def step(x):\n    def inner():\n        return net.i * net.scale\n    return (x * inner()).sum()", space)
    f = compile(space["step"])
    for i in range(6):
        space["i"] = i
        assert f(X(3)[:3, :3]).item() == space["step"](X(3)[:3, :3]).item()
    assert f.counters.replayed == 4
    space["net"] = types.SimpleNamespace(i=torch.full((3,), 5.0), scale=2.0)
    assert f(X(3)[:3, :3]).item() == space["step"](X(3)[:3, :3]).item()


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.Philox, np.random.SFC64, np.random.MT19937])
def test_another_generator_below_numpys_functions(kind):
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(kind(3))
    try:
        check_eager(numpy_random, "NumPy's random numbers", args=(X(),))
        f = compile(lambda x: x * 2)
        for _ in range(3):
            f(X())
        assert f.counters.replayed == 1
    finally:
        np.random.set_bit_generator(before)


# ---------------------------------------------------------------- what the code reaches


def seen(make, change, *, calls=3, replays=True, args=None):
    """After `change` the results are right, and soon replayed again."""
    args = (X(),) if args is None else args
    t = Twins(make)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if not replays else "error")
        t.settle(*args)
        t.replays(2, *args)
        for k in range(calls):
            t.both(lambda w, k=k: change(w, k))
            before = t.counters.replayed
            t.call(*args)
            assert t.counters.replayed == before or not replays, "the change was not seen"
            t.call(*args)
            t.call(*args)
            if replays:
                t.replays(1, *args)
    return t


def network():
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


def forward():
    w = world(model=network(), k=3.0, note="a")
    w.step = lambda x: w.model(x) * w.k
    return w


def replace_layer(w, k):
    w.model[0] = torch.nn.Linear(6, 5)


def add_layer(w, k):
    w.model.append(torch.nn.Linear(3, 3))


def swap_activation(w, k):
    w.model[1] = [torch.nn.ReLU(), torch.nn.Sigmoid(), torch.nn.GELU()][k]


def remove_bias(w, k):
    w.model[0].bias = None if k == 0 else torch.nn.Parameter(torch.full((5,), 1.0 + k))


def new_parameter(w, k):
    w.model[0].weight = torch.nn.Parameter(torch.full((5, 6), 0.1 * k))


def other_shape(w, k):
    w.model[0] = torch.nn.Linear(6, 7 + k)
    w.model[2] = torch.nn.Linear(7 + k, 3)


def new_data(w, k):
    w.model[0].weight.data = torch.full((5, 6), 0.1 * k)


def grown_data(w, k):
    w.model[2].weight.data = torch.full((4 + k, 5), 0.1 * k)
    w.model[2].bias.data = torch.full((4 + k,), 0.1 * k)


def freeze(w, k):
    [w.model[0].weight, w.model[2].weight, w.model[0].bias][k].requires_grad_(False)


def attribute(w, k):
    w.k = 0.5 * k


def forward_hook(w, k):
    w.model[0].register_forward_hook(lambda m, a, out: out * (k + 2))


def pre_hook(w, k):
    w.model[0].register_forward_pre_hook(lambda m, a: (a[0] + k,))


def method(w, k):
    w.model[1].forward = lambda x: x * (k + 1)


def to_double_and_back(w, k):
    w.model.double().float()


@pytest.mark.parametrize(
    "change",
    [
        replace_layer, add_layer, swap_activation, remove_bias, new_parameter, other_shape, new_data,
        grown_data, freeze,
        attribute, forward_hook, pre_hook, method, to_double_and_back,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_changed_models(change):
    seen(forward, change)


def test_what_the_code_does_not_name_may_change():
    t = Twins(forward)
    t.settle(X())
    for i in range(3):
        t.both(lambda w, i=i: (setattr(w, "note", i), setattr(w, f"new{i}", [i])))
        t.replays(1, X())


def uses_global(x):
    return x * SCALE


def uses_table(x):
    return x * TABLE["scale"]


def helper(x):
    return x * SCALE


def uses_helper(x):
    return helper(x)


def uses_module(x):
    return x * MODULE.lr


def uses_array(x):
    return x * float(ARRAY[0])


def uses_tensor_of_array(x):
    return x[0, :3] * torch.tensor(ARRAY)


def keeps_default(x, k=[2.0]):  # noqa: B006
    return x * k[0]


class Config:
    lr = 0.5


class Sub(Config):
    pass


SUB = Sub()


def uses_class(x):
    return x * Config.lr


def uses_inherited(x):
    return x * SUB.lr


class Slots:
    __slots__ = ("lr",)


SLOTS = Slots()
SLOTS.lr = 0.5


def uses_slots(x):
    return x * SLOTS.lr


SET = {1}
DEQUE = collections.deque([1.0])
OTHER = collections.OrderedDict(a=1.0)


def uses_set(x):
    return x * sum(SET)


def uses_deque(x):
    return x * DEQUE[-1]


def uses_ordered(x):
    return x * sum(i * v for i, v in enumerate(OTHER.values(), 1))


class Worker:
    factor = 1.0

    def __init__(self):
        self.k = 1.0

    def helper(self, x):
        return x * SCALE * self.inner(x).sum()

    @property
    def inside(self):
        return self.k

    @staticmethod
    def inner(x):
        return x * TABLE["scale"]

    def __call__(self, x):
        return self.helper(x) * self.inside * self.factor


WORKER = Worker()


def uses_worker(x):
    return WORKER(x)


class Getter:
    pass


GETTER = Getter()
GETTER.layer0 = 1.0


def uses_getattr(x):
    return x * getattr(GETTER, f"layer{0}")


PARTIAL = functools.partial(keeps_default, k=[3.0])


def uses_partial(x):
    return PARTIAL(x)


def uses_function_attribute(x):
    return x * uses_function_attribute.k


uses_function_attribute.k = 1.0


def put(name, value):
    globals()[name] = value


@pytest.mark.parametrize(
    ("function", "change"),
    [
        (uses_global, lambda k: put("SCALE", 3.0 + k)),
        (uses_table, lambda k: TABLE.update(scale=3.0 + k)),
        (uses_helper, lambda k: put("SCALE", 3.5 + k)),
        (uses_helper, lambda k: put("helper", lambda x: x - k)),
        (uses_module, lambda k: setattr(MODULE, "lr", 1.0 + k)),
        (uses_array, lambda k: ARRAY.__setitem__(0, k + 5.0)),
        (uses_tensor_of_array, lambda k: ARRAY.__setitem__(1, k + 5.0)),
        (keeps_default, lambda k: keeps_default.__defaults__[0].__setitem__(0, 5.0 + k)),
        (uses_class, lambda k: setattr(Config, "lr", 1.0 + k)),
        (uses_inherited, lambda k: setattr(Config, "lr", 20.0 + k)),
        (uses_inherited, lambda k: setattr(SUB, "lr", 3.0 + k)),
        (uses_slots, lambda k: setattr(SLOTS, "lr", 1.0 + k)),
        (uses_set, lambda k: SET.add(k + 10)),
        (uses_deque, lambda k: DEQUE.append(k + 10)),
        (uses_ordered, lambda k: OTHER.update({str(k): 2.0 + k})),
        (uses_worker, lambda k: put("SCALE", 7.0 + k)),
        (uses_worker, lambda k: TABLE.update(scale=7.0 + k)),
        (uses_worker, lambda k: setattr(WORKER, "k", 7.0 + k)),
        (uses_worker, lambda k: setattr(Worker, "factor", 7.0 + k)),
        (uses_worker, lambda k: setattr(Worker, "inner", staticmethod(lambda x: x * (k + 2)))),
        (uses_getattr, lambda k: setattr(GETTER, "layer0", 7.0 + k)),
        (uses_partial, lambda k: PARTIAL.keywords["k"].__setitem__(0, 7.0 + k)),
        (uses_function_attribute, lambda k: setattr(uses_function_attribute, "k", 7.0 + k)),
    ],
)
def test_changed_surroundings(function, change):
    f = compile(function)
    for _ in range(4):
        assert torch.equal(f(X()), globals()[function.__name__](X()))
    assert f.counters.replayed == 2
    for k in range(3):
        change(k)
        for _ in range(4):
            assert torch.equal(f(X()), function(X()))
        assert f.counters.replayed == 4 + 2 * k, f.counters
    assert f.counters.eager == 0


def test_a_closure_cell():
    k = 1.0

    def function(x):
        return x * k

    f = compile(function)
    for k in (1.0, 2.0, 3.0):
        for _ in range(3):
            assert torch.equal(f(X()), X() * k)
    assert f.counters.replayed == 3


def test_numbers_among_the_arguments():
    f = compile(lambda x, k, flag=False: x * k if flag else x + k)
    for k, flag in ((1, True), (1, False), (1.0, True), (2.0, True), (True, True), (0.0, False), (-0.0, False)):
        for _ in range(3):
            a = f(X(), k, flag=flag)
            b = X() * k if flag else X() + k
            assert torch.equal(a, b)
    assert f.counters.replayed == 7


# ---------------------------------------------------------------- changes made inside


class Counting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.count = 0

    def forward(self, x):
        y = x + 1
        self.count += 1  # here
        return y * self.count


class Hidden(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(6, 6)
        self.hidden = torch.zeros(4, 6)

    def forward(self, x):
        h = (self.layer(x) + self.hidden).tanh()
        self.hidden = h.detach()  # here
        return h


class Logging(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.log = []

    def forward(self, x):
        y = x * 2
        self.log.append(y.sum())  # here
        return y


@pytest.mark.parametrize("module", [Counting, Hidden, Logging])
def test_changes_of_attributes_inside(module):
    check_eager(module(), "is changed inside|kept somewhere else", args=(X(),), at=module.forward)

    def make():
        w = world(model=module())
        w.step = w.model.forward
        return w

    t = Twins(make)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(6):
            t.call(X(seed=i))


def adds_history(w, x):
    x.mul_(2)  # here
    return w.model(x).sum()


def history_into_state(w, x):
    w.s += w.model(x).sum(0)  # here
    return w.s.sum()


def toggles(w, x):
    p = w.model[0].weight
    p.requires_grad_(not p.requires_grad)  # here
    return w.model(x)


def leaves_a_mode(w, x):
    torch.set_grad_enabled(False)  # here
    return w.model(x)


def leaves_a_dtype(w, x):
    torch.set_default_dtype(torch.float64)  # here
    return x * 1


def keeps_an_iterator(w, x):
    return x * next(w.numbers)


@pytest.mark.parametrize(
    "function",
    [
        adds_history, history_into_state, toggles, leaves_a_mode, leaves_a_dtype,
        keeps_an_iterator,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_other_changes_inside(function):
    def make():
        w = world(model=network(), first=torch.nn.Linear(6, 6), s=torch.zeros(3), numbers=itertools.count())
        w.step = lambda x: function(w, x)
        return w

    def argument(w):
        with torch.enable_grad():
            return w.first(X()) if function is adds_history else X()

    def restore(*_):
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)

    t = Twins(make)
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(8):
                t.call(argument, outside=restore)
        assert len(seen) == 1, [str(w.message) for w in seen]
        if function is not keeps_an_iterator:
            assert f"{__file__}:{line_of(function)}" in str(seen[0].message)
        assert t.counters.replayed == 0
        assert t.counters.eager >= 4
    finally:
        restore()


LOSSES = []


def appends(x):
    y = x * 2
    LOSSES.append(y.sum())  # here
    return y


def test_a_list_appended_inside():
    check_eager(appends, "LOSSES is changed inside|kept somewhere else", args=(X(),))


# ---------------------------------------------------------------- hooks


def training():
    w = world(model=network(), seen=[])
    w.optimizer = torch.optim.SGD(w.model.parameters(), lr=0.1)

    def step(x):
        w.optimizer.zero_grad()
        loss = w.model(x).square().mean()
        loss.backward()
        w.optimizer.step()
        return loss

    w.step = step
    return w


def tensor_hook(w, k):
    w.model[0].weight.register_hook(lambda g: g * (k + 2))


def accumulate_hook(w, k):
    w.model[0].weight.register_post_accumulate_grad_hook(lambda p: p.grad.mul_(k + 2))


def backward_hook(w, k):
    w.model[2].register_full_backward_hook(lambda m, gi, go: tuple(None if g is None else g * (k + 2) for g in gi))


def step_hook(w, k):
    w.optimizer.register_step_pre_hook(lambda o, a, kw: w.seen.append(k))


@pytest.mark.parametrize("hook", [tensor_hook, accumulate_hook, backward_hook, step_hook], ids=lambda f: f.__name__)
@pytest.mark.parametrize("early", [True, False])
def test_hooks(hook, early):
    t = Twins(training)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not early:
            t.settle(X())
        try:
            t.both(lambda w: hook(w, 1))
        except (AttributeError, NotImplementedError):
            pytest.skip("there is no such hook")
        for i in range(6):
            t.call(X(seed=i))
        t.both(lambda w: hook(w, 2))
        for i in range(4):
            t.call(X(seed=i))


# ---------------------------------------------------------------- exceptions


def test_an_exception_of_the_users():
    def make():
        w = training()
        plain = w.step
        w.fail = False

        def step(x):
            loss = plain(x)
            if w.fail:
                raise KeyError("mine")
            return loss

        w.step = step
        return w

    t = Twins(make)
    t.settle(X())
    t.both(lambda w: setattr(w, "fail", True))
    for _ in range(3):
        t.call(X())
        assert t.error == ("KeyError", "'mine'")
    t.both(lambda w: setattr(w, "fail", False))
    t.replays(2, X())
    assert not torch._tensor.is_inference_mode_enabled()


def classifier(optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), zero="before"):
    def make():
        w = world(model=network(), total=torch.zeros(()))
        w.optimizer = optimizer(w.model.parameters())

        def step(x, y):
            if zero == "before":
                w.optimizer.zero_grad()
            noisy = x + torch.randn(x.shape)
            with torch.no_grad():
                w.total += 1
            loss = F.cross_entropy(w.model(noisy), y)
            loss.backward()
            w.optimizer.step()
            if zero == "after":
                w.optimizer.zero_grad()
            w.total.mul_(2)
            return loss

        w.step = step
        return w

    return make


@pytest.mark.parametrize("zero", ["before", "after", "never"])
def test_an_error_of_a_kernel_at_a_replay(zero):
    t = Twins(classifier(zero=zero))
    x, y = batch(4)
    t.settle(x, y)
    t.replays(1, x, y)
    bad = y.clone()
    bad[2] = 7
    for _ in range(2):
        recorded = t.counters.recorded
        t.call(x, bad)
        assert t.counters.recorded == recorded
        assert t.error is not None
        assert "out of bounds" in t.error[1]
        t.call(x, y)
        t.call(x, y)
        t.call(x, y)
        t.replays(1, x, y)
    assert t.counters.eager == 0


def test_an_error_while_recording():
    t = Twins(classifier())
    x, y = batch(4)
    bad = torch.full_like(y, 9)
    t.call(x, bad)
    assert t.error is not None
    t.settle(x, y)
    t.call(x, bad)
    t.settle(x, y)
    assert t.counters.eager == 0


def test_shapes_that_do_not_fit():
    t = Twins(forward)
    t.settle(X())
    t.call(batch(4, 5)[0])
    assert t.error is not None
    t.replays(1, X())


# ---------------------------------------------------------------- tensors from outside


def test_tensors_from_outside_exchanged_and_grown():
    def make():
        w = world(t=torch.ones(6))
        w.step = lambda x: x * w.t + w.t.sum()
        return w

    seen(make, lambda w, k: setattr(w, "t", torch.full((6,), 2.0 + k)))
    seen(make, lambda w, k: setattr(w, "t", torch.full((k + 1, 1, 6), 2.0 + k)))
    t = seen(make, lambda w, k: setattr(w.t, "data", torch.full((6,), 2.0 + k)))
    t.both(lambda w: w.t.fill_(9.0))
    t.replays(1, X())


def test_a_tensor_from_outside_is_freed():
    def make():
        w = world(box=[torch.ones(6)])
        w.step = lambda x: x * w.box[0]
        return w

    t = Twins(make)
    t.settle(X())

    def drop(w):
        w.box[0] = torch.full((6,), 3.0)
        gc.collect()
        w.more = [torch.full((6,), 5.0) for _ in range(50)]

    t.both(drop)
    for _ in range(4):
        t.call(X())


def test_a_dict_of_tensors():
    def make():
        w = world(d={"a": torch.ones(6)})
        w.step = lambda x: sum(x * v for v in w.d.values())
        return w

    seen(make, lambda w, k: w.d.update({str(k): torch.full((6,), 2.0 + k)}))


# ---------------------------------------------------------------- arguments


def test_numpy_arrays_among_the_arguments():
    f = compile(lambda x, a: x * torch.tensor(a) + float(a[0]))
    a = np.ones(6, "f4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(8):
            a[:] = i
            assert torch.equal(f(X(), a), X() * i + i)
        for i in range(8):
            b = np.full(6, i, "f4")
            assert torch.equal(f(X(), b), X() * i + i)


def test_arrays_that_cannot_be_replayed_are_not_kept():
    f = compile(lambda a: torch.from_numpy(a) * 2)
    seen = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for i in range(30):
            a = np.full(6, i, "f4")
            seen.append(weakref.ref(a))
            assert f(a).tolist() == [2.0 * i] * 6
    del a
    gc.collect()
    assert sum(r() is not None for r in seen) == 0
    assert len(told) == 1
    assert f.counters.recorded <= 4
    assert torch.equal(compile(lambda a: a * 2)(X()), X() * 2)


def test_iterators_among_the_arguments():
    def run(x, it):
        return x * next(it)

    f = compile(run)
    it = iter([2.0, 2.0, 3.0, 4.0, 5.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in (2.0, 2.0, 3.0, 4.0, 5.0):
            assert torch.equal(f(X(), it), X() * k)
        g = compile(lambda x, it: sum(x * k for k in it))
        for _ in range(4):
            assert torch.equal(g(X(), (k for k in (1.0, 2.0))), X() + X() * 2)


def test_objects_among_the_arguments():
    f = compile(lambda x, o: x * o.k)
    a, b = types.SimpleNamespace(k=2.0), types.SimpleNamespace(k=3.0)
    for _ in range(3):
        for o in (a, b):
            assert torch.equal(f(X(), o), X() * o.k)
    a.k = 7.0
    for _ in range(3):
        assert torch.equal(f(X(), a), X() * 7)


Batch = collections.namedtuple("Batch", "x scale")


@dataclasses.dataclass
class Sample:
    x: object
    scale: object


@pytest.mark.parametrize("kind", [Batch, Sample])
def test_tuples_with_names_and_dataclasses_among_the_arguments(kind):
    run = lambda b: (b.x * b.scale).sum()  # noqa: E731
    f = compile(run)
    for i in range(8):
        b = kind(X(seed=i), 2.0 if i < 5 else 3.0)
        assert f(b).item() == run(b).item()
    assert f.counters.replayed == 4
    for seed in range(3):  # one object, another tensor in it
        if kind is Sample:
            b.x = X(seed=seed)
        assert f(b).item() == run(b).item()
    assert f.counters.eager == 0


def turned_round(tensors):
    tensors.reverse()
    return tensors[0] * 2


def one_more(tensors):
    tensors.append(tensors[0])
    return tensors[0] * 2


def one_less(tensors):
    return tensors.pop(0) * 2


def noted(tensors):
    tensors[1]["n"] = 1
    return tensors[0] * 2


def test_results_that_are_objects_from_outside():
    model, state = network(), {"h": torch.zeros(6)}

    def step(x):
        with torch.no_grad():
            state["h"].add_(1)
        return model, model(x), state, [state]

    f = compile(step)
    for k in range(6):
        its, out, d, (again,) = f(X(seed=k))
        assert its is model
        assert torch.equal(out, model(X(seed=k)))
        assert d is state
        assert again is state
        assert state["h"].tolist() == [k + 1.0] * 6
    assert f.counters.replayed == 4


@pytest.mark.filterwarnings("ignore:.*a container that is among its arguments")
def test_results_that_are_containers_among_the_arguments():
    f = compile(lambda d: d)
    for k in range(4):
        mine = {"x": X(seed=k)}
        assert f(mine) is mine
    assert f.counters.eager >= 2


@pytest.mark.parametrize("step", [turned_round, one_more, one_less, noted], ids=lambda f: f.__name__)
def test_containers_among_the_arguments_that_are_changed_inside(step):
    f = compile(step)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for i in range(6):
            mine = [X(seed=i), {} if step is noted else X(seed=i + 1)]
            its = [mine[0], {}] if step is noted else list(mine)
            assert torch.equal(f(its), step(mine))
            assert len(mine) == len(its)
            assert all(a is b or a == b == {"n": 1} for a, b in zip(mine, its, strict=True))
    why = "a container or an attribute among the arguments is changed inside"
    assert [why in str(w.message) for w in seen] == [True]
    assert f.counters.replayed == 0


class Trainer:
    def __init__(self):
        self.scale = torch.full((6,), 2.0)
        self.losses = []

    def step(self, x):
        return (x * self.scale).sum()


class Restarting(Trainer):
    def step(self, x):
        return (x * type(self)().scale).sum()


def test_attributes_that_only_the_constructor_names():
    t = Trainer()
    f = compile(t.step)
    for i in range(8):
        t.losses.append(f(X(seed=i)).item())
    assert f.counters.replayed == 6
    t.scale = torch.full((6,), 5.0)
    assert f(X()).item() == t.step(X()).item()


def test_constructors_that_the_code_calls(monkeypatch):
    t = Restarting()
    f = compile(t.step)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(4):
            assert f(X(seed=i)).item() == t.step(X(seed=i)).item()

        def init(self):
            self.scale = torch.full((6,), 7.0)

        monkeypatch.setattr(Trainer, "__init__", init)
        assert f(X()).item() == t.step(X()).item()


def pair(step):
    def make():
        w = world(p=torch.nn.Parameter(torch.ones(4, 6)), q=torch.nn.Parameter(torch.full((4, 6), 2.0)))
        w.step = functools.partial(step, w)
        return w

    return make


def backward_of_two(w, a, b):
    (a * b * w.p).sum().backward()
    return a * 2


def changes_first(w, a, b):
    with torch.no_grad():
        a.mul_(2)
        return a + b


def changes_parameter(w, a, b):
    with torch.no_grad():
        w.p.mul_(2)
        return a + b + w.p


ARGUMENTS = {
    "two": lambda w: (X(), X(seed=1)),
    "same": lambda w: (X(),) * 2,
    "view": lambda w: (lambda x: (x, x[:]))(X()),
    "shifted": lambda w: (lambda x: (x[:4], x[1:5]))(X(5)),
    "turned": lambda w: (lambda x: (x[2:6], x[0:4]))(X(6)),
    "parameter": lambda w: (w.p, X()),
    "other parameter": lambda w: (w.q, X()),
    "both": lambda w: (w.p, w.q),
    "data": lambda w: (w.p.detach(), X()),
    "second": lambda w: (X(), w.p.data),
}


@pytest.mark.parametrize("step", [backward_of_two, changes_first, changes_parameter], ids=lambda f: f.__name__)
@pytest.mark.parametrize("first", ARGUMENTS)
def test_arguments_that_alias(step, first):
    """Recorded with one relation between the arguments, called with all others."""

    def unpacked(w, both, step=step):
        return step(w, *both)

    t = Twins(pair(unpacked))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4):
            t.call(lambda w: ARGUMENTS[first](w), keep=False)
        for other in ARGUMENTS:
            for _ in range(2):
                t.call(lambda w, other=other: ARGUMENTS[other](w), keep=False)


def test_gradients_of_aliased_leaves():
    def step(w, both):
        a, b = both
        (a * b).sum().backward()
        return a.grad, b.grad

    t = Twins(pair(step))

    def leaves(*which):
        def make(w):
            ts = [X().requires_grad_(), X(seed=1).requires_grad_()]
            return tuple(ts[i] for i in which)

        return make

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for which in ((0, 0), (0, 0), (0, 0), (0, 1), (0, 1), (0, 1), (1, 0), (0, 0), (1, 1)):
            t.call(leaves(*which))


def test_very_many_signatures():
    f = compile(lambda x, k: x * k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(1500):
            assert f(torch.ones(1), float(k)).item() == k
    assert f.counters.recorded < 1500
    for _ in range(4):
        assert f(torch.ones(2), 3.0)[0].item() == 3


# ---------------------------------------------------------------- nesting, threads, processes


def test_nested_compiled_functions():
    inner = compile(lambda x: x * SCALE)

    def outer(x):
        return inner(x) + inner(x * 2)

    f = compile(outer)
    for _ in range(3):
        assert torch.equal(inner(X()), X() * SCALE)
    for i in range(6):
        assert torch.equal(f(X(seed=i)), outer(X(seed=i)))
    assert f.counters.replayed == 4
    put("SCALE", 11.0)
    for i in range(3):
        assert torch.equal(f(X(seed=i)), X(seed=i) * 11.0 + X(seed=i) * 2 * 11.0)


def test_recursion():
    @compile
    def f(x, n):
        return x if n == 0 else f(x * 2, n - 1) + 1

    for _ in range(4):
        assert torch.equal(f(torch.ones(2), 3), torch.full((2,), 11.0))
        assert torch.equal(f(torch.ones(2), 1), torch.full((2,), 3.0))
    assert f.counters.replayed == 4


def test_compile_called_inside():
    def function(x):
        g = compile(lambda v: v * 2)
        return g(x) + 1

    f = compile(function)
    for i in range(4):
        assert torch.equal(f(X(seed=i)), X(seed=i) * 2 + 1)


def in_threads(work, n=8):
    errors = []

    def run(k):
        try:
            work(k)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(n)]
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(old)
    assert not errors, errors[:2]


def test_threads_that_share_a_function():
    model = network()
    f = compile(lambda x: model(x).square().sum(1))
    expected = [model(X(3, seed=k)).square().sum(1) for k in range(8)]

    def work(k):
        for _ in range(60):
            assert torch.equal(f(X(3, seed=k)), expected[k])

    in_threads(work)
    assert f.counters.replayed > 0


def test_threads_with_functions_of_their_own():
    def losses(k, compiled):
        g = torch.Generator().manual_seed(k)
        w = torch.nn.Parameter(torch.randn(6, 3, generator=g))
        optimizer = torch.optim.Adam([w], lr=0.1)

        def step(x):
            optimizer.zero_grad()
            loss = (x @ w + torch.randn(4, 3, generator=g)).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        f = compile(step) if compiled else step
        return [f(X(seed=i)).item() for i in range(40)]

    expected = [losses(k, False) for k in range(8)]
    found = [None] * 8

    def work(k):
        found[k] = losses(k, True)

    in_threads(work)
    assert found == expected


def test_models_are_collected_while_the_function_lives():
    @compile
    def f(model, x):
        return model(x)

    models = []
    for _ in range(40):
        model = network()
        for i in range(3):
            assert torch.equal(f(model, X(seed=i)), model(X(seed=i)))
        models.append(weakref.ref(model))
    del model


def test_a_compiled_function_that_is_dropped_frees_everything():
    def use():
        w = training()
        f = compile(w.step)
        for i in range(5):
            f(X(seed=i))
        assert f.counters.replayed == 3
        return weakref.ref(w.model)

    use()
    gc.collect()
    before = torch.memory_stats()["live_blocks"]
    refs = [use() for _ in range(5)]
    gc.collect()
    assert all(r() is None for r in refs)
    assert torch.memory_stats()["live_blocks"] <= before


def test_replays_allocate_nothing_that_stays():
    w = training()
    f = compile(w.step)
    for i in range(5):
        f(X(seed=i))
    before = torch.memory_stats(), torch.tape_stats()
    for i in range(200):
        f(X(seed=i))
    assert (torch.memory_stats()["live_blocks"], torch.tape_stats()) == (before[0]["live_blocks"], before[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_replays():
    t = Twins(training)
    t.settle(X())
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            t.replays(3, X(seed=5))
            code = 0
        finally:
            os.write(writing, bytes([code]))
            os._exit(code)
    os.waitpid(pid, 0)
    assert os.read(reading, 1) == b"\0"
    os.close(reading)
    os.close(writing)
    t.replays(2, X(seed=5))


class Empty(dict):
    """A dict that says it has no entries."""

    def __len__(self):
        return 0


def test_a_dict_that_counts_its_entries_in_its_own_way():
    table = Empty({str(i): float(i) for i in range(200)})
    f = compile(lambda x: x * table["2"])
    for _ in range(5):
        assert f(X()).tolist() == (X() * 2).tolist()
    assert f.counters.replayed == 3
    table["2"] = 3.0
    assert f(X()).tolist() == (X() * 3).tolist()
    assert f.counters.replayed == 3


def test_what_dies_while_a_snapshot_takes_what_is_there():
    table = {}

    class Last:
        def __del__(self):
            table.update({i: i for i in range(100)})

    table.update(x=Last(), y=1)
    snapshot = Snapshot([table])
    table["x"] = 2
    assert snapshot.first_difference() == 0
    snapshot.accept(0)
    assert snapshot.was(0) == [("x", 2), ("y", 1)]
    assert len(table) == 102
    assert snapshot.first_difference() == 0
    with pytest.raises(ValueError, match="another size"):
        snapshot.accept(0)
