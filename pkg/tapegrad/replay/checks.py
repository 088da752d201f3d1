"""What a recorded run must not have changed beside what tensors hold: Unfit where it has."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
from ..nn.modules.module import Module
from .entries import turned_on
from .guards import Guards
from .randomness import may_draw, random_states
from .recording import Unfit

__all__ = ["check_forms", "check_inside", "check_random"]


def check_forms(before: list[Any], forms: Any, arguments: tuple[Tensor, ...]) -> tuple[int, ...]:
    """The arguments that require gradients since the call; Unfit where something else is changed."""
    why = "requires_grad, the shape or the history of a tensor from outside is changed inside"
    found = []
    for i, (old, new) in enumerate(zip(before, forms(arguments), strict=True)):
        if old == new:
            continue
        outside = i >= len(arguments)
        if not turned_on(old, new):
            raise Unfit(why, lasting=not (outside and turned_on(new, old)), state=forms)
        if outside:  # it stays so: the next recording finds nothing changed
            raise Unfit(why, state=forms)
        found.append(i)
    return tuple(found)


def check_random(states: tuple[Any, Any], guards: Guards) -> None:
    """Unfit where a generator stands elsewhere than before, unless only another thread can have drawn from it."""
    for i, (name, before, now) in enumerate(zip(("Python", "NumPy"), states, random_states(), strict=True)):
        if before != now and may_draw(guards.objects, guards.names):
            # NumPy loads its generator at its first use: only the next recording can tell.
            raise Unfit(
                f"{name}'s random numbers are drawn inside",
                lasting=before is not None,
                state=lambda _, i=i: random_states()[i],
            )


def check_options(updates: list[tuple[int, Any, Any, Any]]) -> None:
    """Unfit where an update did not have the numbers that its group of parameters has now: a replay reads these."""
    for _, numbers, group, params in updates:
        if repr(numbers(group)) != repr(params):
            raise Unfit("an option of an optimizer is changed inside", lasting=True)


def check_inside(guards: Guards, modes: list[tuple[int, Any, bool, bool]]) -> tuple[tuple[int, Any, bool], ...]:
    """Unfit where something that was reached is changed inside, but for the modes that `Module.train` has set.

    Of these (place, module, before, after) it gives what a replay must set, in order.
    """
    reached = {id(o) for o in guards.objects}
    usual = Module.__setattr__
    last = {id(m): mode for _, m, _, mode in modes if id(m) in reached and m.__class__.__setattr__ is usual}
    first: dict[int, tuple[dict[str, Any], bool]] = {}
    for _, module, before, _ in modes:
        if last.get(id(module)) is module.__dict__.get("training"):
            first.setdefault(id(module), (module.__dict__, before))
    try:
        for attributes, before in first.values():
            attributes["training"] = before
        changed = guards.difference()
    finally:
        for i, (attributes, _) in first.items():
            attributes["training"] = last[i]
    if changed is not None:
        raise Unfit(f"{changed} is changed inside", state=guards)
    found = [(at, module, mode) for at, module, before, mode in modes if id(module) in first and before != mode]
    return tuple(found)
