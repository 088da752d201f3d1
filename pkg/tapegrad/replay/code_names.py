"""The names that code uses: globals, attributes, modules that it imports."""

from __future__ import annotations

import dis
import functools
import re
import sys
import types
from collections.abc import Iterable
from typing import Any, NamedTuple

__all__ = ["COMPARES", "EQUATES", "HANDLES", "CodeNames", "module_named", "names_in", "unused_by"]


SEES_ALL = frozenset(("locals", "vars", "dir", "eval", "exec", "super", "_getframe", "currentframe", "stack"))
ANY_OPTION = "param_groups[]"  # stands for options of an optimizer by names that code does not show
HANDLES = "except"  # stands for code that goes on, or ends otherwise, after an error
COMPARES = "is"  # stands for comparisons of which object something is
EQUATES = "=="  # stands for comparisons of values none of which is a constant
FORMATS = ("format", "format_map")
EQUAL = re.compile("[=!]=")  # in what `dis` says of a comparison
WORD = re.compile(r"[^\W\d]\w*")


class CodeNames(NamedTuple):
    """What a code object and those of the functions defined in it name."""

    names: frozenset[str]  # all of them: globals and attributes
    globals: frozenset[str]
    imports: frozenset[str]  # modules, with a dot for each level that a relative import goes up
    strings: frozenset[str]  # constants that may be an attribute's name
    stored: frozenset[str]  # attributes that are set or deleted
    read: frozenset[str]  # attributes that are used otherwise than by calling what they give at once


@functools.lru_cache(maxsize=4096)
def names_in(code: types.CodeType) -> CodeNames:
    """The names in a code object. An attribute is not the global of the same name, which may be a loop's counter."""
    names, strings = set(code.co_names), set(strings_of(code.co_consts))
    used: set[str] = set()
    imports: set[str] = set()
    stored: set[str] = set()
    read: set[str] = set(strings)
    before, last, level = "", None, None  # opcode of the instruction before, and arguments of the last two
    if not names.isdisjoint(("import_module", "__import__")):
        imports.update(texts_of(code.co_consts))
    if "param_groups" in names and not named_options(list(dis.get_instructions(code))):
        names.add(ANY_OPTION)
    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            imports.add("." * (level if isinstance(level, int) else 0) + instruction.argval)
        elif is_variable(instruction):
            used.add(instruction.argval)
        elif instruction.opname in ("STORE_ATTR", "DELETE_ATTR"):
            stored.add(instruction.argval)
        elif instruction.opname == "PUSH_EXC_INFO":
            names.add(HANDLES)
        elif instruction.opname == "MATCH_CLASS":
            names.add("__match_args__")
        elif instruction.opname == "CONTAINS_OP" or (instruction.opname == "IS_OP" and before != "LOAD_CONST"):
            names.add(COMPARES)
        elif instruction.opname == "COMPARE_OP" and EQUAL.search(instruction.argval) and before != "LOAD_CONST":
            names.add(EQUATES)
        if instruction.opcode in dis.hasname and not is_call(instruction) and not is_variable(instruction):
            read.add(instruction.argval)
        if instruction.argval in FORMATS and instruction.opcode in dis.hasname and before != "LOAD_CONST":
            names.add("__getattribute__")  # which attributes the text names cannot be told
        before, last, level = instruction.opname, instruction.argval, last
    if not names.isdisjoint(FORMATS):  # "{0.name}"
        parts = {part for text in texts_of(code.co_consts) if "{" in text for part in WORD.findall(text)}
        names |= parts
        read |= parts
    if "__class__" in names and not makes_objects(list(dis.get_instructions(code))):
        names.discard("__class__")
    for inner in (names_in(c) for c in code.co_consts if isinstance(c, types.CodeType)):
        names |= inner.names
        used |= inner.globals
        imports |= inner.imports
        strings |= inner.strings
        stored |= inner.stored
        read |= inner.read
    return CodeNames(*map(frozenset, (names, used, imports, strings, stored, read)))


