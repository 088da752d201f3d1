"""Capture: what a stretch of eager code does, as a list of kernel calls on addresses.

While a capture is active the recorders, the sweep and the storage cache tell it every kernel call, every
storage they make and every gradient they look at. Nothing about the execution changes: memory is released and
used again as always, so an address stands for the storage that was made there last before the call. While
the capture is read, released memory waits. `replay/` turns the list into a program. One capture at a time, of
the thread that began it.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_Next
from cpython.ref cimport PyObject
from cpython.weakref cimport PyWeakref_NewRef
from libc.stdint cimport int64_t, uintptr_t

from tapegrad._layout cimport *
from tapegrad.tape cimport _storage
from tapegrad.tape._storage cimport Storage, release_held
from tapegrad.tape._tape cimport extension, ext_params, ext_words, next_sequence, op_row, record, record_extended

import os

cdef extern from "Python.h":
    PyObject* PyTuple_GET_ITEM(object t, Py_ssize_t i)
    unsigned long PyThread_get_thread_ident()
    void* PyEval_GetFrame()
    Py_ssize_t Py_REFCNT(PyObject* o)

cdef int active = 0
cdef unsigned long owner = 0
cdef int births = 0
cdef bint claimed = False               # a capture is going on or being read: its memory waits
cdef Capture current = None
cdef str package = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


cdef bint capturing() noexcept:
    return active != 0 and PyThread_get_thread_ident() == owner


cdef void note_birth(Storage* s) noexcept:
    """A storage was made while some capture goes on: whose memory that was before, it no longer is."""
    cdef int64_t number = 0
    if current is None:
        return
    current.n_made += 1
    try:
        if PyThread_get_thread_ident() == owner:
            s.birth = births
            number = <int64_t><uintptr_t>s
            current.living[number] = current.n_made
        current.made.append((len(current.log), number, <int64_t><uintptr_t>s.ptr, s.nbytes, len(current.changes)))
    except MemoryError:
        pass                            # an address without a storage makes the recording invalid


cdef void note_death(Storage* s) noexcept:
    """A storage that some capture was told of is given back."""
    if current is not None and s.birth == births:
        try:
            current.living.pop(<int64_t><uintptr_t>s, None)
        except MemoryError:
            current.n_made += 1         # not whole any more


_storage.on_birth = note_birth
_storage.on_death = note_death


cdef object caller():
    """(code, instruction offset) of the innermost Python frame that is not the library's."""
    cdef PyObject* p = <PyObject*>PyEval_GetFrame()
    if p == NULL:
        return None
    frame = <object>p
    while frame is not None and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
    if frame is None:
        return None
    return frame.f_code, frame.f_lasti


