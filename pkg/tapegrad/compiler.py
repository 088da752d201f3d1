"""What there is around `compile`, under PyTorch's names: `torch.compiler`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from .nn import Module
from .replay import CompiledModule, compile, forget_programs
from .replay._call import run_disabled

if TYPE_CHECKING:
    from .replay import CompiledFunction

__all__ = ["compile", "disable", "is_compiling", "is_dynamo_compiling", "reset"]


class Disabled:
    """A function that is never compiled, nor is what it calls; made by `disable`."""

    def __init__(self, fn: Callable[..., Any], recursive: bool) -> None:
        functools.update_wrapper(self, fn, updated=())
        self.fn = fn
        self.recursive = recursive

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return run_disabled(self.fn, self.recursive, args, kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __reduce__(self) -> Any:
        return Disabled, (self.fn, self.recursive)


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """A function or a module that runs as it is, compiled functions in it too; with no `fn`, a decorator.

    A compiled function that calls it is not replayed, but runs as it is itself. With `recursive=False` compiled
    functions that it calls are replayed. `reason` is for those who read the code. TypeError if `fn` cannot be called.

    >>> import tapegrad as torch
    >>> double = torch.compile(lambda x: x * 2, options={"record_after": 0})
    >>> run = torch.compiler.disable(lambda x: double(x))
    >>> for _ in range(3):
    ...     y = run(torch.ones(1))
    >>> double.counters.recorded
    0
    """
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)
    if not callable(fn):
        raise TypeError(f"disable() takes a function or a module, not {type(fn).__name__}")
    made = Disabled(getattr(fn, "_orig_mod", fn), recursive)
    return CompiledModule(made.fn, cast("CompiledFunction", made)) if isinstance(made.fn, Module) else made


def is_compiling() -> bool:
    """False: code runs as it is while it is recorded, so there is nothing that it should do differently.

    >>> import tapegrad as torch
    >>> torch.compiler.is_compiling()
    False
    """
    return False


is_dynamo_compiling = is_compiling


def reset() -> None:
    """All compiled functions forget their programs, and what they gave up, and begin anew.

    >>> import tapegrad as torch
    >>> double = torch.compile(lambda x: x * 2, options={"record_after": 0})
    >>> for _ in range(3):
    ...     y = double(torch.ones(1))
    >>> torch.compiler.reset()
    >>> y = double(torch.ones(1))
    >>> double.counters.recorded
    3
    """
    forget_programs()
