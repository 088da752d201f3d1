"""Attributes that tensors and functions did not have, and tensors that become gradients."""

from __future__ import annotations

import pytest
import tapegrad as torch


def helper():
    """Something to hang attributes on."""


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_attributes_that_are_set_inside():
    w = torch.ones(2)

    def on_a_tensor(x):
        w.last = x
        return x * 2

    def on_a_function(x):
        helper.last = x
        return x * 2

    def on_itself(x):
        on_itself.last = x
        return x * 2

    for fn, owner in ((on_a_tensor, w), (on_a_function, helper), (on_itself, on_itself)):
        f = torch.compile(fn)
        for k in range(6):
            f(torch.full((2,), float(k)))
            assert owner.last.tolist() == [k, k]


def test_an_attribute_that_a_tensor_gets_later():
    w = torch.ones(2)
    f = torch.compile(lambda x: x * getattr(w, "scale", 1.0) + w)
    for k in range(8):
        if k == 4:
            w.scale = 4.0
        assert f(torch.ones(2)).tolist() == ([2.0, 2.0] if k < 4 else [5.0, 5.0])
    assert f.counters.replayed >= 4


class Whole(int):
    """A number with attributes."""


def test_numbers_with_attributes():
    k = Whole(3)
    k.scale = 2.0
    f = torch.compile(lambda x: x * k.scale)
    for scale in (2.0, 2.0, 2.0, 7.0, 7.0):
        if scale != k.scale:
            k = Whole(3)
            k.scale = scale
        assert f(torch.ones(1)).tolist() == [scale]


@pytest.mark.filterwarnings("ignore:.*runs eagerly")
def test_a_tensor_from_outside_becomes_the_gradient():
    w, g = torch.ones(3, requires_grad=True), torch.full((3,), 5.0)

    def step(x):
        w.grad = g
        (w * x).sum().backward()

    f = torch.compile(step)
    for k in range(6):
        f(torch.ones(3))
        assert w.grad is g
        assert g.tolist() == [6.0 + k] * 3
