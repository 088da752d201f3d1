"""Elements: sizes and promotion of the dtypes as tables, Python numbers to and from memory."""

from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.long cimport PyLong_AsDouble, PyLong_AsLongLongAndOverflow, PyLong_AsUnsignedLongLong, PyLong_Check
from libc.math cimport INFINITY, fabs
from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np

from tapegrad._layout cimport *

from tapegrad import dtypes as _dtypes

cdef int64_t[MAX_DTYPES] itemsizes
cdef int[MAX_DTYPES] category
cdef int[MAX_DTYPES][MAX_DTYPES] promotion

for _t in _dtypes.DTYPES:
    itemsizes[_t.index] = _t.itemsize
    category[_t.index] = _t.category
    for _u in _dtypes.DTYPES:
        promotion[_t.index][_u.index] = _dtypes.promote_types(_t, _u).index

_TYPE_NAMES = ("Float", "Double", "Long", "Int", "Byte", "Bool")
_INDICES = (_dtypes.float32, _dtypes.float64, _dtypes.int64, _dtypes.int32, _dtypes.uint8, _dtypes.bool_)
if [_t.index for _t in _INDICES] != [FLOAT32, FLOAT64, INT64, INT32, UINT8, BOOL]:
    raise ImportError("the numbers of the dtypes do not fit dtypes.py")


cdef object type_name(int dt):
    return _TYPE_NAMES[dt]


cdef int classify_foreign(object o) except -2:
    """`classify` for what is no Python number; NumPy's bools count as floats, as they do in PyTorch."""
    if isinstance(o, np.integer):
        return 1
    if isinstance(o, (np.floating, np.bool_)):
        return 2
    return -1


cdef object list_at(char* p, int dt, int ndim, const int64_t* shape, const int64_t* strides):
    """Elements with these strides as nested lists of Python numbers."""
    cdef int64_t k, step
    cdef list found
    if ndim == 0:
        return scalar_at(p, dt)
    found = []
    step = strides[0] * itemsizes[dt]
    for k in range(shape[0]):
        found.append(list_at(p + k * step, dt, ndim - 1, shape + 1, strides + 1))
    return found


cdef object does_not_fit(int dt):
    name = ("float", "double", "int64_t", "int", "uint8_t", "bool")[dt]
    raise RuntimeError(f"value cannot be converted to type {name} without overflow")


cdef int store_scalar(object value, int dt, bint wraps, char* out) except -1:
    """A Python number as one element of this dtype; with `wraps` integers keep their low bits, as PyTorch's
    arithmetic with numbers does, else RuntimeError for one that does not fit."""
    cdef double x
    cdef int overflow = 0
    cdef int64_t i
    if dt == FLOAT32 or dt == FLOAT64:
        if PyFloat_Check(value):
            x = PyFloat_AS_DOUBLE(value)
        elif PyLong_Check(value):
            x = PyLong_AsDouble(value)
            if not -9223372036854775808.0 <= x <= 18446744073709551616.0:
                raise OverflowError("int too big to convert")
        else:
            x = float(value)
        if dt == FLOAT32:
            if not wraps and 3.4028234663852886e38 < fabs(x) < INFINITY:
                does_not_fit(dt)
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
            does_not_fit(dt)
        if not wraps and dt == UINT8 and x < 0 and x != <int64_t>x:
            does_not_fit(dt)
        i = <int64_t>x
    else:
        value = int(value)
        i = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow > 0:
            i = <int64_t>PyLong_AsUnsignedLongLong(value)
            if not wraps:
                does_not_fit(dt)
        elif overflow:
            raise OverflowError("int too big to convert")
    if dt == INT64:
        (<int64_t*>out)[0] = i
    elif dt == INT32:
        if not wraps and (i < -2147483648 or i > 2147483647):
            does_not_fit(dt)
        (<int32_t*>out)[0] = <int32_t>i
    else:
        if not wraps and (i < -255 or i > 255):
            does_not_fit(dt)
        (<uint8_t*>out)[0] = <uint8_t>i
    return 0
