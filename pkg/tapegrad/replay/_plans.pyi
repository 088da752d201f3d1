from collections.abc import Callable
from typing import Any

from .._tensor import Tensor

class Argument:
    number: int
    def __init__(self, number: int) -> None: ...

class Root:
    number: int
    def __init__(self, number: int) -> None: ...

class Held:
    number: int
    def __init__(self, number: int) -> None: ...

class Same:
    object: Any
    def __init__(self, object: Any) -> None: ...

class TensorPlan:
    shared: bool
    view_of: Any
    def __init__(
        self,
        over: Any,
        offset: int,
        dt: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        stamp: int,
        requires: bool,
        inference: bool,
        marks: int = 0,
    ) -> None: ...

class TensorForm:
    def __init__(self, t: Tensor) -> None: ...

class Guarded(TensorForm):
    tensor: Tensor
    def __init__(self, tensor: Tensor) -> None: ...
    def check(self) -> bool: ...

class Stamp:
    def __init__(
        self, words: bytes, ext: bytes | None, edges: tuple[Any, ...], saved: tuple[Any, ...]
    ) -> None: ...

class Rebuild:
    kind: type
    make: Callable[[Any], Any]
    parts: list[Any] | dict[Any, Any]
    def __init__(self, kind: type, make: Callable[[Any], Any], parts: list[Any] | dict[Any, Any]) -> None: ...

class Arena:
    address: int
    nbytes: int
    busy: bool
    def __init__(self, nbytes: int) -> None: ...
    def write(self, at: int, data: bytes) -> None: ...
    def read(self, at: int, nbytes: int) -> bytes: ...
