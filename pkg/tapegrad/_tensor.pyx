"""Tensor: a thin object over a storage, and the recorders, one per arity class of op.

The class knows layout, versions, history and operators; it knows no op by name. An op is a row of
the op table (`_layout.pxd`), its kernels are C functions called by address, and one recorder
serves all ops of a class: `pointwise` and `structured` here, `view_of` for views. Everything else
(named methods, functions, printing) is attached by the floors above through `install`.
"""

import cython
from cpython.bool cimport PyBool_Check
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.long cimport PyLong_AsDouble, PyLong_AsLongLongAndOverflow, PyLong_Check
from cpython.ref cimport PyObject, Py_INCREF, Py_XDECREF
from cpython.type cimport PyType_Modified
from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

import numpy as np

from tapegrad._layout cimport *
from tapegrad.tape._storage cimport (
    Storage, storage_new, storage_release, storage_retain, storage_share, storage_wrap,
)
from tapegrad.tape._tape cimport (
    ext_params, ext_words, extension, kernel_t, op_row, record, record_drop_saved, record_extend,
    record_extended, record_far, record_near, record_new, record_new_leaf, record_obj, record_ptr, record_release,
    record_retain, record_saved, record_set_ptr, record_shape, ext_edges,
)

from tapegrad import dtypes as _dtypes
from tapegrad._device import CPU
from tapegrad._size import Size

cdef extern from *:
    """
    #if defined(_MSC_VER)
    static __declspec(thread) int tg_grad_off = 0;
    static __declspec(thread) int tg_inference = 0;
    #else
    static __thread int tg_grad_off = 0;
    static __thread int tg_inference = 0;
    #endif
    """
    int tg_grad_off
    int tg_inference

cdef extern from "Python.h":
    int PyObject_GenericSetAttr(object o, object name, object value) except -1
    ctypedef struct PyTypeObject:
        PyObject* tp_dict

cdef int64_t[MAX_DTYPES] itemsizes
cdef int[MAX_DTYPES] category
cdef int[MAX_DTYPES][MAX_DTYPES] promotion
cdef int default_dt = 0
cdef tuple dtype_of = _dtypes.DTYPES
cdef int BOOL = _dtypes.bool_.index
cdef int INT64 = _dtypes.int64.index
cdef int64_t[MAX_DTYPES] cast_op          # op that converts to this dtype
cdef int64_t[16] operator_op              # ops behind the operators
cdef list operator_function = [None] * 16  # or functions, where the op depends on the arguments
cdef int64_t view_op = -1
cdef int64_t copy_slices_op = -1
cdef int n_threads = 1
cdef object run_parallel = None
cdef object compile_kernel = None
cdef object format_tensor = None
cdef object index_get = None
cdef object index_set = None
cdef object matrix_product = None
cdef object kernel_error = None
cdef int64_t blas_table = 0
cdef list op_names = []

for _t in dtype_of:
    itemsizes[_t.index] = _t.itemsize
    category[_t.index] = _t.category
    for _u in dtype_of:
        promotion[_t.index][_u.index] = _dtypes.promote_types(_t, _u).index

# numpy arrays of each dtype, for creation without a lookup
cdef tuple numpy_of = tuple(t.numpy for t in dtype_of)


cdef bint grad_mode() noexcept nogil:
    return tg_grad_off == 0


def is_grad_enabled():
    """True where operations are recorded for `backward` (a setting of the calling thread).

    >>> import tapegrad as torch
    >>> with torch.no_grad():
    ...     torch.is_grad_enabled()
    False
    """
    return tg_grad_off == 0


def _set_grad_enabled(bint mode):
    global tg_grad_off
    tg_grad_off = 0 if mode else 1


def is_inference_mode_enabled():
    """True inside `inference_mode()`."""
    return tg_inference != 0


def _set_inference(bint mode):
    global tg_inference
    tg_inference = 1 if mode else 0


# ---------------------------------------------------------------- making tensors

# The memory of a tensor before it has any: never freed, whatever is counted.
cdef char[64] nothing_data
cdef Storage nothing
nothing.ptr = nothing_data
nothing.nbytes = 0
nothing.refs = <int64_t>1 << 60
nothing.version = 0
nothing.owner = NULL
nothing.parent = NULL
nothing.bucket = -1
nothing.next = NULL


cdef inline void set_contiguous_strides(Tensor t) noexcept:
    cdef int64_t step = 1
    cdef int d
    for d in range(t.ndim_ - 1, -1, -1):
        t.strides_[d] = step
        if t.shape_[d] > 1:
            step *= t.shape_[d]
    t.contig = True


cdef bint strides_contiguous(int ndim, const int64_t* shape, const int64_t* strides) noexcept:
    cdef int64_t step = 1
    cdef int d
    for d in range(ndim):
        if shape[d] == 0:
            return True
    for d in range(ndim - 1, -1, -1):
        if shape[d] != 1:
            if strides[d] != step:
                return False
            step *= shape[d]
    return True


cdef Tensor tensor_new(int dt, int ndim, const int64_t* shape):
    """An uninitialised contiguous tensor; RuntimeError if the size is negative or too large."""
    cdef Tensor t = Tensor.__new__(Tensor)
    cdef int64_t n = 1
    cdef int d
    t.ndim_ = ndim
    t.dt = dt
    for d in range(ndim):
        if shape[d] < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {shape[d]}: {[shape[k] for k in range(ndim)]}")
        t.shape_[d] = shape[d]
    for d in range(ndim):
        if shape[d] > 0 and n > (<int64_t>1 << 60) // shape[d]:
            for k in range(ndim):
                if shape[k] == 0:
                    break
            else:
                raise RuntimeError(
                    "Storage size calculation overflowed with sizes=" + str([shape[k] for k in range(ndim)]))
        n *= shape[d]
    t.numel_ = n
    set_contiguous_strides(t)
    t.st = storage_new(n * itemsizes[dt])
    t.data_ = t.st.ptr
    t.inference = tg_inference
    return t


cdef Tensor tensor_over(Storage* st, char* data, int dt, int ndim, const int64_t* shape, const int64_t* strides):
    """A tensor over existing memory; takes a reference of its own."""
    cdef Tensor t = Tensor.__new__(Tensor)
    cdef int64_t n = 1
    cdef int d
    t.ndim_ = ndim
    t.dt = dt
    for d in range(ndim):
        t.shape_[d] = shape[d]
        t.strides_[d] = strides[d]
        if shape[d] > 1 and n > (<int64_t>1 << 60) // shape[d]:
            raise RuntimeError(f"numel: integer multiplication overflow with sizes={[shape[d] for d in range(ndim)]}")
        n *= shape[d]
    t.numel_ = n
    t.contig = strides_contiguous(ndim, shape, strides)
    t.st = st
    storage_retain(st)
    t.data_ = data
    t.inference = tg_inference
    return t


cdef int read_shape(object shape, int64_t* out) except -1:
    """Sizes from a sequence of ints; returns the number of dimensions."""
    cdef int n = 0
    for s in shape:
        if n == MAX_DIMS:
            raise RuntimeError(f"tapegrad tensors have at most {MAX_DIMS} dimensions, got {len(shape)}")
        if type(s) is not int:
            s = _index(s)
        out[n] = s
        n += 1
    return n


cdef object _index(object s):
    if isinstance(s, Tensor):
        return s.__index__()
    try:
        return s.__index__()
    except AttributeError:
        raise TypeError(f"expected an integer size, but got {type(s).__name__}") from None


cpdef Tensor empty(shape, int dt):
    """Uninitialised memory of this shape (a sequence) and dtype index."""
    cdef int64_t sizes[MAX_DIMS]
    cdef int n = read_shape(shape, sizes)
    return tensor_new(dt, n, sizes)


cpdef Tensor zeros(shape, int dt):
    """Zeros of this shape (a sequence) and dtype index."""
    cdef Tensor t = empty(shape, dt)
    memset(t.data_, 0, t.numel_ * itemsizes[dt])
    return t


def from_numpy(array):
    """The tensor that shares memory with a NumPy array; changes show in both.

    The array may have any non-negative strides that are multiples of the element size. Raises
    TypeError for other objects and for element types without a counterpart, ValueError for
    negative strides, RuntimeError for more than eight dimensions.

    >>> import numpy as np, tapegrad as torch
    >>> a = np.zeros(3, dtype=np.float32)
    >>> t = torch.from_numpy(a); t[0] = 5.0; a
    array([5., 0., 0.], dtype=float32)
    """
    cdef int64_t shape[MAX_DIMS]
    cdef int64_t strides[MAX_DIMS]
    cdef int d
    cdef Storage* st
    cdef Tensor t
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    dt = _dtypes.from_numpy_dtype(array.dtype)
    if array.ndim > MAX_DIMS:
        raise RuntimeError(f"tapegrad tensors have at most {MAX_DIMS} dimensions, got {array.ndim}")
    if not array.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. "
            "Conversion between byte orders is currently not supported.")
    size = dt.itemsize
    for d in range(array.ndim):
        step = array.strides[d]
        if step < 0:
            raise ValueError(
                "At least one stride in the given numpy array is negative, and tensors with negative "
                "strides are not currently supported. (You can probably work around this by making a copy "
                " of your array  with array.copy().) ")
        if step % size:
            raise ValueError("given numpy array strides not a multiple of the element byte size. "
                             "Copy the numpy array to reallocate the memory.")
        shape[d] = array.shape[d]
        strides[d] = step // size
    address = array.__array_interface__["data"][0]
    st = storage_wrap(<char*><uintptr_t>address, array.nbytes, <PyObject*>array)
    t = tensor_over(st, <char*><uintptr_t>address, dt.index, array.ndim, shape, strides)
    storage_release(st)
    return t


cdef class _Keep:
    """Holds a storage for a NumPy array made over its memory."""
    cdef Storage* st
    cdef readonly dict __array_interface__

    def __dealloc__(self):
        if self.st != NULL:
            storage_release(self.st)


cdef object numpy_over(Tensor t):
    cdef _Keep keep = _Keep.__new__(_Keep)
    cdef int64_t size = itemsizes[t.dt]
    storage_retain(t.st)
    keep.st = t.st
    keep.__array_interface__ = {
        "version": 3,
        "shape": tuple([t.shape_[d] for d in range(t.ndim_)]),
        "strides": tuple([t.strides_[d] * size for d in range(t.ndim_)]),
        "typestr": numpy_of[t.dt].str,
        "data": (<int64_t><uintptr_t>t.data_, False),
    }
    return np.asarray(keep)


