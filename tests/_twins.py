"""Two worlds from one seed: one runs a step eagerly, the other compiled; after each call they must be equal.

`Twins(make)` calls `make(torch)` twice with the same seed. What it returns (an object with `step`, and
whatever tensors, modules and optimizers as attributes) is compared bit for bit: values, gradients, versions,
layouts, optimizer state, the generator's state, results kept from earlier calls.
"""

from __future__ import annotations

import copy
import traceback
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
import tapegrad as torch
from tapegrad.replay import compile

PLAIN = (int, float, complex, str, bytes, bool, type(None))


def picture(o: Any, seen: dict[int, int] | None = None) -> Any:
    """Plain data that is equal for equal worlds."""
    seen = {} if seen is None else seen
    if isinstance(o, PLAIN):
        return repr(o)
    if isinstance(o, torch.Tensor):
        if id(o) in seen:
            return "tensor again", seen[id(o)]
        seen[id(o)] = len(seen)
        grad = o.grad if o.is_leaf else None
        return (
            type(o).__name__, str(o.dtype), tuple(o.shape), o.stride(), o.requires_grad, o.is_leaf, o._version,
            type(o.grad_fn).__name__, o.is_inference(), o.detach().numpy().tobytes(), picture(grad, seen),
            picture(o._base, seen),
        )  # fmt: skip
    if id(o) in seen:
        return "again", seen[id(o)]
    if isinstance(o, FunctionType) or (callable(o) and not hasattr(o, "parameters")):
        return "function"
    if not isinstance(o, tuple):
        seen[id(o)] = len(seen)
    if isinstance(o, np.ndarray):
        return o.shape, o.tobytes()
    if isinstance(o, torch.Generator):
        return o.get_state().numpy().tobytes()
    if isinstance(o, torch.optim.Optimizer):
        return "optimizer", picture(o.param_groups, seen), picture(list(o.state.items()), seen)
    if type(o).__name__ == "HookDict":  # its keys are numbers that the whole process counts
        return [picture(v, seen) for v in o.values()]
    if isinstance(o, dict):
        return {repr(k) if isinstance(k, PLAIN) else i: picture(v, seen) for i, (k, v) in enumerate(o.items())}
    if isinstance(o, (list, tuple)):
        return type(o).__name__, [picture(x, seen) for x in o]
    if isinstance(o, torch.nn.Module):
        return o.training, picture(vars(o), seen)
    if type(o) is SimpleNamespace:
        return picture(vars(o), seen)
    return type(o).__name__


def same(a: Any, b: Any, path: str = "") -> str | None:
    """Where two pictures differ."""
    if type(a) is not type(b):
        return f"{path}: {a!r:.300} and {b!r:.300}"
    if isinstance(a, dict):
        if list(a) != list(b):
            return f"{path}: {list(a)} and {list(b)}"
        pairs: Any = [(k, a[k], b[k]) for k in a]
    elif isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return f"{path}: {a!r:.300} and {b!r:.300}"
        pairs = [(i, x, y) for i, (x, y) in enumerate(zip(a, b, strict=True))]
    else:
        return None if a == b else f"{path}: {shown(a)} and {shown(b)}"
    for k, x, y in pairs:
        found = same(x, y, f"{path}.{k}")
        if found is not None:
            return found
    return None


def shown(o: Any) -> str:
    if isinstance(o, bytes) and len(o) % 4 == 0:
        return str(np.frombuffer(o, "f4")[:12])
    return f"{o!r:.200}"


class Twins:
    """See the module; `eager` and `compiled` are the worlds, `step` of the second is compiled."""

    def __init__(self, make: Any, *, seed: int = 0, name: str = "step", **options: Any) -> None:
        worlds = []
        for _ in range(2):
            torch.manual_seed(seed)
            worlds.append(make())
        self.eager, self.compiled = worlds
        self.generator = [torch.get_rng_state(), torch.get_rng_state()]
        self.name = name
        self.functions = [getattr(self.eager, name), compile(getattr(self.compiled, name), **options)]
        self.kept: list[list[Any]] = [[], []]

    @property
    def counters(self) -> Any:
        return self.functions[1].counters

    def both(self, change: Any) -> None:
        """Does something from outside in both worlds."""
        for i, world in enumerate((self.eager, self.compiled)):
            torch.set_rng_state(self.generator[i])
            change(world)
            self.generator[i] = torch.get_rng_state()

    def call(self, *args: Any, outside: Any = None, eagerly: bool = False, keep: bool = True, **kwargs: Any) -> Any:
        """Calls both with copies of the arguments, `outside(world, result, *args)` after each, and compares.

        An argument that is a function is called with the world and gives the argument.
        """
        results, errors, pictures = [], [], []
        for i, world in enumerate((self.eager, self.compiled)):
            torch.set_rng_state(self.generator[i])
            memo: dict[int, Any] = {}
            mine = [a(world) if isinstance(a, FunctionType) else copy.deepcopy(a, memo) for a in args]
            named = {k: a(world) if isinstance(a, FunctionType) else copy.deepcopy(a, memo) for k, a in kwargs.items()}
            function = getattr(world, self.name) if eagerly else self.functions[i]
            result, error = None, None
            try:
                result = function(*mine, **named)
                if outside is not None:
                    outside(world, result, *mine)
            except Exception as e:
                error = (type(e).__name__, str(e))
                self.trace = traceback.format_exc()
            self.generator[i] = torch.get_rng_state()
            if keep:
                self.kept[i].append(result)
            results.append(result)
            errors.append(error)
            pictures.append(picture([
                world, result, mine, named, torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
                self.generator[i], self.kept[i],
            ]))  # fmt: skip
        assert errors[0] == errors[1], f"{errors}\n{self.trace}"
        difference = same(pictures[0], pictures[1])
        assert difference is None, difference
        self.error = errors[0]
        return results[1]

    def replays(self, calls: int, *args: Any, **kwargs: Any) -> None:
        """That many calls, each of which must be a replay."""
        before = self.counters.replayed
        for _ in range(calls):
            self.call(*args, **kwargs)
        c = self.counters
        assert c.replayed == before + calls, c
        assert c.eager == 0, c

    def settle(self, *args: Any, most: int = 5, **kwargs: Any) -> None:
        """Calls until one is replayed."""
        for _ in range(most):
            before = self.counters.replayed
            self.call(*args, **kwargs)
            if self.counters.replayed > before:
                return
        raise AssertionError(f"never replayed: {self.counters}")


def world(**things: Any) -> SimpleNamespace:
    return SimpleNamespace(**things)


def batch(n: int, d: int = 6, classes: int = 3, seed: int = 0) -> tuple[Any, Any]:
    r = np.random.default_rng(seed)
    return torch.tensor(r.standard_normal((n, d)).astype("f4")), torch.tensor(r.integers(0, classes, n))
