"""What must be replayed, with exactly the effect of the eager code: options, gradients, random numbers, results."""

from __future__ import annotations

import collections
import dataclasses
from types import SimpleNamespace

import pytest
import tapegrad as torch
import tapegrad.nn.functional as F
from _twins import Twins, batch, world
from tapegrad.replay import compile

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "maximize": lambda p: torch.optim.SGD(p, lr=0.1, maximize=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam decay": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, maximize=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
}


def network(*extra):
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), *extra, torch.nn.Linear(8, 3))


def training(optimizer="sgd", extra=(), zero="before", to_none=True, between=None, schedule=None):
    """A maker of worlds with a usual training step."""

    def make():
        w = world(model=network(*[e() for e in extra]))
        w.optimizer = OPTIMIZERS[optimizer](w.model.parameters())
        if schedule is not None:
            w.scheduler = schedule(w.optimizer)

        def step(x, y):
            if zero == "before":
                w.optimizer.zero_grad(set_to_none=to_none)
            loss = F.cross_entropy(w.model(x), y)
            loss.backward()
            if between is not None:
                between(w)
            w.optimizer.step()
            return loss

        w.step = step
        return w

    return make


def several(twins):
    for i in range(6):
        twins.call(*batch(5, seed=i))


def change(twins, **options):
    twins.both(lambda w: [g.update(options) for g in w.optimizer.param_groups])


# ---------------------------------------------------------------- options of optimizers


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_learning_rate_by_hand(optimizer):
    t = Twins(training(optimizer))
    t.settle(*batch(5))
    recorded = t.counters.recorded
    for i in range(6):
        change(t, lr=0.03 * (i + 1))
        t.replays(2, *batch(5, seed=i))
    assert t.counters.recorded == recorded


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        ("momentum", {"momentum": 0.5}),
        ("momentum", {"dampening": 0.3}),
        ("momentum", {"nesterov": True, "dampening": 0.0}),
        ("sgd", {"weight_decay": 0.2}),
        ("sgd", {"maximize": True}),
        ("nesterov", {"weight_decay": 0.0}),
        ("adam", {"betas": (0.5, 0.9)}),
        ("adam", {"eps": 1e-3}),
        ("adamw", {"weight_decay": 0.5}),
        ("adam", {"maximize": True}),
        ("amsgrad", {"betas": (0.1, 0.2), "lr": 1.0}),
    ],
)
def test_other_options(optimizer, options):
    t = Twins(training(optimizer))
    t.settle(*batch(5))
    t.replays(1, *batch(5))
    change(t, **options)
    t.replays(3, *batch(5))


@pytest.mark.parametrize(("optimizer", "options"), [("sgd", {"momentum": 0.9}), ("momentum", {"momentum": 0.0})])
def test_options_that_call_for_another_kernel(optimizer, options):
    t = Twins(training(optimizer))
    t.settle(*batch(5))
    change(t, **options)
    for i in range(6):
        t.call(*batch(5, seed=i))
    t.replays(2, *batch(5))
    assert t.counters.eager == 0


def test_scheduler():
    t = Twins(training("adam", schedule=lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.5)))
    for i in range(10):
        t.call(*batch(5, seed=i))
        t.both(lambda w: w.scheduler.step())
    assert t.counters.replayed >= 7, t.counters
    assert t.counters.eager == 0


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam", "amsgrad"])
def test_learning_rate_as_a_tensor_that_is_filled(optimizer):
    t = Twins(training(optimizer))
    t.both(lambda w: w.optimizer.param_groups[0].update(lr=torch.tensor(0.1)))
    t.settle(*batch(5))
    recorded = t.counters.recorded
    for i in range(4):
        t.both(lambda w, i=i: w.optimizer.param_groups[0]["lr"].fill_(0.02 * i))
        t.replays(2, *batch(5, seed=i))
    change(t, lr=0.3)
    t.replays(2, *batch(5))
    assert t.counters.recorded == recorded


def test_scheduler_of_a_learning_rate_that_is_a_tensor():
    def make():
        w = training("adam")()
        w.optimizer.param_groups[0]["lr"] = torch.tensor(0.05)
        w.scheduler = torch.optim.lr_scheduler.ExponentialLR(w.optimizer, 0.7)
        return w

    t = Twins(make)
    for i in range(10):
        t.call(*batch(5, seed=i))
        t.both(lambda w: w.scheduler.step())
    assert t.counters.replayed >= 7, t.counters
    assert t.counters.eager == 0


