# Written by `python -m tapegrad.testing.stubs` from the tables of public names.

from builtins import bool as _bool, float as _float, int as _int
from collections.abc import Sequence
from typing import Any

from ._runtime import _multi_tensor_update as _multi_tensor_update
from .dtypes import dtype as _dtype
from ._generator import Generator as Generator
from ._size import Size as Size
from ._tensor import Tensor as Tensor
from ._factories import arange as arange
from ._switches import are_deterministic_algorithms_enabled as are_deterministic_algorithms_enabled
from ._from_data import as_tensor as as_tensor
from ._from_data import asarray as asarray
from ._random import bernoulli as bernoulli
from ._formats import contiguous_format as contiguous_format
from ._generator import default_generator as default_generator
from ._device import device as device
from .dtypes import dtype as dtype
from ._factories import empty as empty
from ._runtime import empty_cache as empty_cache
from ._factories import empty_like as empty_like
from ._modes import enable_grad as enable_grad
from ._factories import eye as eye
from ._limits import finfo as finfo
from ._exchange import from_dlpack as from_dlpack
from ._arrays import from_numpy as from_numpy
from ._exchange import frombuffer as frombuffer
from ._factories import full as full
from ._factories import full_like as full_like
from ._device import get_default_device as get_default_device
from ._default_dtype import get_default_dtype as get_default_dtype
from ._switches import get_deterministic_debug_mode as get_deterministic_debug_mode
from ._switches import get_float32_matmul_precision as get_float32_matmul_precision
from ._switches import get_num_interop_threads as get_num_interop_threads
from ._runtime import get_num_threads as get_num_threads
from ._generator import get_rng_state as get_rng_state
from ._limits import iinfo as iinfo
from ._modes import inference_mode as inference_mode
from ._generator import initial_seed as initial_seed
from ._switches import is_deterministic_algorithms_warn_only_enabled as is_deterministic_algorithms_warn_only_enabled
from ._tensor import is_grad_enabled as is_grad_enabled
from ._tensor import is_inference_mode_enabled as is_inference_mode_enabled
from ._switches import is_warn_always_enabled as is_warn_always_enabled
from ._formats import layout as layout
from ._factories import linspace as linspace
from ._generator import manual_seed as manual_seed
from ._formats import memory_format as memory_format
from ._runtime import memory_stats as memory_stats
from ._random import multinomial as multinomial
from ._modes import no_grad as no_grad
from ._random import normal as normal
from ._factories import ones as ones
from ._factories import ones_like as ones_like
from ._formats import preserve_format as preserve_format
from .dtypes import promote_types as promote_types
from ._random import rand as rand
from ._random import rand_like as rand_like
from ._random import randint as randint
from ._random import randint_like as randint_like
from ._random import randn as randn
from ._random import randn_like as randn_like
from ._random import randperm as randperm
from ._from_data import scalar_tensor as scalar_tensor
from ._generator import seed as seed
from ._device import set_default_device as set_default_device
from ._default_dtype import set_default_dtype as set_default_dtype
from ._tensor_types import set_default_tensor_type as set_default_tensor_type
from ._switches import set_deterministic_debug_mode as set_deterministic_debug_mode
from ._switches import set_float32_matmul_precision as set_float32_matmul_precision
from ._runtime import set_flush_denormal as set_flush_denormal
from ._modes import set_grad_enabled as set_grad_enabled
from ._switches import set_num_interop_threads as set_num_interop_threads
from ._runtime import set_num_threads as set_num_threads
from ._tensor_str import set_printoptions as set_printoptions
from ._generator import set_rng_state as set_rng_state
from ._switches import set_warn_always as set_warn_always
from ._runtime import show_config as show_config
from ._formats import strided as strided
from ._runtime import tape_stats as tape_stats
from ._from_data import tensor as tensor
from ._switches import use_deterministic_algorithms as use_deterministic_algorithms
from ._factories import zeros as zeros
from ._factories import zeros_like as zeros_like

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
    "abs",
    "absolute",
    "add",
    "addcdiv",
    "addcmul",
    "all",
    "allclose",
    "amax",
    "amin",
    "any",
    "arange",
    "are_deterministic_algorithms_enabled",
    "argmax",
    "argmin",
    "as_tensor",
    "asarray",
    "bernoulli",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "bmm",
    "bool",
    "bool_",
    "broadcast_to",
    "can_cast",
    "cat",
    "ceil",
    "chunk",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "clone",
    "concat",
    "concatenate",
    "contiguous_format",
    "cos",
    "cross_entropy",
    "cube",
    "default_generator",
    "device",
    "div",
    "divide",
    "dot",
    "double",
    "dtype",
    "e",
    "elu",
    "empty",
    "empty_cache",
    "empty_like",
    "enable_grad",
    "eq",
    "equal",
    "erf",
    "exp",
    "expm1",
    "eye",
    "finfo",
    "fix",
    "flatten",
    "float",
    "float32",
    "float64",
    "floor",
    "floor_divide",
    "from_dlpack",
    "from_numpy",
    "frombuffer",
    "full",
    "full_like",
    "gather",
    "ge",
    "gelu",
    "get_default_device",
    "get_default_dtype",
    "get_deterministic_debug_mode",
    "get_float32_matmul_precision",
    "get_num_interop_threads",
    "get_num_threads",
    "get_rng_state",
    "greater",
    "greater_equal",
    "gt",
    "iinfo",
    "index_select",
    "inf",
    "inference_mode",
    "initial_seed",
    "int",
    "int32",
    "int64",
    "integer_floor_divide",
    "integer_remainder",
    "is_complex",
    "is_deterministic_algorithms_warn_only_enabled",
    "is_floating_point",
    "is_grad_enabled",
    "is_inference",
    "is_inference_mode_enabled",
    "is_nonzero",
    "is_same_size",
    "is_tensor",
    "is_warn_always_enabled",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "l1_loss",
    "layout",
    "le",
    "leaky_relu",
    "lerp",
    "less",
    "less_equal",
    "linear",
    "linspace",
    "log",
    "log10",
    "log1p",
    "log2",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "long",
    "lt",
    "manual_seed",
    "masked_fill",
    "matmul",
    "max",
    "maximum",
    "mean",
    "memory_format",
    "memory_stats",
    "min",
    "minimum",
    "mm",
    "moveaxis",
    "movedim",
    "mse_loss",
    "mul",
    "multinomial",
    "multiply",
    "mv",
    "nan",
    "narrow",
    "ne",
    "neg",
    "negative",
    "newaxis",
    "nll_loss",
    "no_grad",
    "nonzero",
    "norm",
    "normal",
    "not_equal",
    "numel",
    "ones",
    "ones_like",
    "permute",
    "pi",
    "pow",
    "preserve_format",
    "prod",
    "promote_types",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "ravel",
    "reciprocal",
    "relu",
    "remainder",
    "reshape",
    "result_type",
    "round",
    "rsqrt",
    "scalar_tensor",
    "scatter_add",
    "seed",
    "select",
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
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softmax",
    "softplus",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "strided",
    "sub",
    "subtract",
    "sum",
    "swapaxes",
    "swapdims",
    "t",
    "tan",
    "tanh",
    "tape_stats",
    "tensor",
    "transpose",
    "tril",
    "triu",
    "true_divide",
    "trunc",
    "typename",
    "uint8",
    "unbind",
    "unflatten",
    "unsqueeze",
    "use_deterministic_algorithms",
    "var",
    "where",
    "zeros",
    "zeros_like",
]

