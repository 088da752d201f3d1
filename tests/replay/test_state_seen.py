"""What a call depends on beside its arguments' numbers: options that code reads, shapes, attributes, shared memory."""

from __future__ import annotations

import functools
import gc
import types
import warnings
import weakref

import numpy as np
import pytest
import tapegrad as torch

W = torch.ones(2, requires_grad=True)
SWITCH = types.SimpleNamespace()
BOX = {1.0}


def recorded(f, *args, calls=4):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(calls):
            f(*args)
    return f


# ---------------------------------------------------------------- options of optimizers


def test_an_option_that_code_reads_is_no_cell():
    def run(compile):
        w = torch.ones(2, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.1)

        @compile
        def step(x):
            optimizer.zero_grad()
            (w * x).sum().backward()
            group = optimizer.param_groups[0]
            with torch.no_grad():
                w.mul_(1 - group["lr"] * 0.5)
            optimizer.step()
            return group["lr"]

        seen = []
        for i in range(9):
            if i % 4 == 3:
                optimizer.param_groups[0]["lr"] *= 0.1
            seen.append((step(torch.ones(2)), w.tolist()))
        return seen

    assert run(torch.compile) == run(lambda f: f)


@pytest.mark.parametrize("bad", [{"betas": ("a", 0.9)}, {"betas": (0.9,)}, {"lr": (1, 2)}, {"eps": None}])
def test_invalid_options_raise_what_eager_code_raises(bad):
    def run(compile):
        w = torch.ones(2, requires_grad=True)
        optimizer = torch.optim.Adam([w], lr=0.1)

        @compile
        def step():
            optimizer.zero_grad()
            (w * w).sum().backward()
            optimizer.step()

        for _ in range(5):
            step()
        good = dict(optimizer.param_groups[0])
        optimizer.param_groups[0].update(bad)
        seen = []
        for _ in range(2):
            with pytest.raises(Exception) as caught:  # noqa: PT011
                step()
            seen.append((caught.type, str(caught.value), w.tolist(), w.grad.tolist()))
        optimizer.param_groups[0].update(good)
        step()
        return [*seen, w.tolist()]

    assert run(torch.compile) == run(lambda f: f)


# ---------------------------------------------------------------- tensors that are only looked at


@pytest.mark.parametrize(
    ("look", "change"),
    [
        (lambda: W.requires_grad, lambda: torch.ones(2)),
        (lambda: W.shape[0], lambda: torch.ones(3, requires_grad=True)),
        (lambda: W.numel(), lambda: torch.ones(4, requires_grad=True)),
        (lambda: W.dtype == torch.float32, lambda: torch.ones(2, dtype=torch.float64, requires_grad=True)),
        (lambda: len(W), lambda: torch.ones(5, requires_grad=True)),
    ],
)
def test_looking_at_a_tensor(look, change, monkeypatch):
    f = recorded(torch.compile(lambda x: x * (look() + 1)), torch.ones(1))
    assert f.counters.replayed == 2
    monkeypatch.setitem(globals(), "W", change())
    assert f(torch.ones(1)).item() == look() + 1
    w = torch.ones(2, requires_grad=True)
    g = recorded(torch.compile(lambda x: x * (2 if w.requires_grad else 3)), torch.ones(1))
    w.requires_grad_(False)
    assert g(torch.ones(1)).item() == 3


# ---------------------------------------------------------------- attributes


@pytest.mark.parametrize(
    "read",
    [
        lambda: getattr(SWITCH, "late", 1.0),
        lambda: 7.0 if hasattr(SWITCH, "late") else 1.0,
        lambda: len(vars(SWITCH)) + 1.0,
    ],
)
def test_attributes_that_come_later(read, monkeypatch):
    monkeypatch.setitem(globals(), "SWITCH", types.SimpleNamespace())
    f = recorded(torch.compile(lambda x: x * read()), torch.ones(1))
    SWITCH.late = 7.0
    assert f(torch.ones(1)).item() == read() != 1.0


