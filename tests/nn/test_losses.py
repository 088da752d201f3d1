"""Losses and activations: values and gradients against PyTorch over their options."""

import numpy as np
import pytest
import tapegrad as torch

reference = pytest.importorskip("torch")


def both(call, *arrays):
    """The value and the gradient for the first array, from both libraries, as NumPy arrays."""
    out = []
    for framework in (torch, reference):
        tensors = [framework.from_numpy(np.array(a)) for a in arrays]
        tensors[0].requires_grad_()
        result = call(framework.nn.functional, *tensors)
        weights = framework.from_numpy(
            np.linspace(0.5, 1.5, max(result.numel(), 1)).reshape(tuple(result.shape)).astype(arrays[0].dtype)
        )
        (result * weights).sum().backward()
        out.append((result.detach().numpy(), tensors[0].grad.numpy()))
    return out


def agree(call, *arrays, rtol=1e-5, atol=1e-7):
    (y, g), (ry, rg) = both(call, *arrays)
    assert y.shape == ry.shape
    np.testing.assert_allclose(y, ry, rtol=rtol, atol=atol)
    np.testing.assert_allclose(g, rg, rtol=rtol, atol=atol)


RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(6, 5)).astype(np.float32) * 3
CLASSES = np.array([0, 4, 2, 2, 1, 3])
WEIGHT = np.array([0.5, 1.0, 2.0, 0.1, 3.0], np.float32)
IMAGES = RNG.normal(size=(2, 3, 4, 2)).astype(np.float32)
PIXELS = RNG.integers(0, 3, size=(2, 4, 2))
REDUCTIONS = ["mean", "sum", "none"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [-100, 2])
def test_cross_entropy_options(reduction, smoothing, weighted, ignore):
    options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignore}
    if weighted:
        agree(lambda F, x, t, w: F.cross_entropy(x, t, w, **options), SCORES, CLASSES, WEIGHT)
    else:
        agree(lambda F, x, t: F.cross_entropy(x, t, **options), SCORES, CLASSES)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_shapes(reduction):
    agree(lambda F, x, t: F.cross_entropy(x, t, reduction=reduction), IMAGES, PIXELS)
    agree(lambda F, x, t: F.cross_entropy(x, t, reduction=reduction), SCORES[0], np.array(3))
    soft = RNG.dirichlet(np.ones(5), size=6).astype(np.float32)
    for smoothing in (0.0, 0.2):
        agree(
            lambda F, x, t, s=smoothing: F.cross_entropy(x, t, reduction=reduction, label_smoothing=s),
            SCORES,
            soft,
        )
    agree(lambda F, x, t, w: F.cross_entropy(x, t, w, reduction=reduction), SCORES, soft, WEIGHT)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll(reduction):
    logp = np.log(RNG.dirichlet(np.ones(5), size=6)).astype(np.float32)
    agree(lambda F, x, t: F.nll_loss(x, t, reduction=reduction), logp, CLASSES)
    agree(lambda F, x, t, w: F.nll_loss(x, t, w, ignore_index=4, reduction=reduction), logp, CLASSES, WEIGHT)
    agree(lambda F, x, t: F.nll_loss(x, t, reduction=reduction), IMAGES, PIXELS)


def test_class_errors():
    F = torch.nn.functional
    with pytest.raises(IndexError, match="Target 7 is out of bounds"):
        F.cross_entropy(torch.zeros(2, 3), torch.tensor([0, 7]))
    with pytest.raises(IndexError, match="Target 7 is out of bounds"):
        F.nll_loss(torch.zeros(2, 3), torch.tensor([0, 7]))
    with pytest.raises(ValueError, match=r"input batch_size \(2\) to match target batch_size \(3\)"):
        F.cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1, 2]))
    with pytest.raises(RuntimeError, match="Long"):
        F.nll_loss(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(ValueError, match="not a valid value for reduction"):
        F.cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]), reduction="average")
    assert F.cross_entropy(torch.zeros(1, 3), torch.tensor([-100])).isnan().item()


