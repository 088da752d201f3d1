"""`tapegrad.compile`: runs a function once or more, records what it does, and replays it as one native call."""

from __future__ import annotations

import functools
import random
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _default_dtype, _tensor
from .._tensor import Tensor
from ..tape import _capture
from . import _machine, layout
from .comparing import difference
from .guards import Guards, Reach
from .passes import run_passes
from .program import Program
from .recording import Reader, Unfit
from .tracing import watched

__all__ = ["CompiledFunction", "Counters", "compile"]

MOST_PROGRAMS = 16  # kept per signature
MOST_RECORDINGS = 64  # per signature: a program that never fits again is not worth recording
MOST_SIGNATURES = 4096
MOST_FRUITLESS = 256  # recordings one after the other, of whatever signature, without a replay
MOST_FAILURES = 4  # recordings one after the other that led to no program


class Counters:
    """How the calls of a compiled function were carried out.

    `replayed`, `recorded` and `eager` count calls; `reasons` counts why calls were recorded or run eagerly.
    """

    def __init__(self) -> None:
        self.replayed = 0
        self.recorded = 0
        self.eager = 0
        self.reasons: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"Counters(replayed={self.replayed}, recorded={self.recorded}, eager={self.eager}, {self.reasons})"


class Entry:
    """A program ready to run, with its guards."""

    def __init__(self, program: Program, before: Program, guards: Guards) -> None:
        self.program = program
        self.before = before
        self.guards = guards
        self.machine, self.cells, self.memory = layout.lay_out(program)
        self.values: list[Any] = [None] * len(self.cells)
        for cell in self.cells:
            guards.cells[id(cell.group)] = cell.numbers.keys
        self.write_cells()

    def write_cells(self) -> bool:
        """Puts the hyperparameters where the program reads them; False if the program does not serve them."""
        for i, cell in enumerate(self.cells):
            values = cell.numbers(cell.group)
            if values is None or len(values) != cell.count:
                return False
            self.memory.write(cell.at, np.asarray(values, np.float64).tobytes())
        self.guards.stale_cells = False
        return True


class Pending:
    """A recording that waits for another one like it, with what would let it run."""

    def __init__(self, program: Program, guards: Guards) -> None:
        self.program = program
        self.guards = guards
        self.outside = [_machine.Guarded(t) for t in program.effects.guarded]
        for step in program.steps:
            if step.update is not None:
                numbers, group = step.update
                guards.cells[id(group)] = numbers.keys

    def fits(self, arguments: tuple[Tensor, ...]) -> bool:
        """Whether, for all that can be seen, a call made now does what was recorded."""
        effects = self.program.effects
        if self.guards.difference() is not None or not all(g.check() for g in self.outside):
            return False
        if any(arguments[i] is not t for i, t in effects.fixed):
            return False
        for i, j, distance, same in effects.relations:
            a, b = _machine.memory_of(arguments[i]), _machine.memory_of(arguments[j])
            if a[1] != b[1] or b[3] - a[3] != distance or (arguments[i] is arguments[j]) != same:
                return False
        owners = [arguments[x.tensor.number] if isinstance(x.tensor, _machine.Argument) else x.tensor for x in effects.leaves]
        if len({id(t) for t in owners}) != len(owners):
            return False
        for leaf in effects.leaves:
            t = arguments[leaf.tensor.number] if isinstance(leaf.tensor, _machine.Argument) else leaf.tensor
            if leaf.entry is not None and (t.grad is not None) != leaf.entry:
                return False
        return True