# ---------------------------------------------------------------- running kernels

cdef int64_t kernel_of(int64_t op, int64_t word, int role, int layout, int dt) except 0:
    """The kernel's address; compiles it or loads it from the object cache at its first use."""
    cdef int64_t address = op_row(op)[word]
    if address == 0:
        address = compile_kernel(op, role, layout, dt)
        op_row(op)[word] = address
    return address


cdef int64_t execute(int64_t* f, int64_t address, int64_t kind, int64_t n) except -1:
    """Runs a kernel over all its items: planned, in chunks, without the GIL when it is much."""
    cdef kernel_t k = <kernel_t><uintptr_t>address
    cdef int64_t items = n, grain = CHUNK_ELEMENTS, phases = 1, phase, lo, hi, status = 0
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
        for phase in range(phases):
            f[FRAME_PHASE] = phase
            status = k(f, 0, items)
            if status != 0:
                break
    else:
        for phase in range(phases):
            f[FRAME_PHASE] = phase
            if parallel:
                try:
                    status = run_parallel(address, <int64_t><uintptr_t>f, items, grain)
                except BaseException:
                    if scratch != NULL:
                        storage_release(scratch)
                    raise
            else:
                with nogil:
                    lo = 0
                    while lo < items:
                        hi = lo + grain
                        if hi > items:
                            hi = items
                        status = k(f, lo, hi)
                        if status != 0:
                            break
                        lo = hi
            if status != 0:
                break
    if scratch != NULL:
        storage_release(scratch)
    return status


cdef object raise_kernel_error(int64_t op, int64_t status, int64_t* f):
    raise kernel_error(op, status, f[FRAME_ERROR], f[FRAME_ERROR + 1])


cdef inline int store_scalar(object value, int dt, char* out) except -1:
    """A Python number as one element of this dtype."""
    cdef double x
    cdef int overflow = 0
    cdef int64_t i
    if dt == 0 or dt == 1:
        if PyFloat_Check(value):
            x = PyFloat_AS_DOUBLE(value)
        elif PyLong_Check(value):
            x = PyLong_AsDouble(value)
        else:
            x = float(value)
        if dt == 0:
            (<float*>out)[0] = <float>x
        else:
            (<double*>out)[0] = x
        return 0
    if dt == BOOL:
        (<uint8_t*>out)[0] = 1 if value else 0
        return 0
    if PyFloat_Check(value):
        x = PyFloat_AS_DOUBLE(value)
        if not (-9223372036854775808.0 <= x < 9223372036854775808.0):
            raise RuntimeError(f"value cannot be converted to type {type_name(dt)} without overflow")
        i = <int64_t>x
    else:
        i = PyLong_AsLongLongAndOverflow(int(value), &overflow)
        if overflow:
            raise OverflowError("int too big to convert")
    if dt == INT64:
        (<int64_t*>out)[0] = i
    elif dt == 3:
        if i < -2147483648 or i > 2147483647:
            raise RuntimeError("value cannot be converted to type int without overflow")
        (<int32_t*>out)[0] = <int32_t>i
    else:
        if i < -255 or i > 255:
            raise RuntimeError("value cannot be converted to type uint8_t without overflow")
        (<uint8_t*>out)[0] = <uint8_t>i
    return 0


_TYPE_NAMES = ("Float", "Double", "Long", "Int", "Byte", "Bool")

NOT_SAVED = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in "
    "computation tracked by autograd. To work around this, you can make a clone to get a normal tensor and use it in "
    "autograd, or use `torch.no_grad()` instead of `torch.inference_mode()`.")

cdef object type_name(int dt):
    return _TYPE_NAMES[dt]


cdef inline object scalar_at(char* p, int dt):
    if dt == 0:
        return <double>(<float*>p)[0]
    if dt == 1:
        return (<double*>p)[0]
    if dt == INT64:
        return (<int64_t*>p)[0]
    if dt == 3:
        return (<int32_t*>p)[0]
    if dt == BOOL:
        return (<uint8_t*>p)[0] != 0
    return (<uint8_t*>p)[0]


# ---------------------------------------------------------------- history

cdef inline bint needs_grad(Tensor t) except -1:
    if t.base is not None and t.base_history != t.base.history:
        refresh(t)
    return t.requires


cdef int refresh(Tensor t) except -1:
    """The base of this view got a new history by an in-place op: so does the view."""
    t.base_history = t.base.history
    if t.st != t.base.st:               # one of the two was given other memory through .data
        t.base = None
        return 0
    if not needs_grad(t.base):
        return 0
    set_history(t, view_record_from_base(t))
    return 0


cdef inline void set_history(Tensor t, int64_t i) noexcept:
    cdef int64_t old = t.rec
    t.rec = i
    t.requires = True
    if old >= 0:
        record_release(old)


cdef int64_t leaf_record(Tensor t, bint accumulates) except -1:
    cdef int64_t i = record_new_leaf()
    cdef int64_t* r = record(i)
    r[REC_OP] = (<int64_t>t.ndim_ << 16) | (<int64_t>t.dt << 24) | (<int64_t>t.dt << 32)
    r[REC_FLAGS] = FLAG_LEAF | FLAG_VISIT | (FLAG_REQUIRES if accumulates else 0)
    r[REC_NUMEL] = t.numel_
    put_shape(r, t.ndim_, t.shape_)
    t.rec = i
    return i


cdef int put_shape(int64_t* r, int ndim, const int64_t* shape) except -1:
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


cdef int64_t edge_of(Tensor t) except -2:
    """The record a gradient of this tensor flows to, or -1."""
    if not needs_grad(t):
        return -1
    if t.rec < 0:
        return leaf_record(t, True)
    return t.rec


cdef inline bint is_leaf(Tensor t) noexcept:
    return t.rec < 0 or (record(t.rec)[REC_FLAGS] & FLAG_LEAF) != 0


cdef int check_inplace(Tensor t) except -1:
    """RuntimeError where PyTorch refuses to change this tensor in place."""
    cdef int d
    if t.inference and tg_inference == 0:
        raise RuntimeError("Inplace update to inference tensor outside InferenceMode is not allowed. You can make "
                           "a clone to get a normal tensor before doing inplace update.")
    for d in range(t.ndim_):
        if t.strides_[d] == 0 and t.shape_[d] > 1 and t.numel_ > 0:
            raise RuntimeError(
                "unsupported operation: more than one element of the written-to tensor refers to a single "
                "memory location. Please clone() the tensor before performing the operation.")
    if tg_grad_off == 0:
        if needs_grad(t) and is_leaf(t):
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        if t.multi_view and needs_grad(t):
            raise RuntimeError("This view is the output of a function that returns multiple views. Such functions do "
                               "not allow the output views to be modified inplace. You should replace the inplace "
                               "operation by an out-of-place one.")
        if t.base is not None and t.base.requires and is_leaf(t.base):
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
    return 0


def mark_multi_view(Tensor t not None):
    """Marks one of several views that a function returned together: it is not changed in place; returns it."""
    t.multi_view = True
    return t


def fresh(Tensor t not None):
    """Starts the version count of a tensor just made from 0; returns it."""
    if t.base is None and t.rec < 0 and t.st != &nothing:
        t.st.version = 0
    return t


def check_writable(Tensor t not None):
    """RuntimeError where PyTorch refuses to change this tensor in place."""
    check_inplace(t)


cdef int64_t view_record_from_base(Tensor t) except -1:
    """A record that shows t as a view of its (contiguous) base."""
    cdef Tensor base = t.base
    cdef int64_t* r
    cdef int64_t i, e
    check_view(t)
    e = edge_of(base)
    i = record_new()
    r = record(i)
    r[REC_OP] = view_op | (<int64_t>t.ndim_ << 16) | (<int64_t>t.dt << 24) | (<int64_t>t.dt << 32)
    r[REC_NUMEL] = t.numel_
    record_extend(r, 0, VIEW_WORDS, 0)
    put_shape(r, t.ndim_, t.shape_)
    put_geometry(ext_words(extension(r)), t, base)
    record_retain(e)
    r[REC_EDGE] = e
    return i


cdef int check_view(Tensor t) except -1:
    """RuntimeError unless t lies inside its base and the base has no gaps."""
    cdef Tensor base = t.base
    cdef int64_t first, last
    cdef int d
    if not base.contig:
        raise RuntimeError("tapegrad records in-place changes of views of contiguous tensors only; "
                           "call .contiguous() or .clone() on the tensor before taking the view")
    first = (t.data_ - base.data_) // itemsizes[t.dt]
    last = first
    for d in range(t.ndim_):
        last += (t.shape_[d] - 1) * t.strides_[d]
    if t.st != base.st or t.dt != base.dt or (t.numel_ > 0 and (first < 0 or last >= base.numel_)):
        raise RuntimeError("the memory of this view, or of the tensor that it is a view of, was exchanged through "
                           ".data: the two have no common history any more")
    return 0


cdef void put_geometry(int64_t* w, Tensor t, Tensor base) noexcept:
    cdef int d
    w[VIEW_NDIM] = t.ndim_
    for d in range(MAX_DIMS):
        w[VIEW_SHAPE + d] = t.shape_[d] if d < t.ndim_ else 1
        w[VIEW_STRIDES + d] = t.strides_[d] if d < t.ndim_ else 0
    w[VIEW_OFFSET] = (t.data_ - base.data_) // itemsizes[t.dt]


cdef int rebase(Tensor t, int64_t i) except -1:
    """Gives t, changed in place, the history of record i; a view passes it on to its base."""
    cdef Tensor base = t.base
    cdef int64_t old, j
    cdef int64_t* r
    if base is None:
        set_history(t, i)
        t.history += 1
        return 0
    old = edge_of(base)
    j = record_new()
    r = record(j)
    r[REC_OP] = copy_slices_op | (<int64_t>base.ndim_ << 16) | (<int64_t>base.dt << 24) | (<int64_t>base.dt << 32)
    r[REC_NUMEL] = base.numel_
    record_extend(r, 0, VIEW_WORDS, 0)
    put_shape(r, base.ndim_, base.shape_)
    put_geometry(ext_words(extension(r)), t, base)
    if old >= 0:
        record_retain(old)
        r[REC_EDGE] = old
    r[REC_EDGE + 1] = i                 # the reference moves into the edge
    set_history(base, j)
    base.history += 1
    refresh(t)
    return 0


# ---------------------------------------------------------------- pointwise ops

