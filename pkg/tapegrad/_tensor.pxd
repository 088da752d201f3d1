from cpython.ref cimport PyObject
from libc.stdint cimport int64_t

from tapegrad._layout cimport *
from tapegrad.tape._storage cimport Storage

cdef class Tensor:
    cdef Storage* st
    cdef char* data_
    cdef int64_t numel_
    cdef int64_t rec            # record of the value's history, or -1
    cdef int64_t history        # grows when an in-place op gives the value a new record
    cdef int64_t base_history   # of a view: the base's count when `rec` was made
    cdef int ndim_
    cdef int dt                 # index of the dtype
    cdef bint requires
    cdef bint contig
    cdef bint inference         # made in inference_mode
    cdef bint multi_view        # one of several views made together: not changed in place
    cdef int64_t shape_[MAX_DIMS]
    cdef int64_t strides_[MAX_DIMS]
    cdef Tensor base            # the tensor whose memory this view shows, or None
    cdef object __weakref__
    cdef dict attributes        # what users hang on a tensor, or None

cdef int64_t[MAX_DTYPES] itemsizes
cdef int default_dt

cdef bint grad_mode() noexcept nogil
cdef Tensor tensor_new(int dt, int ndim, const int64_t* shape)
cdef Tensor tensor_over(Storage* st, char* data, int dt, int ndim, const int64_t* shape, const int64_t* strides)
cdef Tensor view_of(Tensor x, int ndim, const int64_t* shape, const int64_t* strides, int64_t offset,
                    const int64_t* gstrides, int64_t goffset, bint alias)
cdef int64_t edge_of(Tensor t) except -2
cdef Tensor contiguous_(Tensor x)
cdef int64_t kernel_of(int64_t op, int64_t word, int role, int layout, int dt) except 0
cdef int64_t execute(int64_t* f, int64_t address, int64_t kind, int64_t n) except -1
cdef object raise_kernel_error(int64_t op, int64_t status, int64_t* f)
cdef Tensor pointwise(int64_t op, int n, PyObject** args, Tensor inplace, object params)
cdef Tensor saved_tensor(int64_t i, int k)
