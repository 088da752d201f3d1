"""Schedules against torch.optim.lr_scheduler, rate by rate."""

import pytest
import tapegrad as torch

reference = pytest.importorskip("torch")

SCHEDULES = {
    "step": lambda s, o: s.StepLR(o, 3, gamma=0.3),
    "multi": lambda s, o: s.MultiStepLR(o, [2, 5, 5], gamma=0.5),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "lambda": lambda s, o: s.LambdaLR(o, lambda e: 1 / (1 + e)),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda e: 0.9**e, lambda e: 1.0]),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, T_max=4, eta_min=1e-3),
    "constant": lambda s, o: s.ConstantLR(o, 0.5, total_iters=3),
    "linear": lambda s, o: s.LinearLR(o, 0.25, 0.75, total_iters=6),
}


def optimizer_of(framework):
    a, b = (framework.nn.Parameter(framework.ones(1)) for _ in range(2))
    return framework.optim.SGD([{"params": [a], "lr": 0.3}, {"params": [b]}], lr=0.1, momentum=0.9)


def rates(framework, case, steps=13):
    optimizer = optimizer_of(framework)
    scheduler = SCHEDULES[case](framework.optim.lr_scheduler, optimizer)
    seen = [scheduler.get_last_lr()]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        assert scheduler.get_last_lr() == [g["lr"] for g in optimizer.param_groups]
        seen.append(scheduler.get_last_lr())
    return seen, scheduler


@pytest.mark.parametrize("case", list(SCHEDULES))
def test_rates_to_the_bit(case):
    assert rates(torch, case)[0] == rates(reference, case)[0]


@pytest.mark.parametrize("case", [c for c in SCHEDULES if not c.startswith("lambda")])
def test_closed_form(case):
    ours, theirs = [], []
    for framework, seen in ((torch, ours), (reference, theirs)):
        scheduler = rates(framework, case, 2)[1]
        with pytest.warns(UserWarning, match="epoch parameter"):
            scheduler.step(7)
        seen.extend(scheduler.get_last_lr())
    assert ours == theirs


@pytest.mark.parametrize("case", list(SCHEDULES))
def test_state_dict(case):
    ours, theirs = rates(torch, case, 4)[1], rates(reference, case, 4)[1]
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    optimizer = optimizer_of(torch)
    second = SCHEDULES[case](torch.optim.lr_scheduler, optimizer)
    second.load_state_dict(ours.state_dict())
    optimizer.load_state_dict(ours.optimizer.state_dict())
    for scheduler in (ours, second):
        scheduler.optimizer.step()
        scheduler.step()
    assert second.get_last_lr() == ours.get_last_lr()
    assert second.last_epoch == 5


def test_order_of_calls_is_warned_about():
    optimizer = optimizer_of(torch)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.warns(UserWarning, match=r"before `optimizer.step\(\)`"):
        scheduler.step()
    with pytest.warns(UserWarning, match="get_last_lr"):
        scheduler.get_lr()


def test_stepping_still_steps_and_counts():
    w = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([w], lr=0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 1.0)  # two schedulers on one optimizer
    w.grad = torch.ones(1)
    optimizer.step()
    scheduler.step()
    optimizer.step()
    assert w.item() == 0.25


def test_tensor_rate_is_changed_in_place():
    w = torch.nn.Parameter(torch.ones(1))
    lr = torch.tensor(0.5)
    optimizer = torch.optim.SGD([w], lr=lr)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == 0.25


def test_errors():
    scheduler = torch.optim.lr_scheduler
    with pytest.raises(TypeError, match="int is not an Optimizer"):
        scheduler.StepLR(3, 1)
    with pytest.raises(KeyError, match="initial_lr"):
        scheduler.StepLR(optimizer_of(torch), 1, last_epoch=3)
    with pytest.raises(ValueError, match="Expected 2 lr_lambdas, but got 1"):
        scheduler.LambdaLR(optimizer_of(torch), [lambda e: 1.0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        scheduler.ConstantLR(optimizer_of(torch), 2.0)
    with pytest.raises(ValueError, match="Starting"):
        scheduler.LinearLR(optimizer_of(torch), 0.0)
