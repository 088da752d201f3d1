"""A straight line learnt point by point, with zero_grad in the wrong place and in the right one.

The article's loop calls backward, then zero_grad, then step: by the time of the step no gradient is
left, so nothing is learnt, in PyTorch as here. Put in order it learns y = 2 x. The rest of the article
is about no_grad, which computes without recording, and about optimizers of one's own.
"""

from __future__ import annotations

import pytest

X = [[1.0], [2.0], [3.0]]
Y = [[2.0], [4.0], [6.0]]


def line(torch):
    class LinearRegression(torch.nn.Module):
        def __init__(self, input_dim, output_dim):
            super().__init__()
            self.linear = torch.nn.Linear(input_dim, output_dim)

        def forward(self, x):
            return self.linear(x)

    torch.manual_seed(0)
    return LinearRegression(1, 1)


def loop(torch, model, order, epochs=1, make=None):
    optimizer = (make or torch.optim.SGD)(model.parameters(), lr=0.01)
    x = torch.tensor(X, dtype=torch.float)
    y = torch.tensor(Y, dtype=torch.float)
    for epoch in range(epochs):
        for i in range(len(x)):
            loss = torch.nn.functional.mse_loss(model(x[i]), y[i])
            for call in order:
                {"backward": loss.backward, "zero_grad": optimizer.zero_grad, "step": optimizer.step}[call]()
            print(f"Epoch: {epoch + 1}, Batch: {i + 1}, Loss: {loss.item():.4f}")


AS_WRITTEN = ("backward", "zero_grad", "step")
IN_ORDER = ("zero_grad", "backward", "step")


def wrong_program(torch):
    loop(torch, line(torch), AS_WRITTEN, epochs=2)


def right_program(torch):
    loop(torch, line(torch), IN_ORDER, epochs=2)


WRONG_TEXT = [
    "Epoch: 1, Batch: 1, Loss: 2.1640",
    "Epoch: 1, Batch: 2, Loss: 12.1002",
    "Epoch: 1, Batch: 3, Loss: 30.0964",
    "Epoch: 2, Batch: 1, Loss: 2.1640",
    "Epoch: 2, Batch: 2, Loss: 12.1002",
    "Epoch: 2, Batch: 3, Loss: 30.0964",
]
RIGHT_TEXT = [
    "Epoch: 1, Batch: 1, Loss: 2.1640",
    "Epoch: 1, Batch: 2, Loss: 11.4939",
    "Epoch: 1, Batch: 3, Loss: 23.9483",
    "Epoch: 2, Batch: 1, Loss: 0.6680",
    "Epoch: 2, Batch: 2, Loss: 5.3689",
    "Epoch: 2, Batch: 3, Loss: 12.4269",
]


@pytest.mark.parametrize(("program", "text"), [(wrong_program, WRONG_TEXT), (right_program, RIGHT_TEXT)])
def test_program_prints_what_pytorch_prints(torch, printed, program, text):
    assert printed(program, torch) == text


@pytest.mark.parametrize("program", [wrong_program, right_program])
def test_program_against_the_reference(torch, reference, printed, program):
    assert printed(program, torch) == printed(program, reference)


def test_zero_grad_between_backward_and_step_leaves_the_weights_alone(torch):
    model = line(torch)
    before = [p.tolist() for p in model.parameters()]
    loop(torch, model, AS_WRITTEN)
    assert [p.tolist() for p in model.parameters()] == before


def test_in_order_the_line_is_learnt(torch):
    model = line(torch)
    loop(torch, model, IN_ORDER, epochs=200)
    assert [y.item() for y in model(torch.tensor(X))] == pytest.approx([2.0, 4.0, 6.0], abs=0.2)


def test_without_zeroing_the_steps_depend_on_old_batches(torch):
    model, other = line(torch), line(torch)
    loop(torch, model, IN_ORDER)
    loop(torch, other, ("backward", "step"))
    assert abs(model.linear.weight.item() - other.linear.weight.item()) > 0.05
    model, other = line(torch), line(torch)
    loop(torch, model, IN_ORDER, epochs=100)
    loop(torch, other, ("backward", "step"), epochs=100)
    miss = [abs(m(torch.tensor([[2.0]])).item() - 4.0) for m in (model, other)]
    assert miss[1] > 5 * miss[0]


def test_no_grad_statistics_leave_gradients_alone(torch):
    model = line(torch)
    x, y = torch.tensor(X), torch.tensor(Y)
    torch.nn.functional.mse_loss(model(x), y).backward()
    before = [p.grad.tolist() for p in model.parameters()]
    with torch.no_grad():
        predictions = model(x)
        statistics = [p.mean() for p in model.parameters()]
    assert not predictions.requires_grad
    assert predictions.grad_fn is None
    assert not any(s.requires_grad for s in statistics)
    assert [p.grad.tolist() for p in model.parameters()] == before  # not recorded, and not zeroed either
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        predictions.sum().backward()
    assert torch.is_grad_enabled()
    assert model(x).requires_grad


def test_evaluation_between_batches_changes_nothing(torch):
    model, other = line(torch), line(torch)
    loop(torch, model, IN_ORDER)
    x = torch.tensor(X)
    for i in range(3):
        # one batch at a time, with a look at all points before each
        with torch.no_grad():
            other(x).mean()
        loss = torch.nn.functional.mse_loss(other(x[i]), torch.tensor(Y)[i])
        other.zero_grad()
        loss.backward()
        torch.optim.SGD(other.parameters(), lr=0.01).step()
    assert [p.tolist() for p in model.parameters()] == [p.tolist() for p in other.parameters()]


def self_clearing_sgd(torch):
    class SelfClearingSGD(torch.optim.Optimizer):
        """Clears each gradient once it has been used, inside step."""

        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        p -= group["lr"] * p.grad
                        p.grad = None

    return SelfClearingSGD


def test_custom_optimizer_that_clears_in_step(torch):
    model, other = line(torch), line(torch)
    loop(torch, model, IN_ORDER, epochs=3)
    loop(torch, other, ("backward", "step"), epochs=3, make=self_clearing_sgd(torch))
    assert [p.grad for p in other.parameters()] == [None, None]
    for ours, theirs in zip(other.parameters(), model.parameters(), strict=True):
        assert ours.flatten().tolist() == pytest.approx(theirs.flatten().tolist(), abs=1e-6)


def test_a_subclass_without_step_says_so(torch):
    class Lazy(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

    with pytest.raises(NotImplementedError):
        Lazy([torch.tensor([1.0], requires_grad=True)]).step()


@pytest.mark.parametrize("params", [[], ["not a tensor"], "a string"])
def test_optimizer_refuses_what_is_no_parameter(torch, params):
    with pytest.raises((ValueError, TypeError)):
        torch.optim.SGD(params, lr=0.01)


def test_optimizer_refuses_a_tensor_in_place_of_a_list(torch):
    with pytest.raises(TypeError, match="params argument given to the optimizer should be an iterable"):
        torch.optim.SGD(torch.tensor([1.0], requires_grad=True), lr=0.01)


def test_optimizer_refuses_what_was_computed(torch):
    with pytest.raises(ValueError, match="can't optimize a non-leaf Tensor"):
        torch.optim.SGD([torch.tensor([1.0], requires_grad=True) * 2], lr=0.01)
