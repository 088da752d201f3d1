from libc.stdint cimport int64_t

from tapegrad._layout cimport FRAME_PHASE
from tapegrad.tape._tape cimport kernel_t, op_row

cdef int n_threads          # threads that a kernel may use
cdef int64_t blas_table     # address of the BLAS table that frames carry, 0 before BLAS is loaded

cdef int64_t load_kernel(int64_t op, int64_t word, int role, int layout, int dt) except 0
cdef int64_t execute(int64_t* f, int64_t address, int64_t kind, int64_t n) except -1
cdef int64_t run_on_threads(int64_t* f, int64_t address, int64_t items, int64_t grain, int64_t phases) except? -1
cdef object raise_kernel_error(int64_t op, int64_t status, int64_t* f)

cdef inline int64_t kernel_of(int64_t op, int64_t word, int role, int layout, int dt) except 0:
    """The kernel's address; compiles it or loads it from the object cache at its first use."""
    cdef int64_t address = op_row(op)[word]
    return address if address != 0 else load_kernel(op, word, role, layout, dt)

cdef inline int64_t run_chunks(int64_t* f, kernel_t k, int64_t items, int64_t grain, int64_t phases) noexcept nogil:
    """Runs all phases of a kernel in chunks of `grain` items: 0, or the first status that is not.

    A phase is at least one call, where there are no items one with none.
    """
    cdef int64_t phase, lo, hi, status
    for phase in range(phases):
        f[FRAME_PHASE] = phase
        lo = 0
        while True:
            hi = lo + grain if items - lo > grain else items
            status = k(f, lo, hi)
            if status != 0:
                return status
            if hi == items:
                break
            lo = hi
    return 0
