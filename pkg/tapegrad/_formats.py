"""How elements lie in memory, as arguments say it: densely, in row-major order or as they lie elsewhere."""

from __future__ import annotations

__all__ = ["contiguous_format", "layout", "memory_format", "preserve_format", "strided"]


class _Format:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name  # they are looked up by name, and there is one of each


class memory_format(_Format):
    """An order of elements: `torch.contiguous_format`, `torch.preserve_format`."""

    __slots__ = ()


class layout(_Format):
    """A kind of memory: `torch.strided`."""

    __slots__ = ()


contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
strided = layout("strided")
