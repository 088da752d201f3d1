"""State behind objects that no name in the code tells of, and what leaves no trace: seen, or refused with a reason."""

from __future__ import annotations

import abc
import argparse
import array
import builtins
import calendar
import collections
import concurrent.futures
import configparser
import ctypes
import functools
import logging
import operator
import queue
import random
import string
import sys
import threading
import types
import warnings
import weakref

import numpy as np
import pytest
import tapegrad as torch

NAME = ["sca", "le"]
K = [2.0]


def use(k):
    return lambda x: x * k()


def event():
    e = threading.Event()
    return use(lambda: 2 if e.is_set() else 3), e.set


def queued():
    q = queue.Queue()
    return use(q.qsize), lambda: q.put(1)


def c_number():
    c = ctypes.c_double(2.0)
    return use(lambda: c.value), lambda: setattr(c, "value", 3.0)


def weak_values():
    one, two = threading.Event(), threading.Event()
    w = weakref.WeakValueDictionary(a=one)
    return use(lambda: len(w) + len((one, two))), lambda: w.update(b=two)


def method_of_a_list():
    values = [1, 2]
    count = values.__len__
    return use(lambda: count()), lambda: values.append(1)


def attribute_of_a_partial():
    p = functools.partial(abs)
    p.k = 2.0
    return use(lambda: p.k), lambda: setattr(p, "k", 3.0)


class Scaled:
    scale = 2.0

    def times(self, k, x):
        return x * k * K[0]

    twice = functools.partialmethod(times, 2.0)


def partial_method():
    o = Scaled()
    return o.twice, lambda: K.__setitem__(0, K[0] + 1)


def order():
    d = collections.OrderedDict(a=1.0, b=2.0)
    return use(lambda: functools.reduce(lambda s, v: s * 2 + v, d.values(), 0.0)), lambda: d.move_to_end("a")


def default():
    d = collections.defaultdict(lambda: 2.0)

    def f(x):
        v = d["q"]
        del d["q"]
        return x * v

    return f, lambda: setattr(d, "default_factory", lambda: 3.0)


def array_of_objects():
    a = np.array([2.0, None], dtype=object)
    return use(lambda: a[0]), lambda: a.__setitem__(0, 3.0)


def dtype_of_an_array():
    a = np.ones(1, np.int32)
    return use(lambda: float(a[0])), lambda: setattr(a, "dtype", np.float32)


def attribute_of_an_array():
    a = np.ones(1).view(type("Named", (np.ndarray,), {}))
    a.k = 2.0
    return use(lambda: a.k), lambda: setattr(a, "k", 3.0)


def typecode():
    a = array.array("d", [2.0])
    return use(lambda: a[0]), lambda: a.__setitem__(0, 3.0)


def keys_of_a_proxy():
    d = {2.0: 0}
    shown = types.MappingProxyType(d)
    return use(lambda: sum(shown)), lambda: d.update({1.0: 0})


def shown_keys():
    d = {2.0: 0}
    keys = d.keys()
    return use(lambda: sum(keys)), lambda: d.update({1.0: 0})


def of_a_class():
    class C:
        pass

    return (lambda x: x * getattr(C, "scale", 1.0)), lambda: setattr(C, "scale", 7.0)


def of_a_function():
    def fn():
        pass

    return (lambda x: x * getattr(fn, "scale", 1.0)), lambda: setattr(fn, "scale", 7.0)


def of_a_module():
    m = types.ModuleType("of_the_user")
    return (lambda x: x * getattr(m, "scale", 1.0)), lambda: setattr(m, "scale", 7.0)


def by_another_name():
    o, get = Scaled(), builtins.getattr
    return use(lambda: get(o, "".join(NAME))), lambda: setattr(o, "scale", 3.0)


def matched():
    class C:
        __match_args__ = ("k",)
        k = 2.0

    c = C()

    def f(x):
        match c:
            case C(v):
                return x * v

    return f, lambda: setattr(c, "k", 3.0)


def formatted():
    o = Scaled()
    return use(lambda: len("{0.scale}".format(o))), lambda: setattr(o, "scale", 3.25)  # noqa: UP030, UP032


def operator_that_is_an_object():
    class Call:
        k = 2.0

        def __call__(self):
            return self.k

    class C:
        __neg__ = Call()

    c = C()
    return use(lambda: -c), lambda: setattr(Call, "k", 3.0)


def call_of_a_module():
    class Net(torch.nn.Module):
        def forward(self, x):
            return x * 2

    net = Net()
    return (lambda x: net(x)), lambda: setattr(Net, "__call__", lambda self, x: x * 9)


def parsed():
    c = configparser.ConfigParser()
    c["train"] = {"scale": "2.0"}
    return use(lambda: c.getfloat("train", "scale")), lambda: c.set("train", "scale", "3.0")


def section():
    c = configparser.ConfigParser()
    c["train"] = {"scale": "2.0"}
    return use(lambda: float(c["train"]["scale"])), lambda: c["train"].update(scale="3.0")


