"""Memory of tensors: reference-counted storages from a cache of size classes.

A block is a 64-byte header followed by the data, 64-byte aligned; a released block goes to the
free list of its class and is handed out again, so a training loop takes nothing from the system
after its first iteration. Large blocks sit on huge pages where the system has them, since touching
fresh small pages costs more than the arithmetic on them. All calls hold the GIL, which is the lock.
"""

from cpython.ref cimport PyObject, Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport malloc

cdef extern from *:
    """
    #include <stdlib.h>
    #include <stdint.h>
    #if defined(_WIN32)
    #include <malloc.h>
    static void *tg_alloc(size_t align, size_t n) { return _aligned_malloc(n, align); }
    static void tg_free(void *p) { _aligned_free(p); }
    static void tg_trim(void) {}
    #else
    #if defined(__linux__)
    #include <sys/mman.h>
    #if defined(__GLIBC__)
    #include <malloc.h>
    static void tg_trim(void) { malloc_trim(0); }
    #else
    static void tg_trim(void) {}
    #endif
    #else
    static void tg_trim(void) {}
    #endif
    static void *tg_alloc(size_t align, size_t n) {
        void *p = NULL;
        if (posix_memalign(&p, align, n) != 0) return NULL;
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (align >= ((size_t)1 << 21)) madvise(p, n, MADV_HUGEPAGE);
    #endif
        return p;
    }
    static void tg_free(void *p) { free(p); }
    #endif
    static inline int tg_log2(uint64_t v) {
        int r = 0;
        while (v >>= 1) r++;
        return r;
    }
    """
    void* tg_alloc(size_t align, size_t n) noexcept
    void tg_free(void* p) noexcept
    void tg_trim() noexcept
    int tg_log2(unsigned long long v) noexcept

cdef enum:
    HEADER = 64
    N_BUCKETS = 256
    HUGE = 1 << 22                   # from here blocks are aligned to huge pages
    SMALL_LIMIT = 16 << 20           # bytes kept per small size class

cdef Storage* buckets[N_BUCKETS]
cdef int64_t bucket_bytes[N_BUCKETS]   # bytes kept in each free list
cdef Storage* free_headers = NULL      # headers of storages that show foreign memory

cdef int64_t live_bytes = 0
cdef int64_t live_blocks = 0
cdef int64_t cached_bytes = 0
cdef int64_t peak_bytes = 0
cdef int64_t system_allocations = 0
cdef int64_t released_since_trim = 0
cdef int64_t cache_limit = <int64_t>4 << 30


cdef inline int bucket_of(int64_t nbytes, int64_t* rounded) noexcept:
    """Multiples of 64 up to 1 KiB, then four classes per power of two."""
    cdef int64_t n = (nbytes + 63) & ~<int64_t>63
    cdef int p, q
    if n <= 1024:
        if n == 0:
            n = 64
        rounded[0] = n
        return <int>(n >> 6)
    p = tg_log2(<unsigned long long>(n - 1))
    q = <int>(((n - 1) >> (p - 2)) & 3)
    rounded[0] = (<int64_t>(5 + q)) << (p - 2)
    return 17 + (p - 10) * 4 + q


cdef Storage* storage_try(int64_t nbytes) noexcept:
    """A storage with one reference, or NULL if there is no memory (or the size is absurd)."""
    global live_bytes, live_blocks, cached_bytes, peak_bytes, system_allocations
    cdef int64_t rounded = 0
    cdef int b
    cdef Storage* s
    cdef char* raw
    if nbytes < 0 or nbytes > <int64_t>1 << 46:
        return NULL
    b = bucket_of(nbytes, &rounded)
    s = buckets[b]
    if s != NULL:
        buckets[b] = s.next
        bucket_bytes[b] -= rounded
        cached_bytes -= rounded
    else:
        raw = <char*>tg_alloc(HUGE >> 1 if rounded >= HUGE else 64, <size_t>(rounded + HEADER))
        if raw == NULL:
            empty_cache()
            raw = <char*>tg_alloc(64, <size_t>(rounded + HEADER))
            if raw == NULL:
                return NULL
        system_allocations += 1
        s = <Storage*>raw
        s.ptr = raw + HEADER
        s.bucket = b
        s.owner = NULL
        s.parent = NULL
    s.nbytes = nbytes
    s.refs = 1
    s.version = 0
    live_blocks += 1
    live_bytes += rounded
    if live_bytes > peak_bytes:
        peak_bytes = live_bytes
    return s


