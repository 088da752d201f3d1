"""Options of optimizers that code changes or reads inside, and leaves that it switches."""

from __future__ import annotations

import pytest
import tapegrad as torch

KEYS = ["lr"]


def trained(change, compiled, kind=torch.optim.SGD, later=0.01, **options):
    """A weight after eight steps, four with another learning rate, and the learning rate."""
    w = torch.ones(3, requires_grad=True)
    optimizer = kind([w], lr=0.1, **options)

    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        return change(optimizer, x)

    f = torch.compile(step) if compiled else step
    given = []
    for i in range(8):
        if i == 4:
            optimizer.param_groups[0]["lr"] = later
        y = f(torch.ones(3))
        given.append(None if y is None else y.tolist())
    return w.tolist(), optimizer.param_groups[0]["lr"], given, f.counters.replayed if compiled else 0


def halved(optimizer, x):
    group = optimizer.param_groups[0]
    before = group["lr"]
    group["lr"] = before * 0.5
    optimizer.step()
    group["lr"] = before


def decayed(optimizer, x):
    for group in optimizer.param_groups:
        group["weight_decay"] = 0.5
    optimizer.step()
    for group in optimizer.param_groups:
        group["weight_decay"] = 0


def updated(optimizer, x):
    old = dict(optimizer.param_groups[0])
    optimizer.param_groups[0].update(lr=0.05)
    optimizer.step()
    optimizer.param_groups[0].update(old)


def put_by_other_names(optimizer, x):
    for key in KEYS:
        optimizer.param_groups[0][key] = 0.1
    optimizer.step()


def put_by_update(optimizer, x):
    optimizer.param_groups[0].update(dict.fromkeys(KEYS, 0.1))
    optimizer.step()


def read_by_other_names(optimizer, x):
    optimizer.step()
    return x * sum(optimizer.param_groups[0][key] for key in KEYS)


def learning_rate(lr, **_):
    return lr


def read_as_arguments(optimizer, x):
    optimizer.step()
    return x * learning_rate(**optimizer.param_groups[0])


def read_from_a_copy(optimizer, x):
    optimizer.step()
    return x * dict(optimizer.param_groups[0])[KEYS[0]]


def read_from_a_variable(optimizer, x):
    optimizer.step()
    group = optimizer.param_groups[0]
    return x * group[KEYS[0]]


CHANGES = [
    halved, decayed, updated, put_by_other_names, put_by_update, read_by_other_names, read_as_arguments,
    read_from_a_copy, read_from_a_variable,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_options_inside(change, kind):
    assert trained(change, True, kind)[:3] == trained(change, False, kind)[:3]


def parameters_by_name(optimizer, x):
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 0.5)
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad.mul_(0.5)
    optimizer.step()


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_code_that_takes_parameters_from_groups_is_replayed_with_other_learning_rates(kind):
    *found, replayed = trained(parameters_by_name, True, kind)
    assert tuple(found) == trained(parameters_by_name, False, kind)[:3]
    assert replayed >= 5


def switched(compiled, by_attribute):
    w = torch.ones(3, requires_grad=True)

    def step(x):
        (w * x).sum().backward()
        if by_attribute:
            w.requires_grad = False
            w.requires_grad = True
        else:
            w.requires_grad_(False)
            w.requires_grad_()

    f = torch.compile(step) if compiled else step
    found = []
    for i in range(9):
        if i in (3, 5):
            w.grad = None
        elif i == 7:
            w.grad = torch.ones(3)
        f(torch.ones(3))
        found.append(w.grad.tolist())
    return found


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
@pytest.mark.parametrize("by_attribute", [False, True])
def test_a_leaf_that_is_switched_off_and_on_after_backward(by_attribute):
    assert switched(True, by_attribute) == switched(False, by_attribute)


def test_a_new_optimizer_for_each_of_many_stages():
    model = torch.nn.Linear(3, 2)
    optimizer = None

    def step(x):
        optimizer.zero_grad()
        loss = model(x).pow(2).mean()
        loss.backward()
        optimizer.step()
        return loss

    f = torch.compile(step)
    for stage in range(24):
        optimizer = torch.optim.Adam(model.parameters())
        before = f.counters.replayed
        for _ in range(60):
            f(torch.ones(4, 3))
        assert f.counters.replayed - before == 57, stage


def scale(x, *, k=2.0):
    return x * k


def test_defaults_of_keywords_that_are_changed_in_place():
    f = torch.compile(lambda x: scale(x))
    try:
        for k in (2.0, 2.0, 2.0, 5.0, 5.0):
            scale.__kwdefaults__["k"] = k
            assert f(torch.ones(1)).tolist() == [k]
    finally:
        scale.__kwdefaults__["k"] = 2.0


def group_elsewhere(group, _):
    return list(group.values())[1]


def groups_elsewhere(_, groups):
    return next(v for g in groups for k, v in g.items() if k != "params")


@pytest.mark.parametrize("take", [group_elsewhere, groups_elsewhere])
def test_a_group_that_is_held_outside_its_optimizer(take):
    found = []
    for compiled in (False, True):
        w = torch.ones(2, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=0.5)
        group, groups = optimizer.param_groups[0], optimizer.param_groups

        def step(x, w=w, optimizer=optimizer, group=group, groups=groups):
            optimizer.zero_grad()
            loss = (w * x).sum() * take(group, groups)
            loss.backward()
            optimizer.step()
            return loss.detach()

        f = torch.compile(step) if compiled else step
        seen = []
        for lr in (0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125):
            optimizer.param_groups[0]["lr"] = lr
            seen.append((f(torch.ones(2)).item(), w.tolist()))
        found.append(seen)
    assert found[0] == found[1]
    assert f.counters.replayed >= 2
