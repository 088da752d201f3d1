"""Runs the sweep: starts it, and does for it what needs Python.

Leaves accumulate here, hooks are called here, and kernels worth giving up the GIL for are run from
here; everything between is the compiled loop of `tape.sweep`.
"""

import os
import threading

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcpy

from tapegrad._elements cimport itemsizes
from tapegrad._layout cimport *
from tapegrad._tensor cimport (
    Tensor, clone, edge_of, grad_mode, grad_of, pointwise, set_grad, set_grad_mode, tensor_over,
)
from tapegrad.autograd._nodes cimport make_node, record_hooks
from tapegrad.tape cimport _capture
from tapegrad.tape._execute cimport blas_table, execute, kernel_of
from tapegrad.tape._storage cimport Storage, storage_new, storage_release, storage_retain
from tapegrad.tape._tape cimport (
    ext_edges, extension, kernel_t, op_name, op_row, ops, record, record_edge, record_extended, record_release,
    record_retain, record_saved, record_shape, record_version, segments,
)

from tapegrad.tape import _capture as _capture_module, _storage as _storage_module

cdef int64_t alloc_address, release_address
alloc_address, release_address = _storage_module.addresses()
cdef kernel_t sweep_kernel = NULL
cdef object load_sweep = None
cdef int64_t add_op = -1


def set_sweep(loader, int64_t add):
    """Gives the engine a function that loads the sweep, and the op that adds gradients."""
    global load_sweep, add_op
    load_sweep = loader
    add_op = add


cdef inline int64_t home_of(int64_t i, int64_t mask) noexcept:
    """Where record i belongs in a table; `tape.sweep` has the same rule."""
    return (((((i >> 3) * <int64_t>HASH_FACTOR) >> HASH_SHIFT) << 3) | (i & 7)) & mask


