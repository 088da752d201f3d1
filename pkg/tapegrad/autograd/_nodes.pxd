from libc.stdint cimport int64_t

cdef object make_node(int64_t i)
cpdef object record_hooks(int64_t i)
