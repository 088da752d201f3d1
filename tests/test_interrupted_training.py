"""Training interrupted at any moment, as in a notebook: what is run afterwards is right, eager and compiled."""

from __future__ import annotations

import random
import signal
import threading
import time

import pytest
import tapegrad as torch

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread(),
    reason="needs timers that send signals",
)
X, Y = torch.ones(3, 4), torch.zeros(3, 2)


@pytest.fixture(autouse=True)
def alarms(no_gc_callbacks):
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def world(compiled):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        *(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(8, 2))
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(X), Y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model[0].weight.mul_(0.999)
        return loss

    return model, optimizer, torch.compile(step) if compiled else step


def goes_on_as_a_twin(model, optimizer, step):
    """Three steps give the bits that a new model gives with the same parameters, state and random numbers."""
    twin, its_optimizer, its_step = world(False)
    twin.load_state_dict(model.state_dict())
    its_optimizer.load_state_dict(optimizer.state_dict())
    draws = torch.get_rng_state()
    ours = [step().item() for _ in range(3)]
    torch.set_rng_state(draws)
    return ours == [its_step().item() for _ in range(3)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("compiled", [False, True])
def test_interrupted_steps(compiled, seed):
    draw = random.Random(seed)
    lost = 0  # an interrupt that falls into a finalizer is printed and forgotten by Python itself
    for k in range(400):
        if k % 40 == 0:
            model, optimizer, step = world(compiled)
            for _ in range(draw.choice((0, 1, 4))):
                step()
        try:
            # Mostly within a step; some while a compiled function records.
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(5e-6, draw.choice((4e-4, 6e-3))))
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                step()
            lost += 1
        except KeyboardInterrupt:
            pass
        assert torch.is_grad_enabled()
        if k % 20 == 19:
            assert goes_on_as_a_twin(model, optimizer, step)
    assert lost <= 2
