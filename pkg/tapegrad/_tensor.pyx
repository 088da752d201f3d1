"""Tensor: a thin object over a storage.

The class knows layout, versions, history and operators; it knows no op by name. An op is a row of the op
table (`_layout.pxd`), its kernels are C functions called by address. What records ops, one recorder per
arity class, stands above: `_pointwise` and `_structured` (views are recorded here). Everything else (named
methods, functions, printing) is attached by the floors above through `install` and `set_hook`.
"""

import cython
from cpython.ref cimport PyObject, Py_INCREF, Py_XDECREF
from cpython.tuple cimport PyTuple_SET_ITEM
from cpython.type cimport PyType_Modified
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.string cimport memset

from tapegrad._elements cimport category, classify, itemsizes, list_at, scalar_at, store_scalar, type_name
from tapegrad._layout cimport *
from tapegrad.tape cimport _capture
from tapegrad.tape._storage cimport Storage, storage_new, storage_release, storage_retain, storage_share
from tapegrad.tape._tape cimport (
    ext_words, extension, op_name, op_row, record, record_extend, record_far, record_new, record_new_leaf, record_obj,
    record_release, record_retain, record_set_edge,
)

import warnings

from tapegrad import dtypes as _dtypes
from tapegrad._device import CPU
from tapegrad._missing import missing_attribute
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

cdef extern from *:
    """
    static PyObject *tg_size_new(PyObject *type, Py_ssize_t n) {
        return ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, n);
    }
    """
    object size_new "tg_size_new"(object kind, Py_ssize_t n)

cdef extern from "Python.h":
    int PyObject_GenericSetAttr(object o, object name, object value) except -1
    ctypedef struct PyTypeObject:
        PyObject* tp_dict

cdef int default_dt = 0
cdef tuple dtype_of = _dtypes.DTYPES
cdef int64_t[MAX_DTYPES] cast_op          # op that converts to this dtype
cdef int64_t[16] operator_op              # ops behind the operators
cdef list operator_function = [None] * 16  # or functions, where the op depends on the arguments
cdef list operator_function_ = [None] * 16  # and these in place
cdef int64_t view_op = -1
cdef int64_t copy_slices_op = -1
cdef int64_t overwritten_op = -1
cdef object format_tensor = None
cdef object index_get = None
cdef object index_set = None
cdef object matrix_product = None
cdef object array_of = None
cdef object make_node = None


cdef Tensor no_recorder(int64_t op, int n, PyObject** args, Tensor inplace, object params):
    raise ImportError("import tapegrad, which joins its parts, before its modules are used")


cdef pointwise_t pointwise = no_recorder    # `_pointwise` puts its recorder here


cdef bint grad_mode() noexcept nogil:
    return tg_grad_off == 0


cdef void set_grad_mode(bint on) noexcept nogil:
    global tg_grad_off
    tg_grad_off = 0 if on else 1


cdef bint inference_mode() noexcept nogil:
    return tg_inference != 0


cdef void set_inference_mode(bint on) noexcept nogil:
    global tg_inference
    tg_inference = 1 if on else 0


def is_grad_enabled():
    """True where operations are recorded for `backward` (a setting of the calling thread).

    >>> import tapegrad as torch
    >>> with torch.no_grad():
    ...     torch.is_grad_enabled()
    False
    """
    return tg_grad_off == 0


def is_inference_mode_enabled():
    """True inside `inference_mode()`."""
    return tg_inference != 0


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
    cdef uint64_t step = 1      # without elements it may exceed every number, and wraps around
    cdef int d
    for d in range(t.ndim_ - 1, -1, -1):
        t.strides_[d] = <int64_t>step
        if t.shape_[d] > 1:
            step *= <uint64_t>t.shape_[d]
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
    if _capture.listening():
        _capture.note_view(t)
    return t


