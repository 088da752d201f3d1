from cpython.ref cimport PyObject
from libc.stdint cimport int64_t

from tapegrad._layout cimport *
from tapegrad.tape._storage cimport Storage

ctypedef int64_t (*kernel_t)(int64_t* frame, int64_t lo, int64_t hi) noexcept nogil

cdef int64_t** segments
cdef int64_t* ops

cdef inline int64_t* record(int64_t i) noexcept nogil:
    return segments[i >> SEGMENT_SHIFT] + (i & (SEGMENT_RECORDS - 1)) * REC_WORDS

cdef inline int64_t* op_row(int64_t op) noexcept nogil:
    return ops + op * OP_WORDS

cdef inline void record_retain(int64_t i) noexcept:
    record(i)[REC_REFS] += 1

cdef object op_name(int64_t op)
cdef int64_t record_new() except -1
cdef int64_t record_new_leaf() except -1
cdef void record_release(int64_t i) noexcept
cdef void record_drop_saved(int64_t* r) noexcept
cdef int64_t* record_extend(int64_t* r, int64_t param_bytes, int64_t words, int64_t edges) except NULL

cdef inline int64_t* extension(int64_t* r) noexcept nogil:
    return <int64_t*>(<Storage*>r[REC_EXT]).ptr

cdef inline int64_t* ext_params(int64_t* ext) noexcept nogil:
    return ext + EXT_BODY

cdef inline int64_t* ext_words(int64_t* ext) noexcept nogil:
    return ext + EXT_BODY + ((ext[EXT_PARAMS] + 7) >> 3)

cdef inline int64_t* ext_edges(int64_t* ext) noexcept nogil:
    return ext_words(ext) + ext[EXT_WORDS]

cdef inline int64_t* record_shape(int64_t* r) noexcept nogil:
    if ((r[REC_OP] >> 16) & 0xFF) <= 3:
        return r + REC_SHAPE
    return extension(r) + EXT_SHAPE
