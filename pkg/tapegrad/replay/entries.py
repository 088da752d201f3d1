"""What a compiled function keeps: programs ready to run, recordings that wait, and counts, by form of the call."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from .. import _default_dtype, _tensor
from .._tensor import Tensor
from . import _look, _plans, layout
from .effects import PLAIN
from .guards import Guards
from .named import slots_of
from .patience import WORTH
from .program import Program
from .recording import Unfit, pairs_of_one
from .results import parts_of
from .rooms import Rooms

__all__ = [
    "Counters", "Entry", "Pending", "Signature", "entries_of", "flatten", "form_of", "kinds_of", "modes",
    "simple", "turned_on",
]  # fmt: skip


MOST_GIVEN_UP = 4  # states in which code cannot be replayed, until no others are tried for a while
FIRST_PAUSE = 32  # calls


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
    """A program ready to run, with its guards; one machine per thread that is in it at a time.

    `before` is what was recorded. Where the program `waits` for the passes that it is to earn, `runs` counts up.
    """

    def __init__(self, program: Program, before: Program, guards: Guards, rooms: Rooms, waits: bool = False) -> None:
        self.waits = waits
        self.runs = 0
        self.program = program
        self.before = before
        self.guards = guards
        self.rooms = rooms
        self.machines = [layout.lay_out(program, rooms)]
        note_cells(program, guards)
        self.write_cells()

    def write_cells(self) -> None:
        """Puts the hyperparameters where the machines read them; `fits` tells whether the program serves them."""
        self.guards.take_options()
        written = [layout.write_cells(cells, memory) for _, cells, memory in self.machines]  # all of them
        self.fits = all(written)

    def machine(self) -> Any:
        """A machine that is not running."""
        for machine, _, _ in self.machines:
            if not machine.busy:
                return machine
        made = layout.lay_out(self.program, self.rooms)
        layout.write_cells(made[1], made[2])
        self.machines.append(made)
        layout.write_cells(made[1], made[2])  # again: another thread may have changed them in the others meanwhile
        return made[0]


class Pending:
    """A recording that waits for another one like it, with what would let it run."""

    def __init__(self, program: Program, guards: Guards) -> None:
        self.program = program
        self.guards = guards
        self.outside = [_plans.Guarded(t) for t in program.effects.guarded]
        note_cells(program, guards)

    def fits(self, arguments: tuple[Tensor, ...]) -> bool:
        """Whether, for all that can be seen, a call made now does what was recorded."""
        effects = self.program.effects
        if self.guards.difference() is not None or not all(g.check() for g in self.outside):
            return False
        if any(arguments[i] is not t for i, t in effects.fixed) or pairs_of_one(arguments) != effects.twice:
            return False
        if any(arguments[i] is t for i in effects.apart for t in effects.guarded):
            return False
        for i, j, distance, same in effects.relations:
            a, b = _look.memory_of(arguments[i]), _look.memory_of(arguments[j])
            if a[1] != b[1] or b[3] - a[3] != distance or (arguments[i] is arguments[j]) != same:
                return False
        owners = [leaf.owner(arguments) for leaf in effects.leaves]
        if len({id(t) for t in owners}) != len(owners):
            return False
        for leaf, t in zip(effects.leaves, owners, strict=True):
            if leaf.entry is not None and (t.grad is not None) != leaf.entry:
                return False
        storages = [tuple(_look.memory_of(owners[k].grad)[0] for k in pair) for pair in effects.together]
        return all(a == b for a, b in storages)


class Signature:
    """Calls with arguments of one form: their programs, and why there is none."""

    def __init__(self, form: Any, kinds: tuple[type, ...], again: bool) -> None:
        self.form = form
        self.kinds = kinds  # the classes of the arguments that are known by identity
        self.again = again  # whether calls of this form came before, and were not recorded
        self.entries: tuple[Entry, ...] = ()  # exchanged whole: other threads may be going through them
        self.pending: list[Pending] = []
        self.recordings = 0
        self.failures = 0  # since a recording became a program
        self.unfit_recordings = 0
        self.replayed = 0  # replays of the function when they were last forgiven
        self.given_up: list[tuple[Guards, str]] = []  # where code cannot be replayed, and why
        self.eager: str | None = None  # why there are to be no more programs than there are
        self.waits_until = 0  # in calls of the function
        self.pause = FIRST_PAUSE
        self.waits_for = ""
        self.unfit: Unfit | None = None  # the next call is watched, to name the line
        self.watched = 0  # calls that were

    def prefer(self, entry: Entry, lock: Any) -> None:
        """This one is looked at first from now on, if it is still there."""
        if entry in self.entries[1:]:
            with lock:
                if entry in self.entries:
                    self.entries = (entry, *(e for e in self.entries if e is not entry))

    def programs(self) -> list[Program]:
        """Those that run, and those that wait."""
        return [e.program for e in self.entries] + [p.program for p in self.pending]

    def forget(self, but: Program | None) -> None:
        """Lets go of all programs but what was recorded as this one."""
        self.entries = tuple(e for e in self.entries if e.before is but)
        self.pending = [p for p in self.pending if p.program is but]

    def count_unfit(self, replayed: int) -> None:
        """One more recording that cannot become a program, after so many replays of the function."""
        if replayed - self.replayed >= WORTH * self.unfit_recordings:
            self.unfit_recordings, self.replayed = 0, replayed
        self.unfit_recordings += 1

    def give_up(self, why: str, guards: Guards | None, calls: int) -> None:
        """No more recordings where these guards hold, or (None) wherever there is no program.

        After several such states there are none for a while, which is longer each time, from so many calls on.
        """
        if guards is not None:
            guards.note_hooks()
            self.given_up.append((guards, why))
        else:
            self.eager = why
        if guards is None or len(self.given_up) >= MOST_GIVEN_UP:
            self.waits_for, self.waits_until, self.pause = why, calls + self.pause, 2 * self.pause
            self.pending.clear()
            self.given_up.clear()

    def waiting(self, calls: int) -> str | None:
        """Why this call, for which there is no program, is not recorded either, after so many calls."""
        return self.waits_for if self.eager is None and calls < self.waits_until else self.eager


def note_cells(program: Program, guards: Guards) -> None:
    """Tells the guards what the optimizer updates of a program read at each run."""
    for step in program.steps:
        if step.update is not None:
            numbers, group = step.update
            guards.cells[id(group)] = guards.cells.get(id(group), frozenset()) | guards.unread(group, numbers.keys)
    guards.options = [(t, _look.read_tensor(t)) for t in program.effects.options]


def flatten(o: Any, tensors: list[Tensor], others: list[Any]) -> Any:
    """The form of an argument: equal for arguments that one program can serve."""
    if issubclass(type(o), Tensor):
        tensors.append(o)
        if type(o) is not Tensor:
            others.append(type(o))  # whose methods may be called
        attributes = _look.attributes_of(o)
        form = (type(o), *_look.layout_of(o))
        listened_to = _look.is_listened_to(o)
        return (*form, listened_to, *(attributes or ())) if attributes or listened_to else form
    if isinstance(o, (*PLAIN, tuple)) and has_attributes(o):
        others.append(o)
        return "object", id(o)
    if isinstance(o, PLAIN):
        if type(o) not in PLAIN:
            others.append(type(o))
        return type(o), repr(o) if isinstance(o, (float, complex)) else o
    if isinstance(o, np.generic) and not o.dtype.hasobject:
        return type(o), str(o.dtype), o.tobytes()
    if type(o) in (tuple, list):
        return type(o), *[flatten(x, tensors, others) for x in o]
    if type(o) is dict:
        return dict, *[(key_form(k, others), flatten(v, tensors, others)) for k, v in o.items()]
    parts = parts_of(o)
    if parts is not None:
        others.append(type(o))
        return type(o), *[flatten(x, tensors, others) for x in parts]
    others.append(o)
    return "object", id(o)


def key_form(key: Any, others: list[Any]) -> Any:
    """The form of a key of a dict: numbers and texts by value, with what such tuples hold, all else by identity."""
    if type(key) in (*PLAIN, tuple):
        tensors: list[Tensor] = []
        form = flatten(key, tensors, others)
        if not tensors:
            return form
    others.append(key)
    return "object", id(key)


def has_attributes(o: Any) -> bool:
    """Whether a number, a text or a tuple has something beside its value."""
    kind = type(o)
    return kind not in (*PLAIN, tuple) and bool(getattr(o, "__dict__", None) or any(map(slots_of, kind.__mro__)))


def simple(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether no argument is a container or has attributes, so that a Form can stand for the call."""
    for o in (*args, *kwargs.values()):
        if isinstance(o, (list, tuple, dict)) or hasattr(type(o), "__dataclass_fields__"):
            return False
        if _look.attributes_of(o) if isinstance(o, Tensor) else isinstance(o, PLAIN) and has_attributes(o):
            return False
    return True


