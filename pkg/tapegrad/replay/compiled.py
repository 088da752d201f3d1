"""`tapegrad.compile`: runs a function once or more, records what it does, and replays it as one native call."""

from __future__ import annotations

import functools
import random
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from .. import _default_dtype, _tensor
from .._tensor import Tensor
from ..nn import Module
from ..tape import _capture
from . import _machine, layout
from ._call import Caller, Form, simple
from .comparing import difference
from .guards import Guards, Reach
from .inspecting import Table, table_of
from .passes import run_passes
from .planning import MemoryPlan, plan_memory
from .program import Program
from .recording import Reader, Unfit
from .state import State, contents
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
    """A program ready to run, with its guards; one machine per thread that is in it at a time."""

    def __init__(self, program: Program, before: Program, guards: Guards) -> None:
        self.program = program
        self.before = before
        self.guards = guards
        self.machines = [layout.lay_out(program)]
        for cell in self.machines[0][1]:
            guards.cells[id(cell.group)] = guards.cells.get(id(cell.group), frozenset()) | cell.numbers.keys
        self.write_cells()

    def write_cells(self) -> bool:
        """Puts the hyperparameters where the machines read them; False if the program does not serve them."""
        self.guards.stale_cells = False
        self.fits = all([layout.write_cells(cells, memory) for _, cells, memory in self.machines])
        return self.fits

    def machine(self) -> Any:
        """A machine that is not running."""
        for machine, _, _ in self.machines:
            if not machine.busy:
                return machine
        made = layout.lay_out(self.program)
        layout.write_cells(made[1], made[2])
        self.machines.append(made)
        return made[0]


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


