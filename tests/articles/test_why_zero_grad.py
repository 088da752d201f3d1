"""Why zero_grad has to be called, answered in four ways, in the old spelling and the new.

The first answer's programs do not run as they stand in any recent PyTorch: a row of squared errors is
no scalar, a gradient is None before the first backward, and a leaf must not be changed in place while
gradients are recorded. Each of these is a test, and the completed programs are too. The others claim
that losses fall with zero_grad and climb without, and that halving old gradients also trains.
"""

from __future__ import annotations

import pytest

SAMPLES = [[1.0, 0.5, -1.0, 2.0], [0.0, 1.0, 1.5, -0.5], [-1.0, 2.0, 0.5, 1.0], [0.5, -1.5, 1.0, 0.0]]
TARGETS = [[1.0, 0.0, -1.0], [0.5, 1.0, 0.0], [-1.0, 0.5, 2.0], [0.0, -0.5, 1.0]]
W0 = [[0.1, -0.2, 0.3], [0.0, 0.4, -0.1], [0.2, 0.1, -0.3], [-0.4, 0.3, 0.2]]
B0 = [0.0, 0.1, -0.1]


def linear_model(torch, x, W, b):
    return torch.matmul(x, W) + b


def variables(torch):
    from_old_name = torch.autograd.Variable
    W = from_old_name(torch.tensor(W0), requires_grad=True)
    b = from_old_name(torch.tensor(B0), requires_grad=True)
    return torch.tensor(SAMPLES), torch.tensor(TARGETS), W, b


def adam_program(torch):
    """The optimizer's loop, with the sum that makes the loss a scalar."""
    data, targets, W, b = variables(torch)
    optimizer = torch.optim.Adam([W, b], lr=0.05)
    for epoch in range(30):
        total = 0.0
        for sample, target in zip(data, targets, strict=True):
            optimizer.zero_grad()
            output = linear_model(torch, sample, W, b)
            loss = ((output - target) ** 2).sum()
            loss.backward()
            optimizer.step()
            total += loss.item()
        if epoch % 10 == 9:
            print(f"{total:.3f}")
    print(W)
    print(b)


def vanilla_program(torch):
    """Gradient descent without an optimizer, in the old spelling."""
    data, targets, W, b = variables(torch)
    rate = 0.05
    for epoch in range(30):
        total = 0.0
        for sample, target in zip(data, targets, strict=True):
            if W.grad is not None:
                W.grad.data.zero_()
                b.grad.data.zero_()
            loss = ((linear_model(torch, sample, W, b) - target) ** 2).sum()
            loss.backward()
            W.data -= rate * W.grad.data
            b.data -= rate * b.grad.data
            total += loss.item()
        if epoch % 10 == 9:
            print(f"{total:.3f}")
    print(W)
    print(b)


ADAM_TEXT = [
    "2.765",
    "1.158",
    "0.461",
    "tensor([[ 1.3350,  0.5128, -1.3947],",
    "        [ 0.3827,  0.6075, -0.3819],",
    "        [-0.1779,  0.2568,  0.5586],",
    "        [-0.4208, -0.2273,  0.5349]], requires_grad=True)",
    "tensor([ 0.1201, -0.1038,  0.2416], requires_grad=True)",
]
VANILLA_TEXT = [
    "2.106",
    "0.396",
    "0.074",
    "tensor([[ 1.3407,  0.4299, -1.9054],",
    "        [ 0.3813,  0.5698, -0.6652],",
    "        [-0.1551,  0.1977,  0.5378],",
    "        [-0.4008, -0.2502,  0.7380]], requires_grad=True)",
    "tensor([ 0.0833, -0.0392,  0.3636], requires_grad=True)",
]


@pytest.mark.parametrize(("program", "text"), [(adam_program, ADAM_TEXT), (vanilla_program, VANILLA_TEXT)])
def test_program_prints_what_pytorch_prints(torch, printed, program, text):
    assert printed(program, torch) == text


@pytest.mark.parametrize("program", [adam_program, vanilla_program])
def test_program_against_the_reference(torch, reference, printed, program):
    assert printed(program, torch) == printed(program, reference)


def test_variable_is_a_tensor(torch):
    v = torch.autograd.Variable(torch.tensor([1.0]), requires_grad=True)
    assert isinstance(v, torch.Tensor)
    assert v.requires_grad
    assert v.is_leaf
    assert not torch.autograd.Variable(torch.tensor([1.0])).requires_grad


def test_a_row_of_losses_is_no_scalar(torch):
    data, targets, W, b = variables(torch)
    loss = (linear_model(torch, data[0], W, b) - targets[0]) ** 2
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        loss.backward()
    assert W.grad is None
    loss.backward(torch.ones(3))  # the sum, said in another way
    assert b.grad.tolist() == pytest.approx([-3.8, 1.2, 3.7], rel=1e-5)


def test_zeroing_before_the_first_backward_has_nothing_to_zero(torch):
    _, _, W, _ = variables(torch)
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'data'"):
        W.grad.data.zero_()


def test_leaf_must_not_change_in_place_while_recording(torch):
    _, _, W, _ = variables(torch)
    (W * W).sum().backward()
    with pytest.raises(RuntimeError, match=r"leaf Variable that requires grad .* in-place operation"):
        W -= 0.1 * W.grad.data
    assert W.tolist() == torch.tensor(W0).tolist()
    with torch.no_grad():
        W -= 0.5 * W.grad.data
    assert W.tolist() == [[0.0] * 3] * 4
    assert W.requires_grad