def kinds_of(others: list[Any]) -> tuple[type, ...]:
    """The classes of arguments that are known by identity."""
    return tuple(o if isinstance(o, type) else type(o) for o in others)


def entries_of(o: Any) -> list[Any]:
    """The containers among arguments with what they hold, one after the other; and attributes of tensors."""
    if isinstance(o, Tensor):
        attributes = _look.attributes_of(o)
        return [*attributes, *attributes.values()] if attributes else []
    if type(o) is dict:
        parts: list[Any] | None = [x for item in o.items() for x in item]
    else:
        parts = list(o) if type(o) in (tuple, list) else parts_of(o)
    if parts is None:
        return []
    return [o, *parts, *[x for part in parts for x in entries_of(part)]]


def modes() -> tuple[Any, ...]:
    return (
        _tensor.is_grad_enabled(),
        _tensor.is_inference_mode_enabled(),
        _default_dtype.get_default_dtype(),
    )


def form_of(t: Tensor) -> Any:
    """Layout of a tensor and, where it has one, its history."""
    layout = _look.layout_of(t)
    return layout, -1 if layout[4] else _look.record_of(t)


def turned_on(before: Any, after: Any) -> bool:
    """Whether two forms of a tensor differ in nothing but that the second, a leaf, requires gradients."""
    (dt, shape, strides, required, leaf, inference), _ = before
    return not required and leaf and after[0] == (dt, shape, strides, True, True, inference)
