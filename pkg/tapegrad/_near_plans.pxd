from libc.stdint cimport uint64_t

cdef enum:
    KEY_WORDS = 96                      # room for a key

cdef int put_key(object o, uint64_t* w, int n, bint is_input) noexcept

cdef class NearPlans:
    cdef list places
    cdef int place(self, const uint64_t* key, int n) noexcept
    cdef object find(self, const uint64_t* key, int n)
    cdef int put(self, const uint64_t* key, int n, object plan) except -1
