from cpython.bool cimport PyBool_Check
from cpython.float cimport PyFloat_Check
from cpython.long cimport PyLong_Check
from libc.stdint cimport int32_t, int64_t, uint8_t

from tapegrad._layout cimport *

cdef enum:
    # Indices of the dtypes, as in dtypes.py.
    FLOAT32 = 0
    FLOAT64 = 1
    INT64 = 2
    INT32 = 3
    UINT8 = 4
    BOOL = 5

cdef int64_t[MAX_DTYPES] itemsizes
cdef int[MAX_DTYPES] category                   # 0 bool, 1 integer, 2 floating
cdef int[MAX_DTYPES][MAX_DTYPES] promotion      # the common dtype of two

cdef object type_name(int dt)
cdef int classify_foreign(object o) except -2
cdef object list_at(char* p, int dt, int ndim, const int64_t* shape, const int64_t* strides)
cdef int store_scalar(object value, int dt, bint wraps, char* out) except -1

cdef inline int classify(object o) except -2:
    """2 float, 1 int, 0 bool, -1 not a number."""
    if PyFloat_Check(o):
        return 2
    if PyBool_Check(o):
        return 0
    if PyLong_Check(o):
        return 1
    return classify_foreign(o)

cdef inline object scalar_at(char* p, int dt):
    """One element as a Python number."""
    if dt == FLOAT32:
        return <double>(<float*>p)[0]
    if dt == FLOAT64:
        return (<double*>p)[0]
    if dt == INT64:
        return (<int64_t*>p)[0]
    if dt == INT32:
        return (<int32_t*>p)[0]
    if dt == BOOL:
        return (<uint8_t*>p)[0] != 0
    return (<uint8_t*>p)[0]