def test_learning_rate_as_another_tensor_at_each_call():
    t = Twins(training("sgd"))
    for i in range(6):
        change(t, lr=torch.tensor(0.1 * i))
        t.call(*batch(5, seed=i))
    assert t.counters.recorded == 6


def test_learning_rate_as_a_tensor_that_the_step_changes():
    def make():
        w = world(model=network())
        w.optimizer = OPTIMIZERS["momentum"](w.model.parameters())
        w.optimizer.param_groups[0]["lr"] = torch.tensor(0.1)

        def step(x, y):
            w.optimizer.zero_grad()
            loss = F.cross_entropy(w.model(x), y)
            loss.backward()
            w.optimizer.step()
            w.optimizer.param_groups[0]["lr"].mul_(0.9)
            return loss

        w.step = step
        return w

    t = Twins(make)
    with pytest.warns(UserWarning, match="tensor among an optimizer's options is changed inside"):
        several(t)
    assert t.counters.replayed == 0


def test_learning_rate_as_a_tensor_that_is_made_inside():
    def make():
        w = world(model=network())
        w.optimizer = OPTIMIZERS["sgd"](w.model.parameters())

        def step(x, y):
            w.optimizer.zero_grad()
            loss = F.cross_entropy(w.model(x), y)
            loss.backward()
            w.optimizer.param_groups[0]["lr"] = loss.detach() * 0.1
            w.optimizer.step()
            return loss

        w.step = step
        return w

    t = Twins(make)
    with pytest.warns(UserWarning, match="changed inside"):
        several(t)
    assert t.counters.replayed == 0


def test_groups():
    def make():
        w = world(a=torch.nn.Linear(6, 4), b=torch.nn.Linear(4, 3))
        w.optimizer = torch.optim.SGD(
            [{"params": w.a.parameters(), "lr": 0.3}, {"params": w.b.parameters(), "momentum": 0.9}], lr=0.1
        )

        def step(x, y):
            w.optimizer.zero_grad()
            F.cross_entropy(w.b(w.a(x)), y).backward()
            w.optimizer.step()

        w.step = step
        return w

    t = Twins(make)
    t.settle(*batch(4))
    t.both(lambda w: w.optimizer.param_groups[1].update(lr=0.5))
    t.replays(2, *batch(4))
    t.both(lambda w: w.optimizer.param_groups[0].update(lr=0.7))
    t.replays(2, *batch(4))


# ---------------------------------------------------------------- batches and gradients


def test_batch_sizes_in_turn():
    t = Twins(training("momentum"))
    for n in (5, 3, 1):
        t.settle(*batch(n))
    for i in range(4):
        for n in (5, 3, 1):
            t.replays(1, *batch(n, seed=i))


@pytest.mark.parametrize("every", [2, 3, 4])
@pytest.mark.parametrize("to_none", [True, False])
def test_accumulation_with_the_gradients_cleared_outside(every, to_none):
    def make():
        w = world(model=network())
        w.optimizer = torch.optim.SGD(w.model.parameters(), lr=0.1)

        def step(x, y):
            loss = F.cross_entropy(w.model(x), y) / every
            loss.backward()
            return loss

        w.step = step
        return w

    t = Twins(make)
    for i in range(5 * every):
        t.call(*batch(4, seed=i))
        if i % every == every - 1:
            t.both(lambda w: (w.optimizer.step(), w.optimizer.zero_grad(set_to_none=to_none)))
    assert t.counters.replayed >= 3 * every - 2, t.counters
    assert t.counters.eager == 0


def test_gradients_set_from_outside():
    t = Twins(training("sgd", zero="never"))
    t.settle(*batch(4))
    for i in range(3):
        t.both(lambda w: [setattr(p, "grad", torch.ones_like(p)) for p in w.model.parameters()])
        t.replays(1, *batch(4, seed=i))


@pytest.mark.parametrize("zero", ["before", "never"])
@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_zero_grad(zero, to_none, optimizer):
    t = Twins(training(optimizer, zero=zero, to_none=to_none))
    t.settle(*batch(4))
    t.replays(4, *batch(4, seed=1))


@pytest.mark.parametrize(
    "clip",
    [
        lambda w: torch.nn.utils.clip_grad_norm_(w.model.parameters(), 0.01),
        lambda w: torch.nn.utils.clip_grad_norm_(w.model.parameters(), 0.5, norm_type=1.0),
        lambda w: torch.nn.utils.clip_grad_norm_(w.model.parameters(), 0.5, norm_type=float("inf")),
        lambda w: torch.nn.utils.clip_grad_value_(w.model.parameters(), 0.001),
    ],
)
def test_clipping(clip):
    t = Twins(training("momentum", between=clip))
    t.settle(*batch(4))
    t.replays(4, *batch(4, seed=1))