cdef int classify(object o) except -2:
    """2 float, 1 int, 0 bool, -1 not a number."""
    if PyFloat_Check(o):
        return 2
    if PyBool_Check(o):
        return 0
    if PyLong_Check(o):
        return 1
    if isinstance(o, np.bool_):
        return 0
    if isinstance(o, np.integer):
        return 1
    if isinstance(o, np.floating):
        return 2
    return -1


cdef object shapes_error(Tensor a, Tensor b):
    cdef int d, da, db
    cdef int n = a.ndim_ if a.ndim_ > b.ndim_ else b.ndim_
    for d in range(n):
        da = a.ndim_ - n + d
        db = b.ndim_ - n + d
        if da >= 0 and db >= 0 and a.shape_[da] != b.shape_[db] and a.shape_[da] != 1 and b.shape_[db] != 1:
            raise RuntimeError(f"The size of tensor a ({a.shape_[da]}) must match the size of tensor b "
                               f"({b.shape_[db]}) at non-singleton dimension {d}")
    raise RuntimeError(f"tensors of shapes {list(a.shape)} and {list(b.shape)} do not broadcast together")


cdef bint same_shape(Tensor a, Tensor b) noexcept:
    cdef int d
    if a.ndim_ != b.ndim_:
        return False
    for d in range(a.ndim_):
        if a.shape_[d] != b.shape_[d]:
            return False
    return True


cdef bint overlaps(Tensor a, Tensor out) noexcept:
    """True if a shares out's memory in another arrangement."""
    cdef int d
    if a.st.ptr != out.st.ptr:
        return False
    if a.data_ == out.data_ and same_shape(a, out):
        for d in range(a.ndim_):
            if a.strides_[d] != out.strides_[d] and a.shape_[d] > 1:
                return True
        return False
    return True


cdef Tensor cast_to(Tensor t, int dt):
    cdef PyObject* args[1]
    args[0] = <PyObject*>t
    return pointwise(cast_op[dt], 1, args, None, None)


cdef Tensor data_copy(Tensor t):
    """A contiguous copy of the data, outside of the history."""
    cdef Tensor c = tensor_new(t.dt, t.ndim_, t.shape_)
    if t.contig:
        memcpy(c.data_, t.data_, t.numel_ * itemsizes[t.dt])
    else:
        copy_data(t, c)
    return c


cdef int copy_data(Tensor src, Tensor out) except -1:
    """out[...] = src of the same dtype (src may broadcast), outside of the history."""
    global tg_grad_off
    cdef PyObject* args[1]
    cdef int mode = tg_grad_off
    args[0] = <PyObject*>src
    tg_grad_off = 1
    try:
        pointwise(cast_op[out.dt], 1, args, out, None)
    finally:
        tg_grad_off = mode
    return 0


cdef void make_plan(
    int64_t* plan, int n, PyObject** ts, int nd, const int64_t* shape, const int64_t* out_strides
) noexcept:
    """Strides of all operands over the result's shape, adjacent dimensions merged where they can be."""
    cdef int64_t st[7][MAX_DIMS]
    cdef int k, d, dd, m, j
    cdef int64_t step
    cdef Tensor t
    cdef bint joins
    for d in range(nd):
        st[0][d] = out_strides[d]
    for k in range(3):
        for d in range(nd):
            st[1 + k][d] = 0
            st[4 + k][d] = 0
        if k < n and ts[k] != NULL:
            t = <Tensor>ts[k]
            step = 1
            for dd in range(t.ndim_ - 1, -1, -1):
                d = dd + nd - t.ndim_
                if t.shape_[dd] != 1 or shape[d] == 1:
                    st[1 + k][d] = t.strides_[dd]
                    st[4 + k][d] = step
                step *= t.shape_[dd]
    m = 0                               # dimensions kept so far, from the left
    for d in range(nd):
        if shape[d] == 1:
            continue
        joins = m > 0
        if joins:
            for j in range(7):
                if plan[PLAN_OUT + j * MAX_DIMS + m - 1] != st[j][d] * shape[d]:
                    joins = False
                    break
        if joins:
            plan[PLAN_SHAPE + m - 1] *= shape[d]
            for j in range(7):
                plan[PLAN_OUT + j * MAX_DIMS + m - 1] = st[j][d]
        else:
            plan[PLAN_SHAPE + m] = shape[d]
            for j in range(7):
                plan[PLAN_OUT + j * MAX_DIMS + m] = st[j][d]
            m += 1
    if m == 0:
        plan[PLAN_SHAPE] = 1
        for j in range(7):
            plan[PLAN_OUT + j * MAX_DIMS] = 0
        m = 1
    plan[PLAN_NDIM] = m


cdef Tensor pointwise(int64_t op, int n, PyObject** args, Tensor inplace, object params):
    """Records and runs one pointwise op on tensors and Python numbers.

    `params` is None or a tuple of numbers, stored in the compute type. With `inplace` the result
    goes there. TypeError for arguments that are neither; RuntimeError where the shapes do not
    broadcast or the type is not supported.
    """
    cdef int64_t* row = op_row(op)
    cdef int64_t f[FRAME_WORDS]
    cdef int64_t scalars[3]
    cdef int64_t packed[4]
    cdef int64_t plan[PLAN_WORDS]
    cdef int64_t shape[MAX_DIMS]
    cdef PyObject* ts[3]
    cdef Tensor t, out, k0 = None, _k1 = None, _k2 = None, first = None  # k: they keep ts alive
    cdef int k, d, dd, nd = 0, want, dt, out_dt, layout
    cdef int dim_dt = -1, zero_dt = -1, scalar_cat = -1, cat
    cdef int64_t numel, status, address, need, i, e, offset, param_bytes = 0, n_scalars = 0
    cdef int64_t* r
    cdef int64_t* ext
    cdef char* slot
    cdef bint flat = True, requires = False, cloned = False

    for k in range(n):
        if isinstance(<object>args[k], Tensor):
            ts[k] = args[k]
            t = <Tensor>args[k]
            if row[OP_INPUT_DTYPE + k] < 0:
                if t.ndim_ > 0:
                    dim_dt = t.dt if dim_dt < 0 else promotion[dim_dt][t.dt]
                else:
                    zero_dt = t.dt if zero_dt < 0 else promotion[zero_dt][t.dt]
        else:
            ts[k] = NULL
            n_scalars += 1
            cat = classify(<object>args[k])
            if cat < 0:
                raise TypeError(f"{op_names[op]}(): argument {k + 1} must be Tensor or a number, "
                                f"not {type(<object>args[k]).__name__}")
            if row[OP_INPUT_DTYPE + k] < 0 and cat > scalar_cat:
                scalar_cat = cat
    dt = dim_dt
    if zero_dt >= 0 and (dt < 0 or category[zero_dt] > category[dt]):
        dt = zero_dt if dt < 0 else promotion[dt][zero_dt]
    if scalar_cat >= 0 and (dt < 0 or scalar_cat > category[dt]):
        dt = default_dt if scalar_cat == 2 else INT64 if scalar_cat == 1 else BOOL
    if dt < 0:
        dt = default_dt
    if row[OP_PROMOTION] == PROMOTE_FLOAT and category[dt] < 2:
        dt = default_dt
    if not (row[OP_DTYPES] >> dt) & 1:
        raise RuntimeError(f'"{op_names[op]}" not implemented for \'{type_name(dt)}\'')
    out_dt = dt if row[OP_RESULT] < 0 else <int>row[OP_RESULT]
    if inplace is not None:
        check_inplace(inplace)
        if out_dt != inplace.dt:
            if category[out_dt] > category[inplace.dt]:
                raise RuntimeError(f"result type {type_name(out_dt)} can't be cast to the desired output type "
                                   f"{type_name(inplace.dt)}")
            out = pointwise(op, n, args, None, params)
            if not same_shape(out, inplace):
                raise RuntimeError(f"output with shape {list(inplace.shape)} doesn't match the broadcast shape "
                                   f"{list(out.shape)}")
            ts[0] = <PyObject*>out
            return pointwise(cast_op[inplace.dt], 1, ts, inplace, None)

    # Operands in the compute type, and the result's shape.
    for k in range(n):
        want = dt if row[OP_INPUT_DTYPE + k] < 0 else <int>row[OP_INPUT_DTYPE + k]
        if ts[k] == NULL:
            store_scalar(<object>args[k], want, <char*>&scalars[k])
            continue
        t = <Tensor>ts[k]
        if t.dt != want:
            t = cast_to(t, want)
        if inplace is not None and t is not inplace and overlaps(t, inplace):
            t = clone(t)
        if k == 0:
            k0 = t
        elif k == 1:
            _k1 = t
        else:
            _k2 = t
        ts[k] = <PyObject*>t
        if needs_grad(t):               # of each: a view may have to catch up with its base first
            requires = True
        if first is None:
            first = t
            nd = t.ndim_
            for d in range(nd):
                shape[d] = t.shape_[d]
        elif not same_shape(first, t):
            if t.ndim_ > nd:
                for d in range(nd - 1, -1, -1):
                    shape[d + t.ndim_ - nd] = shape[d]
                for d in range(t.ndim_ - nd):
                    shape[d] = 1
                nd = t.ndim_
            for dd in range(t.ndim_):
                d = dd + nd - t.ndim_
                if shape[d] == 1:
                    shape[d] = t.shape_[dd]
                elif t.shape_[dd] != 1 and t.shape_[dd] != shape[d]:
                    shapes_error(first, t)
    if inplace is not None:
        flat = nd <= inplace.ndim_
        if flat:
            for dd in range(nd):
                if shape[dd] != 1 and shape[dd] != inplace.shape_[dd + inplace.ndim_ - nd]:
                    flat = False
        if not flat:
            raise RuntimeError(f"output with shape {list(inplace.shape)} doesn't match the broadcast shape "
                               f"{[shape[d] for d in range(nd)]}")
        nd = inplace.ndim_
        for d in range(nd):
            shape[d] = inplace.shape_[d]
    requires = requires and tg_grad_off == 0 and category[out_dt] == 2

    need = 0
    if requires:
        for k in range(n):
            if ts[k] != NULL and (<Tensor>ts[k]).requires:
                need |= row[OP_NEEDS + k]

    if need:
        for k in range(n):
            if need & (1 << k) and ts[k] != NULL and (<Tensor>ts[k]).inference and tg_inference == 0:
                raise RuntimeError(NOT_SAVED)
    if inplace is None:
        out = tensor_new(out_dt, nd, shape)
    else:
        out = inplace
        if inplace.base is not None and (requires or needs_grad(inplace)) and tg_grad_off == 0:
            check_view(inplace)         # before anything is written
        if need & 1 and ts[0] == <PyObject*>inplace:
            k0 = data_copy(inplace)     # the derivative reads the value that is about to go
            cloned = True
    numel = out.numel_
    flat = out.contig
    f[FRAME_OUT] = <int64_t><uintptr_t>out.data_
    f[FRAME_N] = numel
    for k in range(n):
        if ts[k] == NULL:
            f[FRAME_IN + k] = <int64_t><uintptr_t>&scalars[k]
            f[FRAME_STEP + k] = 0
        else:
            t = <Tensor>ts[k]
            f[FRAME_IN + k] = <int64_t><uintptr_t>t.data_
            f[FRAME_STEP + k] = 1 if t.numel_ == numel else 0
            if not t.contig or (t.numel_ != numel and t.numel_ != 1):
                flat = False
    if params is not None:
        slot = <char*>packed
        for p in params:
            store_scalar(p, dt, slot)
            slot += itemsizes[dt]
        param_bytes = slot - <char*>packed
        f[FRAME_PARAMS] = <int64_t><uintptr_t>packed
    if flat:
        layout = LAYOUT_FLAT
    else:
        layout = LAYOUT_GENERAL
        make_plan(plan, n, ts, nd, shape, out.strides_)
        f[FRAME_EXT] = <int64_t><uintptr_t>plan
    if numel > 0:
        address = kernel_of(op, OP_FORWARD + layout * 8 + dt, 0, layout, dt)
        if numel <= HEAVY_ELEMENTS:
            status = (<kernel_t><uintptr_t>address)(f, 0, numel)
        else:
            status = execute(f, address, KIND_POINTWISE, numel)
        if status != 0:
            raise_kernel_error(op, status, f)

    if requires:
        i = record_new()
        r = record(i)
        r[REC_OP] = (op | (<int64_t>nd << 16) | (<int64_t>out_dt << 24) | (<int64_t>dt << 32)
                     | (<int64_t>layout << 40) | (f[FRAME_STEP] << 48)
                     | ((f[FRAME_STEP + 1] << 49) if n > 1 else 0) | ((f[FRAME_STEP + 2] << 50) if n > 2 else 0))
        r[REC_NUMEL] = numel
        offset = (param_bytes + 7) & ~<int64_t>7
        if layout == LAYOUT_GENERAL or nd > 3 or offset + n_scalars * 8 > 8:
            ext = record_extend(r, offset + n_scalars * 8, PLAN_WORDS if layout == LAYOUT_GENERAL else 0, 0)
            slot = <char*>ext_params(ext)
            if layout == LAYOUT_GENERAL:
                if cloned:              # the derivative reads the copy, which lies in another way
                    ts[0] = <PyObject*>k0
                    make_plan(plan, n, ts, nd, shape, out.strides_)
                    ts[0] = <PyObject*>inplace
                memcpy(ext_words(ext), plan, sizeof(plan))
        else:
            slot = <char*>(r + REC_PARAM)
        if param_bytes:
            record_near(r)
            memcpy(slot, packed, param_bytes)
        put_shape(r, nd, shape)
        for k in range(n):
            if ts[k] == NULL:
                if need & (1 << k):
                    record_near(r)
                    memcpy(slot + offset, &scalars[k], 8)
                    if slot + offset != <char*>(r + REC_PARAM):
                        record_set_ptr(r, k, <int64_t><uintptr_t>(slot + offset))
                    # PyTorch saves such a number as a tensor, and frees it.
                    r[REC_FLAGS] |= FLAG_SAVES | <int64_t>1 << (FLAG_SCALAR_SHIFT + k)
                offset += 8
                continue
            t = <Tensor>ts[k]
            if t.requires and row[OP_DERIVATIVE + k] != DERIVATIVE_NONE:
                e = edge_of(t)
                record_retain(e)
                r[REC_EDGE + k] = e
            if need & (1 << k):
                if k == 0 and cloned:
                    t = k0
                save(r, k, t)
                if layout == LAYOUT_GENERAL:
                    put_meta(extension(r), k, t)
        if op == cast_op[out_dt] and dt == out_dt and f[FRAME_STEP]:
            r[REC_FLAGS] |= FLAG_ALIAS
        if need & 8:
            save(r, 3, out)
            if inplace is not None:
                r[REC_VERSIONS + 1] += <int64_t>1 << 32
        if inplace is None:
            out.rec = i
            out.requires = True
        else:
            out.st.version += 1
            rebase(out, i)
    elif inplace is not None:
        out.st.version += 1
        if tg_grad_off == 0 and needs_grad(out):
            forget(out)
    return out