def named_options(code: list[dis.Instruction]) -> bool:
    """Whether code takes nothing of `param_groups` but `[number]["name"]`, in a loop over the groups or not."""
    kinds = [instruction.opname for instruction in code] + [""] * 5
    held: set[str] = set()  # variables that stand for a group
    whole = False
    for k, instruction in enumerate(code):
        if instruction.argval == "param_groups" and kinds[k] == "LOAD_ATTR":
            if kinds[k + 1 : k + 3] not in (["LOAD_CONST", "BINARY_SUBSCR"], ["GET_ITER", "FOR_ITER"]):
                return False
            if kinds[k + 3] == "STORE_FAST":
                held.add(code[k + 3].argval)
            elif not by_name(kinds[k + 3 : k + 5]):
                return False
    for k, instruction in enumerate(code):
        used = instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,)
        if kinds[k] not in ("STORE_FAST", "LOAD_CONST") and any(u in held for u in used if isinstance(u, str)):
            whole |= len(used) > 1 or not by_name(kinds[k + 1 : k + 3])
    return not whole


def makes_objects(code: list[dis.Instruction]) -> bool:
    """Whether code does more with the `__class__` of something than to name it or to compare it."""
    at = [k for k, i in enumerate(code) if i.argval == "__class__" and i.opname == "LOAD_ATTR"]
    compared = {k for k in at if code[k + 1].opname == "IS_OP"}
    compared |= {k for k in at if k + 2 in compared and code[k + 1].opname.startswith("LOAD_")}
    return any(k not in compared and code[k + 1].opname != "LOAD_ATTR" for k in at) or not at


def by_name(kinds: list[str]) -> bool:
    """Whether instructions of these kinds take an entry by a name that is written there, or put one."""
    return kinds[0] == "LOAD_CONST" and kinds[1].endswith(("_SUBSCR", "COPY"))


def is_variable(instruction: dis.Instruction) -> bool:
    return instruction.opname.endswith(("_GLOBAL", "_NAME"))


def is_call(instruction: dis.Instruction) -> bool:
    """Whether an attribute is taken to be called: the compiler marks these, to spare a bound method."""
    if sys.version_info < (3, 12):
        return instruction.opname == "LOAD_METHOD"
    return instruction.opname == "LOAD_ATTR" and bool((instruction.arg or 0) & 1)


def unused_by(fn: Any) -> frozenset[int | str]:
    """Positions and names of the parameters that a function, or a bound method, never looks at."""
    bound = isinstance(fn, types.MethodType)
    fn = fn.__func__ if bound else fn
    if type(fn) is not types.FunctionType:
        return frozenset()
    unused = unused_in(fn.__code__)
    return frozenset(k - bound if isinstance(k, int) else k for k in unused) if bound and unused else unused


def module_named(name: str, package: Any) -> str:
    """The module that an import of this name in a package means."""
    levels = len(name) - len(name.lstrip("."))
    above = str(package or "").split(".")
    return ".".join([*above[: len(above) - levels + 1], *filter(None, [name[levels:]])]) if levels else name


@functools.lru_cache(maxsize=4096)
def unused_in(code: types.CodeType) -> frozenset[int | str]:
    """Parameters that code never looks at: their positions, and their names where they may be given by name."""
    if not SEES_ALL.isdisjoint(code.co_names):
        return frozenset()
    used = {*code.co_cellvars}  # functions inside use these
    for instruction in dis.get_instructions(code):
        used.update(instruction.argval if isinstance(instruction.argval, tuple) else (instruction.argval,))
    n = code.co_argcount
    names = code.co_varnames[: n + code.co_kwonlyargcount]
    unused = {name for name in names if name not in used}
    return frozenset({k for k in range(n) if names[k] in unused} | (unused - {*names[: code.co_posonlyargcount]}))


def strings_of(constants: tuple[Any, ...]) -> Iterable[str]:
    """Constants that may be an attribute's name."""
    return (text for text in texts_of(constants) if text.isidentifier())


def texts_of(constants: tuple[Any, ...]) -> Iterable[str]:
    for c in constants:
        if isinstance(c, str):
            yield c
        elif isinstance(c, (tuple, frozenset)):
            yield from texts_of(tuple(c))
