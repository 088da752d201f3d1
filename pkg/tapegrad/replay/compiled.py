"""A compiled function: which calls are replayed, which recorded, which run eagerly, and why."""

from __future__ import annotations

import functools
import operator
import warnings
import weakref
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from .._tensor import Tensor
from ..nn import Module
from . import _look
from ._call import Caller, Form, without_unused
from .advice import advice_for
from .changing import changed_argument
from .checks import check_forms, check_inside, check_options, check_random
from .code_names import unused_by
from .comparing import difference
from .entries import Counters, Entry, Pending, Signature, entries_of, flatten, form_of, kinds_of, modes, simple
from .guards import Guards, reach_from
from .handlers import HANDLED, new_capture
from .held import Held
from .inspecting import Table, table_of
from .libraries import note_own
from .locks import give_lock
from .losses import LOSES, Losses
from .passes import run_needed, run_passes
from .patience import MOST_WITHOUT_WARNING, NOT_YET, Patience
from .planning import MemoryPlan, plan_memory, share_of_peak
from .program import Program
from .randomness import random_states
from .recording import Reader, Unfit
from .rooms import Rooms
from .state import State, form_and_contents
from .tracing import frames_of_library, name_of, names_of, watched, where
from .undo import Before

__all__ = ["CompiledFunction", "forget_programs"]

EARNED = 128  # runs of a program until it is worth the passes
LARGE = 500_000  # ns that a step takes which is worth them at once
MOST_PROGRAMS = 16  # kept per signature
MOST_SIGNATURES = 4096
MOST_CALLS_APART = 32  # between a recording and the one that confirms it, while calls are to pay for them
MOST_FAILURES = 4  # recordings one after the other that led to no program
MOST_UNFIT = 16  # recordings that could not become programs, with others between


PUBLIC = frozenset(("counters", "memory", "table", "fn"))  # what users may use
_all: weakref.WeakSet[CompiledFunction] = weakref.WeakSet()


def forget_programs() -> None:
    """Every compiled function begins anew."""
    for f in list(_all):
        f.begin_anew()