cdef inline void save(int64_t* r, int k, Tensor t) noexcept:
    storage_retain(t.st)
    record_near(r)
    r[REC_SAVED + k] = <int64_t><uintptr_t>t.st
    if t.data_ != t.st.ptr:
        record_set_ptr(r, k, <int64_t><uintptr_t>t.data_)
    r[REC_VERSIONS + (k >> 1)] |= (t.st.version & 0x7FFFFFFF) << (32 * (k & 1))
    r[REC_FLAGS] |= FLAG_SAVES


cdef inline void put_meta(int64_t* ext, int k, Tensor t) noexcept:
    cdef int64_t* m = ext + EXT_META + k * EXT_META_WORDS
    cdef int d
    m[0] = t.dt | (<int64_t>t.ndim_ << 8)
    for d in range(t.ndim_):
        m[1 + d] = t.shape_[d]
        m[9 + d] = t.strides_[d]


cdef int forget(Tensor t) except -1:
    """t, which has a history, was overwritten with values that have none."""
    cdef int64_t i = record_new()
    cdef int64_t* r = record(i)
    r[REC_OP] = cast_op[t.dt] | (<int64_t>t.ndim_ << 16) | (<int64_t>t.dt << 24) | (<int64_t>t.dt << 32)
    r[REC_NUMEL] = t.numel_
    put_shape(r, t.ndim_, t.shape_)
    return rebase(t, i)


cpdef Tensor clone(Tensor t):
    """A copy with its own memory, recorded."""
    cdef PyObject* args[1]
    args[0] = <PyObject*>t
    return pointwise(cast_op[t.dt], 1, args, None, None)


cdef Tensor contiguous_(Tensor x):
    return x if x.contig else clone(x)


def apply_pointwise(int64_t op, tuple args, Tensor inplace=None, params=None):
    """Runs pointwise op `op` on one to three tensors or numbers."""
    cdef PyObject* p[3]
    cdef int k, n = <int>len(args)
    if n != op_row(op)[OP_INPUTS]:
        raise TypeError(f"{op_names[op]}() takes {op_row(op)[OP_INPUTS]} inputs, got {n}")
    for k in range(n):
        p[k] = <PyObject*>args[k]
    return pointwise(op, n, p, inplace, params)


def unary(int64_t op, x):
    """Runs a pointwise op of one input."""
    cdef PyObject* p[1]
    p[0] = <PyObject*>x
    return pointwise(op, 1, p, None, None)


def binary(int64_t op, a, b):
    """Runs a pointwise op of two inputs."""
    cdef PyObject* p[2]
    p[0] = <PyObject*>a
    p[1] = <PyObject*>b
    return pointwise(op, 2, p, None, None)


def unary_(int64_t op, Tensor x not None):
    """Runs a pointwise op of one input in place."""
    cdef PyObject* p[1]
    p[0] = <PyObject*>x
    return pointwise(op, 1, p, x, None)


def binary_(int64_t op, Tensor a not None, b):
    """Runs a pointwise op of two inputs in place of the first."""
    cdef PyObject* p[2]
    p[0] = <PyObject*>a
    p[1] = <PyObject*>b
    return pointwise(op, 2, p, a, None)


def copy_(Tensor self not None, source):
    """self[...] = source (a tensor or a number; converted and broadcast); returns self."""
    cdef PyObject* p[1]
    p[0] = <PyObject*>source
    if isinstance(source, Tensor) and source is self:
        return self
    return pointwise(cast_op[self.dt], 1, p, self, None)


def cast(Tensor x not None, int dt):
    """x converted to the dtype of this index; x itself if it has it."""
    return x if x.dt == dt else cast_to(x, dt)


# ---------------------------------------------------------------- structured ops

cdef class Planned:
    """A structured op's plan for inputs of one layout, in machine words."""
    cdef int64_t* words
    cdef int64_t n_words
    cdef int64_t shape[MAX_DIMS]
    cdef int ndim
    cdef int dt                         # of the result
    cdef bytes params
    cdef int aux_dt                     # of the second result, or -1
    cdef int aux_ndim
    cdef int64_t aux_shape[MAX_DIMS]
    cdef bint returns_aux
    cdef tuple copies                   # inputs to be made contiguous first, or None

    def __cinit__(self, plan, bint returns_aux):
        cdef int64_t k
        self.n_words = len(plan.words)
        self.words = <int64_t*>malloc(<size_t>(self.n_words * 8 + 8))
        if self.words == NULL:
            raise MemoryError("no memory for a plan")
        for k in range(self.n_words):
            self.words[k] = plan.words[k]
        self.ndim = read_shape(plan.shape, self.shape)
        self.dt = plan.dtype.index
        self.params = bytes(plan.params)
        self.aux_dt = -1
        if plan.aux is not None:
            self.aux_ndim = read_shape(plan.aux[0], self.aux_shape)
            self.aux_dt = plan.aux[1].index
        self.returns_aux = returns_aux
        self.copies = tuple(plan.make_contiguous) if plan.make_contiguous else None

    def __dealloc__(self):
        free(self.words)