def test_a_gradient_the_caller_holds_is_not_changed():
    t = Twins(training("sgd"))
    t.settle(*batch(4))
    held = [[], []]
    for i in range(3):
        for k, w in enumerate((t.eager, t.compiled)):
            held[k] += [(g, g.clone()) for g in (p.grad for p in w.model.parameters())]
        t.replays(1, *batch(4, seed=i))
    for pairs in held:
        assert all(torch.equal(g, c) for g, c in pairs)


def test_closure():
    def make():
        w = world(model=network())
        w.optimizer = torch.optim.SGD(w.model.parameters(), lr=0.1)

        def step(x, y):
            def closure():
                w.optimizer.zero_grad()
                loss = F.cross_entropy(w.model(x), y)
                loss.backward()
                return loss

            return w.optimizer.step(closure)

        w.step = step
        return w

    t = Twins(make)
    t.settle(*batch(4))
    t.replays(4, *batch(4, seed=1))


def test_the_state_of_the_optimizer_loaded_between_calls():
    t = Twins(training("adam"))
    t.settle(*batch(4))
    t.replays(2, *batch(4))
    saved = []

    def save(w):
        import copy

        saved.append(copy.deepcopy(w.optimizer.state_dict()))

    t.both(save)
    t.replays(3, *batch(4, seed=2))
    t.both(lambda w: w.optimizer.load_state_dict(saved[0 if w is t.eager else 1]))
    for i in range(5):
        t.call(*batch(4, seed=i))
    t.replays(1, *batch(4))
    assert t.counters.eager == 0


def test_the_model_loaded_between_calls():
    t = Twins(training("momentum"))
    t.settle(*batch(4))
    t.both(lambda w: w.model.load_state_dict({k: v * 0.5 for k, v in w.model.state_dict().items()}))
    t.replays(3, *batch(4))


def test_frozen_parameters_changed_in_place_between_calls():
    t = Twins(training("sgd"))
    t.settle(*batch(4))

    def shift(w):
        with torch.no_grad():
            for p in w.model.parameters():
                p.mul_(0.9)

    for i in range(3):
        t.both(shift)
        t.replays(1, *batch(4, seed=i))


# ---------------------------------------------------------------- random numbers and modes


def test_dropout():
    t = Twins(training("sgd", extra=[lambda: torch.nn.Dropout(0.4)]))
    t.settle(*batch(4))
    t.replays(4, *batch(4, seed=1))
    t.both(lambda w: torch.manual_seed(17))
    t.replays(3, *batch(4, seed=2))


def test_noise_and_generators_of_ones_own():
    def make():
        w = world(g=torch.Generator().manual_seed(5), h=torch.Generator().manual_seed(6))

        def step(x):
            noise = torch.randn(x.shape) + torch.rand(3, 1, generator=w.g)
            coin = torch.bernoulli(torch.full((3, 6), 0.5), generator=w.h)
            return x * coin + noise + torch.randint(0, 9, (1,)) + torch.randperm(6), torch.empty(2, 6).normal_()

        w.step = step
        return w

    t = Twins(make)
    x = batch(3)[0]
    t.settle(x)
    t.replays(5, x)
    t.both(lambda w: w.g.manual_seed(1))
    t.replays(2, x)
    t.both(lambda w: w.h.set_state(w.g.get_state()))
    t.replays(2, x)
    state = torch.Generator().manual_seed(44).get_state()
    t.both(lambda w: torch.set_rng_state(state))
    t.replays(2, x)


def test_eval_and_train_in_turn():
    t = Twins(training("sgd", extra=[lambda: torch.nn.Dropout(0.4)]))
    for _ in range(3):
        for mode in (True, False):
            t.both(lambda w, mode=mode: w.model.train(mode))
            for i in range(3):
                t.call(*batch(4, seed=i))
    for mode in (True, False):
        t.both(lambda w, mode=mode: w.model.train(mode))
        t.replays(2, *batch(4))


def test_no_grad_and_inference_mode():
    def make():
        w = world(model=network())
        w.step = lambda x: w.model(x)
        return w

    t = Twins(make)
    x = batch(4)[0]
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode, torch.no_grad, torch.enable_grad):
        with context():
            t.settle(x)
            t.replays(2, x)


# ---------------------------------------------------------------- results

Pair = collections.namedtuple("Pair", ["first", "second"])


