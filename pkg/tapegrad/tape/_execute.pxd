from libc.stdint cimport int64_t

from tapegrad.tape._tape cimport op_row

cdef int64_t blas_table     # address of the BLAS table that frames carry, 0 before BLAS is loaded

cdef int64_t load_kernel(int64_t op, int64_t word, int role, int layout, int dt) except 0
cdef int64_t execute(int64_t* f, int64_t address, int64_t kind, int64_t n) except -1
cdef object raise_kernel_error(int64_t op, int64_t status, int64_t* f)

cdef inline int64_t kernel_of(int64_t op, int64_t word, int role, int layout, int dt) except 0:
    """The kernel's address; compiles it or loads it from the object cache at its first use."""
    cdef int64_t address = op_row(op)[word]
    return address if address != 0 else load_kernel(op, word, role, layout, dt)