cdef class Runner:
    """Runs one structured op: plans each layout of inputs once, then records and launches.

    A rule is a pure function of the inputs' shapes, strides and dtypes and of the other arguments,
    so its answers are kept.
    """
    cdef int64_t op
    cdef int n_inputs
    cdef bint contiguous
    cdef bint variadic
    cdef bint returns_aux
    cdef object rule
    cdef tuple names
    cdef dict plans

    def __cinit__(self, op):
        self.op = op.id
        self.n_inputs = <int>len(op.inputs)
        self.contiguous = op.contiguous
        self.variadic = op.variadic
        self.returns_aux = op.returns_aux
        self.rule = op.rule
        self.names = op.inputs
        self.plans = {}

    cdef tuple dense(self, tuple inputs, tuple copies):
        """The inputs with those named (all if None) made contiguous."""
        cdef list made = list(inputs)
        cdef int k
        for k in range(<int>len(made)):
            if made[k] is not None and (copies is None or k in copies):
                made[k] = contiguous_(<Tensor>made[k])
        return tuple(made)

    def __call__(self, *args, **named):
        cdef tuple inputs, rest
        cdef int64_t words[128]
        cdef int n = 0, k, d
        cdef Tensor t
        cdef Planned plan
        cdef bint dense = True
        if self.variadic:
            inputs = tuple(args[0])
            rest = args[1:]
        else:
            inputs = args[:self.n_inputs]
            rest = args[self.n_inputs:]
        for k in range(<int>len(inputs)):
            o = inputs[k]
            if o is None and (k > 0 or self.variadic):
                words[n] = -1
                n += 1
                continue
            if not isinstance(o, Tensor):
                name = "tensors" if self.variadic else self.names[k]
                raise TypeError(f"{op_names[self.op]}(): argument '{name}' (position {k + 1}) must be Tensor, "
                                f"not {type(o).__name__}")
            t = <Tensor>o
            if not t.contig and self.contiguous:
                dense = False
            if n + 1 + 2 * t.ndim_ > 126:
                n = -1                  # a long list of tensors is planned each time
                break
            words[n] = t.dt | (<int64_t>t.ndim_ << 8) | (<int64_t>t.contig << 16)
            n += 1
            for d in range(t.ndim_):
                words[n] = t.shape_[d]
                n += 1
            if not t.contig:
                for d in range(t.ndim_):
                    words[n] = t.strides_[d]
                    n += 1
        if not dense:
            return self(*((self.dense(inputs, None),) if self.variadic else self.dense(inputs, None)), *rest, **named)
        if n >= 0:
            key = (<char*>words)[:n * 8]
            if rest or named:
                key = (key, rest, *named.items()) if named else (key, rest)
            plan = self.plans.get(key)
        else:
            key = None
            plan = None
        if plan is None:
            plan = Planned(self.rule(*args, **named), self.returns_aux)
            if key is not None:
                if len(self.plans) >= 4096:
                    self.plans.clear()
                self.plans[key] = plan
        if plan.copies is not None:
            return self(*self.dense(inputs, plan.copies), *rest, **named)
        return launch(self.op, inputs, plan)


cdef object launch(int64_t op, tuple inputs, Planned plan):
    """Records and runs one planned structured op."""
    cdef int64_t* row = op_row(op)
    cdef int64_t f[FRAME_WORDS]
    cdef int64_t need = 0, status, i, e, address
    cdef int64_t* r
    cdef int64_t* ext
    cdef Storage* block = NULL
    cdef int k, n = <int>len(inputs), dt
    cdef bint requires = False, variadic = (row[OP_FLAGS] & OPFLAG_VARIADIC) != 0
    cdef Tensor t, out, second = None
    dt = (<Tensor>inputs[0]).dt if n else plan.dt
    if not (row[OP_DTYPES] >> dt) & 1:
        raise RuntimeError(f'"{op_names[op]}" not implemented for \'{type_name(dt)}\'')
    out = tensor_new(plan.dt, plan.ndim, plan.shape)
    f[FRAME_AUX] = 0
    if plan.aux_dt >= 0:
        second = tensor_new(plan.aux_dt, plan.aux_ndim, plan.aux_shape)
        f[FRAME_AUX] = <int64_t><uintptr_t>second.data_
    for k in range(3):
        f[FRAME_IN + k] = 0
        f[FRAME_STEP + k] = 1
    if variadic:
        block = storage_new(n * 8)
        f[FRAME_IN] = <int64_t><uintptr_t>block.ptr
    for k in range(n):
        if inputs[k] is None:
            continue
        t = <Tensor>inputs[k]
        if variadic:
            (<int64_t*>block.ptr)[k] = <int64_t><uintptr_t>t.data_
        else:
            f[FRAME_IN + k] = <int64_t><uintptr_t>t.data_
        if needs_grad(t) and row[OP_DERIVATIVE + (0 if variadic else k)] != DERIVATIVE_NONE:
            requires = True
            need |= row[OP_NEEDS + (0 if variadic else k)]
    requires = requires and tg_grad_off == 0 and category[plan.dt] == 2
    if requires and not variadic and tg_inference == 0:
        for k in range(n):
            if need & (1 << k) and inputs[k] is not None and (<Tensor>inputs[k]).inference:
                raise RuntimeError(NOT_SAVED)
    f[FRAME_OUT] = <int64_t><uintptr_t>out.data_
    f[FRAME_N] = out.numel_
    f[FRAME_EXT] = <int64_t><uintptr_t>plan.words
    f[FRAME_PARAMS] = <int64_t><uintptr_t><char*>plan.params
    try:
        address = kernel_of(op, OP_FORWARD + dt, 0, 0, dt)
        status = execute(f, address, KIND_STRUCTURED, out.numel_)
    finally:
        if block != NULL:
            storage_release(block)
    if status != 0:
        raise_kernel_error(op, status, f)
    if requires:
        i = record_new()
        r = record(i)
        r[REC_OP] = (op | (<int64_t>plan.ndim << 16) | (<int64_t>plan.dt << 24) | (<int64_t>dt << 32)
                     | (<int64_t>7 << 48))
        r[REC_NUMEL] = out.numel_
        ext = record_extend(r, len(plan.params), plan.n_words, n if variadic else 0)
        memcpy(ext_params(ext), <char*>plan.params, len(plan.params))
        memcpy(ext_words(ext), plan.words, plan.n_words * 8)
        put_shape(r, plan.ndim, plan.shape)
        for k in range(n):
            if inputs[k] is None:
                continue
            t = <Tensor>inputs[k]
            e = -1
            if t.requires and row[OP_DERIVATIVE + (0 if variadic else k)] != DERIVATIVE_NONE:
                e = edge_of(t)
                record_retain(e)
            if variadic:
                ext_edges(ext)[k] = e
            else:
                r[REC_EDGE + k] = e
                if need & (1 << k):
                    save(r, k, t)
                    put_meta(ext, k, t)
        if need & 8:
            save(r, 3, out)
        if need & 16:
            storage_retain(second.st)
            ext[EXT_AUX] = <int64_t><uintptr_t>second.st
            ext[EXT_AUX_META] = second.dt | (<int64_t>second.ndim_ << 8)
            for k in range(second.ndim_):
                ext[EXT_AUX_META + 1 + k] = second.shape_[k]
            r[REC_FLAGS] |= FLAG_SAVES
        out.rec = i
        out.requires = True
    if plan.returns_aux:
        return out, second
    return out


def run_kernel(int64_t op, int dt, Tensor out not None, tuple inputs=(), words=(), params=b"", int64_t ext_address=0,
               bint serial=False):
    """Runs an op's kernel into existing memory, outside of the history; bumps the version of `out`.

    `serial` makes one call of all items, without a planning call.
    """
    cdef int64_t* row = op_row(op)
    cdef int64_t f[FRAME_WORDS]
    cdef int64_t local[64]
    cdef int64_t status, address
    cdef int k
    cdef Tensor t
    if len(words) > 64 or len(inputs) > 3:
        raise ValueError("run_kernel takes up to 64 words and three inputs")
    if not (row[OP_DTYPES] >> dt) & 1:
        raise RuntimeError(f'"{op_names[op]}" not implemented for \'{type_name(dt)}\'')
    if not out.contig:
        raise ValueError("run_kernel writes contiguous memory")
    for k in range(len(words)):
        local[k] = words[k]
    for k in range(3):
        f[FRAME_IN + k] = 0
    for k in range(len(inputs)):
        t = <Tensor?>inputs[k]
        f[FRAME_IN + k] = <int64_t><uintptr_t>t.data_
    f[FRAME_OUT] = <int64_t><uintptr_t>out.data_
    f[FRAME_AUX] = 0
    f[FRAME_N] = out.numel_
    f[FRAME_EXT] = ext_address if ext_address != 0 else <int64_t><uintptr_t>local
    f[FRAME_PARAMS] = <int64_t><uintptr_t><char*>params
    address = kernel_of(op, OP_FORWARD + dt, 0, 0, dt)
    out.st.version += 1
    if serial:
        status = (<kernel_t><uintptr_t>address)(f, 0, out.numel_)
    else:
        status = execute(f, address, row[OP_KIND], out.numel_)
    if status != 0:
        raise_kernel_error(op, status, f)
    return out


def multi_tensor_update(int64_t op, tuple columns, tuple params, tuple writes, bint steps):
    """One native call over equally long lists of tensors; the columns marked in `writes` change in place.

    All tensors are contiguous and of one dtype, and row i of every column has the same number of
    elements; with `steps` the last column holds single float32 elements. Returns False, with
    nothing written, where the tensors are not like that; ValueError if the lists differ in length.
    """
    cdef int64_t f[FRAME_WORDS]
    cdef int64_t status, address
    cdef int n_columns = <int>len(columns), c
    cdef int64_t n = len(columns[0]), i
    cdef Storage* block
    cdef int64_t* w
    cdef double values[32]
    cdef Tensor t
    cdef int dt = -1
    cdef list column
    if n == 0:
        return True
    if len(params) > 32:
        raise ValueError("at most 32 parameters")
    for c in range(len(params)):
        values[c] = params[c]
    block = storage_new(n * (1 + n_columns) * 8)
    w = <int64_t*>block.ptr
    try:
        for c in range(n_columns):
            column = columns[c]
            if len(column) != n:
                raise ValueError(f"{op_names[op]}: the lists of tensors have different lengths")
            for i in range(n):
                t = <Tensor?>column[i]
                if c == 0:
                    w[i * (1 + n_columns)] = t.numel_
                    if dt < 0:
                        dt = t.dt
                if steps and c == n_columns - 1:
                    if t.dt != 0 or t.numel_ != 1:
                        return False
                elif t.dt != dt or not t.contig or t.numel_ != w[i * (1 + n_columns)]:
                    return False
                w[i * (1 + n_columns) + 1 + c] = <int64_t><uintptr_t>t.data_
        if not (op_row(op)[OP_DTYPES] >> dt) & 1:
            raise RuntimeError(f'"{op_names[op]}" not implemented for \'{type_name(dt)}\'')
        f[FRAME_N] = n
        f[FRAME_EXT] = <int64_t><uintptr_t>w
        f[FRAME_PARAMS] = <int64_t><uintptr_t>values
        address = kernel_of(op, OP_FORWARD + dt, 0, 0, dt)
        for c in range(n_columns):
            if writes[c]:
                column = columns[c]
                for i in range(n):
                    (<Tensor>column[i]).st.version += 1
        status = execute(f, address, KIND_STRUCTURED, n)
        if status != 0:
            raise_kernel_error(op, status, f)
    finally:
        storage_release(block)
    return True


