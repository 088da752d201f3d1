from cpython.ref cimport PyObject
from libc.stdint cimport int64_t

cdef struct Storage:
    char* ptr           # first byte, 64-byte aligned where we allocated it and there are more than 16
    int64_t nbytes
    int64_t refs
    int64_t version     # counts in-place changes; shared by views and detach(), not by .data
    PyObject* owner     # of memory that is not ours (bucket -1): keeps it alive, or NULL
    Storage* parent     # of memory that is not ours: the storage that is shown again (.data), or NULL;
                        # of ours these two words may hold the data
    int bucket          # size class of the cache; -1 for memory that is not ours
    int birth           # number of the capture that it was made in, or 0
    Storage* next       # link of the free list

# A capture (see _capture.pyx) is told of every storage that is made and of the end of those made since; while it is
# read, released blocks wait, so that what it noted stays there.
ctypedef void (*listener_t)(Storage* s) noexcept
cdef int noting
cdef listener_t on_birth
cdef listener_t on_death
cdef int holding
cdef void release_held() noexcept

cdef void* map_pages(size_t n, bint huge) noexcept
cdef void unmap_pages(void* p, size_t n) noexcept
cdef void settle_slabs() noexcept
cdef Storage* storage_new(int64_t nbytes) except NULL
cdef Storage* storage_try(int64_t nbytes) noexcept
cdef Storage* storage_wrap(char* ptr, int64_t nbytes, PyObject* owner) except NULL
cdef Storage* storage_exact(int64_t nbytes) except NULL
cdef Storage* storage_share(Storage* parent) except NULL
cdef void storage_free(Storage* s) noexcept

cdef inline void storage_retain(Storage* s) noexcept:
    s.refs += 1

cdef inline void storage_release(Storage* s) noexcept:
    s.refs -= 1
    if s.refs == 0:
        storage_free(s)
