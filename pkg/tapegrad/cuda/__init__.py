"""The CUDA side: for now the formulas of operations as CUDA kernels, compiled and judged without a GPU.

Importing this costs nothing: numba-cuda is imported by the first compilation. Tensors live on the CPU
in this version, so `is_available()` is False whatever the machine has.
"""

from __future__ import annotations

import importlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NoReturn

from .._missing import names_missing

__all__ = [
    "amp",
    "compile_formula",
    "device_count",
    "empty_cache",
    "get_rng_state_all",
    "is_available",
    "is_bf16_supported",
    "is_initialized",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "max_memory_reserved",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "seed",
    "seed_all",
    "set_rng_state_all",
]


def is_available() -> bool:
    """Whether tensors can live on a GPU: not in this version.

    >>> from tapegrad import cuda
    >>> cuda.is_available()
    False
    """
    return False


def device_count() -> int:
    """The number of GPUs that tensors can live on: none in this version.

    >>> from tapegrad import cuda
    >>> cuda.device_count()
    0
    """
    return 0


def manual_seed(seed: int) -> None:
    """Seeds the GPU's generator: there is none. Programs call it beside `torch.manual_seed`."""
    int(seed)


def manual_seed_all(seed: int) -> None:
    """Seeds the generators of all GPUs: there are none."""
    int(seed)


def seed() -> None:
    """Seeds the GPU's generator by chance: there is none."""


def seed_all() -> None:
    """Seeds the generators of all GPUs by chance: there are none."""


def get_rng_state_all() -> list[Any]:
    """The states of the generators of all GPUs: none."""
    return []


def set_rng_state_all(new_states: Any) -> None:
    """Sets the states of the generators of all GPUs: there are none."""


def is_initialized() -> bool:
    """Whether CUDA is in use: no."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether a GPU computes in bfloat16: there is none."""
    return False


def empty_cache() -> None:
    """Gives back the GPU's cached memory: there is none. `torch.empty_cache` is for the CPU's."""


def memory_allocated(device: Any = None) -> int:
    """Bytes of tensors on a GPU: 0."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes of tensors there were on a GPU: 0."""
    return 0


def memory_reserved(device: Any = None) -> int:
    """Bytes held for tensors on a GPU: 0."""
    return 0


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that were held for tensors on a GPU: 0."""
    return 0


def memory_stats(device: Any = None) -> OrderedDict[str, int]:
    """Counts of memory on a GPU: none."""
    return OrderedDict()


def _refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
    raise AssertionError("Torch not compiled with CUDA enabled: tapegrad has no cuda device in this build")


# What asks something of a GPU. PyTorch's error without one is this AssertionError, too.
current_device = get_device_name = get_device_properties = get_device_capability = synchronize = init = _refuse
set_device = mem_get_info = get_rng_state = initial_seed = reset_peak_memory_stats = _refuse

if TYPE_CHECKING:
    from . import amp as amp
    from .formulas import compile_formula as compile_formula
else:
    _not_there = names_missing(__name__)

    def __getattr__(name: str) -> Any:
        if name == "amp":
            return importlib.import_module(f"{__name__}.amp")
        if name == "compile_formula":
            return importlib.import_module(f"{__name__}.formulas").compile_formula
        return _not_there(name)
