"""requires_grad of parameters that is switched inside the step: what GAN training does with its discriminator."""

import warnings

import pytest
import tapegrad as torch
from _twins import Twins, world

nn = torch.nn


def switch(net, on):
    for p in net.parameters():
        p.requires_grad = on


def adversaries(order, to_none):
    def make():
        generator = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        judge = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
        of_generator = torch.optim.Adam(generator.parameters(), 1e-3)
        of_judge = torch.optim.Adam(judge.parameters(), 1e-3)
        criterion = nn.BCEWithLogitsLoss()

        def learn_to_judge(x, fake):
            of_judge.zero_grad(set_to_none=to_none)
            loss = criterion(judge(x), torch.ones(16, 1)) + criterion(judge(fake.detach()), torch.zeros(16, 1))
            loss.backward()
            of_judge.step()
            return loss

        def learn_to_forge(fake):
            of_generator.zero_grad(set_to_none=to_none)
            loss = criterion(judge(fake), torch.ones(16, 1))
            loss.backward()
            of_generator.step()
            return loss

        def step(x):
            fake = generator(torch.randn(16, 4))
            if order == "on, judge, off, forge":
                switch(judge, True)
                judged = learn_to_judge(x, fake)
                switch(judge, False)
                return judged, learn_to_forge(fake)
            if order == "judge, off, forge, on":
                judged = learn_to_judge(x, fake)
                switch(judge, False)
                forged = learn_to_forge(fake)
                switch(judge, True)
                return judged, forged
            switch(judge, False)
            forged = learn_to_forge(fake)
            switch(judge, True)
            return forged, learn_to_judge(x, fake)

        return world(generator=generator, judge=judge, optimizers=[of_generator, of_judge], step=step)

    return make


@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("order", ["on, judge, off, forge", "judge, off, forge, on", "off, forge, on, judge"])
def test_adversaries_of_which_one_is_frozen_in_turn_are_replayed(order, to_none):
    twins = Twins(adversaries(order, to_none))
    for i in range(9):
        torch.manual_seed(i)
        twins.call(torch.randn(16, 2))
    assert twins.counters.replayed >= 5


def test_replays_of_a_switched_leaf_are_checked_against_eager_ones():
    twins = Twins(adversaries("judge, off, forge, on", True), check=True)
    for _ in range(6):
        twins.call(torch.randn(16, 2))
    assert twins.counters.replayed >= 3


@pytest.mark.parametrize("first", [True, False])
def test_a_line_that_fails_while_a_leaf_is_switched(first):
    def make():
        w = nn.Parameter(torch.ones(3))
        v = nn.Parameter(torch.ones(3))
        w.requires_grad_(first)

        def step(x, places):
            (v * w * x).sum().backward()
            w.requires_grad_(not first)
            v.requires_grad_(False)
            y = x[places] * v
            v.requires_grad_(True)
            z = (w * v * y[places]).sum()
            z.backward()
            w.requires_grad_(first)
            return z

        return world(w=w, v=v, step=step)

    twins = Twins(make)
    good, bad = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 7])
    for places in (good, good, good, good, bad, good, good, good):
        twins.call(torch.ones(3), places)
        for which in (twins.eager, twins.compiled):
            which.w.requires_grad_(first)
            which.v.requires_grad_(True)
    assert twins.error is None
    assert twins.counters.replayed >= 4


def test_an_argument_that_is_switched_twice():
    def make():
        w = nn.Parameter(torch.ones(3))

        def step(x, places):
            x.requires_grad_()
            a = (w * x).sum()
            a.backward()
            x.requires_grad_(False)
            b = x[places].sum()
            x.requires_grad_()
            (b * x).sum().backward()
            return x.grad.clone()

        return world(w=w, step=step)

    twins = Twins(make)
    for i in range(8):
        twins.call(torch.ones(3), torch.tensor([0, 1, 9 if i == 6 else 2]))
    assert twins.counters.replayed >= 3


def test_a_graph_to_a_leaf_that_is_off_at_the_end():
    def make():
        w = nn.Parameter(torch.ones(3), requires_grad=False)

        def step(x):
            w.requires_grad_()
            y = (w * x).sum()
            w.requires_grad_(False)
            return y

        return world(w=w, step=step)

    def later(w, y, *_):
        w.w.requires_grad_()
        y.backward()
        w.w.requires_grad_(False)

    twins = Twins(make)
    for _ in range(6):
        twins.call(torch.ones(3), outside=later)
    assert twins.compiled.w.grad.tolist() == [6.0, 6.0, 6.0]
    assert twins.counters.replayed >= 3


def test_a_leaf_that_each_call_switches_the_other_way():
    def make():
        w = nn.Parameter(torch.ones(3))

        def step(x):
            y = (w * x).sum() * x.sum()
            w.requires_grad_(not w.requires_grad)
            return y.detach()

        return world(w=w, step=step)

    twins = Twins(make)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(20):
            twins.call(torch.ones(3))
    assert len(seen) == 1
    assert "runs eagerly" in str(seen[0].message)
    assert twins.counters.eager >= 15
