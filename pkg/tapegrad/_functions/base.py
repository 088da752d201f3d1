"""The public functions of pointwise ops, made from their declarations, and the tables that hold them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .._tensor import Tensor, apply_pointwise, binary, binary_, unary, unary_
from ..ops import arithmetic, comparison, division, exponential  # noqa: F401 (their declarations fill the registry)
from ..ops.registry import Op

FUNCTIONS: dict[str, Callable[..., Any]] = {}
METHODS: dict[str, Callable[..., Any]] = {}


def tensor_argument(name: str, x: Any, position: int = 1, argument: str = "input") -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}(): argument '{argument}' (position {position}) must be Tensor, not {type(x).__name__}")


def records(function: Callable[..., Any], op: int, tensors_only: bool = False) -> Callable[..., Any]:
    """Notes that the function, given all its arguments in order, does no more than record this op of them.

    One of them must be a tensor, or all with `tensors_only`; it is called itself for what is not like that.
    """
    function.recorded = (op, tensors_only)  # type: ignore[attr-defined]
    return function


def make_unary(op: Op) -> Callable[..., Any]:
    i, name = op.id, op.name

    def function(input: Tensor) -> Tensor:
        if not isinstance(input, Tensor):
            tensor_argument(name, input)
        return unary(i, input)

    return records(function, i)


def make_binary(op: Op) -> Callable[..., Any]:
    i, name = op.id, op.name

    def function(input: Tensor, other: Any) -> Tensor:
        if not isinstance(input, Tensor) and not isinstance(other, Tensor):
            tensor_argument(name, input)
        return binary(i, input, other)

    return records(function, i)


def make_ternary(op: Op) -> Callable[..., Any]:
    i, name = op.id, op.name

    def function(input: Tensor, a: Any, b: Any) -> Tensor:
        tensor_argument(name, input)
        return apply_pointwise(i, (input, a, b))

    return function


def _make_inplace(op: Op) -> Callable[..., Any]:
    i, n = op.id, len(op.inputs)
    if n == 1:

        def one(self: Tensor) -> Tensor:
            return unary_(i, self)

        return one
    if n == 2:

        def two(self: Tensor, other: Any) -> Tensor:
            return binary_(i, self, other)

        return two

    def three(self: Tensor, a: Any, b: Any) -> Tensor:
        return apply_pointwise(i, (self, a, b), self)

    return three


def named(function: Callable[..., Any], name: str, doc: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__module__ = "tapegrad"
    function.__doc__ = doc
    return function


def make_functions(ops: Sequence[Op]) -> None:
    """Functions, methods and in-place methods of pointwise ops, under their own names."""
    makers = (make_unary, make_binary, make_ternary)
    for op in ops:
        if op.params or not op.function or op.name.startswith("to_"):
            continue
        function = named(makers[len(op.inputs) - 1](op), op.name, op.doc)
        FUNCTIONS[op.name] = function
        if op.method:
            METHODS[op.name] = function
            if op.inplace:
                METHODS[op.name + "_"] = named(_make_inplace(op), op.name + "_", f"In place: {op.doc}")
