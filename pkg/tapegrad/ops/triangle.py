"""Matrices with the elements on one side of a diagonal set to 0: `tril`, `triu`."""

from __future__ import annotations

from typing import Any

from ..dtypes import DTYPES
from . import indexing_kernels as kernels
from .registry import Plan, structured
from .shapes import numel

__all__ = ["tril", "triu"]


def _triangle_rule(name: str, upper: int) -> Any:
    def rule(x: Any, diagonal: int = 0) -> Plan:
        if x.ndim < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        words = (numel(x.shape[:-2]), *x.shape[-2:], diagonal, upper)
        return Plan(x.shape, x.dtype, words=words)

    return rule


def _triangle(name: str, upper: int, doc: str) -> Any:
    def dx(c: Any, g: Any) -> Any:
        return getattr(g, name)(c.words[3])

    return structured(
        name,
        inputs=("x",),
        rule=_triangle_rule(name, upper),
        forward=kernels.triangle_kernel,
        backward={"x": (kernels.triangle_dx_kernel, ())},
        derivative={"x": dx},
        dtypes=DTYPES,
        contiguous=True,
        doc=doc,
        samples=[
            ((3, 4),),
            ((2, 3, 3), {"diagonal": 1}),
            ((3, 2), {"diagonal": -1}),
            ((0, 2),),
            ((2, 170, 170),),
        ],
        constants={"GRAIN": lambda n: ((n // 128, 128),)},
    )


tril = _triangle("tril", 0, "Matrices with the elements above the given diagonal set to 0.")
triu = _triangle("triu", 1, "Matrices with the elements below the given diagonal set to 0.")
