from cpython.object cimport PyObject
from libc.stdint cimport int64_t

cdef class Snapshot:
    cdef list containers
    cdef PyObject** entries             # key and value per dict entry, else value; NULL for nothing
    cdef list kept                      # owns them, where the collector of cycles sees it
    cdef int64_t* first                 # of each container, and one more
    cdef int64_t n
    cdef PyObject** held                # the containers once more, borrowed from the list
    cdef char* kinds                    # of each: dict, list, cell, View, Names

    cdef int64_t size(self, int64_t k) noexcept
    cdef int take(self, int64_t k) except -1
    cdef int put(self, int64_t at, PyObject* o) except -1
    cdef int64_t differs(self, int64_t start)
    cdef bint unchanged(self)
