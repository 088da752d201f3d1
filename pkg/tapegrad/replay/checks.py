"""What a recorded run must not have changed beside what tensors hold: Unfit where it has."""

from __future__ import annotations

from typing import Any

from .._tensor import Tensor
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
        if not turned_on(old, new):
            raise Unfit(why, lasting=True, state=forms)
        if i >= len(arguments):  # it stays so: the next recording finds nothing changed
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


def check_inside(guards: Guards) -> None:
    changed = guards.difference()
    if changed is not None:
        raise Unfit(f"{changed} is changed inside", state=guards)