cdef class Capture:
    """One capture: `begin()`, the code, `end()`, then look at the lists, then `release()`.

    `log` has tuples, one per kernel call, copy or constant; `made` the storages that were made, as (place in the
    log, storage or 0 for another thread's, address, bytes); `living` the numbers, counted from 1, of those that are
    there at the end, by storage; `outside` the tensors from before the capture that were used, by id; `gradients` what
    public gradients were looked at first, by record, as (read, whether there
    was one, that one if it is used or still there); `refusals` why the code cannot be replayed.
    """
    cdef readonly list log
    cdef readonly list made
    cdef readonly dict living
    cdef readonly dict outside
    cdef readonly dict versions         # of the storages of `outside`, before the capture changed them
    cdef readonly dict gradients
    cdef readonly list gradient_puts
    cdef readonly list changes          # (place, storage): where versions are counted up
    cdef readonly list required         # (place, id of a tensor, requires_grad): where that is switched
    cdef readonly dict leaves           # records of leaves that were made: weak references to the tensors
    cdef readonly list without_record   # (place, weak reference, read): gradients of leaves that had no record yet
    cdef readonly list refusals
    cdef readonly set handled           # places of calls that may fail where user code handles the error
    cdef readonly object failed         # (code, offset) of the last line that did fail, or None
    cdef readonly set contexts          # (code, offset) of the `with` statements that have set gradient modes
    cdef frozenset fallible             # numbers of the ops that may fail
    cdef object is_handled              # asked with `contexts` at the call of such an op
    cdef readonly list generators
    cdef readonly set asked             # identities of the tensors whose gradients a sweep was asked for
    cdef readonly list modes            # (place, module, before, after): training modes that are set
    cdef readonly list updates
    cdef readonly list options          # tensors among an optimizer's options whose values it has read
    cdef readonly set views             # identities of tensors that were made over memory that was there
    cdef readonly set shared            # storages that `.data` made: nobody sees their version afterwards
    cdef readonly int64_t first_sequence
    cdef int64_t n_made
    cdef bint began

    def __cinit__(self, frozenset fallible=frozenset(), is_handled=None):
        self.fallible = fallible
        self.is_handled = is_handled
        self.handled = set()
        self.contexts = set()
        self.log = []
        self.made = []
        self.living = {}
        self.outside = {}
        self.versions = {}
        self.gradients = {}
        self.gradient_puts = []
        self.changes = []
        self.required = []
        self.leaves = {}
        self.without_record = []
        self.refusals = []
        self.generators = []
        self.asked = set()
        self.modes = []
        self.updates = []
        self.options = []
        self.views = set()
        self.shared = set()

    def begin(self):
        """Starts, and gives what ends the capture when it goes; None if one is going on already."""
        global active, owner, current, births, claimed
        if active or claimed:
            return None
        keeper = Keeper(self)
        claimed = True
        births += 1
        current = self
        owner = PyThread_get_thread_ident()
        active = 1
        _storage.noting = 1
        self.first_sequence = next_sequence()
        self.began = True
        return keeper

    def end(self):
        """Stops listening; memory that is released now waits for `release`."""
        global active, current
        if current is self:
            active = 0
            current = None
            _storage.noting = 0
            _storage.holding = 1
            for rec, (read, held) in self.gradients.items():
                self.gradients[rec] = (read, held is not None, None if held is None else held())
            self.forget_groups()
            self.forget_passing()

    cdef int forget_groups(self) except -1:
        """Drops the parameter groups of optimizers that are gone: their numbers stay what they were."""
        cdef Py_ssize_t k
        cdef PyObject* group
        cdef dict mine = {}
        for k in range(len(self.updates)):
            group = PyTuple_GET_ITEM(self.updates[k], 2)
            mine[<int64_t><uintptr_t>group] = mine.get(<int64_t><uintptr_t>group, 0) + 1
        cdef list kept = []
        for k in range(len(self.updates)):
            group = PyTuple_GET_ITEM(self.updates[k], 2)
            if Py_REFCNT(group) > mine[<int64_t><uintptr_t>group]:
                kept.append(self.updates[k])
        self.updates = kept
        return 0

    cdef int forget_passing(self) except -1:
        """Drops the tensors that nobody else holds any more: views that the code made, say, and their records."""
        cdef Py_ssize_t place
        cdef PyObject* key
        cdef PyObject* value
        cdef list gone = [None]
        while gone:                     # a view that goes lets go of what it is a view of
            gone = []
            place = 0
            while PyDict_Next(self.outside, &place, &key, &value):
                if Py_REFCNT(value) == 1:
                    gone.append(<object>key)
            for number in gone:
                del self.outside[number]
        return 0

    def release(self):
        """Gives back the memory that waited."""
        global claimed
        self.end()
        if self.began:
            self.began = claimed = False
            _storage.holding = 0
            release_held()

    def __dealloc__(self):
        global active, claimed
        if self.began:
            active = 0
            claimed = False
            _storage.noting = 0
            _storage.holding = 0
            release_held()

    def alive(self):
        """The storages made in the capture that something still holds: {number: (references, version)}."""
        cdef Storage* s
        found = {}
        for storage, number in self.living.items():
            s = <Storage*><uintptr_t><int64_t>storage
            if s.refs > 0:
                found[number] = (s.refs, s.version)
        return found

    @property
    def whole(self):
        """Whether every storage could be noted."""
        return self.n_made == len(self.made)


