"""Whether two recordings of the same call are the same program."""

from __future__ import annotations

from typing import Any

from . import _look, _plans
from .effects import same
from .program import CONSTANT, OUTSIDE, Buffer, Program, Step

__all__ = ["difference"]


def difference(a: Program, b: Program) -> tuple[str, Any] | None:
    """What differs, with the line where it can be told; None if nothing does."""
    if a.effects.generators != b.effects.generators:
        return "another random generator is used", None
    for x, y in zip(a.steps, b.steps, strict=False):
        what = differing(x, y, a, b)
        if what is not None:
            return f"{what} differs from call to call", y.line
    if len(a.steps) != len(b.steps):
        longer = a.steps if len(a.steps) > len(b.steps) else b.steps
        return "what is computed differs from call to call", longer[min(len(a.steps), len(b.steps))].line
    for name in ("exits", "result", "records", "fixed_arguments", "relations", "turned_on", "switches", "modes"):
        if not alike(getattr(a.effects, name), getattr(b.effects, name)):
            return {"exits": "what becomes of gradients"}.get(name, "the result") + " differs from call to call", None
    if [(leaf_key(x), x.entry) for x in a.effects.leaves] != [(leaf_key(x), x.entry) for x in b.effects.leaves]:
        return "whether gradients are there differs from call to call", None
    if [(key(w), n) for w, n, _ in a.effects.versions] != [(key(w), n) for w, n, _ in b.effects.versions]:
        return "what is changed in place differs from call to call", None
    return None


def leaf_key(leaf: Any) -> Any:
    return ("argument", leaf.tensor.number) if hasattr(leaf.tensor, "number") else id(leaf.tensor)


def key(where: Any) -> Any:
    return where if isinstance(where, tuple) else id(where)


def alike(x: Any, y: Any) -> bool:
    """Equality of templates: tensors by identity."""
    if x is y:
        return True
    if type(x) is not type(y):
        return False
    if isinstance(x, (tuple, list)):
        return len(x) == len(y) and all(alike(p, q) for p, q in zip(x, y, strict=True))
    if isinstance(x, dict):
        return list(x) == list(y) and all(alike(x[k], y[k]) for k in x)
    if hasattr(x, "number"):
        return bool(x.number == y.number)
    if isinstance(x, _plans.Same):
        return x.object is y.object
    if hasattr(x, "parts"):
        return x.kind is y.kind and alike(x.parts, y.parts)
    if isinstance(x, frozenset):
        return bool(x == y)
    return same(x, y)  # of tensors and objects only the same one is alike


def differing(x: Step, y: Step, a: Program, b: Program) -> str | None:
    if (x.op, x.role, x.layout, x.dt, x.kernel, x.frame) != (y.op, y.role, y.layout, y.dt, y.kernel, y.frame):
        return "what is computed"
    if x.scalars != y.scalars or x.words != y.words:
        return "a number that is computed with"
    if x.update is None and x.params != y.params:
        return "a number that is computed with"
    if x.operands != y.operands or x.table != y.table:
        return "the memory that is used"
    for number in x.touched_buffers:
        if not same_buffer(a.buffers[number], b.buffers[number]):
            return "a number that Python computes" if a.buffers[number].kind == CONSTANT else "the memory that is used"
    return None


def same_buffer(p: Buffer, q: Buffer) -> bool:
    if p.kind != q.kind or p.nbytes != q.nbytes:
        return False
    if p.kind == OUTSIDE:
        return bool(_look.memory_of(p.source)[1] == _look.memory_of(q.source)[1])
    # An argument, a leaf whose gradient it is, bytes: by its number, or what they are. What is made inside has none.
    return bool(p.source == q.source)
