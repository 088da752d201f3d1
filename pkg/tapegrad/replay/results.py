"""What a recorded function returned, and the records that keep it differentiable, as templates."""

from __future__ import annotations

import struct
import sys
from collections import Counter, OrderedDict
from functools import partial
from types import SimpleNamespace
from typing import Any

from .._layout import (
    COPY_EDGE,
    COPY_EXT,
    COPY_FLAGS,
    COPY_OBJ,
    COPY_PTR,
    COPY_REFS,
    COPY_SAVED,
    COPY_SEQ,
    COPY_VERSIONS,
    COPY_WORDS,
    EXT_AUX,
    EXT_AUX_META,
    EXT_AUX_VERSION_SHIFT,
    EXT_BODY,
    EXT_EDGES,
    EXT_PARAMS,
    EXT_WORDS,
    FLAG_FAR,
    FLAG_LEAF,
    FLAG_PTR_SHIFT,
    FLAG_SCALAR_SHIFT,
)
from .._tensor import Tensor
from ..dtypes import dtype
from . import _look, _plans
from .addresses import Unfit
from .effects import PLAIN, Made, Record
from .logged_steps import StepReader
from .program import FRESH, INSIDE, Operand

__all__ = ["ResultReader", "parts_of", "tensors_of"]

MADE_ANEW = (list, dict, OrderedDict, SimpleNamespace)  # containers that each run returns another one of