@pytest.mark.parametrize(
    "shape",
    [
        lambda a, b: (a, b),
        lambda a, b: [a, (b, a), {"k": b, 3: [a]}],
        lambda a, b: Pair(a, b),
        lambda a, b: {"x": Pair(a, [b]), "number": 3, "none": None, "text": "t"},
        lambda a, b: (a, a.t(), a[1:], a.detach(), b),
        lambda a, b: (),
        lambda a, b: collections.OrderedDict(b=b, a=[a, collections.OrderedDict()]),
        lambda a, b: SimpleNamespace(loss=b, outputs=[a], inner=SimpleNamespace(b=b)),
        lambda a, b: a.shape,
        lambda a, b: 2.5,
    ],
)
def test_shapes_of_results(shape):
    def make():
        w = world(model=network())

        def step(x):
            a = w.model(x)
            return shape(a, a.sum())

        w.step = step
        return w

    t = Twins(make)
    t.settle(batch(4)[0])
    t.replays(3, batch(4, seed=2)[0])


def test_results_that_are_arguments_or_parameters():
    def make():
        w = world(model=network())

        def step(x, y):
            return x, y[1:], w.model[0].weight, w.model[0].bias[None], x + 1

        w.step = step
        return w

    t = Twins(make)
    t.settle(*batch(4))
    t.replays(3, *batch(4, seed=2))
    x, y = batch(4)
    result = t.functions[1](x, y)
    assert result[0] is x
    assert result[2] is t.compiled.model[0].weight
    assert result[3].data_ptr() == t.compiled.model[0].bias.data_ptr()


def test_outputs_of_the_call_before_do_not_change():
    t = Twins(training("adam"))
    t.settle(*batch(4))
    losses = []
    for i in range(5):
        loss = t.functions[1](*batch(4, seed=i))
        losses.append((loss, loss.item(), loss.detach()))
    assert len({id(x) for x, _, _ in losses}) == 5
    assert all(x.item() == n and d.item() == n for x, n, d in losses)


def test_eager_steps_in_between():
    t = Twins(training("adam"))
    t.settle(*batch(4))
    for i in range(4):
        t.call(*batch(4, seed=i), eagerly=True)
        t.replays(2, *batch(4, seed=i + 20))


# ---------------------------------------------------------------- a compiled forward, backward outside


def forward():
    w = world(model=network())
    w.step = lambda x: w.model(x)
    return w


def test_backward_outside():
    t = Twins(forward)
    x = batch(4)[0]
    run = lambda w, out, x: out.square().mean().backward()  # noqa: E731
    t.settle(x, outside=run)
    t.replays(4, x, outside=run)


def test_backward_twice_with_retain_graph():
    def run(w, out, x):
        loss = out.square().mean()
        loss.backward(retain_graph=True)
        loss.backward()

    t = Twins(forward)
    t.settle(batch(4)[0], outside=run)
    t.replays(3, batch(4, seed=1)[0], outside=run)


def test_backward_a_second_time_is_refused_as_in_eager_code():
    def run(w, out, x):
        out.tanh().sum().backward()
        out.tanh().sum().backward()

    t = Twins(forward)
    for _ in range(4):
        t.call(batch(4)[0], outside=run)
        assert t.error is not None
    assert t.counters.replayed >= 1


def test_double_backward():
    def run(w, out, x):
        (g,) = torch.autograd.grad(out.tanh().sum(), [w.model[0].weight], create_graph=True)
        g.square().sum().backward()

    t = Twins(forward)
    t.settle(batch(4)[0], outside=run)
    t.replays(3, batch(4, seed=1)[0], outside=run)


def test_hooks_on_the_output():
    def make():
        w = forward()
        w.seen = []
        return w

    def run(w, out, x):
        out.register_hook(lambda g: w.seen.append(g.clone()) or g * 2)
        out.retain_grad()
        out.sum().backward()
        w.grad = out.grad

    t = Twins(make)
    t.settle(batch(4)[0], outside=run)
    t.replays(3, batch(4, seed=1)[0], outside=run)


def test_arguments_that_require_gradients():
    t = Twins(forward)
    run = lambda w, out, x: out.sum().backward()  # noqa: E731
    x = batch(4)[0].requires_grad_()
    t.settle(x, outside=run)
    t.replays(3, x, outside=run)


