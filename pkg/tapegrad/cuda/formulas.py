"""Formulas of pointwise operations as CUDA kernels, compiled with no GPU and no driver.

The text of a formula is the one the CPU runs: its names are swapped for device functions (libdevice through
`math`, selects), its float literals take the compute type, and the result is wrapped in an
elementwise kernel over raw pointers. The route is that of `@cuda.jit`: NVVM to LTO-IR, nvJitLink to a cubin;
what the assembler says about registers and spills is read back. Needs `pip install tapegrad[cuda]`.

On this route NVVM contracts `a * b + c` into one instruction and has no switch for it that works, so a kernel
may round otherwise than the CPU's. The functions are libdevice's, not those of `native.vecmath`.
"""

from __future__ import annotations

import contextlib
import re
import time
import types as python_types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..dtypes import bool_, dtype
from ..native.symbols import Symbol
from ._device import KERNELS, LIBDEVICE, MATH, OWN, WITHOUT_PARAMS, byte, cast, same, truth

__all__ = ["Report", "compile_formula"]


@dataclass(frozen=True)
class Report:
    """What became of a kernel: `registers` per thread, bytes of `stack` and of `spills`, the `cubin` and its
    `entry`, the `ptx`, and `wide`, the number of float64 instructions in it."""

    entry: str
    registers: int
    stack: int
    spills: int
    wide: int
    seconds: float
    cubin: bytes
    ptx: str


def compile_formula(
    func: Callable[..., Any],
    dtype: dtype,
    n_args: int,
    cc: tuple[int, ...] = (9, 0),
    *,
    arg_dtypes: Sequence[dtype | None] = (),
    result: dtype | None = None,
    params: bool = False,
) -> Report:
    """Compile `y[i] = func(x0[i], ...)` for a GPU of compute capability `cc`; nothing is run.

    `func` is a plain function written with the names of `tapegrad.native.symbols`; it computes in `dtype`.
    Its `n_args` element arguments have that type too, save where `arg_dtypes` says otherwise, and so has the
    result unless `result` is given. With `params` it takes one more argument, the pointer to the op's
    parameters. ImportError if numba-cuda is missing, TypeError for what CUDA kernels have no meaning for,
    Numba's own error for what it cannot type.

    >>> from tapegrad.cuda import compile_formula
    >>> from tapegrad.dtypes import float32
    >>> compile_formula(lambda x: x * 2.0, float32, 1).spills  # doctest: +SKIP
    0
    """
    started = time.perf_counter()
    try:
        from cuda.core import Linker, LinkerOptions, ObjectCode
        from numba import cuda, types
    except ImportError as error:
        raise ImportError("CUDA kernels need numba-cuda: pip install 'tapegrad[cuda]'") from error
    if not 1 <= n_args <= len(KERNELS):
        raise TypeError(f"a formula has 1 to {len(KERNELS)} element arguments, not {n_args}")
    elements = [(arg_dtypes[k] if k < len(arg_dtypes) else None) or dtype for k in range(n_args)]
    result = result or dtype
    device = cuda.jit(device=True)(_rebuild(func, {}, dtype))
    if not params:
        device = cuda.jit(device=True)(_rebuild(WITHOUT_PARAMS[n_args - 1], {"formula": device}, dtype))
    bindings = {"formula": device, "cuda": cuda, "TO": result, "store": byte if result is bool_ else cast}
    for k, t in enumerate(elements):
        bindings[f"load{k}"] = truth if t is bool_ else same
    kernel = _rebuild(KERNELS[n_args - 1], bindings, dtype)
    # Numba reads and writes truth values through a pointer wrongly, so they travel as bytes.
    pointers = [types.CPointer(types.uint8 if t is bool_ else _numba_type(t)) for t in (result, *elements)]
    parameters = types.CPointer(_numba_type(dtype))
    signature = types.void(*pointers, parameters, types.int64)
    with _pretend_device(cc):
        parts, _ = cuda.compile_all(kernel, signature, device=False, abi="numba", cc=cc, output="ltoir")
    objects = [p if isinstance(p, ObjectCode) else ObjectCode.from_ltoir(p) for p in parts]
    common: dict[str, Any] = {"arch": "sm_" + "".join(map(str, cc)), "link_time_optimization": True}
    ptx = Linker(*objects, options=LinkerOptions(ptx=True, **common)).link("ptx").code.decode()
    linker = Linker(*objects, options=LinkerOptions(ptxas_options=["-v"], **common))
    cubin = bytes(linker.link("cubin").code)
    found = re.search(r"\.entry\s+(\S+?)\(", ptx)
    if found is None:
        raise RuntimeError("the linker gave PTX without a kernel")
    entry = found.group(1)
    log = linker.get_info_log()
    log = log[log.index(entry) :]  # the first report after the name is the kernel's own

    def number(pattern: str) -> int:
        match = re.search(pattern, log)
        if match is None:
            raise RuntimeError(f"the assembler's report has no {pattern!r}:\n{log}")
        return int(match.group(1))

    return Report(
        entry=entry,
        registers=number(r"Used (\d+) registers"),
        stack=number(r"(\d+) bytes stack frame"),
        spills=number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
        wide=len(re.findall(r"^\s*(?:@\S+\s+)?[a-z]\S*\.f64\S*\s", ptx, re.MULTILINE)),
        seconds=time.perf_counter() - started,
        cubin=cubin,
        ptx=ptx,
    )