cdef class Sweep:
    """The words of one sweep and what they hold on to."""
    cdef int64_t* w
    cdef list held                      # roots, kept alive by their records
    cdef Sweep next_free

    def __cinit__(self):
        self.w = <int64_t*>calloc(SWEEP_WORDS, 8)
        if self.w == NULL:
            raise MemoryError("no memory for a backward sweep")

    def __dealloc__(self):
        if self.w != NULL:
            self.drop_pending()
            if self.w[SWEEP_HEAP]:
                free(<void*><uintptr_t>self.w[SWEEP_HEAP])
            if self.w[SWEEP_TABLE]:
                free(<void*><uintptr_t>self.w[SWEEP_TABLE])
            free(self.w)

    cdef void drop_pending(self) noexcept:
        """Releases the gradients in flight after an error."""
        cdef int64_t* w = self.w
        cdef int64_t* table = <int64_t*><uintptr_t>w[SWEEP_TABLE]
        cdef int64_t h
        if w[SWEEP_TABLE_LEN] > 0:
            for h in range(w[SWEEP_TABLE_CAP]):
                if table[h * ENTRY_WORDS] != 0:
                    table[h * ENTRY_WORDS] = 0
                    if table[h * ENTRY_WORDS + 1] != 0:
                        storage_release(<Storage*><uintptr_t>table[h * ENTRY_WORDS + 1])
        w[SWEEP_TABLE_LEN] = 0
        w[SWEEP_HEAP_LEN] = 0
        if w[SWEEP_GRAD] != 0:
            storage_release(<Storage*><uintptr_t>w[SWEEP_GRAD])
            w[SWEEP_GRAD] = 0
        if w[SWEEP_TARGET] != 0 and w[SWEEP_FRAME + FRAME_ACC] == 0:
            storage_release(<Storage*><uintptr_t>w[SWEEP_TARGET])
        w[SWEEP_TARGET] = 0
        w[SWEEP_FRAME + FRAME_ACC] = 0

    cdef int grow(self) except -1:
        """Doubles the heap and the table."""
        cdef int64_t* w = self.w
        cdef int64_t old = w[SWEEP_TABLE_CAP]
        cdef int64_t cap = old * 2 if old else 64
        cdef int64_t* table = <int64_t*>calloc(<size_t>cap * ENTRY_WORDS, 8)
        cdef int64_t* heap = <int64_t*>malloc(<size_t>cap * 2 * 8)
        cdef int64_t* before = <int64_t*><uintptr_t>w[SWEEP_TABLE]
        cdef int64_t h, j
        if table == NULL or heap == NULL:
            free(table)
            free(heap)
            raise MemoryError("no memory for the gradients in flight")
        for h in range(old):
            if before[h * ENTRY_WORDS] != 0:
                j = home_of(before[h * ENTRY_WORDS] - 1, cap - 1)
                while table[j * ENTRY_WORDS] != 0:
                    j = (j + 1) & (cap - 1)
                memcpy(table + j * ENTRY_WORDS, before + h * ENTRY_WORDS, ENTRY_WORDS * 8)
        if w[SWEEP_HEAP]:
            memcpy(heap, <void*><uintptr_t>w[SWEEP_HEAP], w[SWEEP_HEAP_LEN] * 16)
            free(<void*><uintptr_t>w[SWEEP_HEAP])
        free(before)
        w[SWEEP_TABLE] = <int64_t><uintptr_t>table
        w[SWEEP_HEAP] = <int64_t><uintptr_t>heap
        w[SWEEP_TABLE_CAP] = cap
        w[SWEEP_HEAP_CAP] = cap
        return 0

    cdef int64_t place(self, int64_t i) except -1:
        """The table place of record i, its entry made if absent."""
        cdef int64_t* w = self.w
        cdef int64_t* table
        cdef int64_t h
        if 2 * w[SWEEP_TABLE_LEN] + 2 > w[SWEEP_TABLE_CAP]:
            self.grow()
        table = <int64_t*><uintptr_t>w[SWEEP_TABLE]
        h = home_of(i, w[SWEEP_TABLE_CAP] - 1)
        while table[h * ENTRY_WORDS] != 0 and table[h * ENTRY_WORDS] != i + 1:
            h = (h + 1) & (w[SWEEP_TABLE_CAP] - 1)
        if table[h * ENTRY_WORDS] == 0:
            table[h * ENTRY_WORDS] = i + 1
            table[h * ENTRY_WORDS + 1] = 0
            table[h * ENTRY_WORDS + 2] = 0
            w[SWEEP_TABLE_LEN] += 1
        return h

    cdef int64_t* entry(self, int64_t i) except NULL:
        """The table entry of record i; valid until the table grows."""
        cdef int64_t h = self.place(i)
        return <int64_t*><uintptr_t>self.w[SWEEP_TABLE] + h * ENTRY_WORDS

    cdef int seed(self, int64_t i, Storage* g) except -1:
        """Puts a gradient on a root; takes over the reference."""
        cdef int64_t h
        cdef int64_t* table
        cdef int64_t* heap
        cdef int64_t j, parent, seq
        cdef Tensor a, b
        try:
            h = self.place(i)
        except BaseException:
            storage_release(g)
            raise
        table = <int64_t*><uintptr_t>self.w[SWEEP_TABLE]
        if table[h * ENTRY_WORDS + 1] != 0:
            a = gradient_tensor(i, <Storage*><uintptr_t>table[h * ENTRY_WORDS + 1])
            b = gradient_tensor(i, g)
            storage_release(g)
            a = add(a, b)
            storage_retain(a.st)
            storage_release(<Storage*><uintptr_t>table[h * ENTRY_WORDS + 1])
            table[h * ENTRY_WORDS + 1] = <int64_t><uintptr_t>a.st
            return 0
        table[h * ENTRY_WORDS + 1] = <int64_t><uintptr_t>g
        heap = <int64_t*><uintptr_t>self.w[SWEEP_HEAP]
        seq = record(i)[REC_SEQ]
        j = self.w[SWEEP_HEAP_LEN]
        self.w[SWEEP_HEAP_LEN] += 1
        while j > 0:
            parent = (j - 1) >> 1
            if heap[2 * parent] >= seq:
                break
            heap[2 * j] = heap[2 * parent]
            heap[2 * j + 1] = heap[2 * parent + 1]
            j = parent
        heap[2 * j] = seq
        heap[2 * j + 1] = i
        return 0


cdef struct Reached:
    int64_t seq
    int64_t rec