def test_arguments_with_a_history():
    def make():
        w = forward()
        w.first = torch.nn.Linear(6, 6)
        return w

    run = lambda w, out, x: out.sum().backward()  # noqa: E731
    argument = lambda w: w.first(batch(4)[0]).relu()  # noqa: E731
    t = Twins(make)
    t.settle(argument, outside=run)
    t.replays(3, argument, outside=run)


def test_gradients_of_arguments_taken_inside():
    def make():
        w = world(model=network())

        def step(x):
            out = w.model(x).sum()
            (g,) = torch.autograd.grad(out, [x], create_graph=True)
            penalty = (g.norm() - 1).square()
            penalty.backward()
            return penalty, g

        w.step = step
        return w

    t = Twins(make)
    t.settle(batch(4)[0].requires_grad_())
    t.replays(3, batch(4, seed=1)[0].requires_grad_())


def test_gradients_of_arguments_left_on_them():
    def make():
        w = world(model=network())

        def step(x):
            w.model(x).sum().backward()
            return None

        w.step = step
        return w

    t = Twins(make)
    t.settle(batch(4)[0].requires_grad_())
    t.replays(3, batch(4, seed=1)[0].requires_grad_())


def test_a_change_outside_between_forward_and_backward_is_found():
    def run(w, out, x):
        loss = out.tanh().sum()
        with torch.no_grad():
            w.model[1 + 1].weight.mul_(2)
        loss.backward()

    t = Twins(forward)
    for _ in range(5):
        t.call(batch(4)[0], outside=run)
        assert "modified by an inplace operation" in t.error[1]
    assert t.counters.replayed >= 2


# ---------------------------------------------------------------- state and memory


def test_a_running_mean_in_a_buffer():
    class Norm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(8))

        def forward(self, x):
            if self.training:
                with torch.no_grad():
                    self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
            return x - self.mean

    t = Twins(training("sgd", extra=[Norm]))
    t.settle(*batch(4))
    t.replays(4, *batch(4, seed=1))


def test_arguments_changed_in_place():
    def make():
        w = world(total=torch.zeros(6))

        def step(x):
            x.mul_(2)
            x[0].zero_()
            w.total += x.sum(0)
            return x.sum()

        w.step = step
        return w

    t = Twins(make)
    t.settle(batch(4)[0])
    t.replays(4, batch(4, seed=3)[0])


def test_arguments_that_are_views():
    t = Twins(training("sgd"))
    whole = batch(40)[0]
    rows = lambda k: lambda w: whole.clone()[k : k + 4]  # noqa: E731
    columns = lambda w: batch(6, 4)[0].t()  # noqa: E731
    y = batch(4)[1]
    t.settle(rows(0), y)
    t.replays(1, rows(3), y)
    t.settle(columns, y)
    t.replays(1, rows(7), y)
    t.replays(1, columns, y)
    t.replays(1, batch(4)[0], y)


def test_empty_batches():
    def make():
        w = world(model=network())
        w.step = lambda x: (w.model(x), w.model(x).sum())
        return w

    t = Twins(make)
    t.settle(batch(0)[0])
    t.replays(2, batch(0)[0])
    t.settle(batch(2)[0])
    t.replays(1, batch(0)[0])


def test_methods_and_decorators():
    class Trainer:
        def __init__(self):
            self.model = network()
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

        @compile
        def step(self, x, y):
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            return loss

        def plain(self, x, y):
            return type(self).step.fn(self, x, y)

    torch.manual_seed(0)
    a = Trainer()
    torch.manual_seed(0)
    b = Trainer()
    for i in range(6):
        assert a.step(*batch(4, seed=i)).item() == b.plain(*batch(4, seed=i)).item()
    assert Trainer.step.counters.replayed == 4, Trainer.step.counters


# ---------------------------------------------------------------- many small functions


def net():
    return world(model=network(), first=torch.nn.Linear(6, 6), s=torch.zeros(3))


def history(w):
    return w.first(batch(4)[0])


def plain(w):
    return batch(4)[0]


def backward(w, out, x):
    if out.requires_grad:
        out.sum().backward()


def change_result(w, out, x):
    out[1:].mul_(2)
    out.add_(1)
    backward(w, out, x)


def change_view(w, out, x):
    out.mul_(2)
    backward(w, out, x)
    if x.requires_grad:
        x.sum().backward()


def change_second(w, out, x):
    out[1].mul_(2)
    out[0].sum().backward()


def argument_in_place(w, x):
    x.mul_(2)
    return w.model(x).sum()


def layer(w, x):
    return w.first(x)


def layer_rows(w, x):
    return w.first(x)[1:]


def layer_and_row(w, x):
    out = w.first(x)
    return out, out[1]