class CompiledFunction(Caller):
    """A function that is recorded and replayed; made by `compile`."""

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        check: bool,
        fullgraph: bool,
        limit: int | None = None,
        record_after: int | None = None,
    ) -> None:
        own = [name for name in getattr(fn, "__dict__", ()) if hasattr(type(self), name)]
        functools.update_wrapper(self, fn, updated=() if own or isinstance(fn, Module) else functools.WRAPPER_UPDATES)
        self.fn = fn
        note_own(fn)
        self.check = check
        self.fullgraph = fullgraph
        self.limit = limit  # bytes that a run may hold together with what it works on
        self._record_after = 0 if (fullgraph or check) and record_after is None else record_after
        self._counters = Counters()
        self._lock: Any  # re-entrant: what is freed meanwhile may call the function again
        give_lock(self)
        self.begin_anew()
        _all.add(self)

    def begin_anew(self) -> None:
        """Forgets all programs, and what was given up."""
        self.forget_fast()
        self.unseen = 0
        self._signatures: dict[Any, Signature] = {}
        self._held = Held()
        self._rooms = Rooms()
        self._given_up: dict[tuple[type, ...], int] = {}  # signatures, by the classes of such arguments
        self._warned: set[str] = set()
        self._patience = Patience(self._record_after, *[MOST_WITHOUT_WARNING] * self.fullgraph)
        self._losses = Losses()
        self._recorded_at = 0  # calls until the last recording
        self._last_unfit: Unfit | None = None
        self._newest: Any = None  # the form of the last call that was to be recorded
        self._earning: Entry | None = None  # the program that the fast way runs, if it waits for passes
        self._why = self._resting_for = self._given_up_for = NOT_YET  # for the last eager call, and for others

    def __dir__(self) -> list[str]:
        own = vars(self.fn) if hasattr(self.fn, "__dict__") and not isinstance(self.fn, Module) else ()
        return sorted({n for n in super().__dir__() if n.startswith("__")} | PUBLIC | {*own})

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __reduce__(self) -> Any:
        """Copies and pickles have no programs yet."""
        make = functools.partial(
            CompiledFunction, check=self.check, fullgraph=self.fullgraph, limit=self.limit,
            record_after=self._record_after,
        )  # fmt: skip
        return make, (self.fn,)

    def slow(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that does not go the fast way: another form than the last, or something has changed."""
        start = perf_counter_ns()
        fast_ones = self.replayed_fast
        self.forget_fast()
        self._count_runs()
        unpaid = self._until_paid()
        if unpaid and not self._may_run():
            self.unseen = unpaid - 1  # and this one
            return self._plainly(NOT_YET, args, kwargs)
        tensors: list[Tensor] = []
        others: list[Any] = []
        try:
            form = self._form(args, kwargs, tensors, others)
        except RecursionError:
            return self._as_given_up("an argument holds itself, or is nested too deep", args, kwargs)
        signature = self._signatures.get(form)
        if signature is None:
            kinds = kinds_of(others)
            if self._given_up.get(kinds, 0) >= MOST_FAILURES and not self.fullgraph:
                return self._eager(f"arguments like these ({names_of(kinds)}) could not be replayed", args, kwargs)
            why = NOT_YET if unpaid else self._refusal(form, None, args, kwargs)
            if why is not None:
                return self._refused(why, args, kwargs)
            signature = self._signatures.setdefault(form, Signature(form, kinds, self._patience.again))
            if self._held.full:
                self._forget_dead(signature)
            self._held.add(others)
        if signature.eager is not None and not signature.entries:
            return self._as_given_up(signature.eager, args, kwargs)
        reason = "new signature" if not signature.recordings else "not confirmed yet"
        arguments = tuple(tensors)
        # Before the run, which may make arguments require gradients.
        can_be_fast = signature.entries and not self.check and simple(args, kwargs)
        fast = Form(args, kwargs, unused_by(self.fn)) if can_be_fast else None
        entry: Any
        for entry in signature.entries:
            if entry.runs >= EARNED:
                entry = self._improved(signature, entry)
            if (changed := entry.guards.difference()) is not None:
                reason = f"{changed} changed"
                continue
            if entry.guards.stale_cells:
                entry.write_cells()
            if not entry.fits:
                reason = "an optimizer option changed"
                continue
            run = functools.partial(self._checked, entry, args, kwargs) if self.check else entry.machine().run
            done, result = run(arguments)
            if done:
                self._counters.replayed += 1
                signature.prefer(entry, self._lock)
                entry.runs += entry.waits
                self._remember(entry, fast)
                if self._patience.record_after is None and not entry.waits:
                    lost = self._losses.note(perf_counter_ns() - start, self.typical, fast_ones)
                    if lost:
                        self.unseen, self._why = lost, LOSES
                return result
            if done is None:
                return self.rerun(args, kwargs)
            reason = "a tensor from outside changed"
        entry = run = None  # what they hold may be let go
        why = signature.waiting(self._calls())
        if why is None:
            why = next((why for guards, why in signature.given_up if guards.difference() is None), None)
        if why is not None:
            return self._as_given_up(why, args, kwargs)
        expected = [p for p in signature.pending if p.fits(arguments)]
        if not expected and signature.recordings:
            why = NOT_YET if unpaid else self._refusal(form, signature, args, kwargs)
            if why is not None:
                return self._refused(why, args, kwargs)
        start = perf_counter_ns()
        try:
            return self._record(signature, reason, expected, arguments, others, args, kwargs)
        finally:
            self._patience.took(perf_counter_ns() - start, self.typical)

    def _may_run(self) -> bool:
        """Whether there is a program, or a recording that is likely to be confirmed."""
        if not self._signatures:
            return False
        fresh = self._calls() - self._recorded_at <= MOST_CALLS_APART
        return any(s.entries or (fresh and s.pending) for s in self._signatures.copy().values())

    def _until_paid(self) -> int:
        """How many calls are to run before a recording pays."""
        counters = self.counters
        self._patience.look(counters.replayed)
        return self._patience.until_paid(counters.eager, self.typical)

    def _calls(self) -> int:
        """How many calls there were."""
        counters = self.counters
        return counters.replayed + counters.recorded + counters.eager

    def _refusal(self, form: Any, signature: Signature | None, args: Any, kwargs: Any) -> str | None:
        """Why a call for which no recording waits is not recorded: what changes at each call, after many in vain."""
        patience = self._patience
        if patience.resting(self._calls(), form):
            return self._resting_for
        before, self._newest = self._newest, form
        takes = signature is not None or (len(self._signatures) < MOST_SIGNATURES and patience.takes(form))
        if not patience.worn_out(new=signature is None):
            return None if takes else "its arguments are new"
        found, self._last_unfit = self._last_unfit, None
        if signature is not None and found is not None and found.why not in self._warned:
            signature.unfit = found  # the next calls are watched, to name the line
        if signature is not None and signature.unfit is not None:
            return None
        if self._patience.unfit or (signature is not None and self._given_up_for != NOT_YET):
            why = self._given_up_for  # it has been told
        elif signature is None and before is not None and before != form:
            why = changed_argument(self.fn, before, form, args, kwargs)
        else:
            entries, pending = (signature.entries, signature.pending) if signature is not None else ((), [])
            known = [one.guards for one in entries] + [one.guards for one in pending]
            changed = next((what for g in known if (what := g.difference())), "the memory of a tensor")
            why = f"its guards keep failing ({changed} changes)"
        self._resting_for = why
        self._patience.rest(self._calls())
        self._drop([s for s in self._signatures.copy().values() if not s.entries and s is not signature])
        self._warn(why, None)
        return why

    def _form(self, args: Any, kwargs: Any, tensors: list[Tensor], others: list[Any]) -> Any:
        """Equal for calls that one program can serve; takes the tensors and objects out of the arguments."""
        if not_used := unused_by(self.fn):  # the index of a batch, say
            args, kwargs = without_unused(args, kwargs, not_used)
        return flatten(args, tensors, others), flatten(kwargs, tensors, others), modes()

    def _remember(self, entry: Entry, fast: Form | None) -> None:
        """The next call looks at this entry first, if its form is this one."""
        if fast is not None:
            contents = entry.guards.same_contents if entry.guards.by_value() else None
            self.remember_fast(fast, entry.machines[0][0], entry.guards.snapshot, contents)
            if entry.waits:
                self.until_due, self._earning = EARNED - entry.runs, entry

    def _count_runs(self) -> None:
        """Notes how often the program has run that the fast way ran."""
        entry, self._earning = self._earning, None
        if entry is not None:
            entry.runs = EARNED - max(self.until_due, 0)

    def _improved(self, signature: Signature, entry: Entry) -> Entry:
        """The same program after all passes, in its place."""
        made = Entry(run_passes(entry.before), entry.before, entry.guards, self._rooms)
        with self._lock:
            signature.entries = tuple(made if e is entry else e for e in signature.entries)
        return made

    @property
    def counters(self) -> Counters:
        """How many calls were replayed, recorded and run eagerly, and why."""
        self._counters.replayed += self.replayed_fast
        self.replayed_fast = 0
        if skipped := self.plain_fast:
            self.plain_fast -= skipped
            self._counters.eager += skipped
            self._counters.reasons[self._why] += skipped
        return self._counters

    # ---------------------------------------------------------------- eager

    def rerun(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call whose replay met an error that the function handles, and was undone."""
        return self._plainly(HANDLED, args, kwargs)

    def _eager(self, reason: str, args: Any, kwargs: Any) -> Any:
        """A call for which there is no program; some that come after it are not looked at."""
        if not self.fullgraph:
            self.unseen = self._patience.skipped(self._calls())
        return self._plainly(reason, args, kwargs)

    def _plainly(self, reason: str, args: Any, kwargs: Any) -> Any:
        counters = self.counters
        counters.eager += 1
        counters.reasons[reason] += 1
        self._why = reason
        return self.run_plain(args, kwargs)

    def _as_given_up(self, why: str, args: Any, kwargs: Any) -> Any:
        if self.fullgraph:
            raise RuntimeError(f"compile(fullgraph=True): {name_of(self.fn)} cannot be replayed: {why}")
        return self._eager(why, args, kwargs)

    def _refused(self, why: str, args: Any, kwargs: Any) -> Any:
        """A call that is not recorded, for now."""
        return self._as_given_up(why, args, kwargs) if why is self._resting_for else self._eager(why, args, kwargs)

    def _give_up(
        self, signature: Signature, why: str, line: Any, guards: Guards | None, before: Before | None = None
    ) -> None:
        """Eager from now on where these guards hold, or (None) where there is no program. With one warning.

        With `fullgraph`, RuntimeError, and all is as it was `before`.
        """
        if before is not None:
            before.restore()
        first = signature.eager is None and not signature.given_up
        signature.give_up(self._message(why, line) if self.fullgraph else why, guards, self._calls())
        self._why = self._given_up_for = why
        if first and signature.kinds:
            self._given_up[signature.kinds] = self._given_up.get(signature.kinds, 0) + 1
            if self._given_up[signature.kinds] >= MOST_FAILURES:  # others like these will fare alike: they are not kept
                alike = [s for s in self._signatures.copy().values() if s.kinds == signature.kinds]
                self._drop([s for s in alike if (s.eager is not None or s.given_up) and not s.entries])
        self._warn(why, line)

    def _message(self, why: str, line: Any) -> str:
        return f"{why}{where(line, self.fn)}{advice_for(why)}"

    def _warn(self, why: str, line: Any) -> None:
        """Says once why calls run eagerly and what helps; with `fullgraph`, RuntimeError."""
        message = self._message(why, line)
        if self.fullgraph:
            raise RuntimeError(f"compile(fullgraph=True): {name_of(self.fn)} cannot be replayed: {message}")
        if message not in self._warned and (line is not None or why not in self._warned):
            self._warned |= {message, why}
            text = f"{name_of(self.fn)} runs eagerly, not compiled: {message}"
            warnings.warn(text, stacklevel=frames_of_library() + 1)

    def _checked(self, entry: Entry, args: Any, kwargs: Any, arguments: tuple[Tensor, ...]) -> tuple[bool, Any]:
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
        >>> f = torch.compile(lambda x: (x * 2 + 1).sum(), options={"record_after": 0})
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
        >>> f = torch.compile(lambda x: (x * 2).sum(), options={"record_after": 0})
        >>> for _ in range(2):
        ...     y = f(torch.ones(4))
        >>> f.memory(torch.ones(4)).peak > 0
        True
        """
        return plan_memory(self._entry_for(args, kwargs)[0].program)

    def _entry_for(self, args: Any, kwargs: Any) -> tuple[Entry, tuple[Tensor, ...]]:
        tensors: list[Tensor] = []
        signature = self._signatures.get(self._form(args, kwargs, tensors, []))
        if signature is not None:
            self.forget_fast()
            for entry in signature.entries:
                if entry.guards.difference() is None:
                    entry = self._improved(signature, entry) if entry.waits else entry
                    entry.write_cells()  # what has changed is looked at once
                    return entry, tuple(tensors)
            if why := signature.waiting(self._calls()) or next((why for _, why in signature.given_up), None):
                raise RuntimeError(f"{name_of(self.fn)} has no program for these arguments: {why}{advice_for(why)}")
        counters = self.counters
        why = "it has not been called" if not counters.eager + counters.recorded else ""
        why = why or (self._why if counters.eager else "a second call is to confirm the first")
        why = f"{why}{advice_for(why)}"
        text = f"has no program for these arguments: {why}; call it until it is replayed"
        raise RuntimeError(f"{name_of(self.fn)} {text}")

    # ---------------------------------------------------------------- recording

    def _record(
        self,
        signature: Signature,
        reason: str,
        expected: list[Pending],
        arguments: tuple[Tensor, ...],
        others: list[Any],
        args: Any,
        kwargs: Any,
    ) -> Any:
        refused: list[str] = []
        if expected:
            guards = expected[0].guards.renewed()
        else:
            reach = reach_from(self.fn, name_of(self.fn), others)
            refused = reach.refused
            guards = Guards.of(reach)
        undo = Before(guards, arguments) if self.fullgraph else None
        if undo is not None and refused:
            self._give_up(signature, refused[0], None, guards)
        unfit = signature.unfit
        if unfit is not None:
            return self._name_line(signature, unfit, guards, undo, arguments, args, kwargs)
        capture = new_capture()

        def forms(arguments: tuple[Tensor, ...]) -> list[Any]:
            return [form_of(t) for t in (*arguments, *guards.tensors)]

        before, tensors, states = modes(), forms(arguments), random_states()
        containers = entries_of([*args, *kwargs.values()])[1:]
        keeper = capture.begin()
        if keeper is None:
            return self._plainly("another thread is recording", args, kwargs)
        try:
            result = self.fn(*args, **kwargs)
            capture.end()
            self._patience.fruitless += not signature.again
            signature.again = False
            self._counters.recorded += 1
            self._recorded_at = self._calls()
            self._counters.reasons[reason] += 1
            signature.recordings += 1
            try:
                if refused:
                    raise Unfit(refused[0], lasting=True)
                if modes() != before:
                    raise Unfit("a mode is left changed", lasting=True, state=lambda _: modes())
                held = entries_of([*args, *kwargs.values()])[1:]
                if len(held) != len(containers) or not all(map(operator.is_, held, containers)):
                    raise Unfit("a container or an attribute among the arguments is changed inside", lasting=True)
                required = check_forms(tensors, forms, arguments)
                reader = Reader(capture, arguments, guards.tensors, result, False, guards.objects, containers)
                reader.guard_looked_at(guards.names)
                reader.refuse()
                check_random(states, guards)
                modes_set = check_inside(guards, capture.modes)
                program = reader.read()
                check_options(capture.updates)
                program.effects.turned_on, program.effects.modes = required, modes_set
            except Unfit as found:
                signature.pending = [p for p in signature.pending if p not in expected]
                signature.failures += 1
                signature.count_unfit(self.counters.replayed)
                self._patience.unfit += 1
                self._last_unfit = None if found.state is None else found.with_traceback(None)
                if found.lasting or signature.failures >= MOST_FAILURES or signature.unfit_recordings >= MOST_UNFIT:
                    if found.line is None and found.state is not None and found.why not in self._warned:
                        signature.unfit = found
                        if undo is not None and found.lasting:
                            undo.restore()
                            return self._name_line(signature, found, guards, undo, arguments, args, kwargs)
                    else:
                        self._give_up(signature, found.why, found.line, guards, undo)
                return result
        finally:
            capture.release()
        with self._lock:
            self._confirm(signature, program, guards, expected, undo)
            if self._held.weigh(program):
                self._forget_dead(signature, program)
        return result

    def _name_line(
        self,
        signature: Signature,
        unfit: Unfit,
        guards: Guards,
        undo: Before | None,
        arguments: Any,
        args: Any,
        kwargs: Any,
    ) -> Any:
        """Gives up, after a call that is watched to name the line; one that does something else tells nothing."""
        signature.watched += 1
        changed: Callable[[], bool]
        if isinstance(unfit.state, Guards):
            changed = lambda: guards.difference() is not None  # noqa: E731
        else:
            before = unfit.state(arguments)
            changed = lambda: unfit.state(arguments) != before  # noqa: E731
        self.counters.eager += 1
        self.counters.reasons[unfit.why] += 1
        self._why = unfit.why
        result, line = watched(lambda: self.fn(*args, **kwargs), changed)
        if line is not None or changed() or signature.watched >= MOST_FAILURES:
            signature.unfit, signature.watched = None, 0
            self._give_up(signature, unfit.why, line, guards, undo)
        return result

    def _forget_dead(self, kept: Signature, newest: Program | None = None) -> None:
        """Lets go of arguments known by identity, or of all programs but one. Those that live are recorded anew."""
        # No name for what is dropped, or all would seem to live. A copy: the collector may run what adds to them.
        probes = self._held.probes(p for s in self._signatures.copy().values() for p in s.programs())
        self._drop([s for f, s in self._signatures.copy().items() if s is not kept and self._held.any_in(f)])
        for signature in () if newest is None else self._signatures.copy().values():
            signature.forget(newest)
        self.forget_fast()
        self._held.look_again(probes)

    def _drop(self, signatures: list[Signature]) -> None:
        """Forgets signatures, and the arguments that are held for their sake."""
        gone = {id(s) for s in signatures}
        self._signatures = {form: s for form, s in self._signatures.copy().items() if id(s) not in gone}
        self._held.keep(self._signatures.copy())

    def _confirm(
        self,
        signature: Signature,
        program: Program,
        guards: Guards,
        expected: list[Pending],
        undo: Before | None,
    ) -> None:
        """A recording becomes a program if the ones that could have run in its place are the same.

        Where none could (gradients that are there in every other call only, say), it waits for its like.
        """
        confirmed = None
        expected = [p for p in expected if p in signature.pending]  # another thread may have been here
        for pending in expected:
            signature.pending.remove(pending)
            if (found := difference(pending.program, program)) is not None:
                signature.failures += 1
                if signature.failures >= MOST_FAILURES:
                    self._give_up(signature, *found, guards, undo)
                    return
            elif confirmed is None:
                confirmed = pending
        if confirmed is None or len(expected) > 1:
            signature.pending.append(Pending(program, guards))
            del signature.pending[:-MOST_PROGRAMS]
            return
        # An argument that the function reaches in another way too, the same in both recordings, or a view of one
        # place: nothing has shown which of the two it reads.
        before = dict(confirmed.program.effects.doubtful)
        same = [(i, t, before[i]) for i, t in program.effects.doubtful if i in before]
        if any(t is not b and _look.memory_of(t)[1:] == _look.memory_of(b)[1:] for _, t, b in same):
            signature.pending.append(Pending(program, guards))
            return
        program.effects.fixed += tuple((i, t) for i, t, b in same if t is b)
        signature.failures = 0
        self._patience.made(first=not signature.entries)
        self._given_up.pop(signature.kinds, None)
        limit = None if self.limit is None else share_of_peak(program, self.limit)
        waits = self._patience.record_after is None and limit is None and self.typical < LARGE
        made = Entry(run_needed(program) if waits else run_passes(program, limit), program, guards, self._rooms, waits)
        signature.entries = (made, *signature.entries)[:MOST_PROGRAMS]
