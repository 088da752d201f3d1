"""What backward, step and zero_grad each do, on two numbers.

x = (1, 2), y = 100 x, loss = sum(y): every derivative is 100. A step of SGD at rate 0.001 takes 0.1
off each number. A second pass without zero_grad finds 200, with zero_grad 100.
"""

from __future__ import annotations

import pytest


def begin(torch):
    """The part that the article's three programs share."""
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = 100 * x
    loss = y.sum()
    print("x:", x)
    print("y:", y)
    print("loss:", loss)
    print("gradient before backward:", x.grad)
    loss.backward()
    print("gradient after backward:", x.grad)
    optimizer = torch.optim.SGD([x], lr=0.001)
    print("x before step:", x)
    optimizer.step()
    print("x after step:", x)
    return x, optimizer


def first_program(torch):
    begin(torch)


def second_program(torch):
    x, _ = begin(torch)
    (100 * x).sum().backward()
    print("without zero_grad:", x.grad)


def third_program(torch):
    x, optimizer = begin(torch)
    loss = (100 * x).sum()
    optimizer.zero_grad()
    loss.backward()
    print("with zero_grad:", x.grad)


BEGIN = [
    "x: tensor([1., 2.], requires_grad=True)",
    "y: tensor([100., 200.], grad_fn=<MulBackward0>)",
    "loss: tensor(300., grad_fn=<SumBackward0>)",
    "gradient before backward: None",
    "gradient after backward: tensor([100., 100.])",
    "x before step: tensor([1., 2.], requires_grad=True)",
    "x after step: tensor([0.9000, 1.9000], requires_grad=True)",
]
PROGRAMS = [
    (first_program, BEGIN),
    (second_program, [*BEGIN, "without zero_grad: tensor([200., 200.])"]),
    (third_program, [*BEGIN, "with zero_grad: tensor([100., 100.])"]),
]


@pytest.mark.parametrize(("program", "text"), PROGRAMS)
def test_program_prints_what_pytorch_prints(torch, printed, program, text):
    assert printed(program, torch) == text


@pytest.mark.parametrize(("program", "text"), PROGRAMS)
def test_program_against_the_reference(torch, reference, printed, program, text):
    assert printed(program, torch) == printed(program, reference) == text


def test_gradient_is_none_before_the_first_backward(torch):
    assert torch.tensor([1.0], requires_grad=True).grad is None


def test_two_backward_calls_add(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (100 * x).sum().backward()
    assert x.grad.tolist() == [100.0, 100.0]
    first = x.grad
    (100 * x).sum().backward()
    assert x.grad.tolist() == [200.0, 200.0]
    assert x.grad is first  # added into the same object


def test_step_goes_against_the_gradient_at_the_rate(torch):
    for rate in (0.001, 0.01, -0.5):
        x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
        (100 * x).sum().backward()
        if rate < 0:
            with pytest.raises(ValueError, match="Invalid learning rate"):
                torch.optim.SGD([x], lr=rate)
            continue
        torch.optim.SGD([x], lr=rate).step()
        assert x.tolist() == pytest.approx([1 - 100 * rate, 2 - 100 * rate], rel=1e-15)


def test_step_keeps_the_object_and_its_gradient(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    before = x.data_ptr()
    (100 * x).sum().backward()
    torch.optim.SGD([x], lr=0.001).step()
    assert x.data_ptr() == before
    assert x.requires_grad
    assert x.is_leaf
    assert x.grad.tolist() == [100.0, 100.0]


def test_two_steps_on_accumulated_gradients(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.001)
    for expected in ([0.9, 1.9], [0.7, 1.7], [0.4, 1.4]):  # gradients 100, 200, 300
        (100 * x).sum().backward()
        optimizer.step()
        assert x.tolist() == pytest.approx(expected, rel=1e-6)


def test_the_same_graph_serves_once(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        loss.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_the_same_graph_serves_twice_if_kept(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = (100 * x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert x.grad.tolist() == [200.0, 200.0]


def test_zero_grad_forgets_what_was_there(torch):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.001)
    (100 * x).sum().backward()
    optimizer.zero_grad()
    assert x.grad is None
    (100 * x).sum().backward()
    assert x.grad.tolist() == [100.0, 100.0]