def argument_rows(w, x):
    return x[1:]


def state_rows(w, x):
    return w.s[1:]


def leaf_made_inside(w, x):
    return torch.zeros(3, requires_grad=True)


def gradients_put(w, x):
    for p in w.model.parameters():
        p.grad = torch.ones_like(p) * x.sum()


def gradients_replaced(w, x):
    w.model(x).sum().backward()
    for p in w.model.parameters():
        p.grad = p.grad * 2
    return w.model[0].weight.grad


def frozen_and_thawed(w, x):
    w.model[0].requires_grad_(False)
    out = w.model(x).sum()
    out.backward()
    w.model[0].requires_grad_(True)
    return out


def detached_in_place(w, x):
    return w.model(x).detach_()


def detached_argument_in_place(w, x):
    y = x.detach()
    y.mul_(2)
    return y, x


def modes_inside(w, x):
    with torch.enable_grad():
        y = w.model(x)
    with torch.no_grad():
        return y, w.model(x)


def items_assigned(w, x):
    y = x.clone()
    y[0] = 1.0
    y[:, 2] = x[:, 1]
    y[1, 1] += 3
    return y


def state_assigned(w, x):
    w.s[0] = x.sum()
    w.s.data[1] = 2.0
    return w.s.clone()


def factories(w, x):
    y = x * torch.arange(6.0) + torch.full((4, 6), x.shape[0]) + x @ torch.eye(6) + torch.linspace(0, 1, 6)
    return y, torch.tensor([1.0, 2.0]), torch.zeros(2), torch.tensor([[1, 2]]).float(), x.new_ones(2)


def casts(w, x):
    return x.to(torch.float64).mean(), x.type(torch.int64), x.long().float(), (x > 0).sum(), x.argmax(1), x.max(1)


def recurrence(w, x):
    h = torch.zeros(4, 8)
    for _ in range(5):
        h = torch.tanh(w.model[0](x) + h)
    h.sum().backward()
    return h


def pieces(w, x):
    a, b = w.model(x).split([1, 2], 1)
    c = torch.stack([a.squeeze(1), b[:, 0]])
    c.chunk(2)[0].sum().backward(retain_graph=True)
    return c.unbind(0)


def two_backward_passes(w, x):
    a = w.model(x).sum()
    a.backward()
    b = w.model(x).sum()
    b.backward()
    return a + b


def gradient_of_a_leaf_made_inside(w, x):
    x = x.detach().requires_grad_()
    w.model(x).sum().backward()
    return x.grad


def functional_gradients(w, x):
    found = torch.autograd.grad(w.model(x).sum(), list(w.model.parameters()))
    with torch.no_grad():
        for p, g in zip(w.model.parameters(), found, strict=True):
            p.sub_(g, alpha=0.1)
    return found


@pytest.mark.parametrize(
    ("step", "argument", "outside"),
    [
        (argument_in_place, plain, backward),
        (layer_rows, plain, change_view),
        (layer, plain, change_result),
        (layer, history, change_result),
        (layer_and_row, plain, change_second),
        (argument_rows, plain, change_view),
        (argument_rows, history, change_view),
        (state_rows, plain, change_view),
        (leaf_made_inside, plain, backward),
        (gradients_put, plain, None),
        (gradients_replaced, plain, None),
        (frozen_and_thawed, plain, None),
        (detached_in_place, plain, None),
        (detached_argument_in_place, plain, None),
        (detached_argument_in_place, history, None),
        (modes_inside, plain, None),
        (items_assigned, plain, None),
        (items_assigned, history, backward),
        (state_assigned, plain, None),
        (factories, plain, None),
        (casts, plain, None),
        (recurrence, plain, None),
        (pieces, plain, None),
        (two_backward_passes, plain, None),
        (gradient_of_a_leaf_made_inside, plain, None),
        (functional_gradients, plain, None),
    ],
)
def test_small_functions(step, argument, outside):
    def make():
        w = net()
        w.step = lambda x: step(w, x)
        return w

    t = Twins(make)
    t.settle(argument, outside=outside)
    t.replays(4, argument, outside=outside)


class OwnsItsBatches:
    """Its batches are reached through the object and given as arguments."""

    def __init__(self, *, reads_its_own: bool) -> None:
        torch.manual_seed(0)
        self.batches = [torch.randn(4, 3) for _ in range(5)]
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.optimizer = torch.optim.SGD([self.weight], lr=0.1)
        self.reads_its_own = reads_its_own

    def step(self, x):
        self.optimizer.zero_grad()
        own = self.batches[0] if self.reads_its_own else x
        loss = (self.weight * x + own).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss


