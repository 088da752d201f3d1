"""Optimizers against torch.optim: numbers, state, messages and printing."""

import copy
import pickle

import numpy as np
import pytest
import tapegrad as torch

reference = pytest.importorskip("torch")

SIZES = [(3, 5), (17,), (), (0,), (20000,), (3, 7, 2)]


def parameters(framework, dtype="float32", sizes=SIZES):
    rng = np.random.default_rng(0)
    return [
        framework.nn.Parameter(framework.from_numpy(np.asarray(rng.normal(size=s), dtype))) for s in sizes
    ]


def give_gradients(framework, params, step):
    rng = np.random.default_rng(100 + step)
    for i, p in enumerate(params):
        scale = 10.0 ** rng.uniform(-3, 2)
        values = np.asarray(rng.normal(size=tuple(p.shape)) * scale, str(p.dtype).rpartition(".")[2])
        # Parameter 1 has no gradient in steps 0 and 3: its state must not advance.
        p.grad = None if i == 1 and step in (0, 3) else framework.from_numpy(values)


def trained(framework, make, steps=8, dtype="float32"):
    params = parameters(framework, dtype)
    optimizer = make(framework.optim, params)
    for step in range(steps):
        give_gradients(framework, params, step)
        optimizer.step()
    return params, optimizer


def flat(params, optimizer):
    values = {f"param {i}": p.detach().numpy() for i, p in enumerate(params)}
    for i, own in optimizer.state_dict()["state"].items():
        for key, value in own.items():
            values[f"{key} {i}"] = value.numpy()
    return values


CASES = {
    "sgd": lambda o, p: o.SGD(p, lr=0.1),
    "sgd decay": lambda o, p: o.SGD(p, lr=0.1, weight_decay=0.1),
    "sgd maximize": lambda o, p: o.SGD(p, lr=0.1, weight_decay=0.1, maximize=True),
    "momentum": lambda o, p: o.SGD(p, lr=0.1, momentum=0.9),
    "dampening": lambda o, p: o.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.01),
    "nesterov": lambda o, p: o.SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    "adam": lambda o, p: o.Adam(p),
    "adam options": lambda o, p: o.Adam(p, 0.01, (0.4, 0.9), 1e-4, 0.1, maximize=True),
    "amsgrad": lambda o, p: o.Adam(p, amsgrad=True),
    "adamw": lambda o, p: o.AdamW(p, lr=0.05),
    "adamw amsgrad": lambda o, p: o.AdamW(p, amsgrad=True, weight_decay=0.3),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", list(CASES))
def test_numbers(case, dtype):
    ours = flat(*trained(torch, CASES[case], dtype=dtype))
    theirs = flat(*trained(reference, CASES[case], dtype=dtype))
    assert list(ours) == list(theirs)
    exact = not case.startswith("a")
    for key, expected in theirs.items():
        assert ours[key].dtype == expected.dtype
        if exact or key.startswith("step"):
            np.testing.assert_array_equal(ours[key], expected, err_msg=key)
        else:
            # PyTorch's square root (from MKL) is off by one bit now and then; ours is exact.
            eps = np.finfo(dtype).eps
            np.testing.assert_allclose(ours[key], expected, rtol=8 * eps, atol=eps, err_msg=key)


@pytest.mark.parametrize("case", list(CASES))
def test_printing_and_the_layout_of_the_state_dict(case):
    ours, theirs = trained(torch, CASES[case], 2)[1], trained(reference, CASES[case], 2)[1]
    assert repr(ours) == repr(theirs)
    a, b = ours.state_dict(), theirs.state_dict()
    assert a["param_groups"] == b["param_groups"]
    assert [list(g) for g in a["param_groups"]] == [list(g) for g in b["param_groups"]]
    assert {k: list(v) for k, v in a["state"].items()} == {k: list(v) for k, v in b["state"].items()}