# ---------------------------------------------------------------- views

cdef Tensor view_of(Tensor x, int ndim, const int64_t* shape, const int64_t* strides, int64_t offset,
                    const int64_t* gstrides, int64_t goffset, bint alias):
    """x shown in another arrangement, `offset` elements on.

    `gstrides` and `goffset` arrange the same elements in a contiguous gradient of x; `alias` says
    that this arrangement is the gradient's own order.
    """
    cdef Tensor out
    cdef int64_t i, e
    cdef int64_t* r
    cdef int64_t* w
    cdef int d
    out = tensor_over(x.st, x.data_ + offset * itemsizes[x.dt], x.dt, ndim, shape, strides)
    out.inference = x.inference
    out.base = x if x.base is None else x.base
    out.base_history = out.base.history
    if tg_grad_off == 0 and needs_grad(x):
        e = edge_of(x)
        i = record_new()
        r = record(i)
        r[REC_OP] = view_op | (<int64_t>ndim << 16) | (<int64_t>x.dt << 24) | (<int64_t>x.dt << 32)
        r[REC_NUMEL] = out.numel_
        if alias:
            r[REC_FLAGS] |= FLAG_ALIAS
        else:
            record_extend(r, 0, VIEW_WORDS, 0)
            w = ext_words(extension(r))
            w[VIEW_NDIM] = ndim
            for d in range(ndim):
                w[VIEW_SHAPE + d] = shape[d]
                w[VIEW_STRIDES + d] = gstrides[d]
            w[VIEW_OFFSET] = goffset
        put_shape(r, ndim, shape)
        record_retain(e)
        r[REC_EDGE] = e
        out.rec = i
        out.requires = True
    return out


# ---------------------------------------------------------------- the class

