"""no_grad, enable_grad, set_grad_enabled, inference_mode: contexts, decorators, threads."""

from __future__ import annotations

import threading

import pytest


@pytest.fixture(autouse=True)
def restored(torch):
    before = torch.is_grad_enabled()
    yield
    assert torch.is_grad_enabled() == before
    assert not torch.is_inference_mode_enabled()


def test_contexts(torch):
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not torch.is_grad_enabled()
        assert not (x * 2).requires_grad
        with torch.enable_grad():
            assert (x * 2).requires_grad
        assert not torch.is_grad_enabled()
    assert (x * 2).requires_grad
    with torch.set_grad_enabled(False):
        assert not (x * 2).requires_grad
        with torch.set_grad_enabled(True):
            assert (x * 2).requires_grad
        assert not torch.is_grad_enabled()


def test_a_leaf_made_in_no_grad_may_require_gradients(torch):
    with torch.no_grad():
        x = torch.ones(2, requires_grad=True)
    assert x.requires_grad
    (x * 2).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_exceptions_restore_the_mode(torch):
    with pytest.raises(ValueError, match="out"), torch.no_grad():
        raise ValueError("out")
    assert torch.is_grad_enabled()


def test_decorators(torch):
    x = torch.ones(2, requires_grad=True)

    @torch.no_grad()
    def called():
        return torch.is_grad_enabled(), (x * 2).requires_grad

    @torch.no_grad
    def bare():
        return torch.is_grad_enabled()

    @torch.enable_grad()
    def enabled():
        return torch.is_grad_enabled()

    @torch.set_grad_enabled(False)
    def disabled():
        return torch.is_grad_enabled()

    @torch.inference_mode()
    def inference():
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    assert called() == (False, False)
    assert bare() is False
    with torch.no_grad():
        assert enabled() is True
    assert disabled() is False
    assert inference() == (True, False)
    assert torch.is_grad_enabled()
    assert called.__name__ == "called"


def test_a_decorated_function_may_call_itself(torch):
    @torch.no_grad()
    def count(n):
        assert not torch.is_grad_enabled()
        return 0 if n == 0 else 1 + count(n - 1)

    assert count(5) == 5
    assert torch.is_grad_enabled()


def test_a_decorated_generator(torch):
    @torch.no_grad()
    def numbers():
        for _ in range(3):
            yield torch.is_grad_enabled()

    seen = []
    for inside in numbers():
        seen.append((inside, torch.is_grad_enabled()))
    assert seen == [(False, True)] * 3


def test_set_grad_enabled_as_a_call(torch):
    torch.set_grad_enabled(False)
    assert not torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    assert torch.is_grad_enabled()


def test_the_mode_belongs_to_the_thread(torch):
    seen = []

    def work():
        seen.append(torch.is_grad_enabled())
        torch.set_grad_enabled(False)

    with torch.no_grad():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert not torch.is_grad_enabled()
    assert seen == [True]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert torch.is_grad_enabled()


def test_inference_mode(torch):
    x = torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        y = x * 2
        assert not torch.is_grad_enabled()
        assert torch.is_inference_mode_enabled()
        assert y.is_inference()
        y.add_(1)
        with torch.inference_mode(False):
            assert not torch.is_inference_mode_enabled()
    assert not y.requires_grad
    assert not x.is_inference()
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor outside InferenceMode is not allowed"):
        y.add_(1)
    with pytest.raises(RuntimeError, match="requires_grad=True on inference tensor outside InferenceMode"):
        y.requires_grad_()
    z = y.clone()
    z.add_(1)
    assert z.tolist() == [v + 1 for v in y.tolist()]


def test_inference_tensors_are_not_saved_for_backward(torch):
    with torch.inference_mode():
        y = torch.ones(2)
    w = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        w * y
    assert (w + y).requires_grad


def test_results_in_no_grad_are_leaves(torch):
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        y = x * 2
    assert y.is_leaf
    assert y.grad_fn is None
    assert y.requires_grad_().requires_grad


def test_backward_in_no_grad_runs_what_was_recorded(torch):
    x = torch.ones(2, requires_grad=True)
    y = (x * x).sum()
    with torch.no_grad():
        y.backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_leaving_inference_mode_switches_gradients_on(torch):
    with torch.no_grad(), torch.inference_mode(False):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        with torch.inference_mode():
            assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("mode", [1, None, "off"])
def test_a_mode_is_a_bool(torch, mode):
    kind = type(mode).__name__
    text = rf"set_grad_enabled\(\): argument 'enabled' .position 1. must be bool, not {kind}"
    with pytest.raises(TypeError, match=text):
        torch.set_grad_enabled(mode)
    assert torch.is_grad_enabled()