cdef int earlier(const void* a, const void* b) noexcept nogil:
    cdef int64_t x = (<const Reached*>a).seq, y = (<const Reached*>b).seq
    return -1 if x < y else 1 if x > y else 0


cdef inline int64_t* edges_of(int64_t* r, int64_t* n, int64_t* room) noexcept:
    """The edges of a record and their number; room for MAX_INPUTS of them serves where they are packed."""
    cdef int k
    if r[REC_FLAGS] & FLAG_LEAF:
        n[0] = 0
        return room
    if op_row(r[REC_OP] & 0xFFFF)[OP_FLAGS] & OPFLAG_VARIADIC:
        n[0] = extension(r)[EXT_EDGES]
        return ext_edges(extension(r))
    n[0] = MAX_INPUTS
    for k in range(MAX_INPUTS):
        room[k] = record_edge(r, k)
    return room


cdef int mark_needed(Sweep s, list roots, list wanted) except -1:
    """Marks in the sweep's table the records that lead from the roots to a wanted one."""
    cdef Reached* found = NULL
    cdef Reached* bigger
    cdef int64_t n = 0, done = 0, cap = 0, low = -1, i, e, k, count = 0
    cdef int64_t* edges
    cdef int64_t* entry
    cdef int64_t room[MAX_INPUTS]
    cdef bint several = len(wanted) > 1, noting = _capture.listening()
    for i in wanted:
        s.entry(i)[2] = ENTRY_CAPTURE
        if low < 0 or record(i)[REC_SEQ] < low:
            low = record(i)[REC_SEQ]
    try:
        pending = list(roots)
        while pending or done < n:
            # The roots first, then what the records found so far hold.
            if pending:
                i = pending.pop()
                edges = &i
                count = 1
            elif s.entry(found[done].rec)[2] & ENTRY_CAPTURE and not several:
                count = 0               # nothing else is looked for
                done += 1
            else:
                edges = edges_of(record(found[done].rec), &count, room)
                done += 1
            for k in range(count):
                e = edges[k]
                if e < 0:
                    continue
                if noting and not s.entry(e)[2] & ENTRY_CAPTURE:
                    _capture.note_reached(e)
                if record(e)[REC_SEQ] < low:
                    continue
                entry = s.entry(e)
                if entry[2] & ENTRY_SEEN:
                    continue
                entry[2] |= ENTRY_SEEN
                if n == cap:
                    cap = cap * 2 if cap else 256
                    bigger = <Reached*>realloc(found, <size_t>cap * sizeof(Reached))
                    if bigger == NULL:
                        raise MemoryError("no memory to look for the inputs in the graph")
                    found = bigger
                found[n].seq = record(e)[REC_SEQ]
                found[n].rec = e
                n += 1
        qsort(found, <size_t>n, sizeof(Reached), earlier)
        for done in range(n):
            entry = s.entry(found[done].rec)
            if entry[2] & ENTRY_CAPTURE:
                entry[2] |= ENTRY_NEEDED
            edges = edges_of(record(found[done].rec), &count, room)
            for k in range(count):
                e = edges[k]
                if e >= 0 and record(e)[REC_SEQ] >= low and s.entry(e)[2] & ENTRY_NEEDED:
                    entry = s.entry(found[done].rec)
                    entry[2] |= ENTRY_NEEDED
                    if entry[2] & ENTRY_CAPTURE:
                        entry[2] |= ENTRY_GOES_ON
                    break
    finally:
        free(found)
    s.w[SWEEP_FILTER] = 1
    return 0


cdef int note_graph(list starts) except -1:
    """Tells the capture of the records from before it that a sweep from these comes to, with a kernel or without."""
    cdef int64_t i, k, n
    cdef int64_t* edges
    cdef int64_t room[MAX_INPUTS]
    cdef set seen = set()
    while starts:
        i = starts.pop()
        if i < 0 or i in seen:
            continue
        seen.add(i)
        if not _capture.note_reached(i):
            edges = edges_of(record(i), &n, room)
            starts.extend([edges[k] for k in range(n)])
    return 0


cdef Sweep free_sweeps = None