class ResultReader(StepReader):
    """Reads results; the third floor of `recording.Reader`."""


    def _template(self, result: Any) -> Any:
        if isinstance(result, Tensor):
            for i, a in enumerate(self.arguments):
                if result is a:
                    return _plans.Argument(i)
            if self._from_before(result) and (
                id(result) in self.known or _look.memory_of(result)[1] not in self.living
            ):
                return result
            leaf = next((i for i, gradient in self.held.items() if gradient is result and i in self.untouched), None)
            return self._made(result) if leaf is None else _plans.Held(leaf)
        if isinstance(result, (*PLAIN, dtype)):
            return result
        if any(result is o for o in self.objects):
            return _plans.Same(result)
        if type(result) in MADE_ANEW and any(result is o for o in self.containers):
            raise Unfit("the function returns a container that is among its arguments", lasting=True)
        if type(result) in MADE_ANEW:
            if any(result is o for o in self.returned):
                raise Unfit("the function returns one container in two places", lasting=True)
            self.returned.append(result)
        if isinstance(result, tuple):
            parts = tuple(self._template(r) for r in result)
            if type(result) is tuple:
                return parts
            if hasattr(result, "_fields"):
                kind: Any = type(result)
                return _plans.Rebuild(kind, kind._make, list(parts))
            if all(isinstance(p, int) for p in result):
                return result
        elif type(result) is list:
            return [self._template(r) for r in result]
        elif type(result) is dict:
            return {k: self._template(v) for k, v in result.items()}
        elif type(result) in MADE_ANEW and not (type(result) is OrderedDict and vars(result)):
            entries = vars(result) if type(result) is SimpleNamespace else result
            make = namespace_of if type(result) is SimpleNamespace else type(result)
            return _plans.Rebuild(type(result), make, {k: self._template(v) for k, v in entries.items()})
        elif (inside := parts_of(result)) is not None:
            again = partial(remade, type(result))
            return _plans.Rebuild(type(result), again, [self._template(p) for p in inside])
        raise Unfit(f"the function returns an object of type {type(result).__name__}", lasting=True)

    def _from_before(self, t: Tensor) -> bool:
        """Whether this very tensor was there before the function."""
        return id(t) in self.known or (id(t) in self.guarded and id(t) not in self.capture.views)

    def _made(self, t: Tensor) -> Made:
        """A tensor to make anew at each run: the same object wherever it is met."""
        found = self.made_of.get(id(t))
        if found is None:
            found = self.made_of[id(t)] = self._make(t)
        return found

    def _make(self, t: Tensor) -> Made:
        dt, shape, strides, requires, leaf, inference = _look.layout_of(t)
        if type(t) is not Tensor:
            raise Unfit(f"the function makes a {type(t).__name__} that outlives it")
        storage, start, _, first, end = _look.memory_of(t)
        if storage in self.capture.shared:
            raise Unfit("what .data gave is returned or kept")
        stamp = -1
        if requires and not leaf:
            stamp = self.stamp_of[_look.record_of(t)]
        buffer, offset, over = self._place(storage, start, first, end)
        marks = _look.view_marks(t)
        return Made(buffer, offset, dt, shape, strides, stamp, requires, inference, marks, over, self._base_of(t))

    def _place(self, storage: int, start: int, first: int, end: int) -> tuple[int, int, Any]:
        """Where the memory of a tensor to make is: a buffer, or -1, with an offset, and the tensor that has it."""
        if start in self.living:
            operand = self._operand(start)
            self.buffers[operand.buffer].kind = FRESH
            return operand.buffer, first - start, None
        places = [_look.memory_of(a) for a in self.arguments]
        for i, (there, _, _, begin, stop) in enumerate(places):
            if there == storage and begin <= first and end <= stop:
                return -1, first - begin, _plans.Argument(i)
        for owner in (*self.known.values(), *self.guarded.values()):
            if _look.memory_of(owner)[0] == storage:  # the memory may be others' too, with other versions
                return -1, first - _look.memory_of(owner)[3], owner
        if any(there == storage for there, _, _, _, _ in places):  # another call's memory may end sooner
            raise Unfit("the function returns memory around an argument's", lasting=True)
        raise Unfit("the function returns memory that the recording does not know")

    def _base_of(self, t: Tensor) -> Any:
        """What a view is of, where the caller has that too: in-place operations on one change the other's history."""
        base = t._base
        if base is None:
            return None
        for i, a in enumerate(self.arguments):
            if a is base or a._base is base:
                return _plans.Root(i)
        if self._from_before(base) or any(known._base is base for known in self.known.values()):
            return base
        return self._made(base)

    def _stamp(self, tensors: list[Tensor], expected: Counter[int]) -> None:
        """Templates of the records that the results keep alive, oldest first."""
        self.records: list[Record] = []
        start = self.capture.first_sequence
        found: dict[int, Any] = {}
        pending = [r for t in tensors if t.requires_grad and not t.is_leaf and (r := _look.record_of(t)) >= 0]
        while pending:
            i = pending.pop()
            if i in found or i in self.owners:
                continue
            raw, ext, address = _look.record_words(i)
            words = struct.unpack(f"{COPY_WORDS}q", raw)
            if words[COPY_FLAGS] & FLAG_LEAF:
                self._orphaned(i, expected, tensors)
            elif words[COPY_SEQ] < start:
                raise Unfit("the result depends on a graph from before the function, and not through an argument")
            elif words[COPY_OBJ]:
                raise Unfit("a hook or a kept gradient on an intermediate value", lasting=True)
            if words[COPY_EXT]:
                if words[COPY_EXT] not in self.capture.living:
                    raise Unfit("the result is a view of what was changed in place after it was taken", lasting=True)
                expected[self.capture.living[words[COPY_EXT]]] += 1
            edges = list(words[COPY_EDGE : COPY_EDGE + 3])
            extension = struct.unpack(f"{len(ext) // 8}q", ext) if ext is not None else None
            if extension is not None and extension[EXT_EDGES]:
                at = EXT_BODY + (extension[EXT_PARAMS] + 7 >> 3) + extension[EXT_WORDS]
                edges = list(extension[at : at + extension[EXT_EDGES]])
            found[i] = (words, extension, edges, address)
            pending += [e for e in edges if e >= 0]
        order = sorted(found, key=lambda i: found[i][0][COPY_SEQ])
        self.stamp_of = {i: n for n, i in enumerate(order)}
        for i in order:
            self.records.append(self._record(found[i], expected))

    def _orphaned(self, rec: int, expected: Counter[int], results: list[Tensor]) -> None:
        """A leaf made inside that the results depend on: its record is made anew, its gradient is for nobody."""
        if not self._orphan(rec):
            raise Unfit("the result depends on a leaf made inside the function")
        held = _look.record_object(rec)
        if held is None or any(held is t for t in results):
            return
        if not isinstance(held, Tensor):
            raise Unfit("a hook on a tensor made inside", lasting=True)
        if sys.getrefcount(held) > 3:  # the record's, `held`, and that of the call
            raise Unfit("the gradient of a tensor made inside the function is kept")
        storage, start, _, _, _ = _look.memory_of(held)
        number = self.capture.living.get(storage) or self.living.get(start)
        if number is not None:
            expected[number] += 1
            for b in self.buffers.values():
                if b.storage == number:
                    b.kind = INSIDE

    def _record(self, copy: Any, expected: Counter[int]) -> Record:
        words, extension, edges, address = copy
        out = list(words)
        kinds: list[tuple[int, int, Any]] = []
        for n, e in enumerate(edges):
            if e < 0:
                continue
            if e in self.stamp_of:
                kinds.append((n, 0, self.stamp_of[e]))
                continue
            owner = self.owners[e]
            for i, a in enumerate(self.arguments):
                if a is owner:
                    kinds.append((n, 2, i))
                    break
            else:
                self.guarded[id(owner)] = owner
                kinds.append((n, 1, owner))
        saved: list[tuple[int, Operand | None, Any, int, int]] = []
        for k in range(4):
            storage = words[COPY_SAVED + k]
            if storage:
                version = words[COPY_VERSIONS + (k >> 1)] >> (32 * (k & 1)) & 0x7FFFFFFF
                saved.append((k, *self._saved(storage, words[COPY_PTR + k], version, expected)))
            out[COPY_SAVED + k] = 0
            scalar = k < 3 and words[COPY_FLAGS] >> (FLAG_SCALAR_SHIFT + k) & 1
            out[COPY_PTR + k] = words[COPY_PTR + k] - address if scalar else 0
        if extension is not None:
            extension = list(extension)
            if extension[EXT_AUX]:
                _, _, start, _ = _look.storage_words(extension[EXT_AUX])
                version = extension[EXT_AUX_META] >> EXT_AUX_VERSION_SHIFT
                saved.append((4, *self._saved(extension[EXT_AUX], start, version, expected)))
                extension[EXT_AUX_META] &= (1 << EXT_AUX_VERSION_SHIFT) - 1
            extension[EXT_AUX] = 0
            if extension[EXT_EDGES]:  # records' numbers, which are others in each recording
                at = EXT_BODY + (extension[EXT_PARAMS] + 7 >> 3) + extension[EXT_WORDS]
                extension[at : at + extension[EXT_EDGES]] = [-1] * extension[EXT_EDGES]
        out[COPY_FLAGS] &= ~(FLAG_FAR | 15 << FLAG_PTR_SHIFT)  # they tell where words and memory happened to lie
        out[COPY_SEQ] = out[COPY_REFS] = 0
        out[COPY_OBJ] = out[COPY_EXT] = out[COPY_VERSIONS] = out[COPY_VERSIONS + 1] = 0
        out[COPY_EDGE : COPY_EDGE + 3] = [-1, -1, -1]
        return Record(
            struct.pack(f"{COPY_WORDS}q", *out),
            None if extension is None else struct.pack(f"{len(extension)}q", *extension),
            tuple(kinds),
            tuple(saved),
        )

    def _saved(self, storage: int, address: int, version: int, expected: Counter[int]) -> tuple[Any, Any, int, int]:
        """(operand or None, tensor from outside or None, offset, versions passed since it was saved)."""
        _, now, _, _ = _look.storage_words(storage)
        passed = (now - version) & 0x7FFFFFFF
        if storage in self.capture.living:
            expected[self.capture.living[storage]] += 1
            operand = self._operand(address)
            self.buffers[operand.buffer].kind = FRESH
            return operand, None, 0, passed
        for i, a in enumerate(self.arguments):
            if _look.memory_of(a)[0] == storage and i not in self.fixed_arguments:
                first = _look.memory_of(a)[3]
                return None, _plans.Argument(i), address - first, passed
        for owner in (*self.known.values(), *self.from_outside):
            if _look.memory_of(owner)[0] == storage:
                self.guarded[id(owner)] = owner
                return None, owner, address - _look.memory_of(owner)[3], passed
        raise Unfit("a value is saved for backward that the recording does not know")


def tensors_of(result: Any, see: Any) -> None:
    """Calls `see` with each tensor in nested tuples, lists and dicts."""
    if isinstance(result, Tensor):
        see(result)
    elif isinstance(result, (tuple, list)):
        for r in result:
            tensors_of(r, see)
    else:
        entries = vars(result) if type(result) is SimpleNamespace else result
        for r in entries.values() if isinstance(entries, dict) else parts_of(result) or ():
            tensors_of(r, see)


def namespace_of(entries: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(**entries)


def parts_of(o: Any) -> list[Any] | None:
    """What a named tuple, or an object of a dataclass, is made of; None for other objects."""
    if isinstance(o, tuple) and hasattr(type(o), "_fields"):
        return list(tuple.__iter__(o))
    fields = getattr(type(o), "__dataclass_fields__", None)
    if fields is None or isinstance(o, type) or getattr(o, "__dict__", {}).keys() != fields.keys():
        return None
    return [o.__dict__[name] for name in fields]


def remade(kind: type, parts: list[Any]) -> Any:
    """An object of a dataclass from its parts, whatever its constructor does beside."""
    made: Any = object.__new__(kind)
    made.__dict__.update(zip(made.__dataclass_fields__, parts, strict=True))
    return made
