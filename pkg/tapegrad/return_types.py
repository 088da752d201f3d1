"""The named tuples that functions with several results return, under PyTorch's names."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

from ._missing import names_missing

__all__ = ["max", "min"]


class _Results(tuple[Any, ...]):
    """Made of a sequence, as in PyTorch: `max((values, indices))`."""

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]] = ()
    n_fields: ClassVar[int] = 2
    n_sequence_fields: ClassVar[int] = 2
    n_unnamed_fields: ClassVar[int] = 0

    def __repr__(self) -> str:
        lines = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"torch.return_types.{type(self).__name__}(\n{lines})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (tuple(self),)

    @classmethod
    def _make(cls, results: Iterable[Any]) -> _Results:
        return cls(results)


class max(_Results):
    """What `max(dim)` returns: `values` and `indices`."""

    __slots__ = ()
    _fields = ("values", "indices")
    values: Any = property(itemgetter(0))
    indices: Any = property(itemgetter(1))


class min(_Results):
    """What `min(dim)` returns: `values` and `indices`."""

    __slots__ = ()
    _fields = ("values", "indices")
    values: Any = property(itemgetter(0))
    indices: Any = property(itemgetter(1))


if not TYPE_CHECKING:
    __getattr__ = names_missing(__name__)
