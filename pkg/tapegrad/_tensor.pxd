from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uintptr_t

from tapegrad._layout cimport *
from tapegrad.tape._storage cimport Storage, storage_retain
from tapegrad.tape._tape cimport extension, record_extend, record_extended, record_far, record_save

cdef enum:
    VIEW_MULTI = 1              # one of several views made together
    VIEW_NO_GRAD = 2            # made with gradients off

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
    cdef int view_marks         # how it was made as a view, where that forbids changes in place: bits of VIEW_*
    cdef int64_t shape_[MAX_DIMS]
    cdef int64_t strides_[MAX_DIMS]
    cdef Tensor base            # the tensor whose memory this view shows, or None
    cdef object __weakref__
    cdef dict attributes        # what users hang on a tensor, or None

cdef class Hooks:
    cdef public object grad
    cdef public dict pre                # hooks on the gradient of the value, id -> callable
    cdef public dict post               # hooks after accumulation into a leaf

cdef int default_dt
cdef int64_t[MAX_DTYPES] cast_op      # op that converts to this dtype
cdef int64_t overwritten_op           # op whose result does not depend on its input

cdef bint grad_mode() noexcept nogil
cdef void set_grad_mode(bint on) noexcept nogil
cdef bint inference_mode() noexcept nogil
cdef void set_inference_mode(bint on) noexcept nogil
cdef int read_shape(object shape, int64_t* out) except -1
cdef Tensor tensor_new(int dt, int ndim, const int64_t* shape)
cdef Tensor tensor_over(Storage* st, char* data, int dt, int ndim, const int64_t* shape, const int64_t* strides)
cdef Tensor view_of(Tensor x, int ndim, const int64_t* shape, const int64_t* strides, int64_t offset,
                    const int64_t* gstrides, int64_t goffset, bint alias)
cdef int refresh(Tensor t) except -1
cdef int64_t leaf_record(Tensor t, bint accumulates) except -1
cdef int check_inplace(Tensor t) except -1
cdef int refuse_no_grad_view() except -1
cdef int check_view(Tensor t) except -1
cdef int rebase(Tensor t, int64_t i) except -1
cdef object grad_of(int64_t i)
cdef int set_grad(int64_t i, object value) except -1
cdef object unsupported(int64_t op, int dt)
cdef object refuse_saving()
cdef Tensor contiguous_(Tensor x)
cpdef Tensor clone(Tensor t)
cdef Tensor cast_to(Tensor t, int dt)

# Records and runs one pointwise op on tensors and Python numbers: `_pointwise` puts it here.
ctypedef Tensor (*pointwise_t)(int64_t op, int n, PyObject** args, Tensor inplace, object params)
cdef pointwise_t pointwise

cdef inline bint needs_grad(Tensor t) except -1:
    if t.base is not None and t.base_history != t.base.history:
        refresh(t)
    return t.requires

cdef inline int64_t edge_of(Tensor t) except -2:
    """The record a gradient of this tensor flows to, or -1."""
    if not needs_grad(t):
        return -1
    if t.rec < 0:
        return leaf_record(t, True)
    return t.rec

cdef inline int put_shape(int64_t* r, int ndim, const int64_t* shape) except -1:
    """Writes the shape of the result, whose size is there already."""
    cdef int64_t* out
    cdef int d
    if ndim == 1:
        return 0                        # that is REC_NUMEL
    if ndim <= 3:
        if ndim > 0:
            record_far(r)
        out = r + REC_SHAPE
    else:
        if not record_extended(r):
            record_extend(r, 0, 0, 0)
        out = extension(r) + EXT_SHAPE
    for d in range(ndim):
        out[d] = shape[d]
    return 0

cdef inline bint same_shape(Tensor a, Tensor b) noexcept:
    cdef int d
    if a.ndim_ != b.ndim_:
        return False
    for d in range(a.ndim_):
        if a.shape_[d] != b.shape_[d]:
            return False
    return True

cdef inline bint same_layout(Tensor a, Tensor b) noexcept:
    cdef int d
    for d in range(a.ndim_):
        if d < b.ndim_ and a.strides_[d] != b.strides_[d]:
            return False
    return same_shape(a, b)

cdef inline void save(int64_t* r, int k, Tensor t) noexcept:
    """Keeps the data of t in place k of record r (3: its result)."""
    storage_retain(t.st)
    record_save(r, k, t.st, <int64_t><uintptr_t>t.data_, t.st.version)

cdef inline void put_meta(int64_t* ext, int k, Tensor t) noexcept:
    """Writes the dtype, shape and strides of saved input k into the extension block."""
    cdef int64_t* m = ext + EXT_META + k * EXT_META_WORDS
    cdef int d
    m[0] = t.dt | (<int64_t>t.ndim_ << 8)
    for d in range(t.ndim_):
        m[1 + d] = t.shape_[d]
        m[9 + d] = t.strides_[d]
