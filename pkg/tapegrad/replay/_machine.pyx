"""The machine: a program as words, run in one call without the GIL, and what it does to tensors.

A `Machine` is laid out once (`layout.py` computes what goes where) and run many times. A run binds the
addresses that change from call to call, takes fresh storages for what the caller gets to see, goes through
the instructions, and then does what eager code would have done to the Python side: gradients, versions,
results and their records.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from tapegrad._elements cimport itemsizes
from tapegrad._layout cimport *
from tapegrad._tensor cimport Tensor, edge_of, leaf_record, set_grad, tensor_over
from tapegrad.replay._look cimport gradient_at, has_hooks
from tapegrad.replay._plans cimport Argument, Guarded, Held, Rebuild, Root, Same, Stamp, TensorPlan
from tapegrad.replay._turns cimport give_turn, take_turn
from tapegrad.tape._copies cimport record_copy_in
from tapegrad.tape._execute cimport blas_table, n_threads, run_chunks, run_on_threads
from tapegrad.tape._storage cimport Storage, storage_new, storage_release, storage_retain
from tapegrad.tape._tape cimport (
    ext_edges, kernel_t, record, record_extend, record_new, record_release, record_retain, record_save, record_set_edge,
    record_set_ptr,
)

cdef extern from *:
    """
    #include <time.h>
    static inline int64_t tg_now(void) {
        struct timespec t;
    #if defined(CLOCK_MONOTONIC)
        clock_gettime(CLOCK_MONOTONIC, &t);
    #else
        timespec_get(&t, TIME_UTC);
    #endif
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    }
    """
    int64_t tg_now() noexcept nogil

cpdef enum:
    # An instruction: how a kernel is called, and its frame.
    I_KERNEL = 0
    I_ITEMS = 1
    I_GRAIN = 2
    I_PHASES = 3
    I_MODE = 4
    I_TIME = 5              # nanoseconds spent while the machine is timed
    I_STATUS = 6            # what the kernel returned when it failed
    I_FRAME = 8
    I_WORDS = 32

    MODE_ONE_CALL = 0       # all items in one call, of one phase
    MODE_THREADS = 1        # in chunks, on several threads if there are
    MODE_CHUNKS = 2         # in chunks

    B_FRESH = 0             # sources of addresses that change
    B_ARGUMENT = 1
    B_GRADIENT = 2


cdef int64_t copy_bytes(int64_t* f, int64_t lo, int64_t hi) noexcept nogil:
    memcpy(<void*><uintptr_t>f[FRAME_OUT], <void*><uintptr_t>f[FRAME_IN], <size_t>f[FRAME_N])
    return 0


def copy_kernel():
    """The address of a kernel that copies FRAME_N bytes from FRAME_IN to FRAME_OUT."""
    return <int64_t><uintptr_t><void*>copy_bytes


def blas_address():
    """The address of the BLAS table that frames carry."""
    return blas_table


cdef class Machine:
    """A program laid out as words.

    Takes: `code`, I_WORDS words per instruction; `spots`, the words that each run patches, as (word of the code or
    address of a word elsewhere, base, offset); `bases`, the memory that changes from run to run, as (B_*, number of
    the argument or leaf, bytes, whether it is written, how often it is changed); `keep`, whatever the addresses in
    the code point into; `room`, where it works. The rest is set attribute by attribute before the first run.
    """

    def __cinit__(self, bytes code, tuple spots, tuple bases, object keep, Arena room not None):
        cdef int64_t k
        self.keep = keep
        self.room = room
        self.n = len(code) // (I_WORDS * 8)
        self.code = <int64_t*>calloc(<size_t>(self.n * I_WORDS + 8), 8)
        self.n_spots = len(spots)
        self.spots = <int64_t*>calloc(<size_t>(self.n_spots * 3 + 1), 8)
        self.n_bases = len(bases)
        self.base_source = <int64_t*>calloc(<size_t>(self.n_bases * 6 + 1), 8)
        self.base_storage = <Storage**>calloc(<size_t>(self.n_bases + 1), sizeof(Storage*))
        if self.code == NULL or self.spots == NULL or self.base_source == NULL or self.base_storage == NULL:
            raise MemoryError("no memory for a compiled program")
        self.base_number = self.base_source + self.n_bases
        self.base_bytes = self.base_number + self.n_bases
        self.base_written = self.base_bytes + self.n_bases
        self.base_version = self.base_written + self.n_bases
        self.base_address = self.base_version + self.n_bases
        memcpy(self.code, PyBytes_AS_STRING(code), <size_t>(self.n * I_WORDS * 8))
        for k in range(self.n_spots):
            place, base, offset = spots[k]
            if base < 0 or base >= self.n_bases:
                raise ValueError("a relocation names a base that is not there")
            # A place in the code counts its words; one in a table is an address already.
            self.spots[3 * k] = <int64_t><uintptr_t>(self.code + <int64_t>place) if place < self.n * I_WORDS else place
            self.spots[3 * k + 1] = base
            self.spots[3 * k + 2] = offset
        for k in range(self.n_bases):
            source, number, nbytes, written, version = bases[k]
            self.base_source[k] = source
            self.base_number[k] = number
            self.base_bytes[k] = nbytes
            self.base_written[k] = written
            self.base_version[k] = version
            if written and source != B_FRESH:
                self.lends = True
        self.guarded = self.leaves = self.entry = self.exit = self.events = self.bumps = self.stamps = ()
        self.order = self.base_places = ()
        self.locks = self.fixed = self.relations = self.shared_plans = self.dropped = self.turned_on = self.modes = ()
        self.switches = self.apart = self.together = ()

    def __dealloc__(self):
        free(self.code)
        free(self.spots)
        free(self.base_source)
        free(self.base_storage)
        free(self.ranges)

    def set_written(self, ranges):
        """The (start, end) of memory from outside that the program writes."""
        cdef int64_t k
        self.ranges = <int64_t*>calloc(<size_t>(2 * len(ranges) + 1), 8)
        if self.ranges == NULL:
            raise MemoryError("no memory for a compiled program")
        for k, (start, end) in enumerate(ranges):
            self.ranges[2 * k] = start
            self.ranges[2 * k + 1] = end
        self.n_ranges = len(ranges)

    # ------------------------------------------------ before a run

    cdef bint fits(self, tuple arguments) except -1:
        """Whether the tensors from outside, the gradients and the memory of the arguments are as recorded."""
        cdef int64_t k, n
        cdef Guarded g
        cdef Tensor t, other
        cdef object held
        for g in self.guarded:
            if not g.holds():
                return False
        for number, tensor in self.fixed:
            if arguments[<int64_t>number] is not tensor:
                return False
        for number in self.apart:
            for g in self.guarded:
                if g.tensor is arguments[<int64_t>number]:
                    return False
        k = 0
        for n in range(1, len(arguments)):
            for j in range(n):
                k += arguments[j] is arguments[n]
        if k != self.twice:
            return False
        for i, j_, delta, is_same in self.relations:
            t = <Tensor>arguments[<int64_t>i]
            other = <Tensor>arguments[<int64_t>j_]
            if t.st != other.st or other.data_ - t.data_ != <int64_t>delta or (t is other) != is_same:
                return False
        for k in range(self.n_bases):
            if self.base_source[k] == B_ARGUMENT:
                t = <Tensor>arguments[self.base_number[k]]
                self.base_address[k] = <int64_t><uintptr_t>t.data_
        n = len(self.leaves)
        for k in range(n):
            expected = self.entry[k]
            t = self.leaf(k, arguments)
            if has_hooks(t):
                return False
            if isinstance(self.leaves[k], Argument):
                for j in range(n):
                    if j != k and self.leaf(j, arguments) is t:
                        return False
            if expected is None:
                continue
            held = gradient_at(self.leaf(k, arguments))
            if (held is not None) != expected:
                return False
        for k in range(self.n_bases):
            if self.base_source[k] == B_GRADIENT:
                held = gradient_at(self.leaf(self.base_number[k], arguments))
                if held is None:
                    return False
                t = <Tensor>held
                if not t.contig or t.requires or t.inference or t.numel_ * itemsizes[t.dt] != self.base_bytes[k]:
                    return False
                if t.dt != self.leaf(self.base_number[k], arguments).dt:
                    return False
                self.base_address[k] = <int64_t><uintptr_t>t.data_
        for i, j_ in self.together:
            t = <Tensor>gradient_at(self.leaf(i, arguments))
            if t.st != (<Tensor>gradient_at(self.leaf(j_, arguments))).st:
                return False
        return not self.overlapping()

    cdef bint overlapping(self) except -1:
        """Whether memory that the program writes is also what it knows under another name."""
        cdef int64_t k, j, lo, hi
        cdef Guarded g
        for k in range(self.n_bases):
            if self.base_source[k] == B_FRESH or self.base_bytes[k] == 0:
                continue
            lo = self.base_address[k]
            hi = lo + self.base_bytes[k]
            for j in range(self.n_ranges):
                if lo < self.ranges[2 * j + 1] and self.ranges[2 * j] < hi:
                    return True
            for j in range(k):
                if self.base_source[j] == B_FRESH or not (self.base_written[k] or self.base_written[j]):
                    continue
                if lo < self.base_address[j] + self.base_bytes[j] and self.base_address[j] < hi:
                    return True
        if not self.lends:
            return False
        for g in self.guarded:
            lo = <int64_t><uintptr_t>g.tensor.st.ptr
            hi = lo + g.tensor.st.nbytes
            for k in range(self.n_bases):
                if self.base_written[k] and self.base_source[k] != B_FRESH:
                    if lo < self.base_address[k] + self.base_bytes[k] and self.base_address[k] < hi:
                        return True
        return False

    cdef Tensor leaf(self, int64_t k, tuple arguments):
        found = self.leaves[k]
        return <Tensor>arguments[(<Argument>found).number] if isinstance(found, Argument) else <Tensor>found

    @property
    def busy(self):
        """Whether this machine runs, or another one in its room."""
        return self.room.busy

    def fits_now(self, tuple arguments):
        """Whether a run with these arguments would go through."""
        return self.fits(arguments)

    def run(self, tuple arguments):
        """Runs the program with these tensors as arguments.

        Returns (True, the result), or with nothing done (False, None) where the program does not fit the tensors
        that are there now, (None, None) where the function handles an error. Raises any other error of a kernel.
        """
        cdef int64_t k, status
        cdef int64_t* spot
        if self.room.busy or not self.fits(arguments):
            return False, None
        self.room.busy = True
        try:
            for k in range(self.n_bases):
                if self.base_source[k] != B_FRESH:      # a thread or a finalizer may exchange a tensor's memory
                    self.base_storage[k] = self.storage_at(k, arguments)
                    storage_retain(self.base_storage[k])
            for k in self.turned_on:
                (<Tensor>arguments[k]).requires_grad_(True)
            for k in self.dropped:      # before their successors take memory
                self.put_gradient(self.leaf(k, arguments), False, arguments, None)
            if self.dropped and not self.still_fits(arguments):
                self.turn_off(arguments)
                return False, None      # what has been done is what eager code begins with
            for k in range(self.n_bases):
                if self.base_source[k] == B_FRESH:
                    self.base_storage[k] = storage_new(self.base_bytes[k])
                    self.base_address[k] = <int64_t><uintptr_t>self.base_storage[k].ptr
            for k in range(self.n_spots):
                spot = self.spots + 3 * k
                (<int64_t*><uintptr_t>spot[0])[0] = self.base_address[spot[1]] + spot[2]
            held = []
            try:
                for lock in self.locks:
                    lock.acquire()      # an interrupt may come while it waits
                    held.append(lock)
                if self.undoing is not None:
                    self.undoing.begin()
                status = self.execute()
                undone = status >= 0 and self.undoing is not None and self.undoing.undo(status, self.base_address)
            finally:
                for lock in held:
                    lock.release()
            if undone:
                self.turn_off(arguments)
                return None, None
            self.bump(status)
            if status >= 0:
                self.failed(status, arguments)
            return True, self.finish(arguments)
        finally:
            self.forget_shared()
            for k in range(self.n_bases):
                if self.base_storage[k] != NULL:
                    storage_release(self.base_storage[k])
                    self.base_storage[k] = NULL
            self.room.busy = False

    cdef int turn_off(self, tuple arguments) except -1:
        for k in self.turned_on:
            (<Tensor>arguments[<int64_t>k]).requires_grad_(False)
        return 0

    cdef bint still_fits(self, tuple arguments) except -1:
        """Whether the finalizers of gradients that were given up have left what the run works on."""
        cdef int64_t k
        cdef Guarded g
        for g in self.guarded:
            if not g.holds():
                return False
        for k in range(self.n_bases):
            if self.base_source[k] == B_GRADIENT and gradient_at(self.leaf(self.base_number[k], arguments)) is None:
                return False
            if self.base_source[k] != B_FRESH and self.storage_at(k, arguments) != self.base_storage[k]:
                return False
        return True

    cdef Storage* storage_at(self, int64_t k, tuple arguments) except NULL:
        if self.base_source[k] == B_ARGUMENT:
            return (<Tensor>arguments[self.base_number[k]]).st
        return (<Tensor>gradient_at(self.leaf(self.base_number[k], arguments))).st

    cdef int64_t execute(self) except -2:
        """Goes through the instructions; the number of the one that failed, or -1."""
        cdef int64_t i = 0, status
        cdef int64_t* c
        while True:
            give_turn()
            with nogil:
                i = self.go_timed() if self.timed else self.go(i)
                take_turn()
            if i >= -1:
                return i
            i = -2 - i                  # an instruction for several threads
            c = self.code + i * I_WORDS
            status = run_on_threads(c + I_FRAME, c[I_KERNEL], c[I_ITEMS], c[I_GRAIN], c[I_PHASES])
            if status != 0:
                c[I_STATUS] = status
                return i
            i += 1

    cdef int64_t go(self, int64_t i) noexcept nogil:
        """From instruction i on: -1 at the end, the one that failed, or -2 - the one that wants threads."""
        cdef int64_t* c
        cdef int64_t status
        while i < self.n:
            c = self.code + i * I_WORDS
            if c[I_MODE] == MODE_ONE_CALL:
                status = (<kernel_t><uintptr_t>c[I_KERNEL])(c + I_FRAME, 0, c[I_ITEMS])
            elif c[I_MODE] == MODE_THREADS and n_threads > 1:
                return -2 - i
            else:
                status = run_chunks(c + I_FRAME, <kernel_t><uintptr_t>c[I_KERNEL], c[I_ITEMS], c[I_GRAIN], c[I_PHASES])
            if status != 0:
                c[I_STATUS] = status
                return i
            i += 1
        return -1

    cdef int64_t go_timed(self) noexcept nogil:
        """As `go` on one thread, with the time of each instruction."""
        cdef int64_t* c
        cdef int64_t i, status, before = tg_now(), now
        for i in range(self.n):
            c = self.code + i * I_WORDS
            status = run_chunks(c + I_FRAME, <kernel_t><uintptr_t>c[I_KERNEL], c[I_ITEMS], c[I_GRAIN], c[I_PHASES])
            if status != 0:
                c[I_STATUS] = status
                return i
            now = tg_now()
            c[I_TIME] += now - before
            before = now
        return -1

    def times(self, bint clear=False):
        """Nanoseconds per instruction since the last clearing, while `timed`."""
        cdef int64_t i
        found = [self.code[i * I_WORDS + I_TIME] for i in range(self.n)]
        if clear:
            for i in range(self.n):
                self.code[i * I_WORDS + I_TIME] = 0
        return found

    # ------------------------------------------------ after a run

    cdef int bump(self, int64_t failed) except -1:
        """Versions of what was changed, before instruction `failed` if one failed."""
        cdef int64_t k
        cdef Tensor t
        for t, count, places in self.bumps:
            t.st.version += <int64_t>(count if failed < 0 else self.passed(failed, count, places))
        for k in range(self.n_bases):
            if self.base_version[k] == 0:
                continue
            count = self.base_version[k]
            if failed >= 0:
                count = self.passed(failed, count, self.base_places[k])
            self.base_storage[k].version += <int64_t>count
        return 0

    cdef object passed(self, int64_t failed, object count, tuple places):
        """How many of the changes that recorded steps at `places` made come before instruction `failed`."""
        at = self.order[failed]
        return min(count, len([p for p in places if p < at]))

    cdef object failed(self, int64_t i, tuple arguments):
        """Leaves the gradients as eager code would have left them, and raises the error of instruction i."""
        cdef int64_t* f = self.code + i * I_WORDS + I_FRAME
        states = {}
        for place, leaf, state in self.events:
            if place <= i:
                states[leaf] = state
        for argument in self.turned_on:
            if -1 - argument not in states:
                (<Tensor>arguments[argument]).requires_grad_(False)
        for place, leaf, required in self.switches:
            if place <= self.order[i]:
                (arguments[(<Argument>leaf).number] if isinstance(leaf, Argument) else leaf).requires_grad_(required)
        for place, attributes, mode in self.modes:
            if place <= self.order[i]:
                attributes["training"] = mode
        for leaf, state in states.items():
            if leaf >= 0:
                self.put_gradient(self.leaf(leaf, arguments), state, arguments, None)
        self.fail(i, self.code[i * I_WORDS + I_STATUS], f[FRAME_ERROR], f[FRAME_ERROR + 1])
        raise RuntimeError("a compiled program failed")

    cdef object finish(self, tuple arguments):
        cdef int64_t k, n = len(self.leaves)
        cdef list records = None
        for _, attributes, mode in self.modes:
            attributes["training"] = mode
        if self.stamps:
            records = self.stamp(arguments)
        try:
            for k in range(n):
                state = self.exit[k]
                if state is not None:
                    self.put_gradient(self.leaf(k, arguments), state, arguments, records)
            return self.build(self.result, arguments, records)
        finally:
            if records is not None:
                for i in records:
                    record_release(<int64_t>i)

    cdef int forget_shared(self) except -1:
        cdef TensorPlan p
        for p in self.shared_plans:
            p.last = None
        return 0

    cdef int put_gradient(self, Tensor leaf, object state, tuple arguments, list records) except -1:
        if state is False:
            if leaf.rec >= 0:
                leaf.grad = None
        elif isinstance(state, TensorPlan):
            put_grad(leaf, self.make(<TensorPlan>state, arguments, records))
        elif state is not None:
            leaf.grad = state
        return 0

    cdef Tensor make(self, object plan, tuple arguments, list records):
        cdef TensorPlan p = <TensorPlan>plan
        cdef Tensor t, over
        cdef Storage* st
        cdef int64_t i, last
        if p.shared and p.last is not None:
            return p.last
        if p.base >= 0:
            st = self.base_storage[p.base]
            t = tensor_over(st, st.ptr + p.offset, p.dt, p.ndim, p.shape, p.strides)
        else:
            over = <Tensor>arguments[(<Argument>p.over).number] if isinstance(p.over, Argument) else <Tensor>p.over
            last = p.offset + itemsizes[p.dt]
            for i in range(p.ndim):
                last += (p.shape[i] - 1) * p.strides[i] * itemsizes[p.dt]
            if over.data_ + last > over.st.ptr + over.st.nbytes and 0 not in [p.shape[i] for i in range(p.ndim)]:
                raise RuntimeError("a tensor was given less memory while a compiled function made a view of it")
            t = tensor_over(over.st, over.data_ + p.offset, p.dt, p.ndim, p.shape, p.strides)
        t.inference = p.inference
        t.view_marks = p.marks
        t.requires = p.requires
        if p.stamp >= 0 and records is not None:
            i = records[p.stamp]
            record_retain(i)
            t.rec = i
            t.requires = True
        if p.view_of is not None:
            if isinstance(p.view_of, TensorPlan):
                over = self.make(<TensorPlan>p.view_of, arguments, records)
            elif isinstance(p.view_of, Root):
                over = <Tensor>arguments[(<Root>p.view_of).number]
                if over.base is not None:
                    over = over.base
            else:
                over = <Tensor>p.view_of
            t.base = over
            t.base_history = over.history
        if p.shared:
            p.last = t
        return t

    cdef object build(self, object shape, tuple arguments, list records):
        """The result in the form in which the function returned it."""
        if isinstance(shape, TensorPlan):
            return self.make(<TensorPlan>shape, arguments, records)
        if isinstance(shape, Argument):
            return arguments[(<Argument>shape).number]
        if type(shape) is tuple:
            return tuple([self.build(s, arguments, records) for s in <tuple>shape])
        if type(shape) is list:
            return [self.build(s, arguments, records) for s in <list>shape]
        if type(shape) is dict:
            return {key: self.build(s, arguments, records) for key, s in (<dict>shape).items()}
        if isinstance(shape, Held):
            return gradient_at(self.leaf((<Held>shape).number, arguments))
        if isinstance(shape, Same):
            return (<Same>shape).object
        if isinstance(shape, Rebuild):
            return (<Rebuild>shape).make(self.build((<Rebuild>shape).parts, arguments, records))
        return shape

    cdef list stamp(self, tuple arguments):
        """The records behind the results, newest last."""
        cdef list made = []
        cdef Stamp s
        cdef int64_t i, e, base, slot, n
        cdef int64_t* r
        cdef int64_t* ext
        cdef Storage* st
        cdef Tensor t
        for s in self.stamps:
            i = record_new()
            r = record(i)
            record_copy_in(r, s.words)
            made.append(i)
            ext = NULL
            if s.ext is not None:
                n = len(s.ext)
                ext = record_extend(r, n - EXT_BODY * 8 if n > EXT_BODY * 8 else 0, 0, 0)
                memcpy(ext, PyBytes_AS_STRING(s.ext), <size_t>n)
            for number, kind, which in s.edges:
                if kind == 0:
                    e = made[which]
                elif kind == 1:
                    e = graph_of(<Tensor>which)
                else:
                    e = graph_of(<Tensor>arguments[which])
                if e >= 0:
                    record_retain(e)
                if s.ext is not None and ext[EXT_EDGES] > 0:
                    ext_edges(ext)[<int64_t>number] = e
                else:
                    record_set_edge(r, <int64_t>number, e)
            for slot_, base_, outside, offset, version in s.saved:
                slot = slot_
                base = base_
                if base >= 0 and self.base_source[base] == B_FRESH:
                    st = self.base_storage[base]
                    address = <int64_t><uintptr_t>st.ptr + <int64_t>offset
                else:
                    t = <Tensor>outside if base < 0 else <Tensor>arguments[self.base_number[base]]
                    st = t.st
                    address = <int64_t><uintptr_t>t.data_ + <int64_t>offset
                storage_retain(st)
                if slot == 4:
                    ext[EXT_AUX] = <int64_t><uintptr_t>st
                    ext[EXT_AUX_META] |= ((st.version - <int64_t>version) & 0x7FFFFFFF) << EXT_AUX_VERSION_SHIFT
                    continue
                record_save(r, slot, st, address, st.version - <int64_t>version)
            if ext != NULL:
                for slot in range(3):
                    # A number among the inputs that lies in the extension block.
                    if (s.words[COPY_FLAGS] >> (FLAG_SCALAR_SHIFT + slot)) & 1:
                        record_set_ptr(r, slot, <int64_t><uintptr_t>ext + s.words[COPY_PTR + slot])
        return made


cdef inline int put_grad(Tensor leaf, object value) except -1:
    if leaf.rec < 0:
        leaf_record(leaf, leaf.requires)
    set_grad(leaf.rec, value)
    return 0


cdef int64_t graph_of(Tensor t) except -2:
    """The record that a graph leads to, of a leaf that is switched off meanwhile too."""
    cdef int64_t e = edge_of(t)
    return e if e >= 0 else t.rec if t.rec >= 0 else leaf_record(t, False)
