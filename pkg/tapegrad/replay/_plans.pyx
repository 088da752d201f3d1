"""What a machine makes and looks at, as plans: tensors, records, tensors from outside, pieces of memory."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy

from tapegrad._layout cimport *
from tapegrad._tensor cimport Tensor, needs_grad
from tapegrad.replay._look cimport listened_to
from tapegrad.tape._storage cimport storage_exact, storage_release, storage_retain
from tapegrad.tape._tape cimport record


cdef class Argument:
    """In a result: tensor argument `number`."""

    def __init__(self, number):
        self.number = number


cdef class Root:
    """What views of tensor argument `number` are views of: itself, or what it is a view of."""

    def __init__(self, number):
        self.number = number


cdef class Held:
    """In a result: the gradient that leaf `number` has, before the run as after it."""

    def __init__(self, number):
        self.number = number


cdef class Same:
    """In a result: this very object, from outside."""

    def __init__(self, object):
        self.object = object


cdef class TensorPlan:
    """Layout of a tensor that a run makes: where it lies, and with which history.

    `over` is a fresh base's number, or the tensor or Argument whose memory it shows.
    """

    def __init__(self, over, int64_t offset, int dt, tuple shape, tuple strides, int64_t stamp, bint requires,
                 bint inference, int marks=0):
        self.base = over if isinstance(over, int) else -1
        self.over = over
        self.requires = requires
        self.offset = offset
        self.dt = dt
        self.ndim = <int>len(shape)
        for d in range(self.ndim):
            self.shape[d] = shape[d]
            self.strides[d] = strides[d]
        self.stamp = stamp
        self.inference = inference
        self.marks = marks


cdef class TensorForm:
    """What a program takes for granted of a tensor: class, dtype, layout, whether it has a history and hooks."""

    def __init__(self, Tensor t not None):
        cdef int d
        self.kind = type(t)
        self.dt = t.dt
        self.ndim = t.ndim_
        self.requires = t.requires_grad
        self.leaf = t.is_leaf
        self.inference = t.inference
        self.listened_to = listened_to(t)
        for d in range(t.ndim_):
            self.shape[d] = t.shape_[d]
            self.strides[d] = t.strides_[d]

    cdef bint fits(self, Tensor t) except -1:
        cdef int d
        if type(t) is not self.kind or t.dt != self.dt or t.ndim_ != self.ndim or t.inference != self.inference:
            return False
        for d in range(self.ndim):
            if t.shape_[d] != self.shape[d] or t.strides_[d] != self.strides[d]:
                return False
        if needs_grad(t) != self.requires:      # brings the history of a view up to date
            return False
        if t.rec < 0:
            return self.leaf and not self.listened_to
        return ((record(t.rec)[REC_FLAGS] & FLAG_LEAF) != 0) == self.leaf and listened_to(t) == self.listened_to


cdef class Guarded(TensorForm):
    """A tensor from outside as it was when recorded."""

    def __init__(self, Tensor tensor not None):
        TensorForm.__init__(self, tensor)
        self.tensor = tensor
        self.st = tensor.st
        self.data = tensor.data_
        storage_retain(self.st)         # so that the address stays what it is

    def __dealloc__(self):
        if self.st != NULL:
            storage_release(self.st)

    cdef bint holds(self) except -1:
        cdef Tensor t = self.tensor
        return t.st == self.st and t.data_ == self.data and self.fits(t)

    def check(self):
        """Whether the tensor is still what it was."""
        return self.holds()


cdef class Stamp:
    """A record to make anew in each run.

    `edges` are (number of the edge, kind, which): kind 0 an earlier stamp, 1 a tensor from outside, 2 an
    argument. `saved` are (slot, base or -1, tensor from outside or None, offset, version); slot 4 is the
    second result.
    """

    def __init__(self, bytes words, ext, tuple edges, tuple saved):
        memcpy(self.words, PyBytes_AS_STRING(words), COPY_WORDS * 8)
        self.ext = ext
        self.edges = edges
        self.saved = saved


cdef class Rebuild:
    """A container of the result that is neither tuple, list nor dict: a named tuple, say."""

    def __init__(self, kind, make, parts):
        self.kind = kind
        self.make = make
        self.parts = parts


cdef class Arena:
    """A piece of memory that lives as long as this object."""

    def __cinit__(self, int64_t nbytes):
        self.st = storage_exact(nbytes)
        self.address = <int64_t><uintptr_t>self.st.ptr
        self.nbytes = nbytes

    def __dealloc__(self):
        if self.st != NULL:
            storage_release(self.st)

    def write(self, int64_t at, bytes data):
        """Puts bytes at an offset; ValueError outside of the memory."""
        if at < 0 or at + len(data) > self.nbytes:
            raise ValueError("writing outside of an arena")
        memcpy(self.st.ptr + at, PyBytes_AS_STRING(data), <size_t>len(data))

    def read(self, int64_t at, int64_t nbytes):
        """The bytes at an offset; ValueError outside of the memory."""
        if at < 0 or nbytes < 0 or at + nbytes > self.nbytes:
            raise ValueError("reading outside of an arena")
        return self.st.ptr[at:at + nbytes]