def _after_fork():
    """The thread that was recording is not there in the child."""
    global active, current, claimed
    if claimed and PyThread_get_thread_ident() != owner:
        active = 0
        current = None
        claimed = False
        _storage.noting = 0
        _storage.holding = 0
        release_held()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


cdef class Keeper:
    """Releases a capture at the latest when it goes: an interrupt may come before any `finally` is reached."""
    cdef Capture capture

    def __init__(self, Capture capture):
        self.capture = capture

    def __del__(self):
        self.capture.release()


cdef int log_kernel(int64_t op, int role, int layout, int dt, int64_t address, int64_t items, const int64_t* f,
                    int64_t reads, int64_t writes, const void* words, int64_t n_words, const void* params,
                    int64_t n_params, const void* table, int64_t n_table) except -1:
    """A kernel call: `reads` and `writes` mark the words of the frame that are addresses of data.

    Inputs that are neither are single values; `table` are addresses that the kernel finds behind the frame.
    """
    cdef int k
    values = []
    if op in current.fallible and current.is_handled(current.contexts):
        current.handled.add(len(current.log))
    if role >= 0:
        for k in range(3):
            if reads & ((<int64_t>1 << 32) << k):
                values.append((FRAME_IN + k, PyBytes_FromStringAndSize(<char*><uintptr_t>f[FRAME_IN + k], 8)))
    current.log.append((
        "kernel", op, role, layout, dt, address, items,
        PyBytes_FromStringAndSize(<char*>f, FRAME_WORDS * 8), reads & 0xFFFFFF, writes,
        PyBytes_FromStringAndSize(<char*>words, n_words * 8) if words != NULL else None,
        PyBytes_FromStringAndSize(<char*>params, n_params) if params != NULL else None,
        PyBytes_FromStringAndSize(<char*>table, n_table * 8) if table != NULL else None,
        tuple(values), caller()))
    return 0


cdef int log_copy(const char* out, const char* source, int64_t nbytes) except -1:
    """Bytes were copied from one place to another."""
    if nbytes > 0:
        current.log.append(("copy", <int64_t><uintptr_t>out, <int64_t><uintptr_t>source, nbytes, caller()))
    return 0


cdef int log_constant(const char* out, int64_t nbytes) except -1:
    """Python put these bytes there."""
    if nbytes > 0:
        current.log.append(("constant", <int64_t><uintptr_t>out, PyBytes_FromStringAndSize(out, nbytes), caller()))
    return 0


cdef int note_outside(object tensor, Storage* st) except -1:
    """A tensor whose memory is older than the capture is used."""
    if st.birth != births or births == 0:
        if id(tensor) not in current.outside:
            current.outside[id(tensor)] = tensor
        if <int64_t><uintptr_t>st not in current.versions:
            current.versions[<int64_t><uintptr_t>st] = st.version
    return 0


cdef int note_view(object tensor) except -1:
    """A tensor over memory that was there is made: its identity was not another tensor's before the capture."""
    current.views.add(id(tensor))
    return 0


cdef int note_shared(Storage* st) except -1:
    """`.data` was asked for: the same memory with a version count that ends with it."""
    current.shared.add(<int64_t><uintptr_t>st)
    return 0


cdef int note_no_gradient(object tensor, Storage* st, bint read) except -1:
    """The gradient of a leaf that has no record yet, hence none, is looked at (`read`) or set to None.

    A record is not made for that: its number would be another than in eager code, and with it the order in
    which gradients arrive.
    """
    if st.birth != births:
        note_outside(tensor, st)
        current.without_record.append((len(current.log), PyWeakref_NewRef(tensor, None), read))
    return 0


