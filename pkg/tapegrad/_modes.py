"""Gradient modes: whether operations are recorded, per thread."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from ._mode_scope import ModeScope, ModeSwitch
from ._tensor import is_grad_enabled, is_inference_mode_enabled

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


class _Mode(ModeScope):
    """A mode of the calling thread: a context manager, and a decorator of functions."""

    def __call__(self, function: F) -> F:
        return self.decorate(function)

    def decorate(self, function: F) -> F:
        """The function, with the mode while it runs."""
        if _code_flags(function) & GENERATOR:
            return self._generator(function)

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return wrapper  # type: ignore[return-value]

    def _again(self) -> ModeScope:
        return type(self)()

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

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self, function: None = None) -> None:
        self.hold(grad=False)


class enable_grad(no_grad):
    """Inside, operations are recorded again, within `no_grad` say.

    >>> import tapegrad as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad(), torch.enable_grad():
    ...     (x * 2).requires_grad
    True
    """

    def __init__(self, function: None = None) -> None:
        self.hold(grad=True)


class set_grad_enabled(ModeSwitch, _Mode):
    """Recording on or off by a flag, at once when called and as a context manager.

    >>> import tapegrad as torch
    >>> with torch.set_grad_enabled(False):
    ...     torch.is_grad_enabled()
    False
    """

    def _again(self) -> ModeScope:
        scope = ModeScope()
        scope.hold(grad=self.mode)
        return scope

    def __repr__(self) -> str:
        return f"{type(self).__module__}.set_grad_enabled(mode={self.mode})"


class inference_mode(_Mode):
    """`no_grad` whose results can never take part in a recorded operation in place.

    >>> import tapegrad as torch
    >>> with torch.inference_mode():
    ...     torch.ones(2).is_inference()
    True
    """

    def __new__(cls, mode: bool | Callable[..., Any] = True) -> Any:
        if isinstance(mode, bool):
            return super().__new__(cls)
        if not callable(mode):
            raise TypeError(f"inference_mode(): argument 'mode' must be bool, not {type(mode).__name__}")
        return cls()(mode)

    def __init__(self, mode: bool = True) -> None:
        self.mode = mode
        self.hold(grad=not mode, inference=mode)

    def _again(self) -> inference_mode:
        return type(self)(self.mode)