@pytest.mark.parametrize("case", list(CASES))
def test_resuming_from_a_state_dict_continues_exactly(case):
    params, optimizer = trained(torch, CASES[case], 4)
    twins = [torch.nn.Parameter(p.detach().clone()) for p in params]
    second = CASES[case](torch.optim, twins)
    second.load_state_dict(optimizer.state_dict())
    third = pickle.loads(pickle.dumps(second))
    for step in range(4, 7):
        give_gradients(torch, params, step)
        optimizer.step()
        for p, twin in zip(params, twins, strict=True):
            twin.grad = None if p.grad is None else p.grad.clone()
        second.step()
    for p, twin in zip(params, twins, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), twin.detach().numpy())
    assert third.state_dict()["param_groups"] == second.state_dict()["param_groups"]


def test_state_dict_of_torch_loads():
    _, theirs = trained(reference, CASES["adam"], 3)

    def convert(value):
        if isinstance(value, reference.Tensor):
            return torch.from_numpy(value.numpy().copy())
        return {k: convert(v) for k, v in value.items()} if isinstance(value, dict) else value

    state = {
        "state": convert(theirs.state_dict()["state"]),
        "param_groups": theirs.state_dict()["param_groups"],
    }
    optimizer = torch.optim.Adam(parameters(torch), lr=5.0)
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 1e-3
    assert optimizer.state_dict()["state"][0]["step"].item() == 3.0


def test_loading_copies_and_casts():
    params, optimizer = trained(torch, CASES["adam"], 2)
    doubles = [torch.nn.Parameter(p.detach().double()) for p in params]
    second = torch.optim.Adam(doubles)
    second.load_state_dict(optimizer.state_dict())
    own = second.state[doubles[0]]
    assert own["exp_avg"].dtype is torch.float64
    assert own["step"].dtype is torch.float32
    assert own["step"] is not optimizer.state[params[0]]["step"]
    second.load_state_dict({"state": {}, "param_groups": second.state_dict()["param_groups"]})
    assert not second.state


def test_non_contiguous_and_mixed_tensors():
    rng = np.random.default_rng(1)
    base = torch.from_numpy(rng.normal(size=(4, 3)).astype(np.float32))
    view = torch.nn.Parameter(base.clone().t())
    plain = torch.nn.Parameter(base.t().contiguous())
    double = torch.nn.Parameter(base.double())
    grad = torch.from_numpy(rng.normal(size=(3, 4)).astype(np.float32))
    for make in (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), lambda p: torch.optim.Adam(p)):
        mixed, alone = make([view, double]), make([plain])
        for _ in range(3):
            view.grad, plain.grad = grad, grad.clone()
            double.grad = grad.t().double()
            mixed.step()
            alone.step()
        assert view.tolist() == plain.tolist()
        np.testing.assert_allclose(double.detach().numpy(), plain.detach().numpy().T, rtol=1e-5)


def test_groups_have_their_own_options():
    a, b = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": a, "lr": 0.5}, {"params": [b]}], lr=0.25)
    a.grad, b.grad = torch.ones(1), torch.ones(1)
    optimizer.step()
    assert (a.item(), b.item()) == (0.5, 0.75)
    optimizer.param_groups[1]["lr"] = torch.tensor(0.5)
    optimizer.step()
    assert b.item() == 0.25
    c = torch.nn.Parameter(torch.ones(1))
    optimizer.add_param_group({"params": c})
    assert optimizer.param_groups[2]["lr"] == 0.25
    named = torch.optim.SGD([("w", a), ("v", b)], lr=0.1)
    assert named.state_dict()["param_groups"][0]["param_names"] == ["w", "v"]


