"""Running kernels: an op's kernel is found, planned and run over all its items.

A kernel is a C function called by address (`_layout.pxd`). What it takes to compile one, and to run
one on several threads, is given to this module from the floor that knows Numba.
"""

from libc.stdint cimport int64_t, uintptr_t

from tapegrad._layout cimport *
from tapegrad.tape cimport _capture
from tapegrad.tape._storage cimport Storage, storage_new, storage_release
from tapegrad.tape._tape cimport kernel_t, op_row

cdef int n_threads = 1
cdef object run_parallel = None
cdef object compile_kernel = None
cdef object kernel_error = None
cdef int64_t blas_table = 0


cdef int64_t load_kernel(int64_t op, int64_t word, int role, int layout, int dt) except 0:
    """Compiles a kernel, or takes it from the object cache, and puts its address into the op's row."""
    cdef int64_t address = compile_kernel(op, role, layout, dt)
    op_row(op)[word] = address
    return address


cdef int64_t execute(int64_t* f, int64_t address, int64_t kind, int64_t n) except -1:
    """Runs a kernel over all its items: planned, in chunks, without the GIL when it is much."""
    cdef kernel_t k = <kernel_t><uintptr_t>address
    cdef int64_t items = n, grain = CHUNK_ELEMENTS, phases = 1, status
    cdef bint parallel = n_threads > 1
    cdef Storage* scratch = NULL
    f[FRAME_BLAS] = blas_table
    if kind == KIND_POINTWISE:
        parallel = parallel and n >= PARALLEL_ELEMENTS
    else:
        f[FRAME_GRAIN] = 1
        f[FRAME_SCRATCH_BYTES] = 0
        f[FRAME_PHASES] = 1
        f[FRAME_PHASE] = 0
        items = k(f, -1, 0)
        grain = f[FRAME_GRAIN]
        phases = f[FRAME_PHASES]
        if grain < 1:
            grain = 1
        if f[FRAME_SCRATCH_BYTES] > 0:
            scratch = storage_new(f[FRAME_SCRATCH_BYTES])
            f[FRAME_SCRATCH] = <int64_t><uintptr_t>scratch.ptr
    if items <= grain:
        status = run_chunks(f, k, items, grain, phases)
    elif parallel:
        try:
            status = run_on_threads(f, address, items, grain, phases)
        except BaseException:
            if scratch != NULL:
                storage_release(scratch)
            raise
    else:
        with nogil:
            status = run_chunks(f, k, items, grain, phases)
    if scratch != NULL:
        storage_release(scratch)
    if status < 0:                      # what compiled code returns where Python would have raised
        raise RuntimeError(f"a kernel stopped with status {status}; please report this as a bug")
    return status


cdef int64_t run_on_threads(int64_t* f, int64_t address, int64_t items, int64_t grain, int64_t phases) except? -1:
    """As `run_chunks`, with the chunks of a phase on several threads."""
    cdef int64_t phase, status
    for phase in range(phases):
        f[FRAME_PHASE] = phase
        status = run_parallel(address, <int64_t><uintptr_t>f, items, grain)
        if status != 0:
            return status
    return 0


cdef object raise_kernel_error(int64_t op, int64_t status, int64_t* f):
    if _capture.listening():
        _capture.note_failure()
    raise kernel_error(op, status, f[FRAME_ERROR], f[FRAME_ERROR + 1])


def set_hook(str name, value):
    """Gives this module what it calls in the floors above, and what it tells kernels."""
    global compile_kernel, run_parallel, kernel_error, n_threads, blas_table
    if name == "compile_kernel":
        compile_kernel = value
    elif name == "run_parallel":
        run_parallel = value
    elif name == "kernel_error":
        kernel_error = value
    elif name == "n_threads":
        n_threads = value
    elif name == "blas_table":
        blas_table = value
    else:
        raise KeyError(name)
