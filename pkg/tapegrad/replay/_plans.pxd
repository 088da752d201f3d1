from libc.stdint cimport int64_t

from tapegrad._layout cimport *
from tapegrad._tensor cimport Tensor
from tapegrad.tape._storage cimport Storage

cdef class Argument:
    cdef readonly int64_t number

cdef class Root:
    cdef readonly int64_t number

cdef class Held:
    cdef readonly int64_t number

cdef class Same:
    cdef readonly object object

cdef class TensorPlan:
    cdef int64_t base, offset, stamp
    cdef object over
    cdef bint requires
    cdef int dt, ndim
    cdef int64_t shape[MAX_DIMS]
    cdef int64_t strides[MAX_DIMS]
    cdef bint inference
    cdef int marks                      # of views: bits of VIEW_*
    cdef public bint shared             # in several places of the results
    cdef public object view_of          # the tensor, Argument or TensorPlan of which it is a view
    cdef Tensor last                    # ... as made in the run that goes on

cdef class TensorForm:
    cdef int dt, ndim
    cdef bint requires, leaf, inference, listened_to
    cdef object kind                    # its class
    cdef int64_t shape[MAX_DIMS]
    cdef int64_t strides[MAX_DIMS]

    cdef bint fits(self, Tensor t) except -1

cdef class Guarded(TensorForm):
    cdef readonly Tensor tensor
    cdef Storage* st
    cdef char* data

    cdef bint holds(self) except -1

cdef class Stamp:
    cdef int64_t words[COPY_WORDS]
    cdef bytes ext
    cdef tuple edges
    cdef tuple saved

cdef class Rebuild:
    cdef readonly object kind
    cdef readonly object make
    cdef readonly object parts

cdef class Arena:
    cdef Storage* st
    cdef readonly int64_t address
    cdef readonly int64_t nbytes
    cdef public bint busy               # a program runs in it