def test_an_attribute_that_the_code_sets():
    s = types.SimpleNamespace()

    def step(x):
        s.n = x.shape[0]
        return x * 2

    f = torch.compile(step)
    for n in (4, 4, 4, 4, 5, 4, 5, 5, 4):
        recorded(f, torch.ones(n), calls=1)
        assert s.n == n


def test_sets_of_numbers(monkeypatch):
    monkeypatch.setitem(globals(), "BOX", {1.5})
    f = recorded(torch.compile(lambda x: x * sum(BOX)), torch.ones(1))
    BOX.clear()
    BOX.add(2.0 + len(BOX) / 2)
    assert f(torch.ones(1)).item() == 2.0


# ---------------------------------------------------------------- memory


def test_a_gradient_that_is_part_of_a_buffer():
    w = torch.ones(3, requires_grad=True)
    flat = torch.zeros(1 << 12)
    w.grad = flat[:3]

    def f(x):
        flat.zero_()
        return x + w.grad.sum()

    g = recorded(torch.compile(f), torch.ones(3))
    w.grad = torch.full((3,), 9.0)
    assert g(torch.ones(3)).tolist() == [28.0] * 3
    assert w.grad.tolist() == [9.0] * 3


def test_gradients_that_are_one_tensor_for_a_while():
    a, b = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    a.grad = b.grad = torch.ones(1)
    g = recorded(torch.compile(lambda x: x * a.grad + 10 * b.grad), torch.ones(1))
    b.grad = torch.full((1,), 5.0)
    assert g(torch.ones(1)).item() == 51.0


def test_read_only_memory_under_check():
    data = np.arange(6, dtype=np.float32)
    data.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.from_numpy(data)
    f = torch.compile(lambda x: x.sum(), check=True)
    for _ in range(4):
        assert f(x).item() == 15.0
    assert "sum" in str(f.table(x))


@pytest.mark.parametrize("n", [250, 700])
def test_long_chains(n):
    def f(x):
        for _ in range(n):
            x = x + 1.0
        return x

    g = torch.compile(f)
    for _ in range(4):
        assert g(torch.ones(2)).tolist() == [n + 1.0] * 2
    assert g.counters.replayed == 2


def test_casts_that_overflow_are_as_in_eager_code():
    x, y = torch.full((70000,), 3e9), torch.full((70000,), 2.5)

    def f(x, y):
        return (y > x.to(torch.int32)).float() * 2

    g = torch.compile(f)
    for _ in range(4):
        assert torch.equal(g(x, y), f(x, y))


# ---------------------------------------------------------------- results


def test_views_that_are_returned_and_compared():
    x = torch.ones(4, requires_grad=True)

    def f(x):
        v = x.reshape(-1, 1)
        return v, v > 0

    g = torch.compile(f)
    for _ in range(4):
        v, positive = g(x)
        assert v._base is x
        assert positive.all()
    assert g.counters.replayed == 2


def test_a_view_of_what_is_changed_afterwards():
    def f(x):
        y = x + 1
        v = y[1:]
        y.mul_(2)
        return v

    x = torch.ones(3, 2, requires_grad=True)
    g = recorded(torch.compile(f), x)
    assert torch.equal(g(x), f(x))


# ---------------------------------------------------------------- objects


class Liar(bytearray):
    __class__ = property(lambda self: list)


class Broken(list):
    def __iter__(self):
        raise ValueError("not now")


@pytest.mark.parametrize("made", [lambda: Liar(b"\x02"), lambda: Broken([2.0])])
def test_objects_that_are_not_what_they_say(made):
    o = made()
    f = recorded(torch.compile(lambda x: x * o[0]), torch.ones(1))
    assert f(torch.ones(1)).item() == 2.0


def test_a_list_in_itself():
    endless = [torch.ones(1)]
    endless.append(endless)
    f = recorded(torch.compile(lambda xs: xs[0] * 2), endless)
    assert f(endless).item() == 2.0
    assert f.counters.replayed == 0