# binding(False): methods then check the type of self, Tensor.item(5) is a TypeError and not a crash.
@cython.binding(False)
@cython.freelist(256)
cdef class Tensor:
    """A multi-dimensional array that can record what is done with it.

    Made by `torch.tensor`, `torch.zeros`, `torch.from_numpy` and their like, or by operations on
    tensors. Semantics are PyTorch's.

    >>> import tapegrad as torch
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    # Tensor.__new__ alone gives an empty float32 tensor.
    def __cinit__(self):
        self.rec = -1
        self.st = &nothing
        self.data_ = nothing_data
        self.ndim_ = 1
        self.strides_[0] = 1
        self.contig = True

    def __dealloc__(self):
        if self.rec >= 0:
            record_release(self.rec)
        storage_release(self.st)

    def __init__(self, *args, **kwargs):
        if self.st == &nothing:
            legacy_constructor(self, args, kwargs)

    # A dict per tensor would cost more than the rest of it: made when a user sets an attribute.
    def __getattr__(self, name):
        if self.attributes is not None and name in self.attributes:
            return self.attributes[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name, value):
        try:
            PyObject_GenericSetAttr(self, name, value)
        except AttributeError:
            if hasattr(Tensor, name):
                raise
            if self.attributes is None:
                self.attributes = {}
            self.attributes[name] = value

    def __delattr__(self, name):
        if self.attributes is not None and name in self.attributes:
            del self.attributes[name]
        elif name == "grad":
            self.grad = None
        else:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    # ------------------------------------------------ shape and type
    @property
    def shape(self):
        """The sizes, as a `torch.Size`."""
        return tuple.__new__(Size, [self.shape_[d] for d in range(self.ndim_)])

    def size(self, dim=None):
        """The sizes, or the size of one dimension; IndexError if there is no such dimension."""
        if dim is None:
            return self.shape
        return self.shape_[wrap_dim(dim, self.ndim_)]

    def stride(self, dim=None):
        """Steps between neighbours in elements, as a tuple, or of one dimension."""
        if dim is None:
            return tuple([self.strides_[d] for d in range(self.ndim_)])
        return self.strides_[wrap_dim(dim, self.ndim_)]

    @property
    def ndim(self):
        """The number of dimensions."""
        return self.ndim_

    def dim(self):
        """The number of dimensions."""
        return self.ndim_

    def numel(self):
        """The number of elements."""
        return self.numel_

    @property
    def dtype(self):
        """The element type."""
        return dtype_of[self.dt]

    @property
    def _dt(self):
        return self.dt

    @property
    def device(self):
        """Where the data is: `device(type='cpu')`."""
        return CPU

    def is_contiguous(self):
        """True if the elements lie in memory in row-major order without gaps."""
        return self.contig

    def storage_offset(self):
        """Elements between the start of the memory and the first element."""
        return (self.data_ - self.st.ptr) // itemsizes[self.dt]

    def data_ptr(self):
        """The address of the first element; 0 for a tensor without elements."""
        return 0 if self.numel_ == 0 else <int64_t><uintptr_t>self.data_

    def _version_get(self):
        return self.st.version

    @property
    def _version(self):
        return self.st.version

    @property
    def _base(self):
        return self.base

    def is_inference(self):
        """True if made in inference mode."""
        return self.inference

    # ------------------------------------------------ history
    @property
    def requires_grad(self):
        """Whether operations on this tensor are recorded for `backward`."""
        return needs_grad(self)

    @requires_grad.setter
    def requires_grad(self, bint value):
        self.requires_grad_(value)

    def requires_grad_(self, bint requires_grad=True):
        """Sets `requires_grad` in place; RuntimeError for integer tensors, and for turning it off on a non-leaf."""
        if requires_grad == needs_grad(self):
            return self
        if requires_grad:
            if category[self.dt] != 2:
                raise RuntimeError("only Tensors of floating point dtype can require gradients")
            if self.inference and tg_inference == 0:
                raise RuntimeError(
                    "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed."
                )
            self.requires = True
            if self.rec >= 0:
                record(self.rec)[REC_FLAGS] |= FLAG_REQUIRES
        else:
            if not is_leaf(self):
                raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want to use a "
                                   "computed variable in a subgraph that doesn't require differentiation use "
                                   "var_no_grad = var.detach().")
            self.requires = False
            drop_leaf(self)
        return self

    @property
    def is_leaf(self):
        """True if no recorded operation made this tensor."""
        needs_grad(self)
        return is_leaf(self)

    @property
    def grad(self):
        """The gradient accumulated by `backward`, or None."""
        if self.rec < 0:
            return None
        return grad_of(self.rec)

    @grad.setter
    def grad(self, value):
        cdef int64_t* r
        cdef Tensor g
        if value is not None:
            if not isinstance(value, Tensor):
                kind = type(value).__name__
                raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {kind}")
            g = value
            if g is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if g.dt != self.dt:
                raise RuntimeError(f"attempting to assign a gradient with dtype '{dtype_of[g.dt].name}' to a tensor "
                                   f"with dtype '{dtype_of[self.dt].name}'. Please ensure that the gradient and the "
                                   f"tensor have the same dtype")
            if not same_shape(self, g):
                raise RuntimeError(f"attempting to assign a gradient of size '{list(g.shape)}' to a tensor of size "
                                   f"'{list(self.shape)}'. Please ensure that the gradient and the tensor are the "
                                   f"same size")
            if self.rec < 0:
                leaf_record(self, self.requires)
        elif self.rec < 0:
            return
        r = record(self.rec)
        if r[REC_FLAGS] & FLAG_LEAF == 0 and value is None and record_obj(r) == 0:
            return
        set_grad(self.rec, value)

    @property
    def grad_fn(self):
        """The node of the operation that made this tensor, or None for a leaf."""
        if not needs_grad(self) or is_leaf(self):
            return None
        return make_node(self.rec)

    @property
    def output_nr(self):
        """Which output of its `grad_fn` this tensor is: always 0 here."""
        return 0

    def detach(self):
        """The same data without history; shares memory and version.

        >>> import tapegrad as torch
        >>> torch.ones(2, requires_grad=True).detach().requires_grad
        False
        """
        cdef Tensor t = tensor_over(self.st, self.data_, self.dt, self.ndim_, self.shape_, self.strides_)
        t.inference = self.inference
        return t

    def detach_(self):
        """Drops the history in place; RuntimeError for a view."""
        if self.base is not None and needs_grad(self):
            raise RuntimeError("Can't detach views in-place. Use detach() instead. If you are using "
                               "DistributedDataParallel (DDP) for training, and gradient_as_bucket_view is set "
                               "as True, gradients are views of DDP buckets, and hence detach_() cannot be "
                               "called on these gradients. To fix this error, please refer to the "
                               "Optimizer.zero_grad() function in torch/optim/optimizer.py as a reference.")
        self.requires = False
        if self.rec >= 0 and not is_leaf(self):
            record_release(self.rec)
            self.rec = -1
            self.history += 1
        elif self.rec >= 0:
            drop_leaf(self)
        return self

    @property
    def data(self):
        """The same memory as a tensor outside of every history, with its own version count."""
        cdef Storage* st = storage_share(self.st)
        cdef Tensor t = tensor_over(st, self.data_, self.dt, self.ndim_, self.shape_, self.strides_)
        storage_release(st)
        return t

    @data.setter
    def data(self, Tensor other not None):
        cdef int d
        if self.requires and category[other.dt] != 2:
            raise RuntimeError("data set to a tensor that requires gradients must be floating point")
        if self.rec >= 0 and (other.dt != self.dt or not same_shape(self, other)):
            if is_leaf(self) and grad_of(self.rec) is not None:
                raise RuntimeError("set_data: the new data has another shape or type than the accumulated gradient; "
                                   "set .grad to None first")
            record_release(self.rec)
            self.rec = -1
        self.dt = other.dt
        self.base = None                # and the views of this tensor find out when they look
        storage_retain(other.st)
        storage_release(self.st)
        self.st = other.st
        self.data_ = other.data_
        self.ndim_ = other.ndim_
        self.numel_ = other.numel_
        self.contig = other.contig
        for d in range(other.ndim_):
            self.shape_[d] = other.shape_[d]
            self.strides_[d] = other.strides_[d]

    def retain_grad(self):
        """Makes `backward` keep the gradient of this non-leaf in `.grad`; RuntimeError if it requires none."""
        if not needs_grad(self):
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if not is_leaf(self):
            record(self.rec)[REC_FLAGS] |= FLAG_RETAIN | FLAG_VISIT

    @property
    def retains_grad(self):
        """True for a non-leaf whose gradient `backward` keeps."""
        return self.rec >= 0 and (record(self.rec)[REC_FLAGS] & FLAG_RETAIN) != 0

    # ------------------------------------------------ out to Python and NumPy
    def item(self):
        """The value of a one-element tensor as a Python number; RuntimeError otherwise."""
        if self.numel_ != 1:
            raise RuntimeError(f"a Tensor with {self.numel_} elements cannot be converted to Scalar")
        return scalar_at(self.data_, self.dt)

    def numpy(self, *, force=False):
        """The NumPy array over the same memory; RuntimeError if the tensor requires grad (unless `force`)."""
        if needs_grad(self) and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return numpy_over(self)

    def _array(self):
        return numpy_over(self)

    def __array__(self, dtype=None, copy=None):
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            if copy is False:
                raise ValueError("Unable to avoid copy while creating an array as requested.")
            return array.astype(dtype)
        return array.copy() if copy else array

    def tolist(self):
        """The elements as nested lists of Python numbers."""
        if self.ndim_ == 0:
            return self.item()
        return numpy_over(self).tolist()

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __bool__(self):
        if self.numel_ != 1:
            if self.numel_ == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(scalar_at(self.data_, self.dt))

    def __index__(self):
        if category[self.dt] == 2 or self.numel_ != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(scalar_at(self.data_, self.dt))

    def __complex__(self):
        return complex(self.item())

    def __len__(self):
        if self.ndim_ == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.shape_[0]

    def __iter__(self):
        if self.ndim_ == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter([index_get(self, k) for k in range(self.shape_[0])])

    def __repr__(self):
        return format_tensor(self)

    def __format__(self, spec):
        if self.ndim_ == 0 and not isinstance(self, type(None)):
            return format(self.item(), spec) if spec else (str(self.item()) if not self.requires else str(self.item()))
        return object.__format__(self, spec)

    def __hash__(self):
        return <Py_hash_t>(<uintptr_t><PyObject*>self >> 4)

    def __getitem__(self, key):
        return index_get(self, key)

    def __setitem__(self, key, value):
        index_set(self, key, value)

    def __delitem__(self, key):
        raise TypeError("Tensor does not support deleting items")

    def __contains__(self, value):
        if classify(value) < 0 and not isinstance(value, Tensor):
            kind = type(value)
            raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {kind}.")
        return bool((self == value).any().item())

    # ------------------------------------------------ operators
    def __add__(self, other):
        return operate(0, self, other)

    def __radd__(self, other):
        return operate(0, other, self)

    def __sub__(self, other):
        return operate(1, self, other)

    def __rsub__(self, other):
        return operate(1, other, self)

    def __mul__(self, other):
        return operate(2, self, other)

    def __rmul__(self, other):
        return operate(2, other, self)

    def __truediv__(self, other):
        return operate(3, self, other)

    def __rtruediv__(self, other):
        return operate(3, other, self)

    def __floordiv__(self, other):
        return operate(4, self, other)

    def __rfloordiv__(self, other):
        return operate(4, other, self)

    def __mod__(self, other):
        return operate(5, self, other)

    def __rmod__(self, other):
        return operate(5, other, self)

    def __pow__(self, other, modulo):
        if modulo is not None:
            return NotImplemented
        return operate(6, self, other)

    def __rpow__(self, other, modulo):
        return operate(6, other, self)

    def __and__(self, other):
        return operate(7, self, other)

    def __rand__(self, other):
        return operate(7, other, self)

    def __or__(self, other):
        return operate(8, self, other)

    def __ror__(self, other):
        return operate(8, other, self)

    def __xor__(self, other):
        return operate(9, self, other)

    def __rxor__(self, other):
        return operate(9, other, self)

    def __matmul__(self, other):
        if not isinstance(other, Tensor):
            return NotImplemented
        return matrix_product(self, other)

    def __rmatmul__(self, other):
        return NotImplemented

    def __richcmp__(self, other, int which):
        # Py_LT, LE, EQ, NE, GT, GE = 0..5 are operators 10..15
        if not isinstance(other, Tensor) and classify(other) < 0:
            return NotImplemented
        return operate(10 + which, self, other)

    def __iadd__(self, other):
        return operate_(0, self, other)

    def __isub__(self, other):
        return operate_(1, self, other)

    def __imul__(self, other):
        return operate_(2, self, other)

    def __itruediv__(self, other):
        return operate_(3, self, other)

    def __ifloordiv__(self, other):
        return operate_(4, self, other)

    def __imod__(self, other):
        return operate_(5, self, other)

    def __ipow__(self, other):
        return operate_(6, self, other)

    def __iand__(self, other):
        return operate_(7, self, other)

    def __ior__(self, other):
        return operate_(8, self, other)

    def __ixor__(self, other):
        return operate_(9, self, other)

    def __neg__(self):
        return unary(negate_op, self)

    def __pos__(self):
        return self

    def __abs__(self):
        return unary(abs_op, self)

    def __invert__(self):
        return invert(self)

    __array_priority__ = 1000

    @staticmethod
    def _make_subclass(cls, Tensor data not None, bint require_grad=False):
        """An instance of a subclass over the data of a tensor, as a leaf."""
        cdef Tensor t = cls.__new__(cls) if cls is Tensor else Tensor.__new__(cls)
        if require_grad and category[data.dt] != 2:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        adopt(t, data)
        t.requires = require_grad
        return t


def adopt(Tensor self not None, Tensor source not None):
    """Gives an empty instance the memory of `source`; for constructors."""
    cdef int d
    if self.st != &nothing or self.rec >= 0:
        raise RuntimeError("the instance already has data")
    storage_retain(source.st)
    self.st = source.st
    self.data_ = source.data_
    self.dt = source.dt
    self.ndim_ = source.ndim_
    self.numel_ = source.numel_
    self.contig = source.contig
    for d in range(source.ndim_):
        self.shape_[d] = source.shape_[d]
        self.strides_[d] = source.strides_[d]


cdef int64_t negate_op = -1
cdef int64_t abs_op = -1
cdef object invert = None
cdef object legacy_constructor = None


cdef inline object operate(int which, a, b):
    cdef PyObject* p[2]
    if not isinstance(b, Tensor):
        if classify(b) < 0:
            return NotImplemented
    elif not isinstance(a, Tensor) and classify(a) < 0:
        return NotImplemented
    if operator_op[which] < 0:
        return operator_function[which](a, b)
    p[0] = <PyObject*>a
    p[1] = <PyObject*>b
    return pointwise(operator_op[which], 2, p, None, None)


cdef inline object operate_(int which, a, b):
    cdef PyObject* p[2]
    if not isinstance(b, Tensor) and classify(b) < 0:
        return NotImplemented
    if operator_op[which] < 0:
        return copy_(<Tensor>a, operator_function[which](a, b))
    p[0] = <PyObject*>a
    p[1] = <PyObject*>b
    return pointwise(operator_op[which], 2, p, <Tensor>a, None)


def wrap_dim(dim, int ndim):
    """A dimension counted from the start; IndexError if it is out of range."""
    cdef int n = ndim if ndim > 0 else 1
    cdef int64_t d
    if type(dim) is not int:
        if not hasattr(dim, "__index__") or isinstance(dim, bool):
            raise TypeError(f"dim must be int, not {type(dim).__name__}")
        dim = dim.__index__()
    if dim < -n or dim >= n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    d = dim
    return d + n if d < 0 else d


cdef object grad_of(int64_t i):
    cdef int64_t* r = record(i)
    if record_obj(r) == 0:
        return None
    obj = <object><PyObject*><uintptr_t>r[REC_OBJ]
    if isinstance(obj, Tensor):
        return obj
    return (<Hooks>obj).grad


cdef int set_grad(int64_t i, object value) except -1:
    """Puts the public gradient of a record."""
    cdef int64_t* r = record(i)
    cdef PyObject* old = <PyObject*><uintptr_t>record_obj(r)
    if old != NULL and not isinstance(<object>old, Tensor):
        (<Hooks><object>old).grad = value
        return 0
    record_far(r)
    if value is None:
        r[REC_OBJ] = 0
    else:
        Py_INCREF(value)
        r[REC_OBJ] = <int64_t><uintptr_t><PyObject*>value
    Py_XDECREF(old)
    return 0


cdef int drop_leaf(Tensor t) except -1:
    """requires_grad is off: a leaf keeps its record only for the sake of its gradient and hooks."""
    cdef object grad
    if t.rec < 0:
        return 0
    grad = grad_of(t.rec)
    record_release(t.rec)
    t.rec = -1
    if grad is not None:
        leaf_record(t, False)
        set_grad(t.rec, grad)
    return 0


cdef class Hooks:
    """What Python hangs on a record: hooks and the gradient."""
    cdef public object grad
    cdef public dict pre                # hooks on the gradient of the value, id -> callable
    cdef public dict post               # hooks after accumulation into a leaf


def hooks_of(Tensor t not None):
    """The Hooks of a tensor's record, made if absent; the tensor must require grad."""
    cdef int64_t i = edge_of(t)
    cdef int64_t* r
    cdef Hooks h
    cdef PyObject* old
    if i < 0:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    r = record(i)
    old = <PyObject*><uintptr_t>record_obj(r)
    if old != NULL and isinstance(<object>old, Hooks):
        return <object>old
    h = Hooks.__new__(Hooks)
    h.grad = <object>old if old != NULL else None
    h.pre = {}
    h.post = {}
    Py_INCREF(h)
    record_far(r)
    r[REC_OBJ] = <int64_t><uintptr_t><PyObject*>h
    r[REC_FLAGS] |= FLAG_VISIT
    Py_XDECREF(old)
    return h


# ---------------------------------------------------------------- nodes, for looking at the graph

