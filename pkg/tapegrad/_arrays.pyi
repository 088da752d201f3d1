from typing import Any

import numpy as np

from ._tensor import Tensor

def from_numpy(array: Any) -> Tensor: ...
def fill_from(t: Tensor, array: Any) -> None: ...
def array_of(t: Tensor) -> np.ndarray[Any, Any]: ...

class _Keep:
    __array_interface__: dict[str, Any]
