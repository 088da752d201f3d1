"""The three calls against gradient descent written out by hand.

The article sets a training loop beside a loop over plain lists and claims that they match line by
line: the list of derivatives starts at zero (zero_grad), a prediction is a dot product (the model),
the squared error is summed (the criterion), each sample adds its derivative (backward), and at the
end all weights move (step). So both are run on the same points, and each claim is checked.
"""

from __future__ import annotations

import pytest

INPUTS = [[1.0, 0.5], [1.0, 1.5], [1.0, -2.0], [1.0, 3.0], [1.0, 0.0]]
LABELS = [2.1, 3.9, -2.8, 7.2, 1.0]  # close to 1 + 2 t
RATE = 0.1
STEPS = 41


def by_hand(start_from_zero=True):
    """Loss and weights before each step, lists and floats only."""
    m, n = len(INPUTS), len(INPUTS[0])
    weights = [0.0] * n
    slope = [0.0] * n
    history = []
    for _ in range(STEPS):
        if start_from_zero:
            slope = [0.0] * n
        loss = 0.0
        for point, label in zip(INPUTS, LABELS, strict=True):
            miss = sum(a * w for a, w in zip(point, weights, strict=True)) - label
            slope = [s + miss * a / m for s, a in zip(slope, point, strict=True)]
            loss += miss * miss / 2
        history.append((loss / m, list(weights)))
        weights = [w - RATE * s for w, s in zip(weights, slope, strict=True)]
    return history


def by_tape(torch, start_from_zero=True, shift=0.0):
    """The same with the three calls, the whole batch in one product."""
    inputs = torch.tensor(INPUTS, dtype=torch.float64)
    labels = torch.tensor(LABELS, dtype=torch.float64)
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=RATE)
    history = []
    for _ in range(STEPS):
        if start_from_zero:
            optimizer.zero_grad()
        outputs = torch.matmul(inputs, weights)
        loss = ((outputs - labels) ** 2 / 2).mean() + shift
        loss.backward()
        history.append((loss.item(), weights.tolist()))
        optimizer.step()
    return history


def assert_same(ours, theirs, tolerance=1e-12):
    assert len(ours) == len(theirs) == STEPS
    for (loss, weights), (other_loss, other_weights) in zip(ours, theirs, strict=True):
        assert loss == pytest.approx(other_loss, rel=tolerance, abs=tolerance)
        assert weights == pytest.approx(other_weights, rel=tolerance, abs=tolerance)


def program(torch):
    for i, (loss, weights) in enumerate(by_tape(torch)):
        if i % 10 == 0:
            print(f"Iteration {i} loss: {loss:f}")
            print([round(w, 4) for w in weights])


TEXT = [
    "Iteration 0 loss: 8.030000",
    "[0.0, 0.0]",
    "Iteration 10 loss: 0.030711",
    "[0.8587, 2.0061]",
    "Iteration 20 loss: 0.010300",
    "[0.9959, 2.0129]",
    "Iteration 30 loss: 0.007286",
    "[1.0487, 1.9997]",
    "Iteration 40 loss: 0.006766",
    "[1.0706, 1.9939]",
]


def test_program_prints_what_pytorch_prints(torch, printed):
    assert printed(program, torch) == TEXT


def test_program_against_the_reference(torch, reference, printed):
    assert printed(program, torch) == printed(program, reference)


def test_every_line_corresponds(torch):
    assert_same(by_tape(torch), by_hand())


def test_without_zero_grad_it_is_the_loop_whose_list_is_never_reset(torch):
    assert_same(by_tape(torch, start_from_zero=False), by_hand(start_from_zero=False))


def test_never_reset_is_worse(torch):
    assert by_tape(torch, start_from_zero=False)[-1][0] > 10 * by_tape(torch)[-1][0]


def test_gradient_of_a_batch_is_the_sum_over_its_samples(torch):
    inputs = torch.tensor(INPUTS, dtype=torch.float64)
    labels = torch.tensor(LABELS, dtype=torch.float64)
    one_by_one = torch.ones(2, dtype=torch.float64, requires_grad=True)
    for k in range(len(LABELS)):
        ((torch.matmul(inputs[k], one_by_one) - labels[k]) ** 2 / 2).backward()
    together = torch.ones(2, dtype=torch.float64, requires_grad=True)
    ((torch.matmul(inputs, together) - labels) ** 2 / 2).sum().backward()
    assert one_by_one.grad.tolist() == pytest.approx(together.grad.tolist(), rel=1e-14)
    assert together.grad.tolist() == pytest.approx([-3.4, -15.6], rel=1e-12)


def test_the_value_of_the_loss_plays_no_part(torch):
    plain, shifted = by_tape(torch), by_tape(torch, shift=1000.0)
    assert [w for _, w in plain] == [w for _, w in shifted]
    assert shifted[0][0] == pytest.approx(plain[0][0] + 1000.0)


def test_step_moves_all_parameters_and_only_those_with_a_gradient(torch):
    used = [torch.tensor([1.0, -1.0], requires_grad=True), torch.tensor(3.0, requires_grad=True)]
    unused = torch.tensor([5.0], requires_grad=True)
    optimizer = torch.optim.SGD([*used, unused], lr=0.5)
    (used[0].sum() + 2 * used[1]).backward()
    optimizer.step()
    assert used[0].tolist() == [0.5, -1.5]
    assert used[1].item() == 2.0
    assert unused.tolist() == [5.0]
    assert unused.grad is None