cdef Sweep take_sweep():
    global free_sweeps
    cdef Sweep s = free_sweeps
    if s is None:
        s = Sweep.__new__(Sweep)
    else:
        free_sweeps = s.next_free
        s.next_free = None
    s.w[SWEEP_SEGMENTS] = <int64_t><uintptr_t>segments
    s.w[SWEEP_OPS] = <int64_t><uintptr_t>ops
    s.w[SWEEP_ALLOC] = alloc_address
    s.w[SWEEP_RELEASE] = release_address
    s.w[SWEEP_ADD] = add_op
    s.w[SWEEP_FILTER] = 0
    s.w[SWEEP_STAGE] = STAGE_POP
    s.w[SWEEP_CALLS] = 0
    s.w[SWEEP_RECORDS] = 0
    return s


cdef void give_sweep(Sweep s) noexcept:
    global free_sweeps
    if s.w[SWEEP_TABLE_CAP] <= 65536:
        s.next_free = free_sweeps
        free_sweeps = s


cdef Tensor gradient_tensor(int64_t i, Storage* st):
    """A gradient of record i as a tensor."""
    cdef int64_t* r = record(i)
    cdef int64_t strides[MAX_DIMS]
    cdef int64_t* shape = record_shape(r)
    cdef int nd = <int>((r[REC_OP] >> 16) & 0xFF), d
    cdef int64_t step = 1
    for d in range(nd - 1, -1, -1):
        strides[d] = step
        if shape[d] > 1:
            step *= shape[d]
    return tensor_over(st, st.ptr, <int>((r[REC_OP] >> 24) & 0xFF), nd, shape, strides)


cdef Tensor add(Tensor a, Tensor b):
    cdef PyObject* p[2]
    p[0] = <PyObject*>a
    p[1] = <PyObject*>b
    return pointwise(add_op, 2, p, None, None)


cdef int add_into(Tensor a, Tensor b) except -1:
    """a += b outside of the history, into the same object."""
    cdef PyObject* p[2]
    cdef bint mode = grad_mode()
    p[0] = <PyObject*>a
    p[1] = <PyObject*>b
    set_grad_mode(False)
    try:
        pointwise(add_op, 2, p, a, None)
    finally:
        set_grad_mode(mode)
    return 0


cdef bint has_shape(Tensor t, int64_t* r) noexcept:
    cdef int64_t* shape = record_shape(r)
    cdef int d
    if t.ndim_ != (r[REC_OP] >> 16) & 0xFF:
        return False
    for d in range(t.ndim_):
        if t.shape_[d] != shape[d]:
            return False
    return True


# One addition to a public gradient at a time: sweeps of several threads may share leaves.
cdef object accumulation = threading.RLock()


def _after_fork():
    global accumulation
    accumulation = threading.RLock()    # its owner may not exist in the child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


cdef int accumulate(int64_t i, Storage* g) except -1:
    """Adds a finished gradient to the public one of leaf i; the buffer itself becomes it where it can."""
    cdef Tensor there, new
    cdef Storage* copy
    cdef int64_t f[FRAME_WORDS]
    cdef int64_t n, address
    cdef int64_t* r = record(i)
    held = grad_of(i)
    if held is None:
        if g.refs == 1 and g.bucket >= 0:
            new = gradient_tensor(i, g)
        else:
            copy = storage_new(g.nbytes)
            memcpy(copy.ptr, g.ptr, g.nbytes)
            if _capture.listening():
                _capture.log_copy(copy.ptr, g.ptr, g.nbytes)
            new = gradient_tensor(i, copy)
            storage_release(copy)
        held = grad_of(i)
        if held is None:                # making an object can let other threads run
            set_grad(i, new)
            return 0
    there = <Tensor>held
    n = there.numel_
    if there.dt != (r[REC_OP] >> 24) & 0xFF or not has_shape(there, r):
        # Its data was exchanged by hand.
        raise RuntimeError(f"the gradient to accumulate has not the size and type of the one that is there: "
                           f"{list(there.shape)}, {there.dtype}")
    # Not given to other threads to run: two sweeps may be adding to one leaf.
    if there.contig and n > 0 and not there.requires:
        f[FRAME_OUT] = <int64_t><uintptr_t>there.data_
        f[FRAME_IN] = f[FRAME_OUT]
        f[FRAME_IN + 1] = <int64_t><uintptr_t>g.ptr
        f[FRAME_STEP] = 1
        f[FRAME_STEP + 1] = 1
        f[FRAME_N] = n
        address = kernel_of(add_op, OP_FORWARD + there.dt, 0, LAYOUT_FLAT, there.dt)
        (<kernel_t><uintptr_t>address)(f, 0, n)
        if _capture.listening():
            _capture.note_outside(there, there.st)
            _capture.log_kernel(add_op, 0, LAYOUT_FLAT, there.dt, address, n, f, (<int64_t>3) << FRAME_IN,
                                (<int64_t>1) << FRAME_OUT, NULL, 0, NULL, 0, NULL, 0)
        _capture.changed(there.st)
        return 0
    with accumulation:                  # a strided addition may let go of the GIL
        add_into(there, gradient_tensor(i, g))
    return 0