cdef Storage* storage_new(int64_t nbytes) except NULL:
    cdef Storage* s = storage_try(nbytes)
    if s == NULL:
        raise RuntimeError(
            f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {nbytes} bytes.")
    return s


cdef Storage* header_new() except NULL:
    global free_headers
    cdef Storage* s = free_headers
    if s != NULL:
        free_headers = s.next
    else:
        s = <Storage*>malloc(sizeof(Storage))
        if s == NULL:
            raise MemoryError("no memory for a storage header")
    s.refs = 1
    s.version = 0
    s.owner = NULL
    s.parent = NULL
    s.bucket = -1
    return s


cdef Storage* storage_wrap(char* ptr, int64_t nbytes, PyObject* owner) except NULL:
    """A storage over memory that `owner` keeps alive."""
    cdef Storage* s = header_new()
    s.ptr = ptr
    s.nbytes = nbytes
    s.owner = owner
    if owner != NULL:
        Py_INCREF(<object>owner)
    return s


cdef Storage* storage_share(Storage* parent) except NULL:
    """The same memory with a version count of its own."""
    cdef Storage* s = header_new()
    while parent.parent != NULL:
        parent = parent.parent
    s.ptr = parent.ptr
    s.nbytes = parent.nbytes
    s.parent = parent
    parent.refs += 1
    return s


cdef void storage_free(Storage* s) noexcept:
    global live_bytes, live_blocks, cached_bytes, free_headers, released_since_trim
    cdef int64_t rounded = 0
    cdef PyObject* owner
    cdef Storage* parent
    if s.bucket < 0:
        owner = s.owner
        parent = s.parent
        s.owner = NULL
        s.parent = NULL
        s.next = free_headers
        free_headers = s
        if parent != NULL:
            storage_release(parent)
        if owner != NULL:
            Py_DECREF(<object>owner)
        return
    bucket_of(s.nbytes, &rounded)
    live_bytes -= rounded
    live_blocks -= 1
    if (rounded <= 65536 and bucket_bytes[s.bucket] >= SMALL_LIMIT) or cached_bytes + rounded > cache_limit:
        tg_free(<void*>s)
        released_since_trim += rounded
        if released_since_trim > <int64_t>64 << 20:
            released_since_trim = 0
            tg_trim()
        return
    s.next = buckets[s.bucket]
    buckets[s.bucket] = s
    bucket_bytes[s.bucket] += rounded
    cached_bytes += rounded


# The sweep calls these two through their addresses.
cdef int64_t sweep_alloc_held(int64_t nbytes) noexcept:
    return <int64_t><uintptr_t>storage_try(nbytes)

cdef int64_t sweep_release_held(int64_t s) noexcept:
    storage_release(<Storage*><uintptr_t>s)
    return 0


def addresses():
    """Addresses of the C functions alloc(nbytes) -> storage and release(storage), for callers with the GIL."""
    return <int64_t><uintptr_t><void*>sweep_alloc_held, <int64_t><uintptr_t><void*>sweep_release_held


cpdef void empty_cache() noexcept:
    """Gives the cached free blocks back to the system."""
    global cached_bytes
    cdef int b
    cdef Storage* s
    cdef Storage* following
    for b in range(N_BUCKETS):
        s = buckets[b]
        buckets[b] = NULL
        bucket_bytes[b] = 0
        while s != NULL:
            following = s.next
            tg_free(<void*>s)
            s = following
    cached_bytes = 0
    tg_trim()


def memory_stats():
    """Counts of the storage cache, as a dict.

    `live_bytes` and `live_blocks` are held by tensors and records, `cached_bytes` wait for reuse,
    `peak_bytes` is the largest `live_bytes` so far, `system_allocations` counts the blocks that
    were taken from the system since the process started.

    >>> import tapegrad as torch
    >>> torch.memory_stats()["live_bytes"] >= 0
    True
    """
    return {
        "live_bytes": live_bytes,
        "live_blocks": live_blocks,
        "cached_bytes": cached_bytes,
        "peak_bytes": peak_bytes,
        "system_allocations": system_allocations,
    }
