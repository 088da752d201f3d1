from libc.stdint cimport uint64_t

from tapegrad._tensor cimport Tensor

cdef enum:
    KEY_WORDS = 96                      # room for a key

# The kinds of arguments in a key: the upper four bits of a word.
cdef enum:
    KEY_TENSOR = 1
    KEY_NONE = 2
    KEY_BOOL = 3
    KEY_INT = 4
    KEY_TUPLE = 5
    KEY_LIST = 6
    KEY_FLOAT = 7
    KEY_DTYPE = 8
    KEY_STR = 9
    KEY_REPEAT = 10                     # as many items like the one before

cdef int put_key(object o, uint64_t* w, int n, bint is_input) noexcept

cdef inline int put_layout(Tensor t, uint64_t* w, int n) noexcept:
    """Writes all that a plan may depend on of an input, up to 1 + 2 * MAX_DIMS words. The new end of the key."""
    cdef int d
    w[n] = (<uint64_t>KEY_TENSOR << 60) | <uint64_t>(t.dt | (t.ndim_ << 8) | (t.contig << 16))
    n += 1
    for d in range(t.ndim_):
        w[n] = <uint64_t>t.shape_[d]
        n += 1
    if not t.contig:
        for d in range(t.ndim_):
            w[n] = <uint64_t>t.strides_[d]
            n += 1
    return n

cdef class NearPlans:
    cdef list places
    cdef int place(self, const uint64_t* key, int n) noexcept
    cdef object find(self, const uint64_t* key, int n)
    cdef int put(self, const uint64_t* key, int n, object plan) except -1
