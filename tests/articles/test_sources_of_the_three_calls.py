"""What zero_grad, backward and step do inside, claim by claim.

The article reads the source of an old PyTorch: the optimizer's list of groups, zero_grad as detach_ and
zero_ on every gradient, gradients that are None until backward, and SGD's update with weight decay,
momentum, dampening and Nesterov. Here those sources are written anew as an Optimizer subclass and
compared with the built-in one; a classifier stands in for the model that the article leaves out.
"""

from __future__ import annotations

import warnings

import pytest

POINTS = [
    [0.5, -1.0, 0.2],
    [1.0, 1.0, -0.3],
    [-1.5, 0.5, 0.8],
    [0.3, 2.0, -1.0],
    [-0.7, -0.5, 1.5],
    [2.0, 0.1, 0.4],
]
CLASSES = [0, 1, 2, 1, 2, 0]


def classifier(torch):
    class MyModel(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = torch.nn.Linear(3, 5)
            self.output = torch.nn.Linear(5, 3)

        def forward(self, x):
            return self.output(torch.tanh(self.hidden(x)))

    torch.manual_seed(7)
    return MyModel()


def loader(torch, batch_size=2):
    data = torch.utils.data.TensorDataset(torch.tensor(POINTS), torch.tensor(CLASSES))
    return torch.utils.data.DataLoader(data, batch_size=batch_size)


def program(torch, epochs=20):
    model = classifier(torch)
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    history = []
    for _ in range(1, epochs + 1):
        for inputs, labels in loader(torch):
            output = model(inputs)
            loss = criterion(output, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
    return history


FIRST = [0.87221, 1.20281, 1.22803, 0.82253, 1.09373, 1.18919]
LAST = [0.024123, 0.0061197, 0.029349]


def test_program_reaches_pytorchs_losses(torch):
    history = program(torch)
    assert history[:6] == pytest.approx(FIRST, abs=1e-5)
    assert history[-3:] == pytest.approx(LAST, abs=1e-4)


def test_program_against_the_reference(torch, reference):
    assert program(torch) == pytest.approx(program(reference), abs=1e-4)


# The groups.


def test_param_groups(torch):
    model = classifier(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    assert isinstance(optimizer.param_groups, list)
    (group,) = optimizer.param_groups
    assert isinstance(group, dict)
    assert {"params", "lr", "momentum", "dampening", "weight_decay", "nesterov"} <= set(group)
    assert (group["lr"], group["momentum"], group["dampening"]) == (0.1, 0.9, 0)
    assert (group["weight_decay"], group["nesterov"]) == (0, False)
    assert len(group["params"]) == 4
    for ours, its in zip(group["params"], model.parameters(), strict=True):
        assert ours is its
        assert isinstance(ours, torch.nn.parameter.Parameter)


def test_two_groups_with_their_own_rates(torch):
    a, b = (torch.tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.1)
    assert len(optimizer.param_groups) == 2
    (a + b).sum().backward()
    optimizer.step()
    assert a.tolist() == pytest.approx([0.9])
    assert b.tolist() == [0.5]


# zero_grad.


def old_zero_grad(optimizer):
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None:
                p.grad.detach_()
                p.grad.zero_()


def test_old_zero_grad_equals_set_to_none_false(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    untouched = torch.tensor([1.0], requires_grad=True)
    optimizer = torch.optim.SGD([x, untouched], lr=0.1)
    for clear in (old_zero_grad, lambda o: o.zero_grad(set_to_none=False)):
        (x * x).sum().backward()
        assert x.grad.tolist() == [2.0, 4.0]
        held = x.grad
        clear(optimizer)
        assert x.grad is held
        assert held.tolist() == [0.0, 0.0]
        assert untouched.grad is None


def test_detach_cuts_a_gradient_that_has_a_history(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * x * x).sum().backward(create_graph=True)
    assert x.grad.requires_grad
    assert x.grad.grad_fn is not None
    assert x.grad.detach_() is x.grad
    assert not x.grad.requires_grad
    assert x.grad.grad_fn is None
    assert x.grad.tolist() == [3.0, 12.0]
    x.grad = None  # PyTorch asks for this after create_graph: the pair would keep itself alive


def gradients_of(torch, batch_size, scale=1.0):
    model = classifier(torch)
    criterion = torch.nn.CrossEntropyLoss(reduction="sum")
    for inputs, labels in loader(torch, batch_size):
        (criterion(model(inputs), labels) / len(CLASSES)).backward()
    return [g for p in model.parameters() for g in p.grad.flatten().tolist()]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
def test_small_batches_add_up_to_a_large_one(torch, batch_size):
    assert gradients_of(torch, batch_size) == pytest.approx(gradients_of(torch, len(CLASSES)), abs=1e-6)


def test_several_small_batches_per_step_train_like_large_ones(torch):
    def train(batch_size, per_step):
        model = classifier(torch)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        criterion = torch.nn.CrossEntropyLoss()
        for _ in range(5):
            for i, (inputs, labels) in enumerate(loader(torch, batch_size)):
                (criterion(model(inputs), labels) / per_step).backward()
                if (i + 1) % per_step == 0:
                    optimizer.step()
                    optimizer.zero_grad()
        return [w for p in model.parameters() for w in p.flatten().tolist()]

    assert train(2, 3) == pytest.approx(train(6, 1), abs=1e-5)


# backward.


def test_gradients_are_none_until_backward(torch):
    model = classifier(torch)
    loss = torch.nn.CrossEntropyLoss()(model(torch.tensor(POINTS)), torch.tensor(CLASSES))
    assert all(p.grad is None for p in model.parameters())
    loss.backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


def test_step_before_backward_does_nothing(torch):
    model = classifier(torch)
    before = [p.tolist() for p in model.parameters()]
    for make in (torch.optim.SGD, torch.optim.Adam):
        optimizer = make(model.parameters(), lr=0.1, weight_decay=0.5)
        optimizer.step()
        assert [p.tolist() for p in model.parameters()] == before
        assert len(optimizer.state) == 0


# step.


def hand_written_sgd(torch):
    class HandWrittenSGD(torch.optim.Optimizer):
        def __init__(self, params, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
            settings = {"lr": lr, "momentum": momentum, "dampening": dampening}
            super().__init__(params, {**settings, "weight_decay": weight_decay, "nesterov": nesterov})

        def step(self, closure=None):
            loss = closure() if closure is not None else None
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self.update(group, p)
            return loss

        def update(self, group, p):
            d = p.grad.data
            if group["weight_decay"] != 0:
                d = d.add(p.data, alpha=group["weight_decay"])
            if group["momentum"] != 0:
                state = self.state[p]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.clone(d).detach()
                else:
                    state["momentum_buffer"].mul_(group["momentum"]).add_(d, alpha=1 - group["dampening"])
                buffer = state["momentum_buffer"]
                d = d.add(buffer, alpha=group["momentum"]) if group["nesterov"] else buffer
            p.data.add_(d, alpha=-group["lr"])

    return HandWrittenSGD


SETTINGS = [
    {"lr": 0.1},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
    {"lr": 0.1, "weight_decay": 0.2},
    {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1},
    {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1, "nesterov": True},
]


def train_with(torch, make, steps=12, **settings):
    model = classifier(torch)
    optimizer = make(model.parameters(), **settings)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(torch.tensor(POINTS)), torch.tensor(CLASSES)).backward()
        optimizer.step()
    return [w for p in model.parameters() for w in p.flatten().tolist()]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_sgd_is_its_source(torch, settings):
    ours = train_with(torch, torch.optim.SGD, **settings)
    assert ours == pytest.approx(train_with(torch, hand_written_sgd(torch), **settings), abs=2e-6)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_sgd_against_the_reference(torch, reference, settings):
    ours = train_with(torch, torch.optim.SGD, **settings)
    assert ours == pytest.approx(train_with(reference, reference.optim.SGD, **settings), abs=2e-6)


def test_momentum_buffer(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.1, momentum=0.5, dampening=0.25)
    assert len(optimizer.state) == 0
    (10 * x).sum().backward()
    optimizer.step()
    buffer = optimizer.state[x]["momentum_buffer"]
    assert buffer.tolist() == [10.0, 10.0]  # a copy of the first gradient: no dampening yet
    assert buffer is not x.grad
    optimizer.step()
    assert optimizer.state[x]["momentum_buffer"] is buffer
    assert buffer.tolist() == [12.5, 12.5]  # 0.5 * 10 + 0.75 * 10
    assert x.tolist() == pytest.approx([1 - 1.0 - 1.25, 2 - 1.0 - 1.25])


def test_without_momentum_there_is_no_state(torch):
    x = torch.tensor([1.0], requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.1)
    (x * x).sum().backward()
    optimizer.step()
    assert "momentum_buffer" not in optimizer.state[x] or optimizer.state[x]["momentum_buffer"] is None


def test_old_order_of_arguments_still_works(torch):
    # PyTorch warns about it, once in a process.
    g = torch.tensor([1.0, 2.0])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert g.add_(10, torch.tensor([1.0, 1.0])) is g
        assert g.add(0.5, torch.tensor([2.0, 2.0])).tolist() == [12.0, 13.0]
    assert g.tolist() == [11.0, 12.0]
    assert all("deprecated" in str(w.message) for w in seen)


@pytest.mark.parametrize("name", ["SGD", "Adam", "hand written"])
def test_closure(torch, name):
    x = torch.tensor([3.0], requires_grad=True)
    make = hand_written_sgd(torch) if name == "hand written" else getattr(torch.optim, name)
    optimizer = make([x], lr=0.1)
    calls = []

    def closure():
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        calls.append(loss)
        return loss

    returned = optimizer.step(closure)
    assert len(calls) == 1
    assert returned is calls[0]
    assert returned.item() == 9.0
    assert x.grad.tolist() == [6.0]
    assert x.tolist() == pytest.approx([2.9 if name == "Adam" else 2.4], abs=1e-6)


def test_closure_records_even_where_gradients_are_off(torch):
    x = torch.tensor([3.0], requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.1)

    def closure():
        loss = (x * x).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        optimizer.step(closure)
    assert x.tolist() == pytest.approx([2.4])


def test_step_without_closure_returns_none(torch):
    x = torch.tensor([3.0], requires_grad=True)
    (x * x).sum().backward()
    assert torch.optim.SGD([x], lr=0.1).step() is None


def test_scheduler_lowers_the_rate(torch):
    x = torch.tensor([1.0], requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.8)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        x.sum().backward()
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.8, 0.8, 0.4, 0.4, 0.2, 0.2])
    assert scheduler.get_last_lr() == pytest.approx([0.1])
    assert x.tolist() == pytest.approx([1 - sum(rates)], abs=1e-6)
