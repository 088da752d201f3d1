"""The backward sweep in tensor operations, so that gradients can be differentiated again.

The same walk as the compiled sweep, newest record first, but each derivative is computed by the
formula applied to tensors, which records it.
"""

from __future__ import annotations

import heapq
import struct
from types import SimpleNamespace
from typing import Any

from .._layout import FLAG_ALIAS, FLAG_FREED, FLAG_LEAF, FLAG_REQUIRES, FLAG_RETAIN, KIND_POINTWISE
from .._tensor import Tensor
from ..dtypes import DTYPES
from ..ops.registry import IDENTITY, NOT_IMPLEMENTED, OPS, Op
from ..tape import _capture
from . import _nodes

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
    "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
    "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access "
    "saved tensors after calling backward."
)


def sum_to(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    """g summed over the dimensions in which `shape` was broadcast to g's."""
    if tuple(g.shape) == shape:
        return g
    extra = g.ndim - len(shape)
    dims = tuple(range(extra)) + tuple(
        extra + d for d in range(len(shape)) if shape[d] == 1 and g.shape[extra + d] != 1
    )
    if dims:
        g = g.sum(dims, keepdim=True)
    return g.reshape(*shape)


def _params(op: Op, info: dict[str, Any]) -> tuple[float, ...]:
    code = {"float32": "f", "float64": "d", "int64": "q", "int32": "i", "uint8": "B"}[DTYPES[info["compute"]].name]
    size = struct.calcsize(code)
    return struct.unpack(f"<{len(op.params)}{code}", info["params"][: size * len(op.params)])


def derivatives(i: int, g: Tensor) -> list[tuple[int, Tensor]]:
    """(edge, gradient) for every input of record i that a gradient flows to."""
    node = _nodes.node_of_record(i)
    info = _nodes.record_view(i)
    op = OPS[info["op"]]
    if info["flags"] & FLAG_FREED:
        raise RuntimeError(FREED)
    if info["version_errors"]:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: a value "
            f"saved by {node.name()} was changed after it was saved. Hint: change a copy (.clone()) or use an "
            "out-of-place operation."
        )
    results: list[tuple[int, Tensor]] = []
    context: Any = None
    for k, e in enumerate(node.edges()):
        if e < 0:
            continue
        _, _, shape, dt = _nodes.record_info(e)
        if op.kind == KIND_POINTWISE:
            d = op.derivatives[k]
            if d is None:
                continue
            d = op.derivative.get(op.inputs[k], d)
            if d == NOT_IMPLEMENTED:
                raise RuntimeError(f"derivative for {op.name} is not implemented")
            if d == IDENTITY:
                gx: Any = g
            else:
                n = len(op.inputs)
                args = [g, *info["saved"][:n], info["saved"][3]]
                if op.params:
                    args.append(_params(op, info))
                gx = d(*args)
            if not isinstance(gx, Tensor):
                gx = g * gx
        elif info["flags"] & FLAG_ALIAS:
            gx = g
        else:
            if context is None:
                context = SimpleNamespace(
                    words=info["words"], params=info["params"], y=info["saved"][3], aux=info["aux"], shape=info["shape"]
                )
                for name, value in zip(op.inputs, info["saved"], strict=False):
                    setattr(context, name, value)
            context.input_shape = shape
            if op.variadic:
                gx = op.derivative[op.inputs[0]](context, g, k)
            else:
                gx = op.derivative[op.inputs[k]](context, g)
        gx = sum_to(gx, shape) if op.kind == KIND_POINTWISE else gx.reshape(*shape)
        if gx.dtype is not DTYPES[dt]:
            gx = gx.to(DTYPES[dt])
        results.append((e, gx))
    return results


def backward(
    roots: list[Tensor], grads: list[Tensor], keep: bool, inputs: list[Tensor] | None, accumulates: bool
) -> list[Tensor | None] | None:
    """One differentiable sweep; arguments and result as `_engine.backward`."""
    pending: dict[int, Tensor] = {}
    order: list[tuple[int, int]] = []
    held: dict[int, Any] = {}

    def deliver(i: int, g: Tensor) -> None:
        if i in pending:
            pending[i] = pending[i] + g
            return
        pending[i] = g
        if i not in held:
            held[i] = _nodes.node_of_record(i)
        heapq.heappush(order, (-_nodes.record_info(i)[0], i))

    starts = [_nodes.edge_index(t) for t in roots]
    wanted: dict[int, Tensor | None] = {}
    needed: set[int] | None = None
    targets: list[int] = []
    if inputs is not None:
        for t in inputs:
            i = _nodes.edge_index(t)
            targets.append(i)
            wanted[i] = None
            held[i] = _nodes.node_of_record(i)
        _capture.note_asked(inputs)
        needed = _leading_to(set(wanted), starts)
    for i, g in zip(starts, grads, strict=True):
        if needed is None or i in needed:
            deliver(i, g)
    while order:
        _, i = heapq.heappop(order)
        g = pending.pop(i)
        if i not in wanted:
            _capture.reached(i)
        _, flags, _, _ = _nodes.record_info(i)
        hooks = _nodes.record_hooks(i)
        if hooks is not None and (hooks.pre or hooks.post):
            _capture.refuse("a hook on a gradient was called")
        goes_on = i in wanted and any(e in (needed or ()) for e in _nodes.node_of_record(i).edges())
        if goes_on:
            wanted[i] = g  # before the hooks, as in PyTorch
        if hooks is not None:
            for hook in list(hooks.pre.values()):
                answer = hook(g)
                if answer is not None:
                    g = _checked(answer, g)
        if i in wanted and not goes_on:
            wanted[i] = g
        if flags & FLAG_RETAIN or (accumulates and flags & FLAG_LEAF and flags & FLAG_REQUIRES):
            there = _nodes.record_grad(i)
            _nodes.set_record_grad(i, g if there is None else there + g)
            if hooks is not None and flags & FLAG_LEAF:
                for after in list(hooks.post.values()):
                    after()
        if flags & FLAG_LEAF or (i in wanted and not goes_on):
            continue
        for e, gx in derivatives(i, g):
            if needed is None or e in needed:
                deliver(e, gx)
        if not keep:
            _nodes.drop_saved(i)
    return None if inputs is None else [wanted[i] for i in targets]


def _checked(answer: Any, g: Tensor) -> Tensor:
    """What a hook returned in place of g."""
    if not isinstance(answer, Tensor):
        raise TypeError(f"hook returned '{type(answer).__name__}', but a Tensor or None was expected")
    if answer.shape != g.shape or answer.dtype is not g.dtype:
        raise RuntimeError(
            f"hook has changed the size or type of value: expected {list(g.shape)} {g.dtype}, "
            f"got {list(answer.shape)} {answer.dtype}"
        )
    return answer


def _leading_to(wanted: set[int], starts: list[int]) -> set[int]:
    """The records between the starts and the wanted ones, both included."""
    lowest = min(_nodes.record_info(i)[0] for i in wanted)
    edges: dict[int, list[int]] = {}
    pending = list(starts)
    while pending:
        i = pending.pop()
        if i not in wanted:
            _capture.reached(i)
        if i in edges or _nodes.record_info(i)[0] < lowest:
            continue
        beyond = i in wanted and len(wanted) == 1  # nothing else is looked for
        edges[i] = [] if beyond else [e for e in _nodes.node_of_record(i).edges() if e >= 0]
        pending += edges[i]
    needed: set[int] = set()
    for i in sorted(edges, key=lambda i: _nodes.record_info(i)[0]):
        if i in wanted or any(e in needed for e in edges[i]):
            needed.add(i)
    return needed