cdef int note_leaf(object tensor, int64_t rec) except -1:
    """A leaf has got its record, where another leaf's may have been before."""
    current.leaves[rec] = PyWeakref_NewRef(tensor, None)
    if current.gradients.pop(rec, None) is not None:
        current.gradient_puts = [put for put in current.gradient_puts if put[1] != rec]
    return 0


cdef int note_gradient(int64_t rec, object held, bint read, Storage* now, const char* first) except -1:
    """The public gradient of a record, which is `held`, is looked at (`read`), or becomes one with memory `now`.

    `first` is where its elements start if they lie one behind the other, else NULL.
    """
    if rec not in current.gradients:    # weakly: a gradient that is given up frees its memory, as in eager code
        current.gradients[rec] = (read, None if held is None else PyWeakref_NewRef(held, None))
    if not read:
        current.gradient_puts.append((len(current.log), rec, <int64_t><uintptr_t>now, <int64_t><uintptr_t>first))
    return 0


cdef int note_fresh(Storage* st) except -1:
    """The version of a storage that was just made starts from 0: the changes before do not count.

    Those of another storage that was in its place before do.
    """
    cdef Py_ssize_t n = len(current.changes), m = len(current.made) - 1, first
    while m >= 0 and current.made[m][1] != <int64_t><uintptr_t>st:
        m -= 1
    first = current.made[m][4] if m >= 0 else 0
    while n > first and current.changes[n - 1][1] == <int64_t><uintptr_t>st:
        n -= 1
    del current.changes[n:]
    return 0


cdef int note_node(int64_t rec) except -1:
    """The node of a record is given to Python; what is before the capture may be another one at each call."""
    if record(rec)[REC_SEQ] < current.first_sequence:
        note_refusal("the graph behind a tensor from outside is read by Python")
    return 0


cdef int note_change(Storage* st) except -1:
    """The version of a storage was counted up."""
    current.changes.append((len(current.log), <int64_t><uintptr_t>st))
    return 0


cdef int note_required(object tensor, bint required) except -1:
    """A tensor is made to require gradients, or not to."""
    current.required.append((len(current.log), id(tensor), required))
    return 0


cdef int note_refusal(str why) except -1:
    """Something happened that a replay cannot do."""
    current.refusals.append((why, caller()))
    return 0


cdef bint note_reached(int64_t rec) except -1:
    """A sweep comes to this record, or looks there for what it was asked for: whether it is from before."""
    if record(rec)[REC_SEQ] < current.first_sequence and record(rec)[REC_FLAGS] & FLAG_LEAF == 0:
        note_refusal("backward goes on into a graph from before the compiled function, or looks there")
        return True
    return False


def reached(int64_t rec):
    """As `note_reached`, where a capture goes on."""
    if capturing():
        note_reached(rec)


def note_asked(list tensors):
    """A sweep is asked for the gradients of these."""
    if capturing():
        current.asked.update(map(id, tensors))


cdef int note_failure() except -1:
    """A kernel has failed. If the function goes on nevertheless, what it does then is not what it does else."""
    current.failed = caller()
    return 0


cdef int note_context() except -1:
    """The `with` statement that runs now does nothing about errors."""
    if capturing():
        frame = <object>PyEval_GetFrame()
        current.contexts.add((frame.f_code, frame.f_lasti))
    return 0


def refuse(str why):
    """Tells the capture of this thread, if there is one, that it cannot be replayed, and why."""
    if capturing():
        note_refusal(why)


def note_update(object numbers, object group, object params):
    """The next optimizer update has the numbers `numbers(group)`, now `params`, to be read again at each replay."""
    if capturing():
        current.updates.append((len(current.log), numbers, group, params))


