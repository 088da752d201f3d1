"""Tensors made of Python numbers and of nested sequences of them."""

from cpython.bool cimport PyBool_Check
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.tuple cimport PyTuple_CheckExact
from libc.stdint cimport int64_t, uint8_t

from tapegrad._elements cimport BOOL, FLOAT32, FLOAT64, INT64, itemsizes
from tapegrad._layout cimport *
from tapegrad._tensor cimport Tensor, default_dt, tensor_new
from tapegrad.tape cimport _capture


cdef inline Py_ssize_t length(object o) noexcept:
    """Of a list or a tuple; -1 for anything else."""
    if PyList_CheckExact(o):
        return len(<list>o)
    if PyTuple_CheckExact(o):
        return len(<tuple>o)
    return -1


cdef inline object item(object o, Py_ssize_t k):
    return (<list>o)[k] if PyList_CheckExact(o) else (<tuple>o)[k]


cdef int rank(object o, int ndim, const int64_t* shape) noexcept:
    """What holds all numbers in o: 2 floats, 1 integers, 0 bools; -1 where o has not this shape or other contents."""
    cdef int overflow = 0, found, most = 0
    cdef Py_ssize_t k
    if ndim > 0:
        if length(o) != shape[0]:
            return -1
        for k in range(shape[0]):
            found = rank(item(o, k), ndim - 1, shape + 1)
            if found < 0:
                return -1
            if found > most:
                most = found
        return most
    if PyFloat_CheckExact(o):
        return 2
    if PyBool_Check(o):
        return 0
    if PyLong_CheckExact(o):
        PyLong_AsLongLongAndOverflow(o, &overflow)
        return -1 if overflow else 1
    return -1


cdef char* put(object o, int ndim, const int64_t* shape, int dt, char* p) noexcept:
    """Writes the numbers in o one after the other; the end of them."""
    cdef double x
    cdef int64_t i = 0
    cdef int overflow = 0
    cdef Py_ssize_t k
    if ndim > 0:
        for k in range(shape[0]):
            p = put(item(o, k), ndim - 1, shape + 1, dt, p)
        return p
    if PyFloat_CheckExact(o):
        x = PyFloat_AS_DOUBLE(o)
    else:
        i = PyLong_AsLongLongAndOverflow(o, &overflow)
        x = <double>i
    if dt == FLOAT32:
        (<float*>p)[0] = <float>x
        return p + 4
    if dt == FLOAT64:
        (<double*>p)[0] = x
        return p + 8
    if dt == BOOL:
        (<uint8_t*>p)[0] = i != 0
        return p + 1
    (<int64_t*>p)[0] = i
    return p + 8


def from_numbers(data, int dt):
    """A tensor of a number or of nested lists and tuples of them, in the dtype of this index (-1: by the numbers).

    None for what needs a closer look: ragged, empty or other contents, and types that may not hold the numbers.
    """
    cdef int64_t shape[MAX_DIMS]
    cdef int ndim = 0, found
    cdef Py_ssize_t n
    cdef Tensor t
    first = data
    while True:
        n = length(first)
        if n < 0:
            break
        if n == 0 or ndim == MAX_DIMS:
            return None
        shape[ndim] = n
        ndim += 1
        first = item(first, 0)
    found = rank(data, ndim, shape)
    if found < 0:
        return None
    if dt < 0:
        dt = default_dt if found == 2 else INT64 if found == 1 else BOOL
    elif dt != FLOAT32 and dt != FLOAT64 and not (dt == INT64 and found < 2) and not (dt == BOOL and found == 0):
        return None
    t = tensor_new(dt, ndim, shape)
    put(data, ndim, shape, dt, t.data_)
    if _capture.listening():
        _capture.log_constant(t.data_, t.numel_ * itemsizes[dt])
    return t
