"""NumPy arrays and tensors over the same memory, in both directions."""

from cpython.buffer cimport PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uintptr_t

import warnings

import numpy as np

from tapegrad._elements cimport itemsizes
from tapegrad._layout cimport *
from tapegrad._tensor cimport Tensor, tensor_over
from tapegrad.tape cimport _capture
from tapegrad.tape._storage cimport Storage, storage_release, storage_retain, storage_wrap

from tapegrad import dtypes as _dtypes

cdef tuple type_strings = tuple(t.numpy.str for t in _dtypes.DTYPES)

cdef dict known_dtypes = {t.numpy: t for t in _dtypes.DTYPES}
cdef object ndarray = np.ndarray
cdef bint warned = False


cdef int warn_of_read_only() except -1:
    """Warns once in a program, as PyTorch does."""
    global warned
    if not warned:
        warned = True
        warnings.warn(
            "The given NumPy array is not writable, and non-writable tensors are not supported. This means writing to "
            "this tensor will result in undefined behavior. You may want to copy the array to protect its data or make "
            "it writable before converting it to a tensor. This type of warning will be suppressed for the rest of "
            "this program.", UserWarning, stacklevel=1)
    return 0


def from_numpy(array):
    """The tensor that shares memory with a NumPy array; changes show in both.

    The array may have any non-negative strides that are multiples of the element size; one that is
    not writable is warned of, once. Raises
    TypeError for other objects and for element types without a counterpart, ValueError for
    negative strides, RuntimeError for more than eight dimensions.

    >>> import numpy as np, tapegrad as torch
    >>> a = np.zeros(3, dtype=np.float32)
    >>> t = torch.from_numpy(a); t[0] = 5.0; a
    array([5., 0., 0.], dtype=float32)
    """
    cdef int64_t shape[MAX_DIMS]
    cdef int64_t strides[MAX_DIMS]
    cdef int d, ndim
    cdef int64_t count = 1, size, step, extent
    cdef bint read_only
    cdef char* address
    cdef Py_buffer view
    cdef Storage* st
    if _capture.listening():
        _capture.note_refusal("a NumPy array becomes a tensor that shares its memory")
    cdef Tensor t
    if not isinstance(array, ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    numpy_dtype = array.dtype
    dt = known_dtypes.get(numpy_dtype)
    if dt is None:
        dt = _dtypes.from_numpy_dtype(numpy_dtype)
        if not numpy_dtype.isnative:
            raise ValueError(
                "given numpy array has byte order different from the native byte order. "
                "Conversion between byte orders is currently not supported.")
    if array.ndim > MAX_DIMS:
        raise RuntimeError(f"tapegrad tensors have at most {MAX_DIMS} dimensions, got {array.ndim}")
    size = dt.itemsize
    steps = array.strides               # a buffer has others in dimensions of size 1
    PyObject_GetBuffer(array, &view, PyBUF_STRIDES)
    address = <char*>view.buf
    read_only = view.readonly
    ndim = view.ndim
    for d in range(ndim):
        shape[d] = view.shape[d]
        count *= shape[d]
    PyBuffer_Release(&view)
    extent = size if count > 0 else 0   # from the first element to the end of the last: with gaps, or one for many
    for d in range(ndim):
        step = (<tuple>steps)[d]
        if step < 0:
            raise ValueError(
                "At least one stride in the given numpy array is negative, and tensors with negative "
                "strides are not currently supported. (You can probably work around this by making a copy "
                " of your array  with array.copy().) ")
        if step % size:
            raise ValueError("given numpy array strides not a multiple of the element byte size. "
                             "Copy the numpy array to reallocate the memory.")
        strides[d] = step // size
        extent += (shape[d] - 1) * step if count > 0 else 0
    if read_only:
        warn_of_read_only()
    st = storage_wrap(address, extent, <PyObject*>array)
    t = tensor_over(st, address, dt.index, ndim, shape, strides)
    storage_release(st)
    return t


cdef class _Keep:
    """Holds a storage for a NumPy array made over its memory."""
    cdef Storage* st
    cdef readonly dict __array_interface__

    def __dealloc__(self):
        if self.st != NULL:
            storage_release(self.st)


def array_of(Tensor t not None):
    """The NumPy array over a tensor's memory, which it keeps alive."""
    if _capture.listening():
        _capture.note_refusal("values of a tensor are read by Python or NumPy")
    return show(t)


def fill_from(Tensor t not None, array):
    """Copies an array of the same shape into a tensor that was just made."""
    np.copyto(show(t), array, casting="unsafe")
    if _capture.listening():
        _capture.log_constant(t.data_, t.numel_ * itemsizes[t.dt])


cdef object show(Tensor t):
    cdef _Keep keep = _Keep.__new__(_Keep)
    cdef int64_t size = itemsizes[t.dt]
    storage_retain(t.st)
    keep.st = t.st
    keep.__array_interface__ = {
        "version": 3,
        "shape": tuple([t.shape_[d] for d in range(t.ndim_)]),
        "strides": tuple([t.strides_[d] * size for d in range(t.ndim_)]),
        "typestr": type_strings[t.dt],
        "data": (<int64_t><uintptr_t>t.data_, False),
    }
    return np.asarray(keep)