REGRESSION = {
    "mse": lambda F, x, t, r: F.mse_loss(x, t, reduction=r),
    "l1": lambda F, x, t, r: F.l1_loss(x, t, reduction=r),
    "smooth": lambda F, x, t, r: F.smooth_l1_loss(x, t, reduction=r, beta=0.7),
    "smooth 0": lambda F, x, t, r: F.smooth_l1_loss(x, t, reduction=r, beta=0.0),
    "huber": lambda F, x, t, r: F.huber_loss(x, t, reduction=r, delta=0.7),
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", list(REGRESSION))
def test_regression(name, reduction):
    target = SCORES[::-1].copy()
    target[0] = SCORES[0]  # differences of exactly 0
    agree(lambda F, x, t: REGRESSION[name](F, x, t, reduction), SCORES, target)


def test_sizes_that_differ_warn_and_old_flags_work():
    F = torch.nn.functional
    with pytest.warns(UserWarning, match="different to the input size"):
        F.mse_loss(torch.zeros(3, 1), torch.zeros(3))
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert F.mse_loss(torch.ones(3), torch.zeros(3), size_average=False).item() == 3.0
    w = torch.tensor([1.0, 3.0])
    assert F.mse_loss(torch.tensor([1.0, 2.0]), torch.zeros(2), weight=w).item() == 3.25


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary(reduction):
    logits = np.array([-200.0, -3.0, 0.0, 0.5, 30.0], np.float32)
    target = np.array([0.0, 1.0, 1.0, 0.3, 1.0], np.float32)
    agree(
        lambda F, x, t: F.binary_cross_entropy_with_logits(x, t, reduction=reduction),
        logits,
        target,
        rtol=2e-5,
    )
    agree(
        lambda F, x, t, w: F.binary_cross_entropy_with_logits(x, t, w, pos_weight=w * 2, reduction=reduction),
        logits,
        target,
        WEIGHT,
        rtol=2e-5,
    )
    p = np.array([0.01, 0.2, 0.5, 0.7, 0.999], np.float32)
    agree(lambda F, x, t: F.binary_cross_entropy(x, t, reduction=reduction), p, target, rtol=3e-5)
    agree(
        lambda F, x, t, w: F.binary_cross_entropy(x, t, w, reduction=reduction), p, target, WEIGHT, rtol=3e-5
    )


def test_binary_edges():
    F = torch.nn.functional
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    loss = F.binary_cross_entropy(x, torch.tensor([1.0, 0.0]), reduction="none")
    assert loss.tolist() == [100.0, 100.0]
    loss.sum().backward()
    assert x.grad.tolist() == [-999999995904.0, 999999995904.0]  # the divisor is at least 1e-12
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        F.binary_cross_entropy(torch.tensor([1.5]), torch.tensor([1.0]))
    with pytest.raises(ValueError, match="must be the same as input size"):
        F.binary_cross_entropy_with_logits(torch.zeros(2), torch.zeros(3))


POINTS = np.array([-200.0, -30.0, -3.0, -0.5, 0.0, 0.3, 2.0, 19.0, 25.0, 200.0], np.float32)
ACTIVATIONS = {
    "relu": lambda F, x: F.relu(x),
    "tanh": lambda F, x: F.tanh(x),
    "sigmoid": lambda F, x: F.sigmoid(x),
    "leaky_relu": lambda F, x: F.leaky_relu(x, 0.2),
    "elu": lambda F, x: F.elu(x, 1.5),
    "silu": lambda F, x: F.silu(x),
    "gelu": lambda F, x: F.gelu(x),
    "gelu tanh": lambda F, x: F.gelu(x, approximate="tanh"),
    "softplus": lambda F, x: F.softplus(x),
    "softplus 2": lambda F, x: F.softplus(x, beta=2, threshold=5),
    "logsigmoid": lambda F, x: F.logsigmoid(x),
    "softmax": lambda F, x: F.softmax(x, dim=0),
    "log_softmax": lambda F, x: F.log_softmax(x, dim=-1),
}


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_activations(name):
    agree(ACTIVATIONS[name], POINTS, rtol=2e-5, atol=1e-6)


def test_activation_modules_call_their_functions():
    nn, F = torch.nn, torch.nn.functional
    x = torch.tensor([[-1.0, 0.5, 2.0]])
    pairs = [
        (nn.ReLU(), F.relu(x)),
        (nn.Tanh(), F.tanh(x)),
        (nn.Sigmoid(), F.sigmoid(x)),
        (nn.LogSigmoid(), F.logsigmoid(x)),
        (nn.LeakyReLU(0.3), F.leaky_relu(x, 0.3)),
        (nn.ELU(0.5), F.elu(x, 0.5)),
        (nn.SiLU(), F.silu(x)),
        (nn.GELU("tanh"), F.gelu(x, "tanh")),
        (nn.Softplus(2.0, 1.0), F.softplus(x, 2.0, 1.0)),
        (nn.Softmax(dim=1), F.softmax(x, 1)),
        (nn.LogSoftmax(dim=1), F.log_softmax(x, 1)),
        (nn.Flatten(0), x.flatten()),
    ]
    for module, expected in pairs:
        assert module(x).tolist() == expected.tolist()


def test_inplace_forms_write_their_input():
    F = torch.nn.functional
    for call in (F.relu, F.leaky_relu, F.elu, F.silu):
        x = torch.tensor([-1.0, 2.0])
        expected = call(torch.tensor([-1.0, 2.0])).tolist()
        assert call(x, inplace=True) is x
        assert x.tolist() == expected


def test_implicit_dimension_warns():
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        y = torch.nn.functional.softmax(torch.zeros(2, 4))
    assert y.sum(1).tolist() == [1.0, 1.0]


def test_one_hot():
    F = torch.nn.functional
    assert F.one_hot(torch.tensor([[1], [0]])).tolist() == [[[0, 1]], [[1, 0]]]
    with pytest.raises(RuntimeError, match="smaller than num_classes"):
        F.one_hot(torch.tensor([3]), 3)
    with pytest.raises(RuntimeError, match="non-negative"):
        F.one_hot(torch.tensor([-1]), 3)


def test_one_hot_in_a_compiled_step():
    f = torch.compile(lambda y: torch.nn.functional.one_hot(y, 3))
    for i in range(5):
        assert f(torch.tensor([i % 3, 1])).tolist() == [[int(k == i % 3) for k in range(3)], [0, 1, 0]]
    assert f.counters.replayed == 3
    with pytest.raises(RuntimeError):
        f(torch.tensor([3, 0]))


def test_loss_modules_pass_their_options():
    nn = torch.nn
    x, t = torch.from_numpy(SCORES), torch.from_numpy(CLASSES)
    w = torch.from_numpy(WEIGHT)
    module = nn.CrossEntropyLoss(w, ignore_index=2, reduction="sum", label_smoothing=0.1)
    expected = nn.functional.cross_entropy(x, t, w, ignore_index=2, reduction="sum", label_smoothing=0.1)
    assert module(x, t).item() == expected.item()
    assert list(module.state_dict()) == ["weight"]
    logp = torch.log_softmax(x, 1)
    assert nn.NLLLoss(reduction="sum")(logp, t).item() == pytest.approx(
        nn.CrossEntropyLoss(reduction="sum")(x, t).item(), rel=1e-6
    )
    y = torch.zeros(6, 5)
    for module, call in [
        (nn.MSELoss(reduction="sum"), lambda: nn.functional.mse_loss(x, y, reduction="sum")),
        (nn.L1Loss(), lambda: nn.functional.l1_loss(x, y)),
        (nn.SmoothL1Loss(beta=2.0), lambda: nn.functional.smooth_l1_loss(x, y, beta=2.0)),
        (nn.HuberLoss(delta=2.0), lambda: nn.functional.huber_loss(x, y, delta=2.0)),
        (nn.BCEWithLogitsLoss(), lambda: nn.functional.binary_cross_entropy_with_logits(x, y)),
    ]:
        assert module(x, y).item() == call().item()
    assert nn.BCELoss()(torch.full((2,), 0.5), torch.ones(2)).item() == pytest.approx(0.693147, rel=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_l1_has_slope_zero_at_nan(reduction):
    x = torch.tensor([float("nan"), 1.0, -2.0], requires_grad=True)
    y = torch.tensor([0.0, float("nan"), 1.0])
    torch.nn.functional.l1_loss(x, y, reduction=reduction).sum().backward()
    assert x.grad[:2].tolist() == [0.0, 0.0]
    assert x.grad[2].item() < 0
