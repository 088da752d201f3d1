"""An error that a kernel raises in a replay, where the function itself does something about it: as eager code."""

from __future__ import annotations

import contextlib
import re
import warnings

import pytest
import tapegrad as torch
from _twins import Twins, world
from tapegrad.replay.handlers import spans_of


def index(k):
    return torch.tensor([k])


def make(step, **things):
    def build():
        w = world(table=torch.arange(5.0), w=torch.ones(3, requires_grad=True), log=torch.zeros(1), **things)
        w.step = lambda *given: step(w, *given)
        return w

    return build


def around(twins, good, bad):
    """Four good calls, of which two are replayed; a bad one, eager; and good ones again, replayed."""
    for _ in range(4):
        twins.call(*good)
    assert twins.counters.replayed == 2, twins.counters
    twins.call(*bad)
    assert twins.counters.eager == 1, twins.counters
    assert twins.counters.reasons["an error was handled inside"] == 1
    twins.call(*good)
    twins.call(*bad)
    twins.call(*good)
    assert twins.counters.replayed == 4, twins.counters
    assert twins.counters.recorded == 2, twins.counters
    return twins


def caught(w, at):
    try:
        return w.table[at] * 2
    except IndexError:
        return w.table * 0


def finished(w, at):
    found = torch.zeros(1)
    try:
        found = w.table[at] * 2
    finally:
        with torch.no_grad():
            w.log.add_(1)
    return found


def suppressed(w, at):
    found = torch.zeros(1)
    with contextlib.suppress(IndexError):
        found = w.table[at] * 2
    return found


def exchanged(w, at):
    try:
        return w.table[at] * 2
    except IndexError as error:
        raise KeyError("no such row") from error


def below(w, at):
    def look():
        with torch.no_grad():
            return w.table[at]

    try:
        return look() * 2
    except IndexError:
        return w.table * 0


def in_a_generator(w, at):
    def rows():
        try:
            yield w.table[at]
        except IndexError:
            yield w.table * 0

    return sum(r.sum() for r in rows())


def as_a_sequence(w, at):
    class Rows:
        def __getitem__(self, i):
            return w.table[at + i]

    return sum(r.sum() for r in Rows())  # the end is an IndexError


@pytest.mark.parametrize("step", [caught, finished, suppressed, exchanged, below, in_a_generator])
def test_the_handler_runs(step):
    around(Twins(make(step)), [index(1)], [index(9)])


def test_the_end_of_a_sequence_is_an_error_too():
    twins = Twins(make(as_a_sequence))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in (1, 1, 1, 3, 1, 3, 2):
            twins.call(index(k))


@pytest.mark.parametrize("kept", [False, True], ids=["new gradients", "gradients added to"])
def test_a_batch_that_is_skipped(kept):
    def build():
        w = world(w=torch.nn.Parameter(torch.ones(3)))
        w.optimizer = torch.optim.Adam([w.w], lr=0.1)

        def step(x):
            w.optimizer.zero_grad(set_to_none=not kept)
            (w.w * x).sum().backward()
            try:
                torch.nn.utils.clip_grad_norm_([w.w], 1.0, error_if_nonfinite=True)
            except RuntimeError:
                w.optimizer.zero_grad(set_to_none=not kept)
                return "skipped"
            w.optimizer.step()
            return w.w.sum()

        w.step = step
        return w

    twins = Twins(build)
    for _ in range(6):
        twins.call(torch.ones(3))
    replayed = twins.counters.replayed
    assert replayed >= 2
    assert twins.call(torch.full((3,), float("nan"))) == "skipped"
    twins.call(torch.ones(3))
    twins.call(torch.ones(3))
    assert twins.counters.replayed == replayed + 2
    assert twins.counters.eager == 1


def test_what_was_changed_before_is_put_back_before_the_handler_sees_it():
    def step(w, x, at):
        with torch.no_grad():
            w.log.add_(1)
            x.mul_(2)
        w.w.grad = None
        (w.w * torch.rand(3)).sum().backward()
        try:
            found = w.table[at] * 2
        except IndexError:
            found = torch.rand(1) + w.log
        with torch.no_grad():
            w.log.mul_(2)
        return found

    around(Twins(make(step)), [torch.ones(2), index(1)], [torch.ones(2), index(9)])


def test_a_gradient_that_was_added_to_is_put_back():
    def step(w, at):
        (w.w * 2).sum().backward()
        try:
            return w.table[at] * 2
        except IndexError:
            return w.w.grad.clone()

    twins = Twins(make(step))
    twins.call(index(1))
    around_more = [twins.call(index(1)) for _ in range(3)]
    assert len(around_more) == 3
    assert twins.counters.replayed >= 1
    twins.call(index(9))
    twins.call(index(1))
    assert twins.counters.eager == 1


