"""Records written out and in again, all their words in a row (COPY_OP and so on in `_layout.pxd`)."""

from libc.stdint cimport int64_t, uint32_t

from tapegrad._layout cimport *
from tapegrad.tape._tape cimport (
    record, record_edge, record_extended, record_far, record_near, record_new, record_obj, record_ptr, record_refs,
    record_release, record_retain, record_saved, record_saves, record_set_edge, record_shape, record_version,
)


cdef void record_copy_out(int64_t* r, int64_t* words) noexcept nogil:
    """All that the record says, in the COPY_WORDS words that COPY_OP and so on name; what is not there as 0 or -1."""
    cdef int k
    words[COPY_OP] = r[REC_OP]
    words[COPY_FLAGS] = <int64_t><uint32_t>r[REC_FLAGS]
    words[COPY_SEQ] = r[REC_SEQ]
    words[COPY_REFS] = record_refs(r)
    words[COPY_NUMEL] = r[REC_NUMEL]
    words[COPY_OBJ] = record_obj(r)
    words[COPY_EXT] = r[REC_EXT] if record_extended(r) else 0
    words[COPY_PARAM] = r[REC_PARAM] if r[REC_FLAGS] & FLAG_NEAR else 0
    words[COPY_VERSIONS] = words[COPY_VERSIONS + 1] = 0
    for k in range(3):
        words[COPY_EDGE + k] = record_edge(r, k)
        words[COPY_SHAPE + k] = 0
    if ((r[REC_OP] >> 16) & 0xFF) <= 3:
        for k in range((r[REC_OP] >> 16) & 0xFF):
            words[COPY_SHAPE + k] = record_shape(r)[k]
    for k in range(4):
        words[COPY_SAVED + k] = record_saved(r, k)
        words[COPY_PTR + k] = record_ptr(r, k)
        if words[COPY_SAVED + k] != 0:
            words[COPY_VERSIONS + (k >> 1)] |= record_version(r, k) << (32 * (k & 1))


cdef void record_copy_in(int64_t* r, const int64_t* words) noexcept nogil:
    """Gives a new record the words of a copy, but neither order, references, object, extension nor what is saved."""
    cdef int k, ndim = <int>((words[COPY_OP] >> 16) & 0xFF)
    r[REC_OP] = words[COPY_OP]
    r[REC_NUMEL] = words[COPY_NUMEL]
    if words[COPY_FLAGS] & FLAG_SAVES:
        record_saves(r)
    if words[COPY_FLAGS] & FLAG_NEAR:
        record_near(r)
        r[REC_PARAM] = words[COPY_PARAM]
    if ndim == 2 or ndim == 3:
        record_far(r)
        for k in range(ndim):
            r[REC_SHAPE + k] = words[COPY_SHAPE + k]
    for k in range(3):
        record_set_edge(r, k, words[COPY_EDGE + k])
    r[REC_FLAGS] |= <int64_t><uint32_t>words[COPY_FLAGS] & ~(
        <int64_t>FLAG_NEAR | FLAG_FAR | FLAG_EXTENDED | (<int64_t>15 << FLAG_PTR_SHIFT))


def words_of(int64_t i):
    """The words of record i, which must be alive."""
    cdef int64_t words[COPY_WORDS]
    record_copy_out(record(i), words)
    return tuple([words[k] for k in range(COPY_WORDS)])


def words_of_copy(int64_t i):
    """The words of a new record made from those of record i; the new one is released again."""
    cdef int64_t words[COPY_WORDS]
    cdef int64_t j = record_new()
    cdef int k
    record_copy_out(record(i), words)
    record_copy_in(record(j), words)
    for k in range(3):
        if words[COPY_EDGE + k] >= 0:
            record_retain(words[COPY_EDGE + k])
    found = words_of(j)
    record_release(j)
    return found
