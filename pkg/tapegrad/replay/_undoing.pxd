from libc.stdint cimport int64_t

cdef class Undoing:
    cdef frozenset steps
    cdef tuple spans
    cdef tuple states
    cdef list before                    # the bytes of `states` before the run

    cdef int begin(self) except -1
    cdef bint undo(self, int64_t failed, const int64_t* bases) except -1