cdef object size_of(Tensor t):
    """The shape as a Size: a tuple made in place, without a list to make it from."""
    cdef object size = size_new(Size, t.ndim_)
    cdef object n
    cdef int d
    for d in range(t.ndim_):
        n = t.shape_[d]
        Py_INCREF(n)
        PyTuple_SET_ITEM(size, d, n)
    return size


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
    if _capture.listening():
        _capture.log_constant(t.data_, t.numel_ * itemsizes[dt])
    return t


# ---------------------------------------------------------------- history

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
    """Gives t another record; a gradient that is to be kept is that of the newest value."""
    cdef int64_t old = t.rec
    t.rec = i
    t.requires = True
    if old >= 0:
        if record(old)[REC_FLAGS] & (FLAG_LEAF | FLAG_RETAIN) == FLAG_RETAIN:
            record(old)[REC_FLAGS] &= ~<int64_t>FLAG_RETAIN
            record(i)[REC_FLAGS] |= FLAG_RETAIN | FLAG_VISIT
        record_release(old)


cdef int64_t leaf_record(Tensor t, bint accumulates) except -1:
    cdef int64_t i = record_new_leaf()
    cdef int64_t* r = record(i)
    r[REC_OP] = (<int64_t>t.ndim_ << 16) | (<int64_t>t.dt << 24) | (<int64_t>t.dt << 32)
    r[REC_FLAGS] |= FLAG_LEAF | FLAG_VISIT | (FLAG_REQUIRES if accumulates else 0)
    r[REC_NUMEL] = t.numel_
    put_shape(r, t.ndim_, t.shape_)
    t.rec = i
    if _capture.listening():
        _capture.note_leaf(t, i)
    return i


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
        if t.view_marks & VIEW_NO_GRAD and (needs_grad(t) or (t.base is not None and t.base.requires)):
            refuse_no_grad_view()
        if t.view_marks & VIEW_MULTI and needs_grad(t):
            raise RuntimeError(MULTI_VIEW)
        if t.base is not None and (needs_grad(t) or t.base.requires) and is_leaf(t.base):
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
        if needs_grad(t) and is_leaf(t):
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    return 0


MULTI_VIEW = (
    "This view is the output of a function that returns multiple views. Such functions do not allow the output views "
    "to be modified inplace. You should replace the inplace operation by an out-of-place one.")


cdef int refuse_no_grad_view() except -1:
    raise RuntimeError(
        "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Given that this use "
        "case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the view and the "
        "inplace either both inside the no_grad block (if you don't want the inplace to be tracked) or both outside "
        "(if you want the inplace to be tracked).")


def mark_multi_view(Tensor t not None):
    """Marks one of several views that a function returned together: it is not changed in place; returns it."""
    t.view_marks |= VIEW_MULTI
    return t


def fresh(Tensor t not None):
    """Starts the version count of a tensor just made from 0; returns it."""
    if t.base is None and t.rec < 0 and t.st != &nothing:
        t.st.version = 0
        if _capture.listening():
            _capture.note_fresh(t.st)
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
    record_set_edge(r, 0, e)
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
        record_set_edge(r, 0, old)
    record_set_edge(r, 1, i)            # the reference moves into the edge
    set_history(base, j)
    base.history += 1
    refresh(t)
    return 0


# ---------------------------------------------------------------- pointwise ops

cdef object unsupported(int64_t op, int dt):
    raise NotImplementedError(f'"{op_name(op)}" not implemented for \'{type_name(dt)}\'')


cdef object refuse_saving():
    raise RuntimeError(
        "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in "
        "computation tracked by autograd. To work around this, you can make a clone to get a normal tensor and use it "
        "in autograd, or use `torch.no_grad()` instead of `torch.inference_mode()`.")


cdef Tensor cast_to(Tensor t, int dt):
    cdef PyObject* args[1]
    args[0] = <PyObject*>t
    return pointwise(cast_op[dt], 1, args, None, None)


