from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

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
    record(i)[REC_FLAGS] += <int64_t>1 << 32

cdef object op_name(int64_t op)
cdef int64_t record_new() except -1
cdef int64_t record_new_leaf() except -1
cdef int64_t next_sequence() noexcept
cdef void record_release(int64_t i) noexcept
cdef void record_drop_saved(int64_t* r) noexcept
cdef int64_t* record_extend(int64_t* r, int64_t param_bytes, int64_t words, int64_t edges) except NULL

cdef inline void record_near(int64_t* r) noexcept nogil:
    """Makes the second line of the record valid."""
    if r[REC_FLAGS] & FLAG_NEAR == 0:
        r[REC_FLAGS] |= FLAG_NEAR
        r[REC_MORE_SAVED] = 0
        r[REC_MORE_SAVED + 1] = 0
        r[REC_MORE_VERSIONS] = 0
        r[REC_EDGE_2] = -1
        r[REC_PARAM] = 0

cdef inline void record_far(int64_t* r) noexcept nogil:
    """Makes the third line of the record valid."""
    if r[REC_FLAGS] & FLAG_FAR == 0:
        r[REC_FLAGS] |= FLAG_FAR
        r[REC_OBJ] = 0

cdef inline void record_saves(int64_t* r) noexcept nogil:
    """Notes that the record saves something."""
    if r[REC_FLAGS] & FLAG_SAVES == 0:
        r[REC_FLAGS] |= FLAG_SAVES
        r[REC_SAVED] = 0
        r[REC_SAVED + 1] = 0
        r[REC_VERSIONS] = 0

cdef inline int64_t record_refs(int64_t* r) noexcept nogil:
    return r[REC_FLAGS] >> 32

cdef inline bint record_extended(int64_t* r) noexcept nogil:
    return r[REC_FLAGS] & FLAG_EXTENDED != 0

cdef inline int64_t record_edge(int64_t* r, int64_t k) noexcept nogil:
    """The record of input k (of an op that is not variadic), or -1."""
    if k < 2:
        return <int64_t><int32_t>(r[REC_EDGES] >> (32 * k))
    if r[REC_FLAGS] & FLAG_NEAR:
        return r[REC_EDGE_2]
    return -1

cdef inline void record_set_edge(int64_t* r, int64_t k, int64_t e) noexcept nogil:
    if k < 2:
        if k == 0:
            r[REC_EDGES] = <int64_t>(<uint64_t>r[REC_EDGES] >> 32 << 32) | <int64_t><uint32_t>e
        else:
            r[REC_EDGES] = <int64_t><uint32_t>r[REC_EDGES] | <int64_t>(<uint64_t>e << 32)
    elif e >= 0 or r[REC_FLAGS] & FLAG_NEAR:
        record_near(r)
        r[REC_EDGE_2] = e

cdef inline int64_t record_saved(int64_t* r, int64_t k) noexcept nogil:
    """The storage of saved input k (3: of the result), or 0."""
    if k < 2:
        return r[REC_SAVED + k] if r[REC_FLAGS] & FLAG_SAVES else 0
    return r[REC_MORE_SAVED + k - 2] if r[REC_FLAGS] & FLAG_NEAR else 0

cdef inline int64_t record_version(int64_t* r, int64_t k) noexcept nogil:
    """The version, 31 bits, at which input k (3: the result) was saved."""
    return (r[REC_VERSIONS if k < 2 else REC_MORE_VERSIONS] >> (32 * (k & 1))) & 0x7FFFFFFF

cdef inline void record_save(int64_t* r, int64_t k, Storage* st, int64_t address, int64_t version) noexcept nogil:
    """Saves input k (3: the result): takes over a reference to its storage."""
    record_saves(r)
    version = (version & 0x7FFFFFFF) << (32 * (k & 1))
    if k < 2:
        r[REC_SAVED + k] = <int64_t>st
        r[REC_VERSIONS] |= version
    else:
        record_near(r)
        r[REC_MORE_SAVED + k - 2] = <int64_t>st
        r[REC_MORE_VERSIONS] |= version
    if address != <int64_t>st.ptr:
        record_set_ptr(r, k, address)

cdef inline int64_t record_obj(int64_t* r) noexcept nogil:
    """The Python object, or 0."""
    return r[REC_OBJ] if r[REC_FLAGS] & FLAG_FAR else 0

cdef inline void record_set_ptr(int64_t* r, int64_t k, int64_t address) noexcept nogil:
    """Notes an address of saved input k that is not where it would be looked for without."""
    record_far(r)
    r[REC_FLAGS] |= <int64_t>1 << (FLAG_PTR_SHIFT + k)
    r[REC_PTR + k] = address

cdef inline int64_t record_ptr(int64_t* r, int64_t k) noexcept nogil:
    """The address of saved input k (3: of the result) or of a number, 0 if there is neither."""
    cdef int64_t st
    if (r[REC_FLAGS] >> (FLAG_PTR_SHIFT + k)) & 1:
        return r[REC_PTR + k]
    if k < 3 and (r[REC_FLAGS] >> (FLAG_SCALAR_SHIFT + k)) & 1:
        return <int64_t>(r + REC_PARAM)
    st = record_saved(r, k)
    return <int64_t>(<Storage*>st).ptr if st != 0 else 0

cdef inline int64_t* extension(int64_t* r) noexcept nogil:
    return <int64_t*>(<Storage*>r[REC_EXT]).ptr

cdef inline int64_t* ext_params(int64_t* ext) noexcept nogil:
    return ext + EXT_BODY

cdef inline int64_t* ext_words(int64_t* ext) noexcept nogil:
    return ext + EXT_BODY + ((ext[EXT_PARAMS] + 7) >> 3)

cdef inline int64_t* ext_edges(int64_t* ext) noexcept nogil:
    return ext_words(ext) + ext[EXT_WORDS]

cdef inline int64_t* record_shape(int64_t* r) noexcept nogil:
    if ((r[REC_OP] >> 16) & 0xFF) == 1:
        return r + REC_NUMEL
    if ((r[REC_OP] >> 16) & 0xFF) <= 3:
        return r + REC_SHAPE
    return extension(r) + EXT_SHAPE
