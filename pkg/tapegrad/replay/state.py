"""Saving and restoring what a program can change, so that it can be run for a look."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from .._tensor import Tensor, put_gradient
from . import _look
from .effects import PLAIN
from .results import parts_of

__all__ = ["State", "form_and_contents"]


class State:
    """The memory, gradients, versions and generators that a program reads or writes, as they are now."""

    def __init__(self, program: Any, arguments: tuple[Tensor, ...]) -> None:
        effects = program.effects
        self.tensors = [*effects.guarded, *arguments]
        self.leaves = [leaf.owner(arguments) for leaf in effects.leaves]
        self.gradients = [_look.gradient_of(t) for t in self.leaves]
        self.tensors += [g for g in self.gradients if g is not None]
        self.memory = [(t, _look.read_memory(t), t._version) for t in self.tensors]
        switched = [arguments[t.number] if hasattr(t, "number") else t for _, t, _ in effects.switches]
        self.required = [(t, t.requires_grad) for t in (*arguments, *switched)]
        self.modes = [(module.__dict__, module.training) for _, module, _ in effects.modes]
        self.generators = [(g, g.get_state().numpy().copy()) for g in effects.generators]

    def restore(self) -> None:
        """Puts everything back."""
        for leaf, gradient in zip(self.leaves, self.gradients, strict=True):
            if _look.gradient_of(leaf) is not gradient:
                put_gradient(leaf, gradient)
        for t, required in self.required:
            if t.requires_grad != required:
                t.requires_grad_(required)
        for t, data, version in self.memory:
            if t._version != version or _look.read_memory(t) != data:  # what is unchanged may be read-only
                _look.write_memory(t, data, version)
        for attributes, training in self.modes:
            attributes["training"] = training
        for g, words in self.generators:
            g.set_state(words)

    def now(self) -> dict[str, list[Any]]:
        """What can be seen, as bytes, for comparison."""
        gradients = [_look.gradient_of(t) for t in self.leaves]
        return {
            "a tensor from outside": [contents(t) for t in self.tensors],
            "a gradient": [None if g is None else contents(g) for g in gradients],
            "requires_grad": [t.requires_grad for t, _ in self.required],
            "a training mode": [attributes["training"] for attributes, _ in self.modes],
            "a version": [t._version for t in self.tensors],
            "a random generator": [g.get_state().numpy().tobytes() for g, _ in self.generators],
        }


def contents(t: Tensor) -> bytes:
    """The numbers of a tensor. NaN is NaN: compilers choose its sign, which IEEE 754 leaves open."""
    data = _look.read_tensor(t)
    if not t.dtype.is_floating_point:
        return data
    numbers = np.frombuffer(data, t.dtype.numpy).copy()
    numbers[np.isnan(numbers)] = np.nan
    return numbers.tobytes()


def form_and_contents(o: Any) -> Any:
    """A result as something to compare: layouts and bytes of its tensors."""
    if isinstance(o, Tensor):
        return (*_look.layout_of(o), contents(o))
    if isinstance(o, (tuple, list)):
        return [form_and_contents(x) for x in o]
    if type(o) is SimpleNamespace:
        return form_and_contents(vars(o))
    if isinstance(o, dict):
        return {k: form_and_contents(v) for k, v in o.items()}
    parts = parts_of(o)
    if parts is not None:
        return type(o), form_and_contents(parts)
    return repr(o) if isinstance(o, PLAIN) else id(o)