cpdef Tensor clone(Tensor t):
    """A copy with its own memory, recorded."""
    cdef PyObject* args[1]
    if t is None:
        raise TypeError("clone(): argument 'input' (position 1) must be Tensor, not NoneType")
    args[0] = <PyObject*>t
    return pointwise(cast_op[t.dt], 1, args, None, None)


cdef Tensor contiguous_(Tensor x):
    return x if x.contig else clone(x)


def apply_pointwise(int64_t op, tuple args, Tensor inplace=None, params=None):
    """Runs pointwise op `op` on one to three tensors or numbers."""
    cdef PyObject* p[3]
    cdef int k, n = <int>len(args)
    if n != op_row(op)[OP_INPUTS]:
        raise TypeError(f"{op_name(op)}() takes {op_row(op)[OP_INPUTS]} inputs, got {n}")
    for k in range(n):
        p[k] = <PyObject*>args[k]
    return pointwise(op, n, p, inplace, params)


def run_pointwise(int64_t op, *args, params=None, Tensor inplace=None):
    """Runs pointwise op `op` on its inputs, one by one."""
    return apply_pointwise(op, args, inplace, params)


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
    cdef char[8] fits
    p[0] = <PyObject*>source
    if source is self:
        return self
    if not isinstance(source, Tensor) and classify(source) >= 0:
        store_scalar(source, self.dt, False, fits)
    return pointwise(cast_op[self.dt], 1, p, self, None)


def cast(Tensor x not None, int dt):
    """x converted to the dtype of this index; x itself if it has it."""
    return x if x.dt == dt else cast_to(x, dt)


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
    if _capture.listening():
        _capture.note_outside(x, x.st)
    out = tensor_over(x.st, x.data_ + offset * itemsizes[x.dt], x.dt, ndim, shape, strides)
    out.inference = x.inference
    out.view_marks = x.view_marks | (0 if tg_grad_off == 0 else VIEW_NO_GRAD)
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
        record_set_edge(r, 0, e)
        out.rec = i
        out.requires = True
    return out