cdef Storage* grad_storage(Tensor g) except NULL:
    """The gradient's data as a contiguous storage of its own or shared; a new reference."""
    cdef Storage* st
    cdef Tensor c = g
    if g.contig and g.data_ == g.st.ptr and g.st.bucket >= 0:
        storage_retain(g.st)
        return g.st
    if not g.contig:
        mode = grad_mode()
        set_grad_mode(False)
        try:
            c = clone(g)
        finally:
            set_grad_mode(mode)
    st = storage_new(c.numel_ * itemsizes[c.dt])
    memcpy(st.ptr, c.data_, c.numel_ * itemsizes[c.dt])
    if _capture.listening():
        _capture.note_outside(c, c.st)
        _capture.log_copy(st.ptr, c.data_, c.numel_ * itemsizes[c.dt])
    return st


cdef int visit(Sweep s, dict wanted, list results, bint accumulates) except -1:
    """Hooks, capture, retained gradients and leaves: what Python sees of the current record."""
    cdef int64_t* w = s.w
    cdef int64_t i = w[SWEEP_REC]
    cdef int64_t* r = record(i)
    cdef Storage* g
    cdef Storage* replaced
    cdef Tensor t
    cdef bint mode
    hooks = record_hooks(i)
    record_retain(i)
    if _capture.listening():
        if hooks is not None and (hooks.pre or hooks.post):
            _capture.note_refusal("a hook on a gradient was called")
        if r[REC_FLAGS] & FLAG_RETAIN:
            _capture.note_refusal("retain_grad() keeps the gradient of an intermediate value")
    mode = grad_mode()
    if hooks is not None and mode:
        set_grad_mode(False)    # what hooks compute is not recorded
    try:
        if w[SWEEP_DETAIL] & ENTRY_GOES_ON:
            # As in PyTorch: before the hooks where the sweep goes on from here, else after them.
            results[wanted[i]] = gradient_tensor(i, <Storage*><uintptr_t>w[SWEEP_GRAD])
        if hooks is not None and hooks.pre:
            t = gradient_tensor(i, <Storage*><uintptr_t>w[SWEEP_GRAD])
            changed = t
            for hook in list(hooks.pre.values()):
                answer = hook(changed)
                if answer is not None:
                    check_hook_result(answer, t)
                    changed = answer
            if changed is not t:
                replaced = grad_storage(<Tensor>changed)
                storage_release(<Storage*><uintptr_t>w[SWEEP_GRAD])
                w[SWEEP_GRAD] = <int64_t><uintptr_t>replaced
        if w[SWEEP_DETAIL] & ENTRY_CAPTURE and w[SWEEP_DETAIL] & ENTRY_GOES_ON == 0:
            g = <Storage*><uintptr_t>w[SWEEP_GRAD]
            results[wanted[i]] = gradient_tensor(i, g)
        if r[REC_FLAGS] & FLAG_RETAIN:  # also by grad(): what it passes
            g = <Storage*><uintptr_t>w[SWEEP_GRAD]
            held = grad_of(i)
            t = gradient_tensor(i, g)
            if held is None:
                set_grad(i, clone(t))
            else:
                add_into(<Tensor>held, t)
        if r[REC_FLAGS] & FLAG_LEAF:
            if accumulates and r[REC_FLAGS] & FLAG_REQUIRES:
                accumulate(i, <Storage*><uintptr_t>w[SWEEP_GRAD])
                if hooks is not None and hooks.post:
                    for hook in list(hooks.post.values()):
                        hook()
        if r[REC_FLAGS] & FLAG_LEAF or (w[SWEEP_DETAIL] & ENTRY_CAPTURE and w[SWEEP_DETAIL] & ENTRY_GOES_ON == 0):
            storage_release(<Storage*><uintptr_t>w[SWEEP_GRAD])
            w[SWEEP_GRAD] = 0
            w[SWEEP_STAGE] = STAGE_POP
    finally:
        if mode:
            set_grad_mode(True)
        record_release(i)
    return 0


