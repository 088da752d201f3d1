from typing import Any

from ._tensor import Tensor

def from_numbers(data: Any, dt: int) -> Tensor | None: ...