NOT_KEPT = (
    "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be "
    "populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf Tensor, "
    "use .retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure you access "
    "the leaf Tensor instead.")


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
        raise AttributeError(missing_attribute(type(self).__name__, name))

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
        return size_of(self)

    def size(self, dim=None):
        """The sizes, or the size of one dimension; IndexError if there is no such dimension."""
        if dim is None:
            return self.shape
        if self.ndim_ == 0 and type(dim) is int:
            raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
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

    def is_contiguous(self, *, memory_format=None):
        """True if the elements lie in memory in row-major order without gaps."""
        return self.contig

    def storage_offset(self):
        """Elements between the start of the memory and the first element."""
        looked_behind()
        return (self.data_ - self.st.ptr) // itemsizes[self.dt]

    def data_ptr(self):
        """The address of the first element; 0 for a tensor without elements."""
        looked_behind()
        return 0 if self.numel_ == 0 else <int64_t><uintptr_t>self.data_

    @property
    def _version(self):
        looked_behind()
        return self.st.version

    @property
    def _base(self):
        looked_behind()
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
            accumulate_in(self, True)
        else:
            if not is_leaf(self):
                raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want to use a "
                                   "computed variable in a subgraph that doesn't require differentiation use "
                                   "var_no_grad = var.detach().")
            accumulate_in(self, False)
        return self

    @property
    def is_leaf(self):
        """True if no recorded operation made this tensor."""
        needs_grad(self)
        return is_leaf(self)

    @property
    def grad(self):
        """The gradient accumulated by `backward`, or None.

        UserWarning for the result of an operation that does not keep its gradient.
        """
        if self.rec < 0:
            if _capture.listening():
                _capture.note_no_gradient(self, self.st, True)
            return None
        if _capture.listening():
            _capture.note_outside(self, self.st)
        g = grad_of(self.rec)
        if g is None and record(self.rec)[REC_FLAGS] & (FLAG_LEAF | FLAG_RETAIN) == 0 and needs_grad(self):
            warnings.warn(NOT_KEPT, UserWarning, stacklevel=1)
        return g

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
            if _capture.listening():
                _capture.note_no_gradient(self, self.st, False)
            return
        if _capture.listening():
            _capture.note_outside(self, self.st)
        r = record(self.rec)
        if r[REC_FLAGS] & FLAG_LEAF == 0 and value is None and record_obj(r) == 0:
            if _capture.listening():
                _capture.note_gradient(self.rec, None, False, NULL, NULL)
            return
        set_grad(self.rec, value)

    @property
    def grad_fn(self):
        """The node of the operation that made this tensor, or None for a leaf."""
        if not needs_grad(self) or is_leaf(self):
            return None
        if _capture.listening():
            _capture.note_node(self.rec)
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
        if _capture.listening():
            _capture.note_outside(self, self.st)
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
        if not is_leaf(self):
            self.requires = False
            record_release(self.rec)
            self.rec = -1
            self.history += 1
        elif self.requires:
            accumulate_in(self, False)
        return self

    @property
    def data(self):
        """The same memory as a tensor outside of every history, with its own version count."""
        cdef Storage* st = storage_share(self.st)
        if _capture.listening():
            _capture.note_outside(self, self.st)
            _capture.note_shared(st)
        cdef Tensor t = tensor_over(st, self.data_, self.dt, self.ndim_, self.shape_, self.strides_)
        storage_release(st)
        return t

    @data.setter
    def data(self, Tensor other not None):
        cdef int d
        if other.data_ == self.data_ and other.dt == self.dt and same_layout(self, other):
            return                      # `t.data -= 1` puts back what it has changed in place
        if _capture.listening():
            _capture.note_refusal("the memory of a tensor is exchanged through .data")
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
        looked_behind()
        return self.rec >= 0 and (record(self.rec)[REC_FLAGS] & FLAG_RETAIN) != 0

    # ------------------------------------------------ out to Python and NumPy
    def item(self):
        """The value of a one-element tensor as a Python number; RuntimeError otherwise."""
        if self.numel_ != 1:
            raise RuntimeError(f"a Tensor with {self.numel_} elements cannot be converted to Scalar")
        if _capture.listening():
            _capture.note_refusal("the value of a tensor is read by Python")
        return scalar_at(self.data_, self.dt)

    def numpy(self, *, force=False):
        """The NumPy array over the same memory; RuntimeError if the tensor requires grad (unless `force`)."""
        if needs_grad(self) and not force:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return array_of(self)

    def _array(self):
        return array_of(self)

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
        if _capture.listening():
            _capture.note_refusal("values of a tensor are read by Python or NumPy")
        return list_at(self.data_, self.dt, self.ndim_, self.shape_, self.strides_)

    def __float__(self):
        return float(single(self))

    def __int__(self):
        return int(single(self))

    def __bool__(self):
        if self.numel_ != 1:
            if self.numel_ == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        if _capture.listening():
            _capture.note_refusal("Python branches on the value of a tensor")
        return bool(scalar_at(self.data_, self.dt))

    def __index__(self):
        if category[self.dt] == 2 or self.numel_ != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        if _capture.listening():
            _capture.note_refusal("the value of a tensor is read by Python")
        return int(scalar_at(self.data_, self.dt))

    def __complex__(self):
        return complex(single(self))

    def __len__(self):
        if self.ndim_ == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.shape_[0]

    def __iter__(self):
        if self.ndim_ == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter([mark_multi_view(index_get(self, k)) for k in range(self.shape_[0])])

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
        # The reciprocal times the number, as PyTorch rounds it; an array asks for the product itself.
        if isinstance(other, Tensor) or classify(other) >= 0:
            return operate(2, unary(reciprocal_op, self), other)
        return unary(reciprocal_op, self) * other if hasattr(other, "__array_priority__") else NotImplemented

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
            return compare_foreign(self, other, which)
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