cdef object check_hook_result(answer, Tensor t):
    if not isinstance(answer, Tensor):
        raise TypeError(f"hook returned '{type(answer).__name__}', but a Tensor or None was expected")
    if (<Tensor>answer).shape != t.shape or (<Tensor>answer).dt != t.dt:
        raise RuntimeError(f"hook has changed the size or type of value: expected {list(t.shape)} {t.dtype}, "
                           f"got {list(answer.shape)} {answer.dtype}")


cdef object fail(int64_t status, int64_t* w):
    cdef int64_t* r = record(w[SWEEP_REC])
    cdef int64_t op = r[REC_OP] & 0xFFFF
    cdef Storage* st
    name = op_name(op)
    if status == SWEEP_FREED:
        raise RuntimeError(
            "Trying to backward through the graph a second time (or directly access saved tensors after they have "
            "already been freed). Saved intermediate values of the graph are freed when you call .backward() or "
            "autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or "
            "if you need to access saved tensors after calling backward.")
    if status == SWEEP_VERSION:
        k = w[SWEEP_DETAIL]
        if k == 4:
            st = <Storage*><uintptr_t>extension(r)[EXT_AUX]
            then = extension(r)[EXT_AUX_META] >> EXT_AUX_VERSION_SHIFT
        else:
            st = <Storage*><uintptr_t>record_saved(r, k)
            then = record_version(r, k)
        what = "its second result" if k == 4 else "its result" if k == 3 else f"its input {k}"
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"{what}, saved by {make_node(w[SWEEP_REC]).name()}, is at version {st.version}; expected "
            f"version {then} instead. Hint: change a copy (.clone()) or use an out-of-place operation.")
    if status == SWEEP_FAILED:
        raise RuntimeError(f"the backward kernel of {name} failed")
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: out of memory in the backward pass")


cdef int run(Sweep s, dict wanted, list results, bint accumulates) except -1:
    global sweep_kernel
    cdef int64_t* w = s.w
    cdef int64_t status, op, word, rest
    if sweep_kernel == NULL:
        sweep_kernel = <kernel_t><uintptr_t><int64_t>load_sweep()
    if w[SWEEP_TABLE_CAP] == 0:
        s.grow()
    w[SWEEP_BLAS] = blas_table
    w[SWEEP_TRACE] = _capture_module.sweep_callback() if _capture.active else 0
    while True:
        status = sweep_kernel(w, 0, 0)
        if status == SWEEP_DONE:
            return 0
        if status == SWEEP_VISIT:
            visit(s, wanted, results, accumulates)
        elif status == SWEEP_MISSING:
            op = w[SWEEP_DETAIL]
            word = w[SWEEP_KERNEL]
            if word < OP_BACKWARD:
                kernel_of(op, word, 0, LAYOUT_FLAT, <int>(word & 7))
            else:
                rest = word - OP_BACKWARD
                kernel_of(op, word, <int>(1 + (rest >> 4)), <int>((rest >> 3) & 1), <int>(rest & 7))
                w[SWEEP_BLAS] = blas_table
                still_there(w)
        elif status == SWEEP_GROW:
            s.grow()
        elif status == SWEEP_HEAVY:
            heavy(w)
            still_there(w)
        else:
            fail(status, w)


