"""Every public tensor function in one namespace, under PyTorch's names.

`api.pyi` lists it for type checkers and editors; `python -m tapegrad.testing.stubs` writes that file.
The names of the element types (`float`, `int`, `bool`) stand for dtypes here, as in PyTorch.
"""

from math import e, inf, nan, pi

from . import _wiring  # noqa: F401 (before all else: it joins the floors)
from ._default_dtype import get_default_dtype, set_default_dtype
from ._device import device, get_default_device, set_default_device
from ._exchange import from_dlpack, frombuffer
from ._factories import (
    arange,
    empty,
    empty_like,
    eye,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    zeros,
    zeros_like,
)
from ._formats import contiguous_format, layout, memory_format, preserve_format, strided
from ._from_data import as_tensor, asarray, from_numpy, scalar_tensor, tensor
from ._functions.base import FUNCTIONS
from ._generator import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from ._limits import finfo, iinfo
from ._modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from ._random import bernoulli, multinomial, normal, rand, rand_like, randint, randint_like, randn, randn_like, randperm
from ._runtime import _multi_tensor_update as _multi_tensor_update
from ._runtime import (
    empty_cache,
    get_num_threads,
    memory_stats,
    set_flush_denormal,
    set_num_threads,
    show_config,
    tape_stats,
)
from ._size import Size
from ._switches import (
    are_deterministic_algorithms_enabled,
    get_deterministic_debug_mode,
    get_float32_matmul_precision,
    get_num_interop_threads,
    is_deterministic_algorithms_warn_only_enabled,
    is_warn_always_enabled,
    set_deterministic_debug_mode,
    set_float32_matmul_precision,
    set_num_interop_threads,
    set_warn_always,
    use_deterministic_algorithms,
)
from ._tensor import Tensor
from ._tensor_str import set_printoptions
from ._tensor_types import (
    BoolTensor,
    ByteTensor,
    DoubleTensor,
    FloatTensor,
    IntTensor,
    LongTensor,
    set_default_tensor_type,
)
from .dtypes import bool_, dtype, float32, float64, int32, int64, promote_types, uint8

# isort: split

float = float32
double = float64
long = int64
int = int32
bool = bool_

newaxis = None  # for indexing

globals().update(FUNCTIONS)

__all__ = [
    "BoolTensor",
    "ByteTensor",
    "DoubleTensor",
    "FloatTensor",
    "Generator",
    "IntTensor",
    "LongTensor",
    "Size",
    "Tensor",
    "arange",
    "are_deterministic_algorithms_enabled",
    "as_tensor",
    "asarray",
    "bernoulli",
    "bool",
    "bool_",
    "contiguous_format",
    "default_generator",
    "device",
    "double",
    "dtype",
    "e",
    "empty",
    "empty_cache",
    "empty_like",
    "enable_grad",
    "eye",
    "finfo",
    "float",
    "float32",
    "float64",
    "from_dlpack",
    "from_numpy",
    "frombuffer",
    "full",
    "full_like",
    "get_default_device",
    "get_default_dtype",
    "get_deterministic_debug_mode",
    "get_float32_matmul_precision",
    "get_num_interop_threads",
    "get_num_threads",
    "get_rng_state",
    "iinfo",
    "inf",
    "inference_mode",
    "initial_seed",
    "int",
    "int32",
    "int64",
    "is_deterministic_algorithms_warn_only_enabled",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "is_warn_always_enabled",
    "layout",
    "linspace",
    "long",
    "manual_seed",
    "memory_format",
    "memory_stats",
    "multinomial",
    "nan",
    "newaxis",
    "no_grad",
    "normal",
    "ones",
    "ones_like",
    "pi",
    "preserve_format",
    "promote_types",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "scalar_tensor",
    "seed",
    "set_default_device",
    "set_default_dtype",
    "set_default_tensor_type",
    "set_deterministic_debug_mode",
    "set_float32_matmul_precision",
    "set_flush_denormal",
    "set_grad_enabled",
    "set_num_interop_threads",
    "set_num_threads",
    "set_printoptions",
    "set_rng_state",
    "set_warn_always",
    "show_config",
    "strided",
    "tape_stats",
    "tensor",
    "uint8",
    "use_deterministic_algorithms",
    "zeros",
    "zeros_like",
]
__all__ += FUNCTIONS