@pytest.mark.parametrize("inside", [False, True])
def test_weights_that_are_swapped_in_for_a_while(inside):
    def build():
        torch.manual_seed(0)
        w = world(model=torch.nn.Linear(3, 3))
        w.mean = [torch.zeros_like(p) for p in w.model.parameters()]

        @contextlib.contextmanager
        def averaged():
            kept = [p.detach().clone() for p in w.model.parameters()]
            with torch.no_grad():
                for p, e in zip(w.model.parameters(), w.mean, strict=True):
                    p.copy_(e)
            try:
                yield
            finally:
                with torch.no_grad():
                    for p, k in zip(w.model.parameters(), kept, strict=True):
                        p.copy_(k)

        def evaluate(x, y):
            w.model.eval()
            try:
                with averaged(), torch.no_grad():
                    return torch.nn.functional.cross_entropy(w.model(x), y)
            finally:
                w.model.train()

        def outer(x, y):
            try:
                return evaluate_compiled(x, y)
            except IndexError:
                return x.sum()

        evaluate_compiled = torch.compile(evaluate)
        w.step = outer if inside else evaluate
        return w

    x = torch.ones(2, 3)
    around(Twins(build), [x, torch.tensor([0, 1])], [x, torch.tensor([0, 9])])


def test_other_lines_of_the_function_fail_as_before():
    """An error that nothing handles leaves what the lines before it did."""

    def step(w, at, other):
        with torch.no_grad():
            w.log.add_(1)
        try:
            found = w.table[at]
        except IndexError:
            found = w.table
        with torch.no_grad():
            w.log.add_(1)
        return found, w.table[other]

    twins = Twins(make(step))
    for _ in range(4):
        twins.call(index(1), index(2))
    twins.call(index(1), index(9))
    assert twins.error[0] == "IndexError"
    assert twins.counters.eager == 0
    twins.call(index(9), index(1))
    assert twins.counters.eager == 1


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.enable_grad, torch.inference_mode, lambda: torch.set_grad_enabled(False)]
)
def test_gradient_modes_need_no_second_run(context):
    def step(w, at):
        with context():
            return w.table[at] * 2

    twins = Twins(make(step))
    for _ in range(4):
        twins.call(index(1))
    twins.call(index(9))
    assert twins.error[0] == "IndexError"
    assert twins.counters.eager == 0
    twins.call(index(1))
    assert twins.counters.replayed == 3


@pytest.mark.parametrize("first", [0, 1])
def test_an_error_while_it_is_recorded(first):
    """What the handler did is not what the next call does."""
    twins = Twins(make(caught))
    for k in [1] * first + [9, 9, 9, 1, 1, 1, 9, 1, 9, 9]:
        twins.call(index(k))
    assert twins.counters.replayed >= 2, twins.counters


def test_errors_at_most_calls_leave_it_eager_with_a_warning():
    w = make(caught)()
    f = torch.compile(w.step)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(8):
            assert f(index(9)).tolist() == [0.0] * 5
    assert len(found) == 1
    assert re.search("handles the error of a line.*test_errors_handled_inside", str(found[0].message))
    assert f(index(1)).tolist() == [2.0]


def test_a_checked_function():
    around(Twins(make(caught), check=True), [index(1)], [index(9)])


def test_the_memory_to_put_things_back_is_told():
    def step(w, at, big):
        with torch.no_grad():
            big.add_(1)
        return caught(w, at)

    w = make(step)()
    f, g = torch.compile(w.step), torch.compile(lambda at, big: (big.add_(1), w.table[at] * 2)[1])
    big = torch.zeros(100_000)
    for _ in range(3):
        f(index(1), big), g(index(1), big)
    assert f.memory(index(1), big).peak - g.memory(index(1), big).peak == 400_000
    assert "keep" in str(f.table(index(1), big))


def test_spans_of_a_handler():
    """Against the interpreter's own table, as `dis` reads it."""
    dis = pytest.importorskip("dis")
    for function in (caught, finished, suppressed, exchanged, below, around, make):
        expected = [(e.start, e.end, e.target) for e in dis._parse_exception_table(function.__code__)]
        assert spans_of(function.__code__) == expected


def test_what_an_exit_does_about_the_error():
    class Noted:
        def __enter__(self):
            return self

        def __exit__(self, kind, *_):
            if kind is not None:
                self.seen.append(kind.__name__)

    def step(w, at):
        noted = Noted()
        noted.seen = w.seen
        with noted:
            return w.table[at] * 2

    twins = Twins(make(step, seen=[]))
    for _ in range(4):
        twins.call(index(1))
    twins.both(lambda w: setattr(w, "seen", []))
    for k in (1, 1, 9):
        twins.call(index(k))
    assert twins.compiled.seen == ["IndexError"]
    assert twins.counters.eager == 1