@contextlib.contextmanager
def _pretend_device(cc: tuple[int, ...]) -> Iterator[None]:
    """A kernel that calls a device function makes numba-cuda's dispatcher ask the current GPU for its compute
    capability, even when it compiles for another. Answer for it; to be removed once it asks no more."""
    import numba.cuda.dispatcher as dispatcher

    asked = dispatcher.get_current_device
    device = python_types.SimpleNamespace(compute_capability=tuple(cc[:2]), id=0)
    dispatcher.get_current_device = lambda: device
    try:
        yield
    finally:
        dispatcher.get_current_device = asked


def _numba_type(t: dtype) -> Any:
    from numba import types

    return types.boolean if t is bool_ else getattr(types, t.name)


def _rebuild(function: Any, bindings: dict[str, Any], compute: dtype) -> Any:
    """The function with its globals swapped for what they mean on the device and its literals typed."""
    from numba import cuda

    def meaning(value: Any) -> Any:
        if isinstance(value, Symbol):
            return _device_function(value.name, compute)
        if isinstance(value, dtype):
            return _numba_type(value)
        if type(value).__name__ == "Formula":
            value = value.function
        if isinstance(value, python_types.FunctionType):
            return cuda.jit(device=True)(_rebuild(value, bindings, compute))
        return value

    def literal(value: Any) -> Any:
        if not isinstance(value, float):
            return value
        typed = compute.numpy.type(value)
        if not compute.is_floating_point and float(typed) != value:
            raise TypeError(
                f"{function.__qualname__} has the literal {value!r}, which {compute.name} cannot hold"
            )
        return typed

    code = function.__code__.replace(co_consts=tuple(map(literal, function.__code__.co_consts)))
    space = {"__name__": function.__module__, "__builtins__": __builtins__}
    for name in code.co_names:
        if name in bindings:
            space[name] = meaning(bindings[name])
        elif name in function.__globals__:
            space[name] = meaning(function.__globals__[name])
    cells = tuple(python_types.CellType(meaning(c.cell_contents)) for c in function.__closure__ or ())
    return python_types.FunctionType(code, space, function.__name__, function.__defaults__, cells)


@cache
def _device_function(name: str, compute: dtype) -> Any:
    """What a symbol means in a kernel of that compute type."""
    import math

    from numba import cuda
    from numba.cuda import libdevice

    if name in MATH:
        return getattr(math, name)
    if name in LIBDEVICE and compute.is_floating_point:
        return getattr(libdevice, name + ("f" if compute.itemsize == 4 else ""))
    plain = OWN.get(name)
    if plain is None:
        raise TypeError(f"{name} has no meaning in CUDA kernels made from formulas")
    return cuda.jit(device=True)(_rebuild(plain, {"exp": math.exp, "erf": math.erf}, compute))
