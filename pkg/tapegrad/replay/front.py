"""`tapegrad.compile`, and what it makes of a module."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Self

from .._config import settings
from ..nn import Module
from .compiled import CompiledFunction
from .entries import Counters
from .inspecting import Table
from .planning import MemoryPlan

__all__ = ["CompiledModule", "compile"]

MODES = ("default", "lite", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")  # PyTorch's
# Attributes that a compiled module has itself; all others are its module's.
OWN = frozenset(("_forward_hooks", "_forward_pre_hooks", "_hooked", "training"))


def compile(
    model: Callable[..., Any] | None = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Any = "replay",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
    check: bool = False,
) -> Any:
    """Records what a function or a module does and from then on replays it as one native call.

    Everything is recorded: forward, `backward()`, `optimizer.step()`, `zero_grad()`, clipping, random numbers,
    in-place changes. Two calls are recorded and must do the same; later ones with arguments of the same
    shapes, strides, dtypes and modes run without Python, to the same bits. Nothing is recorded before calls have taken
    so long that a recording is a small part of it: after a few calls of a large step, some hundred of a tiny one. What
    cannot be replayed costs half a microsecond a call. Parameters, gradients, optimizer state
    and generators are the ordinary ones, so compiled and uncompiled steps can alternate.

    Looked at before each replay: the arguments, the modes, closure cells and globals that the function names,
    attributes of the modules, optimizers and containers they lead to, the tensors that are used. If something is
    different, another program is recorded. Hyperparameters of the optimizers here are read anew each time. What
    cannot be repeated without Python (`item()`, a branch on a value, NumPy, hooks, values that differ from call
    to call) makes the function run eagerly in that state (in evaluation, say, and not in training), with one
    warning that names the line and says what to write instead. A replay in which an operation fails raises the error
    and leaves what eager code would have left; where the function itself handles the error, the replay is undone and
    the call runs eagerly. What cannot be seen (a time that is read, a file that is written, something printed, what
    another thread does meanwhile, what is logged) happens while recording only: it is a constant of the program.

    `model` is a function or a Module; without it, a decorator is returned. With `fullgraph`, RuntimeError
    instead of the warning, at each call and with the line; tensors, gradients, optimizers, generators and what else
    is looked at are then as they were. With `check`, every replay is compared with an eager run from the same state:
    RuntimeError if a bit differs. `disable` returns `model` unchanged. `dynamic`, `backend`, `mode` and `options`
    choose among PyTorch's compilers; here there is one, and they are accepted and change nothing, but for two
    options. `record_after`: the number of calls before the first is recorded (0 with `fullgraph` or `check`; otherwise
    found by measuring, or given by the variable TAPEGRAD_RECORD_AFTER). `memory_limit`: bytes that a run may hold
    together with the tensors it works on. Values are then computed again instead of kept until that is met, or as far
    as it goes. The result has `counters`, `table(...)` and `memory(...)`.

    TypeError if `model` cannot be called or `options` is no dict, RuntimeError for a mode that PyTorch does not know,
    ValueError for a memory limit that is not a number of bytes, or for a `record_after` that is none of calls.

    >>> import tapegrad as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.SGD([w], lr=0.1)
    >>> @torch.compile(options={"record_after": 0})
    ... def step(x):
    ...     optimizer.zero_grad()
    ...     loss = (w * x).sum()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> losses = [step(torch.ones(1)).item() for _ in range(4)]
    >>> [round(x, 4) for x in losses]
    [1.0, 0.9, 0.8, 0.7]
    >>> step.counters.replayed
    2
    """
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options,
            disable=disable, check=check,
        )  # fmt: skip
    if disable:
        return model
    if not callable(model):
        raise TypeError(f"compile() takes a function or a module, not {type(model).__name__}")
    if mode and mode not in MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(MODES)}")
    if options is not None and not isinstance(options, dict):
        raise TypeError(f"options is a dict of names and values, not {type(options).__name__}")
    limit = (options or {}).get("memory_limit")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise ValueError(f"the option memory_limit is a number of bytes, not {limit!r}")
    after = (options or {}).get("record_after")
    if after is not None and (isinstance(after, bool) or not isinstance(after, int) or after < 0):
        raise ValueError(f"the option record_after is a number of calls, not {after!r}")
    if after is None and not (fullgraph or check):
        after = settings.record_after
    call = CompiledFunction(model, check=check, fullgraph=fullgraph, limit=limit, record_after=after)
    return CompiledModule(model, call) if isinstance(model, Module) else call


class CompiledModule(Module):
    """A module whose calls are recorded and replayed; everything else is the module's own.

    As with PyTorch, `_orig_mod` is that module, names in `state_dict` begin with it, attributes are set there, and
    hooks that are registered here are called here.
    """

    def __init__(self, module: Module, call: CompiledFunction) -> None:
        super().__init__()
        state = self.__dict__
        del state["training"]  # the module's own counts
        state["_modules"]["_orig_mod"] = module
        state["_compiled"] = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hooked:
            return self._call_hooked(args, kwargs)
        return self._compiled(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._compiled(*args, **kwargs)

    @property
    def training(self) -> bool:
        """Whether the module is in training mode."""
        return bool(self._orig_mod.training)

    @training.setter
    def training(self, mode: bool) -> None:
        self._orig_mod.training = mode

    def train(self, mode: bool = True) -> Self:
        """As the module's own, which it calls; returns self."""
        self._orig_mod.train(mode)
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"):
                raise
            return getattr(super().__getattr__("_orig_mod"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._orig_mod, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._orig_mod, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._orig_mod)} - {"_compiled"})

    def __len__(self) -> int:
        return len(self._orig_mod)

    def __bool__(self) -> bool:
        return bool(self._orig_mod)

    def __iter__(self) -> Any:
        return iter(self._orig_mod)

    def __getitem__(self, index: Any) -> Any:
        return self._orig_mod[index]

    def __reduce__(self) -> Any:
        hooks = {name: self.__dict__[name] for name in OWN & self.__dict__.keys()}
        return CompiledModule, (self._orig_mod, self._compiled), hooks

    @property
    def counters(self) -> Counters:
        """See `CompiledFunction.counters`."""
        counters: Counters = self._compiled.counters
        return counters

    def memory(self, *args: Any, **kwargs: Any) -> MemoryPlan:
        """See `CompiledFunction.memory`."""
        found: MemoryPlan = self._compiled.memory(*args, **kwargs)
        return found

    def table(self, *args: Any, runs: int = 20, **kwargs: Any) -> Table:
        """See `CompiledFunction.table`."""
        found: Table = self._compiled.table(*args, runs=runs, **kwargs)
        return found
