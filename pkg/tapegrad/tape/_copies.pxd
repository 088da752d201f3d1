from libc.stdint cimport int64_t

cdef void record_copy_out(int64_t* r, int64_t* words) noexcept nogil
cdef void record_copy_in(int64_t* r, const int64_t* words) noexcept nogil
