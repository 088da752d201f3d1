"""Which element types losses and products take together: result type or error as in PyTorch."""

from __future__ import annotations

import itertools
import warnings

import pytest

FLOATS = ("float32", "float64")
DTYPES = (*FLOATS, "int64", "int32", "uint8", "bool")
LOSSES = (
    *("binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss", "smooth_l1_loss"),
    *("huber_loss",),
)


def outcome(function):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = function()
    except Exception as error:
        return type(error).__name__, str(error).split("\n")[0]
    return str(result.dtype), [round(v, 4) for v in result.reshape(-1).tolist()]


@pytest.mark.parametrize("name", LOSSES)
def test_losses(torch, reference, name):
    cases = [{}, {"reduction": "none"}]
    if "cross" in name:
        cases += [{"weight": "float64"}, {"weight": "int64"}]
    if "logits" in name:
        cases += [{"pos_weight": "float64"}]

    def call(m, a, b, options):
        named = {k: m.ones(2, dtype=getattr(m, v)) if "weight" in k else v for k, v in options.items()}
        input, target = (m.tensor([1, 0]).to(getattr(m, t)) for t in (a, b))
        return outcome(lambda: getattr(m.nn.functional, name)(input, target, **named))

    for a, b, options in itertools.product(FLOATS, DTYPES, cases):
        here, there = call(torch, a, b, options), call(reference, a, b, options)
        if "Subtraction" in there[1]:
            assert "Subtraction" in here[1]
        else:
            assert here == there, (a, b, options)


def test_a_loss_of_labels_in_floats_of_another_size_has_a_gradient(torch, reference):
    grads = []
    for m in (torch, reference):
        x = m.tensor([0.3, -0.2], dtype=m.float64, requires_grad=True)
        m.nn.functional.binary_cross_entropy_with_logits(x, m.tensor([1.0, 0.0])).backward()
        grads.append(x.grad.tolist())
    assert grads[0] == pytest.approx(grads[1], rel=1e-6)


PRODUCTS = {
    "matmul": lambda m, a, b: a @ b,
    "mm": lambda m, a, b: m.mm(a, b),
    "bmm": lambda m, a, b: m.bmm(a[None], b[None]),
    "mv": lambda m, a, b: m.mv(a, b[0]),
    "dot": lambda m, a, b: m.dot(a[0], b[0]),
    "linear": lambda m, a, b: m.nn.functional.linear(a, b),
    "linear, 3": lambda m, a, b: m.nn.functional.linear(a[None], b),
    "linear with bias": lambda m, a, b: m.nn.functional.linear(a, b, b[0]),
    "linear with bias, 1": lambda m, a, b: m.nn.functional.linear(a[0], b, b[0]),
    "linear with bias, 3": lambda m, a, b: m.nn.functional.linear(a[None], b, b[0]),
    "linear with another bias": lambda m, a, b: m.nn.functional.linear(a, a, b[0]),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_two_dtypes(torch, reference, name):
    def call(m, a, b):
        return outcome(lambda: PRODUCTS[name](m, *(m.ones(2, 2).to(getattr(m, t)) for t in (a, b))))

    for a, b in itertools.permutations(DTYPES, 2):
        if name == "linear with another bias" and a not in FLOATS:
            continue
        if name == "bmm" and a == "bool":
            continue  # PyTorch looks at it before it looks at the other
        assert call(torch, a, b) == call(reference, a, b), (a, b)