def read_option(object tensor):
    """`tensor.item()` of an optimizer's option, which a compiled program reads again where it has changed."""
    if not capturing():
        return tensor.item()
    before = len(current.refusals)
    value = tensor.item()
    del current.refusals[before:]
    current.options.append(tensor)
    return value


def note_generator(object generator):
    """The next kernel draws from this generator."""
    if capturing():
        current.generators.append((len(current.log), generator))


def note_mode(object module, bint mode):
    """`module.training` becomes `mode`."""
    if capturing() and "training" in module.__dict__:
        current.modes.append((len(current.log), module, module.__dict__["training"], bool(mode)))


# ---------------------------------------------------------------- from the sweep

cdef int64_t from_sweep(int64_t* w, int64_t what, int64_t items) noexcept with gil:
    """The sweep is about to run the kernel in its frame: a derivative (0) or an addition of gradients (1)."""
    cdef int64_t* f = w + SWEEP_FRAME
    cdef int64_t* r = record(w[SWEEP_REC])
    cdef int64_t op = r[REC_OP] & 0xFFFF
    cdef int64_t* row = op_row(op)
    cdef int64_t* ext
    cdef int64_t k = w[SWEEP_INPUT], j, place = 0, need, reads, writes, dt
    cdef bint variadic = (row[OP_FLAGS] & OPFLAG_VARIADIC) != 0
    try:
        if what == 1:
            dt = w[SWEEP_DETAIL]
            log_kernel(w[SWEEP_ADD], 0, LAYOUT_FLAT, <int>dt, op_row(w[SWEEP_ADD])[OP_FORWARD + dt], f[FRAME_N], f,
                       (<int64_t>3) << FRAME_IN, (<int64_t>1) << FRAME_OUT, NULL, 0, NULL, 0, NULL, 0)
            return 0
        need = row[OP_NEEDS + (0 if variadic else k)]
        reads = <int64_t>1 << FRAME_OUT
        writes = <int64_t>1 << FRAME_GX
        if f[FRAME_ACC] == 1:
            reads |= <int64_t>1 << FRAME_GX
        if not variadic:
            for j in range(3):
                if not (need >> j) & 1:
                    continue
                if row[OP_KIND] == KIND_POINTWISE:
                    if (r[REC_FLAGS] >> (FLAG_SCALAR_SHIFT + j)) & 1:
                        reads |= (<int64_t>1 << 32) << j
                    else:
                        reads |= (<int64_t>1 << FRAME_IN) << j
                else:
                    reads |= (<int64_t>1 << FRAME_IN) << place
                    place += 1
        if need & 8:
            reads |= <int64_t>1 << FRAME_Y
        if need & 16:
            reads |= <int64_t>1 << FRAME_AUX
        if record_extended(r):
            ext = extension(r)
            log_kernel(op, <int>(1 + (0 if variadic else k)), <int>((r[REC_OP] >> 40) & 0xFF),
                       <int>((r[REC_OP] >> 32) & 0xFF), w[SWEEP_KERNEL], items, f, reads, writes,
                       ext_words(ext), ext[EXT_WORDS], ext_params(ext), ext[EXT_PARAMS], NULL, 0)
        else:
            log_kernel(op, <int>(1 + (0 if variadic else k)), <int>((r[REC_OP] >> 40) & 0xFF),
                       <int>((r[REC_OP] >> 32) & 0xFF), w[SWEEP_KERNEL], items, f, reads, writes,
                       NULL, 0, r + REC_PARAM if r[REC_FLAGS] & FLAG_NEAR else NULL, 8, NULL, 0)
    except BaseException as error:
        try:
            current.refusals.append((f"the backward pass could not be recorded: {error!r}", None))
        except BaseException:
            pass
    return 0


def sweep_callback():
    """The address of what a sweep calls before its kernels while captured, 0 if it is not."""
    return <int64_t><uintptr_t><void*>from_sweep if capturing() else 0