class Signature:
    """Calls with arguments of one form: their programs, and why there is none."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.pending: list[Pending] = []
        self.recordings = 0
        self.failures = 0
        self.eager: str | None = None
        self.unfit: Unfit | None = None  # the next call is watched, to name the line


def flatten(o: Any, tensors: list[Tensor], others: list[Any]) -> Any:
    """The form of an argument: equal for arguments that one program can serve."""
    if isinstance(o, Tensor):
        tensors.append(o)
        return (type(o), *_machine.layout_of(o))
    if o is None or isinstance(o, (bool, int, float, complex, str, bytes)):
        return type(o), repr(o) if isinstance(o, float) else o
    if type(o) in (tuple, list):
        return type(o), *[flatten(x, tensors, others) for x in o]
    if type(o) is dict:
        return dict, *[(type(k), k, flatten(v, tensors, others)) for k, v in o.items()]
    others.append(o)
    return "object", id(o)


def modes() -> tuple[Any, ...]:
    return (
        _tensor.is_grad_enabled(),
        _tensor.is_inference_mode_enabled(),
        _default_dtype.get_default_dtype(),
    )


class CompiledFunction:
    """A function that is recorded and replayed; made by `compile`."""

    def __init__(self, fn: Callable[..., Any], *, check: bool, fullgraph: bool) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.check = check
        self.fullgraph = fullgraph
        self.counters = Counters()
        self._signatures: dict[Any, Signature] = {}
        self._others: dict[int, Any] = {}  # arguments known by identity, held so that the identity stays theirs
        self._warned: set[str] = set()
        self._lock = threading.Lock()
        self._fruitless = 0  # recordings since one became a program or a program ran
        self._replayed = 0

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _capture.is_capturing():
            return self.fn(*args, **kwargs)  # part of the recording that goes on
        tensors: list[Tensor] = []
        others: list[Any] = []
        form = (flatten(args, tensors, others), flatten(kwargs, tensors, others), modes())
        signature = self._signatures.get(form)
        if signature is None:
            signature = self._signatures.setdefault(form, Signature())
            for o in others:
                self._others[id(o)] = o
        if signature.eager is not None:
            return self._eager(signature.eager, args, kwargs)
        reason = "new signature" if not signature.recordings else "not confirmed yet"
        arguments = tuple(tensors)
        for at, entry in enumerate(signature.entries):
            changed = entry.guards.difference()
            if changed is not None:
                reason = f"{changed} changed"
                continue
            if entry.guards.stale_cells and not entry.write_cells():
                reason = "an optimizer option changed"
                continue
            if self.check:
                done, result = self._checked(entry, arguments, args, kwargs)
            else:
                done, result = entry.machine.run(arguments)
            if done:
                self.counters.replayed += 1
                if at:
                    signature.entries.insert(0, signature.entries.pop(at))
                return result
            reason = "a tensor from outside changed"
        return self._record(signature, reason, arguments, others, args, kwargs)

    # ---------------------------------------------------------------- eager

    def _eager(self, reason: str, args: Any, kwargs: Any) -> Any:
        self.counters.eager += 1
        self.counters.reasons[reason] += 1
        return self.fn(*args, **kwargs)

    def _give_up(self, signature: Signature, why: str, line: Any) -> None:
        """Eager from now on, with one warning."""
        message = f"{why}{where(line, self.fn)}"
        signature.eager = why
        signature.pending.clear()
        signature.entries.clear()
        if self.fullgraph:
            raise RuntimeError(f"compile(fullgraph=True): {name_of(self.fn)} cannot be replayed: {message}")
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(f"{name_of(self.fn)} runs eagerly, not compiled: {message}", stacklevel=4)

    # ---------------------------------------------------------------- recording

    def _record(
        self, signature: Signature, reason: str, arguments: tuple[Tensor, ...], others: list[Any], args: Any, kwargs: Any
    ) -> Any:
        if self.counters.replayed != self._replayed:
            self._replayed, self._fruitless = self.counters.replayed, 0
        self._fruitless += 1
        if self._fruitless > MOST_FRUITLESS or len(self._signatures) > MOST_SIGNATURES:
            return self._forgotten(signature, others, args, kwargs)
        reach = self._reach(others)
        guards = Guards(reach)
        if signature.unfit is not None:
            return self._name_line(signature, signature.unfit, guards, arguments, args, kwargs)
        if any(entry.machine.busy for entry in signature.entries):
            return self._eager("its program runs in another thread", args, kwargs)
        expected = [p for p in signature.pending if p.fits(arguments)]
        capture = _capture.Capture()
        known_tensors = [t for t, _ in reach.tensors.values()]

        def forms() -> list[Any]:
            return [form_of(t) for t in (*arguments, *known_tensors)]

        before, tensors = modes(), forms()
        states = (random.getstate(), numpy_state())
        if not capture.begin():
            return self._eager("another thread is recording", args, kwargs)
        try:
            result = self.fn(*args, **kwargs)
            capture.end()
            self.counters.recorded += 1
            self.counters.reasons[reason] += 1
            signature.recordings += 1
            try:
                if reach.refused:
                    raise Unfit(reach.refused[0], lasting=True)
                if modes() != before:
                    raise Unfit("a mode is left changed", lasting=True, state=lambda _: modes())
                if forms() != tensors:
                    raise Unfit(
                        "requires_grad, the shape or the history of a tensor from outside is changed inside",
                        lasting=True,
                        state=lambda arguments: [form_of(t) for t in (*arguments, *known_tensors)],
                    )
                program = Reader(capture, arguments, known_tensors, result).read()
                if random.getstate() != states[0]:
                    raise Unfit("Python's random numbers are drawn inside", lasting=True, state=lambda _: random.getstate())
                if numpy_state() != states[1]:
                    raise Unfit("NumPy's random numbers are drawn inside", lasting=True, state=lambda _: numpy_state())
                self._check_inside(guards)
            except Unfit as unfit:
                signature.pending.clear()
                signature.failures += 1
                if unfit.lasting or signature.failures >= MOST_FAILURES:
                    if unfit.line is None and unfit.state is not None:
                        signature.unfit = unfit
                    else:
                        self._give_up(signature, unfit.why, unfit.line)
                return result
        finally:
            capture.release()
        self._confirm(signature, program, guards, expected)
        return result

    def _reach(self, others: list[Any]) -> Reach:
        reach = Reach()
        reach.add(self.fn, name_of(self.fn))
        for o in others:
            reach.add(o, "an argument")
        return reach

    def _check_inside(self, guards: Guards) -> None:
        changed = guards.difference()
        if changed is not None:
            raise Unfit(f"{changed} is changed inside", state=guards)

    def _name_line(self, signature: Signature, unfit: Unfit, guards: Guards, arguments: Any, args: Any, kwargs: Any) -> Any:
        """Gives up, after a call that is watched to name the line."""
        signature.unfit = None
        if isinstance(unfit.state, Guards):
            changed = lambda: guards.difference() is not None  # noqa: E731
        else:
            before = unfit.state(arguments)
            changed = lambda: unfit.state(arguments) != before  # noqa: E731
        self.counters.eager += 1
        self.counters.reasons[unfit.why] += 1
        result, line = watched(lambda: self.fn(*args, **kwargs), changed)
        self._give_up(signature, unfit.why, line)
        return result

    def _forgotten(self, signature: Signature, others: list[Any], args: Any, kwargs: Any) -> Any:
        """A call whose arguments are new again, after very many such calls: eager, and nothing is kept of it."""
        for form in reversed(self._signatures):
            if self._signatures[form] is signature:
                del self._signatures[form]
                break
        for o in others:
            if not any(mentions(form, id(o)) for form in self._signatures):
                self._others.pop(id(o), None)
        why = "its arguments are others at each call"
        result = self._eager(why, args, kwargs)
        self._give_up(signature, why, None)
        return result

    def _confirm(self, signature: Signature, program: Program, guards: Guards, expected: list[Pending]) -> None:
        """A recording becomes a program if the ones that could have run in its place are the same.

        Where none could (gradients that are there in every other call only, say), it waits for its like.
        """
        if signature.recordings > MOST_RECORDINGS:
            self._give_up(signature, "its guards keep failing", None)
            return
        confirmed = None
        for pending in expected:
            signature.pending.remove(pending)
            found = difference(pending.program, program)
            if found is not None:
                signature.failures += 1
                if signature.failures >= MOST_FAILURES:
                    self._give_up(signature, *found)
                    return
            elif confirmed is None:
                confirmed = pending
        if confirmed is None or len(expected) > 1:
            signature.pending.append(Pending(program, guards))
            del signature.pending[:-MOST_PROGRAMS]
            return
        signature.failures = self._fruitless = 0
        signature.entries.insert(0, Entry(run_passes(program), program, guards))
        del signature.entries[MOST_PROGRAMS:]


def form_of(t: Tensor) -> Any:
    """Layout of a tensor and, where it has one, its history."""
    layout = _machine.layout_of(t)
    return layout, -1 if layout[4] else _machine.record_of(t)


def numpy_state() -> Any:
    kind, key, place, has_gauss, gauss = np.random.get_state(legacy=True)
    return kind, key.tobytes(), place, has_gauss, gauss


def mentions(form: Any, number: int) -> bool:
    """Whether a form has the object with this identity in it."""
    if not isinstance(form, tuple):
        return False
    return form == ("object", number) or any(mentions(part, number) for part in form)


def name_of(fn: Any) -> str:
    return str(getattr(fn, "__qualname__", None) or type(fn).__name__)


def where(line: Any, fn: Any) -> str:
    """The line of a (code, offset), as text."""
    if line is None:
        code = getattr(fn, "__code__", None)
        return f" (in {code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    code, offset = line
    number = code.co_firstlineno
    for start, end, n in code.co_lines():
        if start <= offset < end and n is not None:
            number = n
            break
    return f" ({code.co_filename}:{number}, in {code.co_name})"


def compile(
    model: Callable[..., Any] | None = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Any = "replay",
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    disable: bool = False,
    check: bool = False,
) -> Any:
    """Records a function or a module's forward and replays it as one native call."""
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options,
            disable=disable, check=check,
        )  # fmt: skip
    if disable:
        return model
    if not callable(model):
        raise TypeError(f"compile() takes a function or a module, not {type(model).__name__}")
    return CompiledFunction(model, check=check, fullgraph=fullgraph)