BoolTensor: type[Tensor]
ByteTensor: type[Tensor]
DoubleTensor: type[Tensor]
FloatTensor: type[Tensor]
IntTensor: type[Tensor]
LongTensor: type[Tensor]
bool: _dtype
bool_: _dtype
double: _dtype
e: _float
float: _dtype
float32: _dtype
float64: _dtype
inf: _float
int: _dtype
int32: _dtype
int64: _dtype
long: _dtype
nan: _float
newaxis: None
pi: _float
uint8: _dtype

def abs(input: Tensor) -> Tensor: ...
def absolute(input: Tensor) -> Tensor: ...
def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor: ...
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: _float = 1) -> Tensor: ...
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: _float = 1) -> Tensor: ...
def all(input: Tensor, dim: _int | Sequence[_int] | None = None, keepdim: _bool = False) -> Tensor: ...
def allclose(input: Tensor, other: Tensor, rtol: _float = 1e-05, atol: _float = 1e-08, equal_nan: _bool = False) -> _bool: ...
def amax(input: Tensor, dim: _int | Sequence[_int] | None = (), keepdim: _bool = False) -> Tensor: ...
def amin(input: Tensor, dim: _int | Sequence[_int] | None = (), keepdim: _bool = False) -> Tensor: ...
def any(input: Tensor, dim: _int | Sequence[_int] | None = None, keepdim: _bool = False) -> Tensor: ...
def argmax(input: Tensor, dim: _int | None = None, keepdim: _bool = False) -> Tensor: ...
def argmin(input: Tensor, dim: _int | None = None, keepdim: _bool = False) -> Tensor: ...
def bitwise_and(input: Tensor, other: Any) -> Tensor: ...
def bitwise_not(input: Tensor) -> Tensor: ...
def bitwise_or(input: Tensor, other: Any) -> Tensor: ...
def bitwise_xor(input: Tensor, other: Any) -> Tensor: ...
def bmm(input: Tensor, mat2: Any) -> Tensor: ...
def broadcast_to(input: Tensor, size: Sequence[_int]) -> Tensor: ...
def can_cast(from_: Any, to: Any) -> _bool: ...
def cat(tensors: Sequence[Tensor], dim: _int = 0) -> Tensor: ...
def ceil(input: Tensor) -> Tensor: ...
def chunk(input: Tensor, chunks: _int, dim: _int = 0) -> tuple[Tensor, ...]: ...
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor: ...
def clamp_max(input: Tensor, other: Any) -> Tensor: ...
def clamp_min(input: Tensor, other: Any) -> Tensor: ...
def clip(input: Tensor, min: Any = None, max: Any = None) -> Tensor: ...
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor: ...
def concat(tensors: Sequence[Tensor], dim: _int = 0) -> Tensor: ...
def concatenate(tensors: Sequence[Tensor], dim: _int = 0) -> Tensor: ...
def cos(input: Tensor) -> Tensor: ...
def cross_entropy(input: Tensor, target: Any, weight: Any = None, ignore_index: _int = -100, reduction: str = 'mean', label_smoothing: _float = 0.0) -> Tensor: ...
def cube(input: Tensor) -> Tensor: ...
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor: ...
def divide(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor: ...
def dot(input: Tensor, tensor: Any) -> Tensor: ...
def elu(input: Tensor, alpha: _float = 1.0) -> Tensor: ...
def eq(input: Tensor, other: Any) -> Tensor: ...
def equal(input: Tensor, other: Tensor) -> _bool: ...
def erf(input: Tensor) -> Tensor: ...
def exp(input: Tensor) -> Tensor: ...
def expm1(input: Tensor) -> Tensor: ...
def fix(input: Tensor) -> Tensor: ...
def flatten(input: Tensor, start_dim: Any = 0, end_dim: Any = -1) -> Tensor: ...
def floor(input: Tensor) -> Tensor: ...
def floor_divide(input: Any, other: Any) -> Tensor: ...
def gather(input: Tensor, dim: _int, index: Tensor) -> Tensor: ...
def ge(input: Tensor, other: Any) -> Tensor: ...
def gelu(input: Tensor) -> Tensor: ...
def greater(input: Tensor, other: Any) -> Tensor: ...
def greater_equal(input: Tensor, other: Any) -> Tensor: ...
def gt(input: Tensor, other: Any) -> Tensor: ...
def index_select(input: Tensor, dim: _int, index: Any) -> Tensor: ...
def integer_floor_divide(input: Tensor, other: Any) -> Tensor: ...
def integer_remainder(input: Tensor, other: Any) -> Tensor: ...
def is_complex(input: Tensor) -> _bool: ...
def is_floating_point(input: Tensor) -> _bool: ...
def is_inference(input: Tensor) -> _bool: ...
def is_nonzero(input: Tensor) -> _bool: ...
def is_same_size(input: Tensor, other: Tensor) -> _bool: ...
def is_tensor(obj: Any) -> _bool: ...
def isclose(input: Tensor, other: Tensor, rtol: _float = 1e-05, atol: _float = 1e-08, equal_nan: _bool = False) -> Tensor: ...
def isfinite(input: Tensor) -> Tensor: ...
def isinf(input: Tensor) -> Tensor: ...
def isnan(input: Tensor) -> Tensor: ...
def l1_loss(input: Tensor, target: Any, reduction: str = 'mean') -> Tensor: ...
def le(input: Tensor, other: Any) -> Tensor: ...
def leaky_relu(input: Tensor, negative_slope: _float = 0.01) -> Tensor: ...
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor: ...
def less(input: Tensor, other: Any) -> Tensor: ...
def less_equal(input: Tensor, other: Any) -> Tensor: ...
def linear(input: Tensor, weight: Any, bias: Any = None) -> Tensor: ...
def log(input: Tensor) -> Tensor: ...
def log10(input: Tensor) -> Tensor: ...
def log1p(input: Tensor) -> Tensor: ...
def log2(input: Tensor) -> Tensor: ...
def log_softmax(input: Tensor, dim: _int, dtype: _dtype | None = None) -> Tensor: ...
def logical_and(input: Tensor, other: Tensor) -> Tensor: ...
def logical_not(input: Tensor) -> Tensor: ...
def logical_or(input: Tensor, other: Tensor) -> Tensor: ...
def logical_xor(input: Tensor, other: Tensor) -> Tensor: ...
def logsumexp(input: Tensor, dim: _int | Sequence[_int] | None, keepdim: _bool = False) -> Tensor: ...
def lt(input: Tensor, other: Any) -> Tensor: ...
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor: ...
def matmul(input: Tensor, other: Any) -> Tensor: ...
def max(input: Tensor, dim: Any = None, keepdim: _bool = False, *, other: Any = None) -> Any: ...
def maximum(input: Tensor, other: Tensor) -> Tensor: ...
def mean(input: Tensor, dim: _int | Sequence[_int] | None = None, keepdim: _bool = False, dtype: Any = None) -> Tensor: ...
def min(input: Tensor, dim: Any = None, keepdim: _bool = False, *, other: Any = None) -> Any: ...
def minimum(input: Tensor, other: Tensor) -> Tensor: ...
def mm(input: Tensor, mat2: Any) -> Tensor: ...
def moveaxis(input: Tensor, source: Any, destination: Any) -> Tensor: ...
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor: ...
def mse_loss(input: Tensor, target: Any, reduction: str = 'mean') -> Tensor: ...
def mul(input: Tensor, other: Any) -> Tensor: ...
def multiply(input: Tensor, other: Any) -> Tensor: ...
def mv(input: Tensor, vec: Any) -> Tensor: ...
def narrow(input: Tensor, dim: Any, start: Any, length: Any) -> Tensor: ...
def ne(input: Tensor, other: Any) -> Tensor: ...
def neg(input: Tensor) -> Tensor: ...
def negative(input: Tensor) -> Tensor: ...
def nll_loss(input: Tensor, target: Any, weight: Any = None, ignore_index: _int = -100, reduction: str = 'mean') -> Tensor: ...
def nonzero(input: Tensor) -> Tensor: ...
def norm(input: Tensor, p: Any = 2, dim: Any = None, keepdim: _bool = False) -> Tensor: ...
def not_equal(input: Tensor, other: Any) -> Tensor: ...
def numel(input: Tensor) -> _int: ...
def permute(input: Tensor, dims: Sequence[_int]) -> Tensor: ...
def pow(input: Any, exponent: Any) -> Tensor: ...
def prod(input: Tensor, dim: _int | None = None, keepdim: _bool = False, dtype: Any = None) -> Tensor: ...
def ravel(input: Tensor) -> Tensor: ...
def reciprocal(input: Tensor) -> Tensor: ...
def relu(input: Tensor) -> Tensor: ...
def remainder(input: Any, other: Any) -> Tensor: ...
def reshape(input: Tensor, shape: Sequence[_int]) -> Tensor: ...
def result_type(tensor1: Any, other: Any) -> _dtype: ...
def round(input: Tensor, *, decimals: _int = 0) -> Tensor: ...
def rsqrt(input: Tensor) -> Tensor: ...
def scatter_add(input: Tensor, dim: _int, index: Tensor, src: Tensor) -> Tensor: ...
def select(input: Tensor, dim: Any, index: Any) -> Tensor: ...
def sigmoid(input: Tensor) -> Tensor: ...
def sign(input: Tensor) -> Tensor: ...
def silu(input: Tensor) -> Tensor: ...
def sin(input: Tensor) -> Tensor: ...
def softmax(input: Tensor, dim: _int, dtype: _dtype | None = None) -> Tensor: ...
def softplus(input: Tensor) -> Tensor: ...
def split(tensor: Tensor, split_size_or_sections: Any, dim: _int = 0) -> tuple[Tensor, ...]: ...
def sqrt(input: Tensor) -> Tensor: ...
def square(input: Tensor) -> Tensor: ...
def squeeze(input: Tensor, dim: Any = None) -> Tensor: ...
def stack(tensors: Sequence[Tensor], dim: _int = 0) -> Tensor: ...
def std(input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: _bool = False, *, correction: Any = None) -> Tensor: ...
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor: ...
def subtract(input: Any, other: Any, *, alpha: Any = 1) -> Tensor: ...
def sum(input: Tensor, dim: _int | Sequence[_int] | None = None, keepdim: _bool = False, dtype: Any = None) -> Tensor: ...
def swapaxes(input: Tensor, axis0: Any, axis1: Any) -> Tensor: ...
def swapdims(input: Tensor, dim0: Any, dim1: Any) -> Tensor: ...
def t(input: Tensor) -> Tensor: ...
def tan(input: Tensor) -> Tensor: ...
def tanh(input: Tensor) -> Tensor: ...
def transpose(input: Tensor, dim0: Any, dim1: Any) -> Tensor: ...
def tril(input: Tensor, diagonal: _int = 0) -> Tensor: ...
def triu(input: Tensor, diagonal: _int = 0) -> Tensor: ...
def true_divide(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor: ...
def trunc(input: Tensor) -> Tensor: ...
def typename(obj: Any) -> str: ...
def unbind(input: Tensor, dim: _int = 0) -> tuple[Tensor, ...]: ...
def unflatten(input: Tensor, dim: _int, sizes: Sequence[_int]) -> Tensor: ...
def unsqueeze(input: Tensor, dim: Any) -> Tensor: ...
def var(input: Tensor, dim: Any = None, unbiased: Any = None, keepdim: _bool = False, *, correction: Any = None) -> Tensor: ...
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any: ...
