"""Gradients: `backward`, `grad`, modes, hooks, and `gradcheck`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .. import _tensor
from .._missing import names_missing
from .._modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from .._tensor import Tensor
from . import _engine, _graph
from ._hooks import RemovableHandle, register_hook, register_post_accumulate_grad_hook
from ._variable import Variable
from .gradcheck import GradcheckError, gradcheck, gradgradcheck

__all__ = [
    "GradcheckError",
    "RemovableHandle",
    "Variable",
    "backward",
    "enable_grad",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "no_grad",
    "register_hook",
    "register_post_accumulate_grad_hook",
    "set_grad_enabled",
]

Tensors = Tensor | Sequence[Tensor]


def _listed(name: str, tensors: Any) -> list[Tensor]:
    items = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    for t in items:
        if not isinstance(t, Tensor):
            raise TypeError(f"{name} must be Tensors, got {type(t).__name__}")
    return items


def _first_gradients(roots: list[Tensor], gradients: Any) -> list[Tensor | None]:
    """The gradients to begin with, checked; None means 1."""
    if gradients is None:
        given: list[Any] = [None] * len(roots)
    else:
        given = [gradients] if isinstance(gradients, Tensor) or gradients is None else list(gradients)
    if len(given) != len(roots):
        raise RuntimeError(f"got {len(roots)} tensors and {len(given)} gradients")
    for k, (t, g) in enumerate(zip(roots, given, strict=True)):
        if not t.requires_grad:
            raise RuntimeError(f"element {k} of tensors does not require grad and does not have a grad_fn")
        if g is None:
            if t.numel() != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            continue
        if not isinstance(g, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
        if tuple(g.shape) != tuple(t.shape):
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{k}] has a shape of {g.shape} and output[{k}] has a shape of "
                f"{t.shape}."
            )
        if g.dtype is not t.dtype:
            given[k] = g.to(t.dtype)
    return given


def _run(
    roots: list[Tensor],
    gradients: list[Tensor | None],
    keep: bool,
    create_graph: bool,
    inputs: list[Tensor] | None,
    accumulates: bool,
) -> list[Tensor | None] | None:
    if not create_graph:
        found: list[Tensor | None] | None = _engine.backward(roots, gradients, keep, inputs, accumulates)
        return found
    ones = [
        _tensor.copy_(_tensor.empty(t.shape, t._dt), 1) if g is None else g
        for t, g in zip(roots, gradients, strict=True)
    ]
    with enable_grad():
        return _graph.backward(roots, ones, keep, inputs, accumulates)


def backward(
    tensors: Tensors,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Tensors | None = None,
) -> None:
    """Adds to the `.grad` of the leaves the gradients of these tensors.

    `grad_tensors` are the gradients to begin with, None for scalars. `retain_graph` keeps what was
    saved, so that the graph can be run again; `create_graph` records the backward itself; `inputs`
    limits accumulation to these tensors. RuntimeError if nothing requires a gradient, for a
    non-scalar without a gradient, and for a graph whose saved values are gone.

    >>> import tapegrad as torch
    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> torch.autograd.backward(x * x)
    >>> x.grad
    tensor(6.)
    """
    roots = _listed("tensors", tensors)
    if inputs is not None and not isinstance(inputs, Tensor) and len(inputs) == 0:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    gradients = _first_gradients(roots, grad_tensors if grad_tensors is not None else grad_variables)
    keep = create_graph if retain_graph is None else bool(retain_graph)
    if inputs is None:
        _run(roots, gradients, keep, create_graph, None, True)
        return
    targets = _listed("inputs", inputs)
    for k, t in enumerate(targets):
        if not t.requires_grad:
            raise RuntimeError(f"One of the differentiated Tensors does not require grad (inputs[{k}])")
    targets = list({id(t): t for t in targets}.values())
    found = _run(roots, gradients, keep, create_graph, targets, True) or []
    for t, g in zip(targets, found, strict=True):
        if g is None or t.is_leaf or t.retains_grad:
            continue  # the sweep itself accumulates there
        if t.grad is None:
            t.grad = g if create_graph else _tensor.clone(g)
        elif create_graph:
            t.grad = t.grad + g
        else:
            with no_grad():
                t.grad += g


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of `outputs` with respect to `inputs`, without touching any `.grad`.

    RuntimeError if an input takes no part in the outputs, unless `allow_unused` (None for it then)
    or `materialize_grads` (zeros).

    >>> import tapegrad as torch
    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> g, = torch.autograd.grad(x ** 3, x, create_graph=True)
    >>> torch.autograd.grad(g, x)
    (tensor(12.),)
    """
    if is_grads_batched:
        raise NotImplementedError("grad(is_grads_batched=True) is not supported; call grad once per gradient")
    roots = _listed("outputs", outputs)
    targets = _listed("inputs", inputs)
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    gradients = _first_gradients(roots, grad_outputs)
    for t in targets:
        if not t.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    keep = create_graph if retain_graph is None else bool(retain_graph)
    if not targets:
        raise ValueError("grad requires non-empty inputs.")
    found = _run(roots, gradients, keep, create_graph, targets, False) or []
    results: list[Tensor | None] = []
    for t, g in zip(targets, found, strict=True):
        if g is None and materialize_grads:
            g = _tensor.zeros(t.shape, t._dt)
        if g is None and not allow_unused and not materialize_grads:
            raise RuntimeError(
                "One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True "
                "if this is the desired behavior."
            )
        results.append(g)
    return tuple(results)


def tensor_backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Adds to the `.grad` of the leaves the gradients of this tensor; see `autograd.backward`."""
    if gradient is None and not retain_graph and not create_graph and inputs is None:
        _engine.fast_backward(self)
        return
    backward(self, gradient, retain_graph, create_graph, inputs=inputs)


METHODS: dict[str, Callable[..., Any]] = {
    "backward": tensor_backward,
    "register_hook": register_hook,
    "register_post_accumulate_grad_hook": register_post_accumulate_grad_hook,
}


if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