def test_zero_grad_and_closure():
    w = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([w], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 2.0
    grad = w.grad
    optimizer.zero_grad(set_to_none=False)
    assert w.grad is grad
    assert grad.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert w.grad is None
    before = w.tolist()
    optimizer.step()
    assert w.tolist() == before


def test_step_hooks():
    w = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([w], lr=0.5)
    log = []
    handle = optimizer.register_step_pre_hook(lambda o, args, kwargs: log.append(("pre", w.item())))
    optimizer.register_step_post_hook(lambda o, args, kwargs: log.append(("post", w.item())))
    w.grad = torch.ones(1)
    optimizer.step()
    assert log == [("pre", 1.0), ("post", 0.5)]
    handle.remove()
    optimizer.step()
    assert log[2:] == [("post", 0.0)]


def test_deepcopy_of_model_and_optimizer_together():
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    model2, optimizer2 = copy.deepcopy((model, optimizer))
    model2(torch.ones(1, 2)).sum().backward()
    before = model.weight.tolist()
    optimizer2.step()
    assert model.weight.tolist() == before
    assert model2.weight.tolist() != before


def misuse(framework):
    optim = framework.optim

    def p():
        return framework.nn.Parameter(framework.ones(1))

    one = p()
    group = {"params": [one], "lr": 0.1}
    return {
        "tensor": lambda: optim.SGD(one, lr=0.1),
        "empty": lambda: optim.SGD([], lr=0.1),
        "not a tensor": lambda: optim.SGD([3], lr=0.1),
        "set": lambda: optim.SGD([{"params": {one}}], lr=0.1),
        "non-leaf": lambda: optim.SGD([one * 2], lr=0.1),
        "two groups": lambda: optim.SGD([group, dict(group)], lr=0.1),
        "group type": lambda: optim.SGD([one], lr=0.1).add_param_group([p()]),
        "names": lambda: optim.SGD([("a", one), p()], lr=0.1),
        "lr": lambda: optim.SGD([one], lr=-0.1),
        "momentum": lambda: optim.SGD([one], momentum=-0.1),
        "decay": lambda: optim.SGD([one], weight_decay=-0.1),
        "nesterov": lambda: optim.SGD([one], nesterov=True),
        "both": lambda: optim.SGD([one], foreach=True, fused=True),
        "betas": lambda: optim.Adam([one], betas=(1.0, 0.9)),
        "betas 1": lambda: optim.Adam([one], betas=(0.5, -0.9)),
        "beta types": lambda: optim.Adam([one], betas=(0, 0.9)),
        "eps": lambda: optim.AdamW([one], eps=-1.0),
        "step": lambda: optim.Optimizer([one], {}).step(),
        "groups differ": lambda: optim.SGD([one]).load_state_dict({"state": {}, "param_groups": []}),
        "group size": lambda: optim.SGD([one]).load_state_dict(
            {"state": {}, "param_groups": [{"params": [0, 1]}]}
        ),
    }


@pytest.mark.parametrize("case", list(misuse(reference)))
def test_errors_read_as_in_torch(case):
    messages = []
    for framework in (torch, reference):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            misuse(framework)[case]()
        messages.append((caught.type.__name__, str(caught.value).partition("<class")[0]))
    assert messages[0] == messages[1]


def test_switches():
    w = torch.nn.Parameter(torch.ones(1))
    assert torch.optim.SGD([w], foreach=True).defaults["foreach"] is True
    with pytest.raises(NotImplementedError, match="differentiable=True"):
        torch.optim.SGD([w], differentiable=True)
    with pytest.raises(NotImplementedError, match="AdamW: capturable=True"):
        torch.optim.AdamW([w], capturable=True)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        torch.optim.SGD([w, w])


def test_plain_python_subclass():
    class Sign(torch.optim.Optimizer):
        def __init__(self, params, lr=torch.optim.optimizer.required):
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self.state[p]["count"] = self.state[p].get("count", 0) + 1
                        p.add_(p.grad.sign(), alpha=-group["lr"])

    w = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="required optimization parameter lr"):
        Sign([w])
    optimizer = Sign([w], lr=0.5)
    (w * w).sum().backward()
    optimizer.step()
    assert w.tolist() == [0.5, -0.5]
    assert optimizer.state_dict()["state"] == {0: {"count": 1}}
