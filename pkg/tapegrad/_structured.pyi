from typing import Any

from ._tensor import Tensor

class Planned: ...

class Runner:
    def __init__(self, op: Any) -> None: ...
    def __call__(self, *args: Any, **named: Any) -> Any: ...

class Shortcut:
    def __init__(self, function: Any, op: Any) -> None: ...
    def __call__(self, *args: Any) -> Any: ...

def run_kernel(
    op: int,
    dt: int,
    out: Tensor,
    inputs: tuple[Tensor, ...] = (),
    words: Any = (),
    params: Any = b"",
    ext_address: int = 0,
    serial: bool = False,
) -> Tensor: ...
def multi_tensor_update(
    op: int,
    columns: tuple[list[Tensor], ...],
    params: tuple[float, ...],
    writes: tuple[Any, ...],
    steps: bool,
    only_check: bool = False,
) -> bool: ...