def text_of_a_template():
    t = string.Template("2.$a")
    return use(lambda: float(t.substitute(a=5))), lambda: setattr(t, "template", "3.$a")


def first_day():
    c = calendar.Calendar()
    return use(lambda: next(iter(c.iterweekdays()))), lambda: c.setfirstweekday(3)


def level():
    log = logging.getLogger("tapegrad.tests.level")
    log.setLevel(logging.WARNING)
    return use(lambda: 2 if log.isEnabledFor(logging.DEBUG) else 3), lambda: log.setLevel(logging.DEBUG)


def level_above():
    above, log = logging.getLogger("tapegrad.tests.above"), logging.getLogger("tapegrad.tests.above.it")
    above.setLevel(logging.WARNING)
    return use(lambda: 2 if log.isEnabledFor(logging.DEBUG) else 3), lambda: above.setLevel(logging.DEBUG)


def level_of_an_adapter():
    log = logging.getLogger("tapegrad.tests.adapter")
    log.setLevel(logging.WARNING)
    adapter = logging.LoggerAdapter(log, {})
    return use(lambda: 2 if adapter.isEnabledFor(logging.DEBUG) else 3), lambda: log.setLevel(logging.DEBUG)


def equal_namespaces():
    a, b = types.SimpleNamespace(k=1), types.SimpleNamespace(k=1)
    return use(lambda: 2 if a == b else 3), lambda: setattr(b, "k", 2)


def equal_options():
    a, b = argparse.Namespace(k=[1]), argparse.Namespace(k=[1])
    return use(lambda: 2 if a != b else 3), lambda: b.k.append(2)


def namespace_found_later():
    class Holder:
        c = types.SimpleNamespace(k=1)

    a, b, o = types.SimpleNamespace(k=1), types.SimpleNamespace(k=1), Holder()
    return use(lambda: 2 if a == b and o.c == a else 3), lambda: setattr(Holder.c, "k", 2)


def namespace_in_a_list():
    a, held = types.SimpleNamespace(k=1), [types.SimpleNamespace(k=1)]
    return use(lambda: 2 if a in held else 3), lambda: setattr(a, "k", 2)


def arguments_of_an_exception():
    e = ValueError(2.0)
    return use(lambda: e.args[0]), lambda: setattr(e, "args", (3.0,))


def contained_by_a_function():
    a, held = types.SimpleNamespace(k=1), [types.SimpleNamespace(k=1)]
    return use(lambda: 2 if operator.contains(held, a) else 3), lambda: setattr(a, "k", 2)


def an_abstract_class():
    class A(abc.ABC):  # noqa: B024
        pass

    class C:
        pass

    return A, C


def registered():
    A, C = an_abstract_class()
    c = C()
    return use(lambda: 2 if isinstance(c, A) else 3), lambda: A.register(C)


def registered_for_a_pattern():
    A, C = an_abstract_class()
    c = C()

    def f(x):
        match c:
            case A():
                return x * 2
        return x * 3

    return f, lambda: A.register(C)