def test_weak_proxies():
    w = torch.full((1,), 3.0)
    p = weakref.proxy(w)
    f = recorded(torch.compile(lambda x: x * p.sum()), torch.ones(1))
    w.fill_(4.0)
    assert f(torch.ones(1)).item() == 4.0


def test_models_among_the_arguments_do_not_stay():
    @torch.compile
    def evaluate(model, x):
        return model(x)

    models = []
    for _ in range(100):
        model = torch.nn.Linear(3, 3)
        for _ in range(4):
            evaluate(model, torch.ones(1, 3))
        models.append(weakref.ref(model))
        del model
    gc.collect()
    assert sum(m() is not None for m in models) <= 34
    assert evaluate.counters.eager == 0
    live = [torch.nn.Linear(3, 3) for _ in range(80)]
    for _ in range(12):
        for model in live:
            evaluate(model, torch.ones(1, 3))
    before = evaluate.counters.replayed
    for model in live:
        evaluate(model, torch.ones(1, 3))
    assert evaluate.counters.replayed == before + 80


def test_many_models_in_turn_are_recorded_as_long_as_they_are_replayed():
    state = types.SimpleNamespace()

    @torch.compile
    def step(x):
        return state.model(x)

    for _ in range(50):
        state.model = torch.nn.Linear(3, 1)
        for _ in range(60):
            step(torch.ones(2, 3))
    assert step.counters.eager == 0, step.counters
    assert step.counters.replayed == 50 * 58


class Settings(dict):
    scale = 2.0

    def scaled(self, x):
        return x * self.scale


def test_methods_and_attributes_of_dictionaries(monkeypatch):
    settings = Settings(a=1)
    settings.offset = 1.0
    f = recorded(torch.compile(lambda x: settings.scaled(x) + settings.offset), torch.ones(1))
    settings.offset = 2.0
    assert f(torch.ones(1)).item() == 4.0
    monkeypatch.setattr(Settings, "scale", 5.0)
    assert f(torch.ones(1)).item() == 7.0


def test_caches_that_are_cleared():
    made = []

    @functools.lru_cache
    def noise(n):
        made.append(n)
        return torch.full((n,), float(len(made)))

    f = recorded(torch.compile(lambda x: x + noise(3)), torch.zeros(3), calls=6)
    assert f.counters.replayed >= 1
    noise.cache_clear()
    assert f(torch.zeros(3)).tolist() == noise(3).tolist()


def test_memory_that_numpy_shares_out():
    data = np.arange(8, dtype=np.float32)
    f = torch.compile(lambda x, y: x[3:].sum() * 100 + y.sum())
    recorded(f, torch.from_numpy(data), torch.from_numpy(data[2:]))
    assert f(torch.arange(8.0), torch.ones(6)).item() == 2506.0


def test_signs_of_zeros_in_arguments():
    f = torch.compile(lambda x, d, z: 1 / (x * next(iter(d))) + z.imag)
    for key in (0.0, -0.0, 0.0):
        for z in (0j, complex(0.0, -0.0)):
            for _ in range(3):
                assert str(f(torch.ones(1), {key: 1}, z).item()) == str((1 / (torch.ones(1) * key) + z.imag).item())


def test_attributes_of_tensors():
    for w in (torch.ones(1), torch.nn.Parameter(torch.ones(1))):
        w.scale, w.mask = 2.0, torch.ones(1)
        f = recorded(torch.compile(lambda x, w=w: x * w.detach() * w.scale * w.mask), torch.ones(1))
        assert f.counters.replayed == 2
        w.scale, w.mask = 3.0, torch.full((1,), 5.0)
        assert f(torch.ones(1)).item() == 15.0


def test_looking_at_a_tensor_where_an_argument_is_reached_in_another_way_too():
    w = torch.ones(1, requires_grad=True)
    data = [torch.ones(2)]

    def f(x):
        x.add_(1)
        return x * (2 if w.requires_grad else 3) + data[0]

    g = recorded(torch.compile(f), data[0])
    assert g.counters.replayed == 2
    w.requires_grad_(False)
    data[0].fill_(1)
    assert g(data[0]).tolist() == [8.0, 8.0]
