"""Putting back what a call has changed that an error is to leave as it was: with `fullgraph`, one without a program."""

from __future__ import annotations

import collections
import contextlib
import random
import sys
from typing import Any

from .._generator import Generator, default_generator
from .._tensor import Tensor, put_gradient
from . import _look
from ._guards import View, missing
from .guards import Guards

__all__ = ["Before"]


class Before:
    """Tensors, gradients, generators, and the dicts, lists, attributes and variables that guards reach, as they are."""

    def __init__(self, guards: Guards, arguments: tuple[Tensor, ...]) -> None:
        self.guards = guards
        tensors = {id(t): t for t in (*guards.tensors, *arguments)}
        self.required = [(t, t.requires_grad) for t in tensors.values() if t.is_leaf]
        self.gradients = [(t, _look.gradient_of(t)) for t in tensors.values() if t.is_leaf]
        tensors.update({id(g): g for _, g in self.gradients if g is not None})
        self.memory = [(t, _look.read_memory(t), t._version) for t in tensors.values()]
        generators = {id(o): o for o in (default_generator, *guards.objects) if isinstance(o, Generator)}
        self.generators = [(g, g.get_state()) for g in generators.values()]
        self.python = random.getstate()
        get_state = getattr(sys.modules.get("numpy.random"), "get_state", None)  # another thread may be importing it
        self.numpy = None if get_state is None else get_state()

    def restore(self) -> None:
        """Puts everything back."""
        for t, required in self.required:
            if t.requires_grad != required:
                t.requires_grad_(required)
        for t, gradient in self.gradients:
            if _look.gradient_of(t) is not gradient:
                put_gradient(t, gradient)
        for t, data, version in self.memory:
            if t._version != version or _look.read_memory(t) != data:  # what is unchanged may be read-only
                _look.write_memory(t, data, version)
        for g, state in self.generators:
            g.set_state(state)
        random.setstate(self.python)
        if self.numpy is not None:
            sys.modules["numpy.random"].set_state(self.numpy)
        at = self.guards.snapshot.first_difference()
        while at >= 0:
            with contextlib.suppress(AttributeError, TypeError):  # of a class, or read-only
                put_back(self.guards.containers[at], self.guards.snapshot.was(at))
            at = self.guards.snapshot.first_difference(at + 1)


def put_back(container: Any, before: Any) -> None:
    """Makes a container hold again what it held."""
    if isinstance(container, dict):
        kind: Any = collections.OrderedDict if isinstance(container, collections.OrderedDict) else dict
        kind.clear(container)
        for key, value in before:
            kind.__setitem__(container, key, value)
    elif isinstance(container, list):
        list.__setitem__(container, slice(None), before)
    elif isinstance(container, View):
        for name, value, now in zip(container.names, before, container.values(), strict=True):
            if value is not now:
                put_attribute(container, name, value)
    elif hasattr(container, "cell_contents"):
        container.cell_contents = before[0]


def put_attribute(view: View, name: Any, value: Any) -> None:
    if view.owner is not None:
        delattr(view.owner, name) if value is missing else setattr(view.owner, name, value)
    elif value is missing:
        view.namespace.pop(name, None)
    else:
        view.namespace[name] = value