def test_zeroing_the_data_of_a_gradient(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    kept = x.grad
    x.grad.data.zero_()
    assert kept.tolist() == [0.0, 0.0]
    assert x.grad is kept


POINTS = [[0.5, -1.0], [1.0, 1.0], [1.5, 0.5], [-1.0, 0.5], [0.0, 2.0], [-1.5, -0.5], [2.0, 1.0], [0.5, -1.5]]


def losses(torch, between, steps=5, momentum=0.0):
    """A small regression; `between(optimizer)` says what happens to old gradients."""
    x = torch.tensor(POINTS)
    y = torch.stack([2 * x[:, 0] - x[:, 1], x[:, 0] * x[:, 1]], 1)
    W = torch.zeros(2, 2, requires_grad=True)
    b = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([W, b], lr=0.5, momentum=momentum)
    history = []
    for _ in range(steps):
        between(optimizer)
        loss = ((linear_model(torch, x, W, b) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history


def forget(optimizer):
    optimizer.zero_grad()


def keep(optimizer):
    pass


def halve(optimizer):
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None:
                p.grad = p.grad / 2


FALLING = [3.13672, 0.80431, 0.39903, 0.28538, 0.25258]
RISING = [3.13672, 0.80431, 1.10743, 2.57725, 2.51216]


def test_with_zero_grad_the_loss_falls(torch):
    history = losses(torch, forget)
    assert history == sorted(history, reverse=True)
    assert history == pytest.approx(FALLING, abs=1e-4)


def test_without_zero_grad_the_loss_climbs(torch):
    history = losses(torch, keep)
    assert history[1] < history[2] < history[3]
    assert history == pytest.approx(RISING, abs=1e-4)


@pytest.mark.parametrize("between", [forget, keep, halve])
def test_losses_against_the_reference(torch, reference, between):
    assert losses(torch, between) == pytest.approx(losses(reference, between), rel=1e-5)


def test_halving_old_gradients_trains_too(torch):
    history = losses(torch, halve, steps=20)
    assert history[-1] < 0.1 * history[0]


def test_halving_is_momentum_of_one_half(torch):
    # grad/2 + new is what SGD keeps in its buffer; a halving is exact, so the losses are the same.
    assert losses(torch, halve, steps=20) == pytest.approx(losses(torch, forget, 20, momentum=0.5), rel=1e-6)


def test_two_ways_of_zeroing(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.1)
    (x * x).sum().backward()
    held = x.grad
    optimizer.zero_grad(set_to_none=False)
    assert x.grad is held
    assert held.tolist() == [0.0, 0.0]
    assert not held.requires_grad
    (x * x).sum().backward()
    optimizer.zero_grad(set_to_none=True)
    assert x.grad is None
    assert held.tolist() == [2.0, 4.0]  # whoever holds the old gradient keeps it
    (x * x).sum().backward()
    optimizer.zero_grad()  # None is the default
    assert x.grad is None


def test_zeroed_and_missing_gradients_differ_for_momentum(torch):
    for set_to_none, expected in ((True, [1.0]), (False, [0.91])):
        x = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([x], lr=0.1, momentum=0.9)
        (10 * x).sum().backward()
        optimizer.step()
        assert x.tolist() == [1.0]
        optimizer.zero_grad(set_to_none=set_to_none)
        optimizer.step()  # None: nothing happens. Zeros: the momentum goes on.
        assert x.tolist() == pytest.approx(expected if set_to_none else [1.0 - 0.1 * 9.0], abs=1e-12)


def test_module_zero_grad_clears_all_parameters(torch):
    model = torch.nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    model.zero_grad(set_to_none=False)
    assert all(p.grad.abs().sum().item() == 0.0 for p in model.parameters())


def test_gradient_of_a_loss_summed_over_batches(torch):
    x = torch.tensor(POINTS)
    w = torch.tensor([0.5, -0.25], requires_grad=True)
    for part in (x[:3], x[3:5], x[5:]):
        (torch.matmul(part, w) ** 2).sum().backward()
    pieces = w.grad.tolist()
    w.grad = None
    (torch.matmul(x, w) ** 2).sum().backward()
    assert pieces == pytest.approx(w.grad.tolist(), rel=1e-6)


def epochs_program(torch):
    """The seeded loop over epochs, completed with a straight line to learn."""
    torch.manual_seed(42)
    x = torch.tensor([[0.02 * i] for i in range(40)])
    y = 0.7 * x + 0.3
    model = torch.nn.Linear(1, 1)
    criterion = torch.nn.L1Loss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    history = []
    for _ in range(101):
        model.train()
        loss = criterion(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    model.eval()
    assert not model.training
    return history


def test_seeded_epochs(torch):
    history = epochs_program(torch)
    assert [history[i] for i in (0, 1, 50, 100)] == pytest.approx(
        [0.555178, 0.543657, 0.0238864, 0.0062157], abs=2e-5
    )


def test_seeded_epochs_against_the_reference(torch, reference):
    assert epochs_program(torch) == pytest.approx(epochs_program(reference), abs=2e-5)
