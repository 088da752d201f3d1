"""Gradient modes: whether operations are recorded, per thread."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from ._tensor import _set_grad_enabled, _set_inference, is_grad_enabled, is_inference_mode_enabled
from .tape._capture import note_context

__all__ = [
    "enable_grad",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_grad_enabled",
]

GENERATOR = 0x20  # inspect.CO_GENERATOR, without importing inspect


def _code_flags(function: Callable[..., Any]) -> int:
    code = getattr(function, "__code__", None)
    return int(code.co_flags) if code is not None else 0


F = TypeVar("F", bound=Callable[..., Any])


class _Mode:
    """A mode of the calling thread: a context manager, and a decorator of functions."""

    target = True

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> None:
        note_context()
        self._before.append(is_grad_enabled())
        _set_grad_enabled(self.target)

    def __exit__(self, *_: object) -> None:
        _set_grad_enabled(self._before.pop())

    def _again(self) -> _Mode:
        return type(self)()

    def __call__(self, function: F) -> F:
        if _code_flags(function) & GENERATOR:
            return self._generator(function)

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return wrapper  # type: ignore[return-value]


    def _generator(self, function: F) -> F:
        """The mode holds while the generator runs, not while it waits."""

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            step: Callable[[], Any] = functools.partial(next, generator)
            while True:
                try:
                    with self._again():
                        value = step()
                except StopIteration as end:
                    return end.value
                try:
                    sent = yield value
                except GeneratorExit:
                    with self._again():
                        generator.close()
                    raise
                except BaseException as error:
                    step = functools.partial(generator.throw, error)
                else:
                    step = functools.partial(generator.send, sent)

        return wrapper  # type: ignore[return-value]


class no_grad(_Mode):
    """Nothing inside is recorded: results do not require gradients.

    >>> import tapegrad as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    target = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self, function: None = None) -> None:
        super().__init__()


class enable_grad(no_grad):
    """Inside, operations are recorded again, within `no_grad` say.

    >>> import tapegrad as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad(), torch.enable_grad():
    ...     (x * 2).requires_grad
    True
    """

    target = True


class set_grad_enabled(_Mode):
    """Recording on or off by a flag, at once when called and as a context manager.

    >>> import tapegrad as torch
    >>> with torch.set_grad_enabled(False):
    ...     torch.is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.target = bool(mode)
        self._first = is_grad_enabled()
        _set_grad_enabled(self.target)

    def __enter__(self) -> None:
        note_context()
        self._before.append(self._first)
        _set_grad_enabled(self.target)

    def __call__(self, function: F) -> F:
        _set_grad_enabled(self._first)
        return super().__call__(function)

    def _again(self) -> set_grad_enabled:
        return set_grad_enabled(self.target)


class inference_mode(_Mode):
    """`no_grad` whose results can never take part in a recorded operation in place.

    >>> import tapegrad as torch
    >>> with torch.inference_mode():
    ...     torch.ones(2).is_inference()
    True
    """

    def __new__(cls, mode: bool | Callable[..., Any] = True) -> Any:
        return cls()(mode) if callable(mode) else super().__new__(cls)

    def __init__(self, mode: bool = True) -> None:
        super().__init__()
        self.mode = mode

    def __enter__(self) -> None:
        note_context()
        self._before.append(is_grad_enabled())
        self._before.append(is_inference_mode_enabled())
        if self.mode:
            _set_grad_enabled(False)
        _set_inference(self.mode)

    def __exit__(self, *_: object) -> None:
        _set_inference(self._before.pop())
        _set_grad_enabled(self._before.pop())

    def _again(self) -> inference_mode:
        return inference_mode(self.mode)
