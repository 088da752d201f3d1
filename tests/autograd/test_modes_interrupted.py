"""Interrupts at any moment leave the gradient modes as they were before the code that was interrupted."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
import tapegrad as torch

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread(),
    reason="needs timers that send signals",
)
TIMES = 3000


class Interrupt(BaseException):
    pass


@pytest.fixture
def alarms(no_gc_callbacks):
    """Interrupts this thread, where it runs Python, when the timer is over."""

    def interrupt(*_: object) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def interrupted(body: Callable[[], Any], delay: float) -> None:
    """Runs the body again and again until an interrupt ends it."""
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        while True:
            body()
    except Interrupt:
        pass


def plain(mode: Callable[[], Any]) -> Callable[[], Any]:
    def body() -> None:
        with mode():
            pass

    return body


def working(mode: Callable[[], Any]) -> Callable[[], Any]:
    def body() -> None:
        for k in range(2):
            with mode() as _, mode():
                _ = [k]

    return body


def decorated(mode: Callable[[], Any]) -> Callable[[], Any]:
    return mode()(lambda: None)


def decorating(mode: Callable[[], Any]) -> Callable[[], Any]:
    def body() -> None:
        @mode()
        def inner() -> None:
            pass

        inner()

    return body


def generating(mode: Callable[[], Any]) -> Callable[[], Any]:
    @mode()
    def numbers() -> Any:
        yield 1
        yield 2

    return lambda: sum(numbers())


def leaving(mode: Callable[[], Any]) -> Callable[[], Any]:
    def body() -> None:
        try:
            with mode():
                raise ValueError
        except ValueError:
            pass

    return body


@pytest.mark.parametrize("form", [plain, working, decorated, decorating, generating, leaving])
@pytest.mark.parametrize(
    "mode",
    [
        torch.no_grad,
        lambda: torch.set_grad_enabled(False),
        torch.inference_mode,
        lambda: torch.inference_mode(False),
    ],
    ids=["no_grad", "set_grad_enabled", "inference_mode", "no inference_mode"],
)
def test_modes_are_put_back(alarms, form, mode):
    draw = random.Random(0)
    body = form(mode)
    body()
    wrong = 0
    for _ in range(TIMES):
        interrupted(body, draw.uniform(2e-6, 3e-5))
        if not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            wrong += 1
            torch.set_grad_enabled(True)
            while torch.is_inference_mode_enabled():  # only a leak gets here
                torch.inference_mode(False).__enter__()
    assert wrong == 0


def test_enable_grad_is_put_back_inside_no_grad(alarms):
    draw = random.Random(0)
    with torch.no_grad():
        for _ in range(TIMES):
            interrupted(plain(torch.enable_grad), draw.uniform(2e-6, 3e-5))
            assert not torch.is_grad_enabled()


def test_a_switch_made_for_good_stays_where_another_error_comes_later():
    """The guard dies with the error, but at another line than the one that made it."""

    def switch(error: type[BaseException]) -> None:
        guard = torch.set_grad_enabled(False)
        raise error(guard.mode)

    try:
        for error in (ValueError, KeyboardInterrupt):
            torch.set_grad_enabled(True)
            with pytest.raises(error):
                switch(error)
            assert not torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(True)