@pytest.mark.parametrize("reads_its_own", [False, True])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [0, 0, 0, 1, 1, 2, 0], [1, 1, 1, 0, 0, 2]])
def test_batches_that_the_function_reaches_too(reads_its_own, order):
    eager, own = OwnsItsBatches(reads_its_own=reads_its_own), OwnsItsBatches(reads_its_own=reads_its_own)
    step = compile(own.step)
    for i in order * 3:
        assert torch.equal(eager.step(eager.batches[i]), step(own.batches[i]))
        assert torch.equal(eager.weight, own.weight)
    assert step.counters.eager == 0
    assert step.counters.replayed >= len(order)


def test_a_batch_of_its_own_that_is_written():
    data = [torch.zeros(3) for _ in range(4)]

    def count(x):
        x.add_(1)
        return data[0] + data[1]

    f = compile(count)
    for k in range(12):
        f(data[k % 4])
    assert [x[0].item() for x in data] == [3.0] * 4


def test_in_place_changes_of_a_view_among_the_results():
    def turned(x):
        y = (x * 2).view(2, 3).t()
        return y, y[0]

    f = compile(turned)
    for _ in range(5):
        x = torch.arange(6.0).requires_grad_()
        y, first = f(x)
        y[1].add_(1)
        first.mul_(3)
        y.sum().backward()
        assert y.tolist() == [[0.0, 18.0], [3.0, 9.0], [4.0, 10.0]]
        assert x.grad.tolist() == [6.0, 2.0, 2.0, 6.0, 2.0, 2.0]
    assert f.counters.replayed >= 2


def test_arguments_that_begin_elsewhere_in_their_memory():
    def make():
        w = world(weight=torch.ones(3, requires_grad=True))
        w.step = lambda x: (w.weight * x).sum()
        return w

    t = Twins(make)
    for k in range(8):
        whole = lambda w, k=k: torch.arange(9.0)[3 * (k % 3) : 3 * (k % 3) + 3] if k % 2 else torch.ones(3)  # noqa: E731
        t.call(whole, outside=lambda w, loss, x: loss.backward())
    assert t.counters.replayed >= 5, t.counters


@pytest.mark.parametrize("needs", [False, True])
def test_one_of_several_views_among_the_results(needs):
    def make():
        w = world(weight=torch.ones(2, 3, requires_grad=True))
        w.step = lambda x: ((x * w.weight).unbind(0)[-1], x.unbind(0)[0], x.chunk(2)[1])
        return w

    def change(w, result, x):
        with pytest.raises(RuntimeError, match="multiple views"):
            result[0].mul_(2)
        for view in result[1:]:
            if needs:
                with pytest.raises(RuntimeError):
                    view.mul_(2)
            else:
                view.mul_(2)

    t = Twins(make)
    t.settle(lambda w: torch.ones(2, 3, requires_grad=needs), outside=change)
    t.replays(3, lambda w: torch.ones(2, 3, requires_grad=needs), outside=change)
    if needs:
        t.call(lambda w: torch.ones(2, 3, requires_grad=True), outside=lambda w, result, x: result[1].add_(1))


# ---------------------------------------------------------------- what everyday programs do


def test_binary_cross_entropy_of_probabilities():
    def make():
        w = world(model=torch.nn.Sequential(torch.nn.Linear(6, 1), torch.nn.Sigmoid()))
        w.optimizer = torch.optim.Adam(w.model.parameters())

        def step(x, y):
            w.optimizer.zero_grad()
            loss = torch.nn.BCELoss()(w.model(x).squeeze(1), (y > 0).float())
            loss.backward()
            w.optimizer.step()
            return loss

        w.step = step
        return w

    t = Twins(make)
    t.settle(*batch(5))
    t.replays(4, *batch(5, seed=2))


def test_probabilities_out_of_range_are_met_at_a_replay():
    f = compile(lambda p: F.binary_cross_entropy(p, torch.ones(2)))
    for _ in range(4):
        f(torch.tensor([0.25, 0.5]))
    for bad in (1.5, -0.5, float("nan")):
        with pytest.raises(RuntimeError, match="between 0 and 1"):
            f(torch.tensor([0.25, bad]))
    assert f.counters.replayed >= 2
    assert f(torch.tensor([0.25, 0.5])).item() == pytest.approx(1.0397, abs=1e-4)


