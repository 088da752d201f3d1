"""Plans of structured ops found by what they depend on, written as machine words.

A call that was made before with inputs of the same layouts and the same other arguments finds its plan without
making a Python object. Only the plans met last are held; who misses here has a dictionary or a rule to ask.
"""

from cpython.exc cimport PyErr_Clear
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.list cimport PyList_CheckExact
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.ref cimport PyObject
from cpython.tuple cimport PyTuple_CheckExact
from cpython.unicode cimport PyUnicode_CheckExact
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from tapegrad._layout cimport MAX_DIMS
from tapegrad._tensor cimport Tensor, same_layout

from tapegrad.dtypes import dtype

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object s, Py_ssize_t* length) noexcept

cdef enum:
    NEAR_PLANS = 64                     # a power of two


cdef int put_key(object o, uint64_t* w, int n, bint is_input) noexcept:
    """Writes what a plan may depend on of one argument: of an input its layout. The new end of the key, or -1."""
    cdef int overflow = 0
    cdef int64_t i
    cdef double x
    cdef const char* text
    cdef Py_ssize_t length
    if n < 0 or n > KEY_WORDS - 2 - 2 * MAX_DIMS:
        return -1
    if isinstance(o, Tensor):
        if not is_input:
            return -1                   # a number in a tensor
        return put_layout(<Tensor>o, w, n)
    if o is None:
        w[n] = <uint64_t>KEY_NONE << 60
        return n + 1
    if o is True or o is False:
        w[n] = (<uint64_t>KEY_BOOL << 60) | <uint64_t>(o is True)
        return n + 1
    if PyLong_CheckExact(o):
        i = PyLong_AsLongLongAndOverflow(o, &overflow)
        if overflow:
            return -1
        w[n] = <uint64_t>KEY_INT << 60
        w[n + 1] = <uint64_t>i
        return n + 2
    if PyTuple_CheckExact(o):
        w[n] = (<uint64_t>KEY_TUPLE << 60) | <uint64_t>len(<tuple>o)
        if is_input:
            return put_inputs(o, w, n + 1)
        n += 1
        for item in <tuple>o:
            n = put_key(item, w, n, False)
        return n
    if PyList_CheckExact(o):
        w[n] = (<uint64_t>KEY_LIST << 60) | <uint64_t>len(<list>o)
        if is_input:
            return put_inputs(o, w, n + 1)
        n += 1
        for item in <list>o:
            n = put_key(item, w, n, False)
            if n < 0:
                return -1               # before a list that holds itself
        return n
    if PyFloat_CheckExact(o):
        x = PyFloat_AS_DOUBLE(o)
        w[n] = <uint64_t>KEY_FLOAT << 60
        memcpy(&w[n + 1], &x, 8)
        return n + 2
    if PyUnicode_CheckExact(o):
        text = PyUnicode_AsUTF8AndSize(o, &length)
        if text == NULL:
            PyErr_Clear()
            return -1
        if length > 16:
            return -1
        w[n] = (<uint64_t>KEY_STR << 60) | <uint64_t>length
        w[n + 1] = w[n + 2] = 0
        memcpy(&w[n + 1], text, <size_t>length)
        return n + 3
    if type(o) is dtype:                # these live as long as the process
        w[n] = (<uint64_t>KEY_DTYPE << 60) | <uint64_t><uintptr_t><PyObject*>o
        return n + 1
    return -1


cdef int put_inputs(object items, uint64_t* w, int n) noexcept:
    """Writes the layouts of many inputs: of neighbours with the same layout one, and how many there are."""
    cdef Tensor last = None, t
    cdef int64_t repeated = 0
    cdef bint is_list = PyList_CheckExact(items)
    cdef Py_ssize_t k, count = len(<list>items) if is_list else len(<tuple>items)
    cdef object item
    for k in range(count):
        item = (<list>items)[k] if is_list else (<tuple>items)[k]
        if isinstance(item, Tensor):
            t = <Tensor>item
            if last is not None and t.dt == last.dt and t.contig == last.contig and same_layout(t, last):
                repeated += 1
                continue
        elif item is None:
            t = None
        else:
            return -1
        if repeated:
            w[n] = (<uint64_t>KEY_REPEAT << 60) | <uint64_t>repeated
            n += 1
            repeated = 0
        n = put_key(item, w, n, True)
        if n < 0:
            return -1
        last = t
    if repeated:
        w[n] = (<uint64_t>KEY_REPEAT << 60) | <uint64_t>repeated
        n += 1
    return n


cdef class NearPlan:
    """A plan and the key it answers to."""
    cdef uint64_t* key
    cdef int n
    cdef object plan

    def __dealloc__(self):
        free(self.key)


cdef class NearPlans:
    """The plans met last, found by the words of their arguments without making an object."""
    def __cinit__(self):
        self.places = [None] * NEAR_PLANS

    cdef int place(self, const uint64_t* key, int n) noexcept:
        cdef uint64_t h = 0
        cdef int k
        for k in range(n):
            h = (h ^ key[k]) * <uint64_t>0x9E3779B97F4A7C15ULL
            h ^= h >> 29
        return <int>(h & (NEAR_PLANS - 1))

    cdef object find(self, const uint64_t* key, int n):
        cdef object there = self.places[self.place(key, n)]
        cdef NearPlan entry
        if there is None:
            return None
        entry = <NearPlan>there
        if entry.n != n or memcmp(entry.key, key, <size_t>n * 8) != 0:
            return None
        return entry.plan

    cdef int put(self, const uint64_t* key, int n, object plan) except -1:
        cdef NearPlan entry = NearPlan.__new__(NearPlan)
        entry.key = <uint64_t*>malloc(<size_t>n * 8 + 8)
        if entry.key == NULL:
            raise MemoryError("no memory for the key of a plan")
        memcpy(entry.key, key, <size_t>n * 8)
        entry.n = n
        entry.plan = plan
        self.places[self.place(key, n)] = entry
        return 0
