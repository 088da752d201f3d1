"""One kernel for many pointwise ops, and a reduction of what they make: composed from the ops' formulas.

A `Chain` says what is computed, without sizes and addresses, so equal chains share a kernel, here and in the
object cache. The kernel loads each operand once, keeps what lies between in registers and stores what is
asked for. Every value is cast to the type in which the op alone would have stored it, and nothing is contracted
or reassociated, so the bits are those of the ops one by one. A reduction at the end is the plain reduction's
kernel, which gets its elements, band by band, from the composed formulas instead of from memory: the order of
its additions is the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from .. import native
from .._layout import FRAME_EXT
from ..dtypes import DTYPES, int64
from ..native.symbols import address_of, pointer, prefetch_read, prefetch_write
from ..ops.reduction_kernels import BAND
from ..ops.registry import OPS
from ..ops.scalars import scalar

__all__ = ["TABLE", "Chain", "Node", "Ref", "address", "is_compiled", "pack"]

TABLE = 8  # words before the addresses: a reduction's sizes, and
LOOK_AHEAD = 7  # how many elements ahead the kernel asks for memory, or 0


class Ref(NamedTuple):
    """A value in a chain. `kind`: "node", "full" or "one" (memory), "number" (by value)."""

    kind: str
    at: int


class Node(NamedTuple):
    """One op: its arguments, None where the formula does not read one; `params`: its place among the parameters."""

    op: int
    role: int
    dt: int
    args: tuple[Ref | None, ...]
    params: int = -1


class Chain(NamedTuple):
    """`memory` and `numbers` are dtype indices, `stores` go to a place in `memory`; `reduction`: (op, dt, of what)."""

    memory: tuple[int, ...]
    numbers: tuple[int, ...]
    nodes: tuple[Node, ...]
    stores: tuple[tuple[Ref, int], ...]
    reduction: tuple[int, int, Ref] | None = None


def pack(sizes: Sequence[int], ahead: int, n_memory: int, numbers: Sequence[bytes], params: Sequence[bytes]) -> bytes:
    """The words of a fused kernel; the addresses, from TABLE on, are filled in when the program is laid out."""
    head = struct.pack(f"{TABLE}q", *sizes, *[0] * (LOOK_AHEAD - len(sizes)), ahead)
    body = b"".join(n[:8].ljust(8, b"\0") for n in numbers)
    tail = b"".join(p.ljust(PARAM_BYTES, b"\0") for p in params)
    return head + bytes(8 * n_memory) + body + tail


BLOCK = 256  # elements between looks ahead
PARAM_BYTES = 32  # room of an op's parameters


def _text(chain: Chain) -> tuple[str, dict[str, Any]]:
    """The text of the kernel, and what its names mean."""
    space: dict[str, Any] = {
        "pointer": pointer, "address_of": address_of, "int64": int64, "FRAME_EXT": FRAME_EXT,
        "prefetch_read": prefetch_read, "prefetch_write": prefetch_write, "BLOCK": BLOCK,
        "__name__": __name__,
    }  # fmt: skip
    head, loads, body = [], [], []
    loaded: set[int] = set()
    singles: set[int] = set()

    def typed(dt: int) -> str:
        space[f"t{dt}"] = DTYPES[dt]
        return f"t{dt}"

    def value(ref: Ref) -> str:
        if ref.kind == "full" and ref.at not in loaded:
            loaded.add(ref.at)
            loads.append(f"x{ref.at} = m{ref.at}[i]")
        if ref.kind == "one" and ref.at not in singles:
            singles.add(ref.at)
            head.append(f"s{ref.at} = m{ref.at}[0]")
        return {"node": "v", "full": "x", "one": "s", "number": "c"}[ref.kind] + str(ref.at)

    for k, dt in enumerate(chain.memory):
        head.append(f"m{k} = pointer(w[{TABLE + k}], {typed(dt)})")
    at = TABLE + len(chain.memory)
    for k, dt in enumerate(chain.numbers):
        head.append(f"c{k} = pointer(address_of(w) + {8 * (at + k)}, {typed(dt)})[0]")
    at += len(chain.numbers)
    for n, node in enumerate(chain.nodes):
        formula = scalar(node.op, node.role, node.dt)
        assert formula is not None
        space[f"f{n}"] = formula.formula
        compute = typed(node.dt)
        arguments = [f"{compute}(0)" if ref is None else value(ref) for ref in node.args]
        if formula.params:
            head.append(f"p{n} = pointer(address_of(w) + {8 * at + PARAM_BYTES * node.params}, {compute})")
            arguments.append(f"p{n}")
        body.append(f"v{n} = {typed(formula.gives.index)}(f{n}({', '.join(arguments)}))")
    for ref, k in chain.stores:
        body.append(f"m{k}[i] = {value(ref)}")
    if chain.reduction is not None:
        _, dt, ref = chain.reduction
        head.append(f"out = pointer(area, {typed(dt)})")
        body.append(f"out[j] = {value(ref)}")
        lines = ["def fused(f, start, n, area):", "    w = pointer(f[FRAME_EXT], int64)"]
        lines += [f"    {line}" for line in head]
        lines += _ahead(chain, "0", "n", "start + b")
        lines += ["        for j in range(b, min(n, b + BLOCK)):", "            i = start + j"]
        lines += [f"            {line}" for line in (*loads, *body)]
        lines += ["    return area"]
    else:
        lines = ["def fused(f, lo, hi):", "    w = pointer(f[FRAME_EXT], int64)"]
        lines += [f"    {line}" for line in head]
        lines += _ahead(chain, "lo", "hi", "b")
        lines += ["        for i in range(b, min(hi, b + BLOCK)):"]
        lines += [f"            {line}" for line in (*loads, *body)]
        lines += ["    return 0"]
    return "\n".join(lines), space


def _ahead(chain: Chain, lo: str, hi: str, at: str) -> list[str]:
    """The head of a loop over blocks: what a block some way ahead needs is on its way while this one is computed."""
    stored = {k for _, k in chain.stores}
    lines = [
        f"    for b in range({lo}, {hi}, BLOCK):",
        f"        if w[{LOOK_AHEAD}] != 0:",
        f"            q = w[{LOOK_AHEAD}] + {at}",
    ]
    for k in sorted({r.at for r in _refs(chain) if r.kind == "full"} | stored):
        size = DTYPES[chain.memory[k]].itemsize
        kind = "write" if k in stored else "read"
        lines.append(f"            for c in range(0, {size} * BLOCK, 64):")
        lines.append(f"                prefetch_{kind}(w[{TABLE + k}] + {size} * q + c)")
    return lines


def _refs(chain: Chain) -> list[Ref]:
    """All values that are used."""
    found = [ref for node in chain.nodes for ref in node.args if ref is not None]
    found += [ref for ref, _ in chain.stores]
    return found if chain.reduction is None else [*found, chain.reduction[2]]


Kernel = tuple[Callable[..., Any], dict[str, Any], str]
_built: dict[Chain, Kernel] = {}


def _build(chain: Chain) -> Kernel:
    """The kernel as a plain function, its bindings and its name."""
    if chain not in _built:
        text, space = _text(chain)
        exec(compile(text, "<fused>", "exec"), space)
        function = space.pop("fused")
        name = f"fused.{len(chain.nodes)}"
        if chain.reduction is None:
            _built[chain] = function, {}, name
        else:
            op, dt, _ = chain.reduction
            t = DTYPES[dt]
            bindings = {"T": t, "fetch": function, "BAND_ROOM": BAND * t.itemsize}
            _built[chain] = OPS[op].forward, bindings, f"{name}.{OPS[op].name}"
    return _built[chain]


def is_compiled(chain: Chain) -> bool:
    """Whether the kernel is there already, in memory or in the object cache."""
    function, bindings, _ = _build(chain)
    return native.is_compiled(function, bindings)


@cache
def address(chain: Chain) -> int:
    """The address of the kernel; compiles it if need be."""
    function, bindings, name = _build(chain)
    return native.compile_kernel(function, bindings, name)