cdef Tensor saved_tensor(int64_t i, int k):
    """Saved input k (3: the result) of record i as a tensor with its place in the history."""
    cdef int64_t* r = record(i)
    cdef int64_t* shape
    cdef int64_t* m
    cdef int64_t e
    cdef Storage* st = <Storage*><uintptr_t>record_saved(r, k)
    cdef Tensor t
    cdef int64_t strides[MAX_DIMS]
    cdef int nd, d, dt
    cdef int64_t step = 1
    if st == NULL:
        raise RuntimeError("this value was not saved")
    if k == 3:
        e = i
        shape = record_shape(r)
        nd = <int>((r[REC_OP] >> 16) & 0xFF)
        dt = <int>((r[REC_OP] >> 24) & 0xFF)
    else:
        e = r[REC_EDGE + k]
        dt = <int>((r[REC_OP] >> 32) & 0xFF)
        if op_row(r[REC_OP] & 0xFFFF)[OP_INPUT_DTYPE + k] >= 0:
            dt = <int>op_row(r[REC_OP] & 0xFFFF)[OP_INPUT_DTYPE + k]
        if record_extended(r) and has_meta(r):
            m = extension(r) + EXT_META + k * EXT_META_WORDS
            nd = <int>(m[0] >> 8)
            t = tensor_over(st, <char*><uintptr_t>record_ptr(r, k), <int>(m[0] & 0xFF), nd, m + 1, m + 9)
            return attach(t, e)
        if e >= 0:
            shape = record_shape(record(e))
            nd = <int>((record(e)[REC_OP] >> 16) & 0xFF)
        elif (r[REC_OP] >> (48 + k)) & 1:
            shape = record_shape(r)
            nd = <int>((r[REC_OP] >> 16) & 0xFF)
        else:
            shape = r
            nd = 0
    for d in range(nd - 1, -1, -1):
        strides[d] = step
        step *= shape[d]
    return attach(tensor_over(st, <char*><uintptr_t>record_ptr(r, k), dt, nd, shape, strides), e)


cdef inline bint has_meta(int64_t* r) noexcept:
    return op_row(r[REC_OP] & 0xFFFF)[OP_KIND] == KIND_STRUCTURED or ((r[REC_OP] >> 40) & 0xFF) == LAYOUT_GENERAL


cdef Tensor attach(Tensor t, int64_t e):
    if e >= 0:
        record_retain(e)
        t.rec = e
        t.requires = True
    return t


@cython.binding(False)
cdef class Node:
    """An operation on the tape, as `Tensor.grad_fn` shows it."""
    cdef int64_t rec

    def __cinit__(self):
        self.rec = -1

    def __init__(self):
        raise TypeError("nodes come from Tensor.grad_fn")

    def __dealloc__(self):
        if self.rec >= 0:
            record_release(self.rec)

    cdef int64_t* words(self) except NULL:
        if self.rec < 0:
            raise TypeError("nodes come from Tensor.grad_fn")
        return record(self.rec)

    def name(self):
        """The operation's name in PyTorch's spelling, for example 'MulBackward0'."""
        cdef int64_t* r = self.words()
        if r[REC_FLAGS] & FLAG_LEAF:
            return "AccumulateGrad"
        name = op_names[r[REC_OP] & 0xFFFF]
        return "".join([part.capitalize() for part in name.split("_")]) + "Backward0"

    @property
    def next_functions(self):
        """The nodes of the inputs, as ((node or None, 0), ...)."""
        return tuple([(None if e < 0 else make_node(e), 0) for e in self.edges()])

    def edges(self):
        """The records of the inputs, -1 where no gradient flows."""
        cdef int64_t* r = self.words()
        if r[REC_FLAGS] & FLAG_LEAF:
            return []
        cdef int64_t op = r[REC_OP] & 0xFFFF
        cdef int64_t* ext
        if op_row(op)[OP_FLAGS] & OPFLAG_VARIADIC:
            ext = extension(r)
            return [ext_edges(ext)[k] for k in range(ext[EXT_EDGES])]
        return [r[REC_EDGE + k] for k in range(op_row(op)[OP_INPUTS])]

    def __repr__(self):
        return f"<{self.name()} object at {hex(<uintptr_t><PyObject*>self)}>"

    def __eq__(self, other):
        return isinstance(other, Node) and (<Node>other).rec == self.rec

    def __hash__(self):
        return hash(self.rec)

    @property
    def index(self):
        """The place of the record on the tape."""
        return self.rec


cdef object make_node(int64_t i):
    cdef Node node = Node.__new__(Node)
    record_retain(i)
    node.rec = i
    return node


def record_view(int64_t i):
    """What the derivative in tensor ops needs of record i: a dict of plain values and saved tensors."""
    cdef int64_t* r = record(i)
    cdef int64_t op = r[REC_OP] & 0xFFFF
    cdef int64_t* ext
    cdef int64_t* w
    cdef int k, dt
    info = {"op": op, "flags": r[REC_FLAGS], "numel": r[REC_NUMEL], "dt": <int>((r[REC_OP] >> 24) & 0xFF),
            "compute": <int>((r[REC_OP] >> 32) & 0xFF),
            "shape": tuple([record_shape(r)[d] for d in range((r[REC_OP] >> 16) & 0xFF)]),
            "saved": [None] * 4, "words": (), "params": b"", "aux": None, "version_errors": []}
    for k in range(4):
        if record_saved(r, k) != 0:
            if (((<Storage*><uintptr_t>r[REC_SAVED + k]).version & 0x7FFFFFFF)
                    != (r[REC_VERSIONS + (k >> 1)] >> (32 * (k & 1))) & 0x7FFFFFFF):
                info["version_errors"].append(k)
            info["saved"][k] = saved_tensor(i, k)
        elif k < 3 and (r[REC_FLAGS] >> (FLAG_SCALAR_SHIFT + k)) & 1:
            dt = <int>((r[REC_OP] >> 32) & 0xFF)
            if op_row(op)[OP_INPUT_DTYPE + k] >= 0:
                dt = <int>op_row(op)[OP_INPUT_DTYPE + k]
            info["saved"][k] = scalar_at(<char*><uintptr_t>record_ptr(r, k), dt)
    if record_extended(r):
        ext = extension(r)
        w = ext_words(ext)
        info["words"] = tuple([w[k] for k in range(ext[EXT_WORDS])])
        info["params"] = (<char*>ext_params(ext))[:ext[EXT_PARAMS]]
        if ext[EXT_AUX] != 0:
            info["aux"] = aux_tensor(ext)
    else:
        info["params"] = (<char*>(r + REC_PARAM))[:8] if r[REC_FLAGS] & FLAG_NEAR else bytes(8)
    return info


cdef Tensor aux_tensor(int64_t* ext):
    """The second result that a record kept."""
    cdef Storage* st = <Storage*><uintptr_t>ext[EXT_AUX]
    cdef int64_t strides[MAX_DIMS]
    cdef int nd = <int>(ext[EXT_AUX_META] >> 8), d
    cdef int64_t step = 1
    for d in range(nd - 1, -1, -1):
        strides[d] = step
        step *= ext[EXT_AUX_META + 1 + d]
    return tensor_over(st, st.ptr, <int>(ext[EXT_AUX_META] & 0xFF), nd, ext + EXT_AUX_META + 1, strides)


def record_info(int64_t i):
    """(sequence number, flags, shape, dtype index) of record i."""
    cdef int64_t* r = record(i)
    return (r[REC_SEQ], r[REC_FLAGS], tuple([record_shape(r)[d] for d in range((r[REC_OP] >> 16) & 0xFF)]),
            <int>((r[REC_OP] >> 24) & 0xFF))


def edge_index(Tensor t not None):
    """The record that gradients of t flow to, or -1."""
    return edge_of(t)


def drop_saved(int64_t i):
    """Frees what record i saved and marks it as freed."""
    cdef int64_t* r = record(i)
    if r[REC_FLAGS] & FLAG_SAVES:
        record_drop_saved(r)
        r[REC_FLAGS] |= FLAG_FREED


def node_of_record(int64_t i):
    """A Node that holds record i."""
    return make_node(i)


def record_grad(int64_t i):
    """The public gradient at record i, or None."""
    return grad_of(i)


def set_record_grad(int64_t i, value):
    """Sets the public gradient at record i."""
    set_grad(i, value)


def record_hooks(int64_t i):
    """The Hooks of record i, or None."""
    cdef int64_t* r = record(i)
    if record_obj(r) == 0:
        return None
    obj = <object><PyObject*><uintptr_t>r[REC_OBJ]
    return obj if isinstance(obj, Hooks) else None


# ---------------------------------------------------------------- what the floors above attach

def install(str name, value):
    """Adds an attribute to the Tensor class; used once per name, at import."""
    cdef PyTypeObject* cls = <PyTypeObject*>Tensor
    d = <object>cls.tp_dict
    d[name] = value
    PyType_Modified(Tensor)


def set_hook(str name, value):
    """Gives the recorders what they call in the floors above."""
    global compile_kernel, run_parallel, format_tensor, index_get, index_set, matrix_product, kernel_error
    global n_threads, blas_table, view_op, copy_slices_op, negate_op, abs_op, invert, legacy_constructor, default_dt
    if name == "compile_kernel":
        compile_kernel = value
    elif name == "run_parallel":
        run_parallel = value
    elif name == "format_tensor":
        format_tensor = value
    elif name == "index_get":
        index_get = value
    elif name == "index_set":
        index_set = value
    elif name == "matrix_product":
        matrix_product = value
    elif name == "kernel_error":
        kernel_error = value
    elif name == "n_threads":
        n_threads = value
    elif name == "blas_table":
        blas_table = value
    elif name == "view":
        view_op = value
    elif name == "copy_slices":
        copy_slices_op = value
    elif name == "neg":
        negate_op = value
    elif name == "abs":
        abs_op = value
    elif name == "invert":
        invert = value
    elif name == "legacy_constructor":
        legacy_constructor = value
    elif name == "default_dt":
        default_dt = value
    else:
        raise KeyError(name)


def set_operator(int which, int64_t op, function=None):
    """Sets what is behind operator `which` (0..15, in the order of the methods of Tensor): an op, or a function."""
    if not 0 <= which < 16:
        raise IndexError("no such operator")
    operator_op[which] = op
    operator_function[which] = function


def set_cast(int dt, int64_t op):
    """Sets the op that converts to the dtype of this index."""
    cast_op[dt] = op


def set_op_names(list names):
    """Names by op number, for messages and nodes."""
    global op_names
    op_names = names


def get_default_dt():
    """The index of the default floating type."""
    return default_dt


def get_blas_table():
    """The address of the BLAS table that frames carry, 0 if BLAS was not loaded."""
    return blas_table


def mark_inference(Tensor t):
    """Whether t was made in inference mode."""
    return t.inference