class CompiledFunction(Caller):
    """A function that is recorded and replayed; made by `compile`."""

    def __init__(self, fn: Callable[..., Any], *, check: bool, fullgraph: bool) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.check = check
        self.fullgraph = fullgraph
        self._counters = Counters()
        self._signatures: dict[Any, Signature] = {}
        self._others: dict[int, Any] = {}  # arguments known by identity, held so that the identity stays theirs
        self._warned: set[str] = set()
        self._lock = threading.Lock()
        self._fruitless = 0  # recordings since one became a program or a program ran
        self._replayed = 0

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def slow(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that does not go the fast way: another form than the last, or something has changed."""
        self.forget_fast()
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
            if entry.guards.stale_cells:
                entry.write_cells()
            if not entry.fits:
                reason = "an optimizer option changed"
                continue
            if self.check:
                done, result = self._checked(entry, arguments, args, kwargs)
            else:
                done, result = entry.machine().run(arguments)
            if done:
                self._counters.replayed += 1
                if at:
                    signature.entries.insert(0, signature.entries.pop(at))
                self._remember(entry, args, kwargs)
                return result
            reason = "a tensor from outside changed"
        return self._record(signature, reason, arguments, others, args, kwargs)

    def _remember(self, entry: Entry, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The next call looks at this entry first."""
        if not self.check and simple(args, kwargs):
            contents = entry.guards.same_contents if entry.guards.contents else None
            self.remember_fast(Form(args, kwargs), entry.machines[0][0], entry.guards.snapshot, contents)

    @property
    def counters(self) -> Counters:
        """How many calls were replayed, recorded and run eagerly, and why."""
        self._counters.replayed += self.replayed_fast
        self.replayed_fast = 0
        return self._counters

    # ---------------------------------------------------------------- eager

    def _eager(self, reason: str, args: Any, kwargs: Any) -> Any:
        self._counters.eager += 1
        self._counters.reasons[reason] += 1
        return self.fn(*args, **kwargs)

    def _give_up(self, signature: Signature, why: str, line: Any) -> None:
        """Eager from now on, with one warning."""
        message = f"{why}{where(line, self.fn)}"
        signature.eager = why
        signature.pending.clear()
        signature.entries.clear()
        self.forget_fast()
        if self.fullgraph:
            raise RuntimeError(f"compile(fullgraph=True): {name_of(self.fn)} cannot be replayed: {message}")
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(f"{name_of(self.fn)} runs eagerly, not compiled: {message}", stacklevel=4)

    # ---------------------------------------------------------------- looking

    def _checked(self, entry: Entry, arguments: tuple[Tensor, ...], args: Any, kwargs: Any) -> tuple[bool, Any]:
        """A replay, after an eager run from the same state has shown what it must give."""
        if not entry.machine().fits_now(arguments):
            return False, None
        state = State(entry.program, arguments)
        eager = self.fn(*args, **kwargs)
        expected = {**state.now(), "the result": form_and_contents(eager)}
        del eager
        state.restore()
        done, result = entry.machine().run(arguments)
        if done:
            found = {**state.now(), "the result": form_and_contents(result)}
            for what, value in expected.items():
                if value != found[what]:
                    raise RuntimeError(f"compile(check=True): {name_of(self.fn)}: {what} is not what eager code gives")
        return done, result

    def table(self, *args: Any, runs: int = 20, **kwargs: Any) -> Table:
        """The program for these arguments before and after the passes, with the time of each step.

        Everything the program changes is put back. RuntimeError if there is no program for them yet.

        >>> import tapegrad as torch
        >>> f = torch.compile(lambda x: (x * 2 + 1).sum())
        >>> for _ in range(3):
        ...     y = f(torch.ones(4))
        >>> "add" in str(f.table(torch.ones(4)))
        True
        """
        entry, arguments = self._entry_for(args, kwargs)
        return table_of(entry.before, entry.program, State(entry.program, arguments), arguments, runs)

    def memory(self, *args: Any, **kwargs: Any) -> MemoryPlan:
        """What the program for these arguments needs in bytes, known before its first run.

        RuntimeError if there is no program for them yet.

        >>> import tapegrad as torch
        >>> f = torch.compile(lambda x: (x * 2).sum())
        >>> for _ in range(2):
        ...     y = f(torch.ones(4))
        >>> f.memory(torch.ones(4)).peak > 0
        True
        """
        return plan_memory(self._entry_for(args, kwargs)[0].program)

    def _entry_for(self, args: Any, kwargs: Any) -> tuple[Entry, tuple[Tensor, ...]]:
        tensors: list[Tensor] = []
        signature = self._signatures.get((flatten(args, tensors, []), flatten(kwargs, tensors, []), modes()))
        if signature is not None:
            for entry in signature.entries:
                if entry.guards.difference() is None:
                    return entry, tuple(tensors)
        raise RuntimeError(f"{name_of(self.fn)} has no program for these arguments; call it until it is replayed")

    # ---------------------------------------------------------------- recording

    def _record(
        self, signature: Signature, reason: str, arguments: tuple[Tensor, ...], others: list[Any], args: Any, kwargs: Any
    ) -> Any:
        if self.counters.replayed != self._replayed:
            self._replayed, self._fruitless = self.counters.replayed, 0
        if self._fruitless >= MOST_FRUITLESS or len(self._signatures) > MOST_SIGNATURES:
            return self._forgotten(signature, others, args, kwargs)
        reach = self._reach(others)
        guards = Guards(reach)
        unfit = signature.unfit
        if unfit is not None:
            return self._name_line(signature, unfit, guards, arguments, args, kwargs)
        expected = [p for p in signature.pending if p.fits(arguments)]
        capture = _capture.Capture()
        known_tensors = [t for t, _ in reach.tensors.values()]

        def forms() -> list[Any]:
            return [form_of(t) for t in (*arguments, *known_tensors)]

        before, tensors = modes(), forms()
        states = random_states()
        if not capture.begin():
            return self._eager("another thread is recording", args, kwargs)
        try:
            self._fruitless += 1
            result = self.fn(*args, **kwargs)
            capture.end()
            self._counters.recorded += 1
            self._counters.reasons[reason] += 1
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
                for i, name in enumerate(("Python", "NumPy")):
                    if states[i] != random_states()[i]:
                        # NumPy loads its generator at its first use: only the next recording can tell.
                        raise Unfit(
                            f"{name}'s random numbers are drawn inside",
                            lasting=states[i] is not None,
                            state=lambda _, i=i: random_states()[i],
                        )
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
        with self._lock:
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
        expected = [p for p in expected if p in signature.pending]  # another thread may have been here
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


def mentions(form: Any, number: int) -> bool:
    """Whether a form has the object with this identity in it."""
    if not isinstance(form, tuple):
        return False
    return form == ("object", number) or any(mentions(part, number) for part in form)


def random_states() -> tuple[Any, Any]:
    """Where Python's and NumPy's global generators stand."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is None:
        return random.getstate(), None
    state = numpy_random.get_state()
    return random.getstate(), (state[1].tobytes(), *state[2:])


def form_and_contents(o: Any) -> Any:
    """A result as something to compare: layouts and bytes of its tensors."""
    if isinstance(o, Tensor):
        return (*_machine.layout_of(o), contents(o))
    if isinstance(o, (tuple, list)):
        return [form_and_contents(x) for x in o]
    if isinstance(o, dict):
        return {k: form_and_contents(v) for k, v in o.items()}
    return repr(o)


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
    """Records what a function or a module does and from then on replays it as one native call.

    Everything is recorded: forward, `backward()`, `optimizer.step()`, `zero_grad()`, clipping, random numbers,
    in-place changes. The first two calls run as usual and must do the same; later ones with arguments of the same
    shapes, strides, dtypes and modes run without Python, to the same bits. Parameters, gradients, optimizer state
    and generators are the ordinary ones, so compiled and uncompiled steps can alternate.

    Looked at before each replay: the arguments, the modes, closure cells and globals that the function names,
    attributes of the modules, optimizers and containers they lead to, the tensors that are used. If something is
    different, another program is recorded. Hyperparameters of the optimizers here are read anew each time. What
    cannot be repeated without Python (`item()`, a branch on a value, NumPy, hooks, values that differ from call
    to call) makes the function run eagerly, with one warning that names the line. What cannot be seen (a time
    that is read, a file that is written, something printed) happens while recording only: it is a constant of
    the program.

    `model` is a function or a Module; without it, a decorator is returned. With `fullgraph`, RuntimeError
    instead of the warning. With `check`, every replay is compared with an eager run from the same state:
    RuntimeError if a bit differs. `disable` returns `model` unchanged. `dynamic`, `backend`, `mode` and `options`
    choose among PyTorch's compilers; here there is one, and they are accepted and change nothing. The result
    has `counters`, `table(...)` and `memory(...)`.

    TypeError if `model` cannot be called.

    >>> import tapegrad as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.SGD([w], lr=0.1)
    >>> @torch.compile
    ... def step(x):
    ...     optimizer.zero_grad()
    ...     loss = (w * x).sum()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> losses = [step(torch.ones(1)).item() for _ in range(4)]
    >>> [round(x, 4) for x in losses]
    [1.0, 0.9, 0.8, 0.7]
    >>> step.counters.replayed
    2
    """
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options,
            disable=disable, check=check,
        )  # fmt: skip
    if disable:
        return model
    if not callable(model):
        raise TypeError(f"compile() takes a function or a module, not {type(model).__name__}")
    if isinstance(model, Module):
        return CompiledModule(model, CompiledFunction(model, check=check, fullgraph=fullgraph))
    return CompiledFunction(model, check=check, fullgraph=fullgraph)


class CompiledModule(Module):
    """A module whose calls are recorded and replayed; everything else is the module's own.

    As with PyTorch, `_orig_mod` is that module, and names in `state_dict` begin with it.
    """

    def __init__(self, module: Module, call: CompiledFunction) -> None:
        super().__init__()
        self._orig_mod = module
        object.__setattr__(self, "_compiled", call)
        self.training = module.training

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._compiled(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._compiled(*args, **kwargs)

    def train(self, mode: bool = True) -> CompiledModule:
        super().train(mode)
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_orig_mod"), name)

    @property
    def counters(self) -> Counters:
        """See `CompiledFunction.counters`."""
        counters: Counters = self._compiled.counters
        return counters

    def memory(self, *args: Any, **kwargs: Any) -> MemoryPlan:
        """See `CompiledFunction.memory`."""
        found: MemoryPlan = self._compiled.memory(*args, **kwargs)
        return found

    def table(self, *args: Any, runs: int = 20, **kwargs: Any) -> Table:
        """See `CompiledFunction.table`."""
        found: Table = self._compiled.table(*args, runs=runs, **kwargs)
        return found