def test_parameters_changed_by_data_minus():
    def make():
        w = world(model=network())

        def step(x, y):
            loss = F.cross_entropy(w.model(x), y)
            loss.backward()
            for p in w.model.parameters():
                p.data -= 0.1 * p.grad.data
                p.grad.data.zero_()
            return loss

        w.step = step
        return w

    t = Twins(make)
    t.settle(*batch(5))
    t.replays(4, *batch(5, seed=3))


@dataclasses.dataclass
class Out:
    loss: object
    parts: object = None


@dataclasses.dataclass
class Other(Out):
    pass


def test_dataclasses_and_dtypes_as_results():
    f = compile(lambda x: (Out((x * 2).sum(), [x + 1]), x.dtype))
    for i in range(5):
        out, dtype = f(torch.full((3,), float(i)))
        assert (type(out), out.loss.item(), out.parts[0].tolist()) == (Out, 6.0 * i, [i + 1.0] * 3)
        assert dtype is torch.float32
    assert f.counters.replayed == 3


def test_results_of_another_class():
    kinds = iter([Out, Other] * 4)
    box = {"made": Out}

    def made(x):
        return box["make"](x * 2)

    f = compile(made)
    for _ in range(8):
        kind = next(kinds)
        box["make"] = kind
        assert type(f(torch.ones(1))) is kind


def test_a_gradient_made_in_inference_mode_is_not_changed_outside_it():
    w = torch.ones(3, requires_grad=True)

    def step(x):
        w.grad.zero_()
        return x * 1

    w.grad = torch.ones(3)
    f = torch.compile(step)
    for _ in range(5):
        f(torch.ones(3))
    assert f.counters.replayed >= 2
    with torch.inference_mode():
        w.grad = torch.zeros(3)
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
        f(torch.ones(3))


@pytest.mark.filterwarnings("ignore:.* runs eagerly")
@pytest.mark.parametrize("of", ["parameter", "argument", "intermediate"])
def test_a_hook_that_comes_later_is_called_by_autograd_grad(of):
    """autograd.grad puts no gradient, and yet calls the hooks of what it is asked for."""

    def build():
        w = world(w=torch.ones(3, requires_grad=True), hooked=False)

        def step(x):
            (g,) = torch.autograd.grad((w.w * x).sum(), [w.w if of == "parameter" else x], retain_graph=True)
            return g

        w.step = step
        return w

    twins = Twins(build)

    def given(w):
        x = torch.full((3,), 2.0, requires_grad=True)
        x = x * 1 if of == "intermediate" else x
        if w.hooked:
            (w.w if of == "parameter" else x).register_hook(lambda g: g * 10)
        return x

    for _ in range(4):
        twins.call(given)
    assert twins.counters.replayed >= 2
    twins.both(lambda w: setattr(w, "hooked", True))
    for _ in range(3):
        assert twins.call(given).tolist() in ([10.0] * 3, [20.0] * 3, [200.0] * 3, [2000.0] * 3)


@pytest.mark.filterwarnings("ignore:.* runs eagerly")
def test_what_autograd_grad_retains_is_there():
    def step(x):
        (g,) = torch.autograd.grad((x * x).sum(), [x])
        return g

    f = torch.compile(step)
    for k in range(6):
        x = torch.ones(3, requires_grad=True) * 2
        if k == 5:
            x.retain_grad()
        f(x)
    assert x.grad is not None
    assert f.counters.replayed >= 2


def test_a_gradient_that_is_added_to_is_returned_itself():
    w = torch.ones(3, requires_grad=True)

    def step(x):
        (w * x).sum().backward()
        return w.grad, {"again": w.grad}

    f = torch.compile(step, fullgraph=True)
    for k in range(6):
        found, again = f(torch.ones(3))
        assert found is w.grad
        assert again["again"] is w.grad
        assert found.tolist() == [k + 1.0] * 3
    assert f.counters.replayed == 3


def test_normal_numbers_of_deviations_in_a_tensor():
    def build():
        w = world(generator=torch.Generator().manual_seed(1))
        w.step = lambda m, s: torch.normal(m, s) + torch.normal(0.0, s, generator=w.generator)
        return w

    twins = Twins(build)
    for k in range(5):
        twins.call(torch.full((3,), float(k)), torch.full((3,), k + 0.5))
    assert twins.counters.replayed == 3
    for std in (-1.0, float("nan")):
        twins.call(torch.zeros(3), torch.tensor([1.0, std, 1.0]))
        assert twins.error == ("RuntimeError", "normal expects all elements of std >= 0.0")
    twins.replays(1, torch.zeros(3), torch.ones(3))
