"""What `functools.cache` and `lru_cache` hold: seen when it is thrown away, and when it is what it was."""

from __future__ import annotations

import functools

import pytest
import tapegrad as torch
from _twins import Twins, world

eager_is_allowed = pytest.mark.filterwarnings("ignore:.*runs eagerly")
CACHES = [functools.cache, functools.lru_cache(maxsize=1), functools.lru_cache(maxsize=8)]


def both(run):
    assert run(torch.compile) == run(lambda f: f)


@eager_is_allowed
@pytest.mark.parametrize("cached", CACHES, ids=["cache", "one", "some"])
@pytest.mark.parametrize("kind", ["tensor", "number"])
def test_a_table_that_is_made_again(cached, kind):
    def run(wrap):
        torch.manual_seed(0)

        @cached
        def table(n):
            return torch.rand(n) if kind == "tensor" else torch.rand(1).item()

        table(3)
        f = wrap(lambda x: x * table(3))
        found = [f(torch.ones(3)).tolist() for _ in range(5)]
        for _ in range(2):
            table.cache_clear()
            table(3)
            found += [f(torch.ones(3)).tolist() for _ in range(4)]
        return found

    both(run)


@eager_is_allowed
def test_an_entry_that_gives_way_and_comes_back():
    def run(wrap):
        torch.manual_seed(0)

        @functools.lru_cache(maxsize=1)
        def table(n):
            return torch.rand(1).item() * n

        table(3)
        f = wrap(lambda x: x * table(3))
        found = [f(torch.ones(1)).item() for _ in range(5)]
        table(4), table(3)
        return found + [f(torch.ones(1)).item() for _ in range(2)]

    both(run)


@pytest.mark.parametrize("cached", CACHES, ids=["cache", "one", "some"])
def test_what_is_cached_is_looked_into(cached):
    def build():
        w = world(x=torch.ones(2))

        @cached
        def model(seed):
            torch.manual_seed(seed)
            made = torch.nn.Linear(2, 2)
            made.factor = 3.0
            return made

        w.model = model(1)
        w.cached = model
        w.step = lambda x: w.cached(1)(x) * w.cached(1).factor
        return w

    twins = Twins(build)
    for _ in range(4):
        twins.call(torch.ones(2))
    assert twins.counters.replayed == 2, twins.counters
    twins.both(lambda w: setattr(w.model, "factor", 5.0))
    for _ in range(4):
        twins.call(torch.ones(2))
    assert twins.counters.replayed == 4, twins.counters