SEEN = [
    parsed, section, text_of_a_template, first_day, level, level_above, level_of_an_adapter, equal_namespaces,
    equal_options, namespace_found_later, namespace_in_a_list, contained_by_a_function, arguments_of_an_exception,
    registered, registered_for_a_pattern, call_of_a_module,
    event, queued, c_number, weak_values, method_of_a_list, attribute_of_a_partial, partial_method, order, default,
    array_of_objects, dtype_of_an_array, attribute_of_an_array, typecode, keys_of_a_proxy, shown_keys, of_a_class,
    of_a_function, of_a_module, by_another_name, matched, formatted, operator_that_is_an_object,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Setting the dtype:DeprecationWarning")
@pytest.mark.parametrize("case", SEEN, ids=lambda c: c.__name__)
def test_is_seen(case):
    f, change = case()
    compiled = torch.compile(f, fullgraph=True)
    x = torch.ones(1)
    for _ in range(4):
        assert compiled(x).item() == f(x).item()
    assert compiled.counters.replayed == 2
    change()
    assert compiled(x).item() == f(x).item()


# ---------------------------------------------------------------- refused


def seeds(x):
    random.seed(0)
    return x * 1


def seeds_of_numpy(x):
    np.random.seed(0)
    return x * 1


def starts_a_thread(x):
    t = threading.Thread(target=lambda: x.add_(1))
    t.start()
    t.join()
    return x * 1


POOL = concurrent.futures.ThreadPoolExecutor(1)


def submits(x):
    return POOL.submit(lambda: x * 2).result()


def looks_at_frames(x):
    return x * sys._getframe().f_globals["K"][0]


def reads_a_version(x):
    return x * x._version


def reads_an_offset(x):
    return x * x.storage_offset()


def reads_a_base(x):
    return x if x._base is None else x._base * 2


def names_a_node(x):
    return x * (2 if x.grad_fn is not None and "Mul" in x.grad_fn.name() else 3)


def reads_a_seed(x):
    return x * (torch.initial_seed() % 5)


def returns_one_list_twice(x):
    made = [x * 2]
    return made, made


def uses_an_attribute(x):
    return x * x.scale


REFUSED = {
    seeds: "Python's or NumPy's random numbers are seeded inside",
    seeds_of_numpy: "Python's or NumPy's random numbers are seeded inside",
    starts_a_thread: "threads are started inside",
    submits: "runs in other threads",
    looks_at_frames: "what _getframe gives cannot be known",
    reads_a_version: "how often it was changed, is read by Python",
    reads_an_offset: "where a tensor lies",
    reads_a_base: "where a tensor lies",
    names_a_node: "the graph behind a tensor from outside is read by Python",
    reads_a_seed: "the state of a random generator is read",
    returns_one_list_twice: "one container in two places",
    uses_an_attribute: "the attribute scale of an argument is used",
}


def given():
    x = torch.ones(2, requires_grad=True) * 2
    x.scale = 3.0
    return x


@pytest.mark.parametrize("f", REFUSED, ids=lambda f: f.__name__)
def test_is_refused(f):
    torch.manual_seed(0)
    compiled = torch.compile(f)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(4):
            found, expected = compiled(given()), f(given())
    assert len(seen) == 1
    assert REFUSED[f] in str(seen[0].message)
    assert compiled.counters.replayed == 0
    assert str(found) == str(expected)


def test_loggers_and_namespaces_that_count_do_not_hinder():
    """What a logger notes for itself, and attributes that code does not name, are no difference."""
    log = logging.getLogger("tapegrad.tests.notes")
    state = types.SimpleNamespace(scale=2.0, calls=0)

    @torch.compile(fullgraph=True)
    def f(x):
        if log.isEnabledFor(logging.DEBUG) or state.scale == 0.0:
            return x
        return x * state.scale

    for _ in range(6):
        assert f(torch.ones(2)).tolist() == [2.0, 2.0]
        state.calls += 1
        logging.getLogger(f"tapegrad.tests.notes.{state.calls}").setLevel(logging.DEBUG)
    assert f.counters.replayed == 4


def test_code_that_only_names_a_thread_of_its_own_is_not_refused():
    class Thread:
        k = 2.0

    f = torch.compile(lambda x: x * Thread.k, fullgraph=True)
    for _ in range(4):
        f(torch.ones(2))
    assert f.counters.replayed == 2


seed = 3.0


def test_a_number_that_is_called_seed_is_none():
    f = torch.compile(lambda x: x * seed * np.pi, fullgraph=True)
    for _ in range(4):
        f(torch.ones(2))
    assert f.counters.replayed == 2


# ---------------------------------------------------------------- attributes of arguments


class Number(int):
    pass


class Pair(collections.namedtuple("Pair", "t")):
    pass


def with_scale(made, k):
    made.scale = k
    return made


@pytest.mark.parametrize("make", [lambda: Number(1), lambda: Pair(1.0)], ids=["number", "named tuple"])
def test_attributes_of_plain_arguments(make):
    f = torch.compile(lambda x, o: x * o.scale)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = with_scale(make(), 2.0)
        for _ in range(4):
            f(torch.ones(1), one)
        assert f.counters.replayed == 2
        assert f(torch.ones(1), with_scale(make(), 3.0)).item() == 3.0
        one.scale = 4.0
        assert f(torch.ones(1), one).item() == 4.0


def test_an_argument_with_an_attribute_that_nobody_asks_for_replays():
    f = torch.compile(lambda x: x * 2, fullgraph=True)
    for k in range(6):
        f(with_scale(torch.ones(2), k))
    assert f.counters.replayed == 4


def test_an_attribute_set_on_an_argument_is_there():
    def f(x):
        x.seen = True
        return x * 2

    compiled = torch.compile(f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4):
            x = torch.ones(2)
            compiled(x)
            assert x.seen


def test_an_attribute_that_comes_later():
    f = torch.compile(lambda x: x * getattr(x, "scale", 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4):
            f(torch.ones(1))
        assert f.counters.replayed == 2
        assert f(with_scale(torch.ones(1), 3.0)).item() == 3.0
        assert f(torch.ones(1)).item() == 1.0


def test_modules_that_come_and_go(monkeypatch):
    one, two = types.ModuleType("module_of_mine"), types.ModuleType("module_of_mine")
    one.k, two.k = 2.0, 5.0

    def step(x):
        try:
            import module_of_mine
        except ImportError:
            return x
        return x * module_of_mine.k

    f = torch.compile(step)
    for module in (None, one, two):
        if module is not None:
            monkeypatch.setitem(sys.modules, "module_of_mine", module)
        for _ in range(4):
            assert f(torch.ones(1)).item() == getattr(module, "k", 1.0)
    assert f.counters.replayed == 6