def put_gradient(Tensor leaf not None, value):
    """Sets the gradient of a leaf without looking at it."""
    if leaf.rec < 0:
        leaf_record(leaf, leaf.requires)
    set_grad(leaf.rec, value)


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
cdef int64_t reciprocal_op = -1
cdef object invert = None
cdef object compare_foreign = None
cdef object legacy_constructor = None


cdef object single(Tensor t):
    """The value of a one-element tensor for Python's constructors of numbers."""
    if t.numel_ != 1:
        raise ValueError("only one element tensors can be converted to Python scalars")
    return t.item()


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
        return operator_function_[which](a, b)
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


cdef int looked_behind() except -1:
    """What no signature of a call has is looked at: a replay would not see it change."""
    if _capture.listening():
        _capture.note_refusal("where a tensor lies, or how often it was changed, is read by Python")
    return 0


cdef object grad_of(int64_t i):
    cdef int64_t* r = record(i)
    if _capture.listening():
        _capture.note_gradient(i, public_grad(r), True, NULL, NULL)
    return public_grad(r)


cdef inline object public_grad(int64_t* r):
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
    cdef Tensor t
    if _capture.listening():
        if value is None:
            _capture.note_gradient(i, public_grad(r), False, NULL, NULL)
        else:
            t = <Tensor>value
            _capture.note_gradient(i, public_grad(r), False, t.st, t.data_ if t.contig else NULL)
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


cdef int accumulate_in(Tensor leaf, bint requires) except -1:
    """Gradients arrive at a leaf from now on, or pass it by: it keeps its record, which graphs may lead to."""
    leaf.requires = requires
    if _capture.listening():
        _capture.note_required(leaf, requires)
    if leaf.rec >= 0:
        if requires:
            record(leaf.rec)[REC_FLAGS] |= FLAG_REQUIRES
        else:
            record(leaf.rec)[REC_FLAGS] &= ~FLAG_REQUIRES
    return 0


cdef class Hooks:
    """What Python hangs on a record: hooks and the gradient."""


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


# ---------------------------------------------------------------- what the floors above attach

def install(str name, value):
    """Adds an attribute to the Tensor class; used once per name, at import."""
    cdef PyTypeObject* cls = <PyTypeObject*>Tensor
    d = <object>cls.tp_dict
    d[name] = value
    PyType_Modified(Tensor)


def set_hook(str name, value):
    """Gives the class and its recorders what they call in the floors above."""
    global array_of, make_node, format_tensor, index_get, index_set, matrix_product
    global view_op, copy_slices_op, overwritten_op, negate_op, abs_op, reciprocal_op, invert
    global compare_foreign, legacy_constructor, default_dt
    if name == "array_of":
        array_of = value
    elif name == "make_node":
        make_node = value
    elif name == "format_tensor":
        format_tensor = value
    elif name == "index_get":
        index_get = value
    elif name == "index_set":
        index_set = value
    elif name == "matrix_product":
        matrix_product = value
    elif name == "view":
        view_op = value
    elif name == "copy_slices":
        copy_slices_op = value
    elif name == "overwritten":
        overwritten_op = value
    elif name == "neg":
        negate_op = value
    elif name == "abs":
        abs_op = value
    elif name == "reciprocal":
        reciprocal_op = value
    elif name == "invert":
        invert = value
    elif name == "compare_foreign":
        compare_foreign = value
    elif name == "legacy_constructor":
        legacy_constructor = value
    elif name == "default_dt":
        default_dt = value
    else:
        raise KeyError(name)


def set_operator(int which, int64_t op, function=None, inplace=None):
    """Sets what is behind operator `which` (0..15, in the order of the methods of Tensor): an op, or functions."""
    if not 0 <= which < 16:
        raise IndexError("no such operator")
    operator_op[which] = op
    operator_function[which] = function
    operator_function_[which] = inplace


def set_cast(int dt, int64_t op):
    """Sets the op that converts to the dtype of this index."""
    cast_op[dt] = op


def get_default_dt():
    """The index of the default floating type."""
    return default_dt