cdef int heavy(int64_t* w) except -1:
    """Runs the prepared kernel without the GIL."""
    cdef int64_t* f = w + SWEEP_FRAME
    cdef int64_t* r = record(w[SWEEP_REC])
    cdef kernel_t k = <kernel_t><uintptr_t>w[SWEEP_KERNEL]
    cdef int64_t n = -w[SWEEP_ITEMS]
    cdef int64_t status
    cdef Storage* held[5]
    cdef int j
    # Another thread's backward through this record may free what it saved, so we hold on to that.
    for j in range(4):
        held[j] = <Storage*><uintptr_t>record_saved(r, j)
    held[4] = <Storage*><uintptr_t>extension(r)[EXT_AUX] if record_extended(r) else NULL
    for j in range(5):
        if held[j] != NULL:
            storage_retain(held[j])
    try:
        if w[SWEEP_ITEMS] < 0:
            with nogil:
                status = k(f, 0, n)
        elif w[SWEEP_ITEMS] > 0:
            status = execute(f, w[SWEEP_KERNEL], KIND_POINTWISE, w[SWEEP_ITEMS])
        else:
            status = execute(f, w[SWEEP_KERNEL], KIND_STRUCTURED, f[FRAME_N])
    finally:
        for j in range(5):
            if held[j] != NULL:
                storage_release(held[j])
    if status != 0:
        fail(SWEEP_FAILED, w)
    return 0


cdef Storage* one_of(Tensor t) except NULL:
    """The gradient of a scalar with respect to itself."""
    cdef Storage* st = storage_new(itemsizes[t.dt])
    if t.dt == 0:
        (<float*>st.ptr)[0] = 1.0
    else:
        (<double*>st.ptr)[0] = 1.0
    if _capture.listening():
        _capture.log_constant(st.ptr, st.nbytes)
    return st


cdef int still_there(int64_t* w) except -1:
    """RuntimeError if another thread's backward has freed what the current record saved."""
    if record(w[SWEEP_REC])[REC_FLAGS] & FLAG_FREED:
        fail(SWEEP_FREED, w)
    return 0


def backward(list roots, list grads, bint keep, list inputs, bint accumulates):
    """Runs one sweep from `roots` with these gradients.

    With `inputs`, the gradients at these tensors are returned in a list (None where none arrived), only
    what leads to them is visited, and the leaves among them accumulate if `accumulates` is set.
    """
    cdef Sweep s
    cdef Tensor t
    cdef int64_t i
    cdef dict wanted = None
    cdef list results = None, held = [], starts = [], targets = []
    s = take_sweep()
    s.w[SWEEP_KEEP] = keep
    try:
        for t in roots:
            i = edge_of(t)
            record_retain(i)
            held.append(i)
            starts.append(i)
        if inputs is not None:
            _capture_module.note_asked(inputs)
            wanted = {}
            results = []
            for t in inputs:
                i = edge_of(t)
                record_retain(i)
                held.append(i)
                targets.append(i)
                if i not in wanted:
                    wanted[i] = len(results)
                    results.append(None)
            mark_needed(s, starts, list(wanted))
        elif _capture.listening():
            note_graph(starts.copy())
        for k in range(len(roots)):
            i = starts[k]
            if inputs is not None and s.entry(i)[2] & ENTRY_NEEDED == 0:
                continue
            s.seed(i, one_of(<Tensor>roots[k]) if grads[k] is None else grad_storage(<Tensor>grads[k]))
        run(s, wanted, results, accumulates)
    finally:
        s.drop_pending()
        give_sweep(s)
        for i in held:
            record_release(i)
    if inputs is None:
        return None
    return [results[wanted[i]] for i in targets]


def fast_backward(Tensor t not None):
    """`backward()` of a scalar with nothing else asked for."""
    cdef Sweep s
    cdef int64_t i = edge_of(t)
    if i < 0:
        raise RuntimeError("element 0 of tensors does not require grad and does not have a grad_fn")
    if t.numel_ != 1:
        raise RuntimeError("grad can be implicitly created only for scalar outputs")
    if _capture.listening():
        note_graph([i])
    s = take_sweep()
    s.w[SWEEP_KEEP] = 0
    record_retain(i)
    try:
        s.seed(i, one_of(t))
        run(s, None, None, True)
    finally:
        s.drop_pending()
        record_release(i)
        give_sweep(s)
