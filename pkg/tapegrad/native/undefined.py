"""The names that object code takes from the process."""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["undefined_symbols"]

_SYMTAB = 2


def undefined_symbols(code: bytes, module: Any) -> tuple[str, ...]:
    """Undefined names of an object: from its symbol table (ELF), else from the optimised module.

    The module does not show the memcpy and libm calls that the code generator makes by itself;
    those are allowed, so nothing is missed that matters.
    """
    if code[:4] == b"\x7fELF" and code[4] == 2 and code[5] == 1:
        return _elf_undefined(code)
    return tuple(
        sorted(f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm."))
    )


def _elf_undefined(code: bytes) -> tuple[str, ...]:
    """From the symbol table of a 64-bit little-endian ELF file."""
    (offset,) = struct.unpack_from("<Q", code, 40)
    size, count = struct.unpack_from("<HH", code, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, offset + i * size) for i in range(count)]
    names = set()
    for kind, start, length, link, entry in ((s[1], s[4], s[5], s[6], s[9]) for s in sections):
        if kind != _SYMTAB:
            continue
        strings = sections[link][4]
        for at in range(start + entry, start + length, entry):  # the first entry is empty
            name, _, _, section = struct.unpack_from("<IBBH", code, at)
            if section == 0:
                begin = strings + name
                names.add(code[begin : code.index(b"\0", begin)].decode())
    return tuple(sorted(names))
