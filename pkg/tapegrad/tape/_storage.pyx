"""Memory of tensors: reference-counted storages from a cache of size classes.

A block is a 64-byte header followed by the data, 64-byte aligned; data of up to 16 bytes lies in the
header itself, so a number costs one cache line. A released block goes to the
free list of its class and is handed out again, so a training loop takes nothing from the system
after its first iteration. Blocks of up to 1 KiB are cut from slabs, so that the memory of many of
them can go back; larger ones are kept for reuse up to a limit. Large memory sits on huge pages where
the system has them, since touching fresh small pages costs more than the arithmetic on them. All
calls hold the GIL, which is the lock.
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
    static void *tg_map(size_t n, int huge) { (void)huge; return _aligned_malloc(n, (size_t)1 << 21); }
    static void tg_unmap(void *p, size_t n) { (void)n; _aligned_free(p); }
    #else
    #include <sys/mman.h>
    #if defined(__linux__)
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
    /* Pages of our own, aligned to 2 MiB: what malloc gets back it may keep, these go at once. */
    static void *tg_map(size_t n, int huge) {
        const size_t align = (size_t)1 << 21;
        char *p = (char *)mmap(NULL, n + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
        size_t before;
        if (p == (char *)MAP_FAILED) return NULL;
        before = (align - ((uintptr_t)p & (align - 1))) & (align - 1);
        if (before) munmap(p, before);
        munmap(p + before + n, align - before);
        p += before;
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (huge) madvise(p, n, MADV_HUGEPAGE);
    #else
        (void)huge;
    #endif
        return p;
    }
    static void tg_unmap(void *p, size_t n) { munmap(p, n); }
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
    void* tg_map(size_t n, int huge) noexcept
    void tg_unmap(void* p, size_t n) noexcept
    int tg_log2(unsigned long long v) noexcept

cdef enum:
    HEADER = 64
    N_BUCKETS = 256
    EXACT = -2                       # in place of a class: memory of exactly this size, not cached
    SLAB = 1 << 21                   # bytes of a slab, and its alignment
    SLAB_CLASSES = 17                # classes 0..16, up to 1 KiB, are cut from slabs
    TINY = 16                        # bytes of class 0: the words owner and parent of the header
    HUGE = 1 << 22                   # from here blocks are aligned to huge pages
    SPARE_SLABS = 8                  # empty slabs kept at first

# The start of a slab; the blocks of one class follow. A block finds its slab by its address.
cdef struct Slab:
    int64_t live                     # blocks handed out
    int64_t cut                      # blocks cut off so far, from the front
    int64_t room                     # blocks it can be cut into
    Storage* free
    Slab* next                       # links of the list of slabs of this class with room
    Slab* prev
    int64_t bucket

cdef Slab* rooms[SLAB_CLASSES]
cdef int64_t slabs = 0
cdef int64_t class_slabs[SLAB_CLASSES]
cdef int64_t empty_slabs = 0
cdef int64_t spare_slabs = SPARE_SLABS  # empty slabs kept, all classes together
cdef int64_t least_empty = 0         # the smallest empty_slabs since settle_slabs was last called
cdef bint slabs_returned = False     # since the last time one was taken

cdef Storage* buckets[N_BUCKETS]
cdef Storage* free_headers = NULL      # headers of storages that show foreign memory

cdef int noting = 0, holding = 0
cdef listener_t on_birth = NULL
cdef listener_t on_death = NULL
cdef Storage* held = NULL              # released while `holding`

cdef int64_t live_bytes = 0
cdef int64_t live_blocks = 0
cdef int64_t cached_bytes = 0
cdef int64_t peak_bytes = 0
cdef int64_t system_allocations = 0
cdef int64_t released_since_trim = 0
cdef int64_t cache_limit = <int64_t>4 << 30


cdef inline int bucket_of(int64_t nbytes, int64_t* rounded) noexcept:
    """16 bytes, multiples of 64 up to 1 KiB, then four classes per power of two."""
    cdef int64_t n = (nbytes + 63) & ~<int64_t>63
    cdef int p, q
    if nbytes <= TINY:
        rounded[0] = TINY
        return 0
    if n <= 1024:
        rounded[0] = n
        return <int>(n >> 6)
    p = tg_log2(<unsigned long long>(n - 1))
    q = <int>(((n - 1) >> (p - 2)) & 3)
    rounded[0] = (<int64_t>(5 + q)) << (p - 2)
    return 17 + (p - 10) * 4 + q


cdef inline int64_t class_bytes(int64_t b) noexcept:
    """Bytes of data in a block of a slab's class."""
    return TINY if b == 0 else 64 * b


cdef void* map_pages(size_t n, bint huge) noexcept:
    """Memory of n bytes (a multiple of 2 MiB), or NULL; on huge pages if there are any."""
    return tg_map(n, huge)


cdef void unmap_pages(void* p, size_t n) noexcept:
    tg_unmap(p, n)


cdef void link_slab(Slab* slab) noexcept:
    slab.prev = NULL
    slab.next = rooms[slab.bucket]
    if slab.next != NULL:
        slab.next.prev = slab
    rooms[slab.bucket] = slab


cdef void unlink_slab(Slab* slab) noexcept:
    if slab.prev != NULL:
        slab.prev.next = slab.next
    else:
        rooms[slab.bucket] = slab.next
    if slab.next != NULL:
        slab.next.prev = slab.prev


cdef Slab* take_slab(int b, int64_t rounded) noexcept:
    """A slab for class b: an empty one of another class, or fresh memory; NULL if there is none."""
    global slabs, empty_slabs, spare_slabs, slabs_returned, system_allocations, cached_bytes
    cdef Slab* slab = NULL
    cdef int k
    class_slabs[b] += 1
    if empty_slabs > 0:
        for k in range(SLAB_CLASSES):
            slab = rooms[k]
            while slab != NULL and slab.live > 0:
                slab = slab.next
            if slab != NULL:
                unlink_slab(slab)
                cached_bytes -= slab.cut * class_bytes(k)
                class_slabs[k] -= 1
                break
    if slab == NULL:
        # The first of a class lies on small pages, which cost only what is touched of them.
        slab = <Slab*>tg_map(SLAB, class_slabs[b] > 1)
        if slab == NULL:
            class_slabs[b] -= 1
            return NULL
        system_allocations += 1
        slabs += 1
        empty_slabs += 1
        if slabs_returned:
            # Memory that came back is wanted again: a program that goes up and down keeps more.
            slabs_returned = False
            if spare_slabs * SLAB < cache_limit:
                spare_slabs *= 2
    slab.live = 0
    slab.cut = 0
    slab.room = (SLAB - HEADER) // (HEADER if b == 0 else rounded + HEADER)
    slab.free = NULL
    slab.bucket = b
    link_slab(slab)
    return slab


cdef inline Storage* slab_take(int b, int64_t rounded) noexcept:
    global cached_bytes, empty_slabs, least_empty
    cdef Slab* slab = rooms[b]
    cdef Storage* s
    if slab == NULL:
        slab = take_slab(b, rounded)
        if slab == NULL:
            return NULL
    s = slab.free
    if s != NULL:
        slab.free = s.next
        cached_bytes -= rounded
    else:
        s = <Storage*>(<char*>slab + HEADER + slab.cut * (HEADER if b == 0 else rounded + HEADER))
        slab.cut += 1
        s.bucket = b
        if b == 0:
            s.ptr = <char*>&s.owner
        else:
            s.ptr = <char*>s + HEADER
            s.owner = NULL
            s.parent = NULL
    if slab.live == 0:
        empty_slabs -= 1
        if empty_slabs < least_empty:
            least_empty = empty_slabs
    slab.live += 1
    if slab.live == slab.room:
        unlink_slab(slab)
    return s


cdef inline void slab_give(Storage* s, int64_t rounded) noexcept:
    global cached_bytes, empty_slabs
    cdef Slab* slab = <Slab*>(<uintptr_t>s & ~<uintptr_t>(SLAB - 1))
    if slab.live == slab.room:
        link_slab(slab)
    s.next = slab.free
    slab.free = s
    cached_bytes += rounded
    slab.live -= 1
    if slab.live == 0:
        empty_slabs += 1
        if empty_slabs > spare_slabs:
            return_slab(slab)


cdef void return_slab(Slab* slab) noexcept:
    """Gives an empty slab back to the system."""
    global slabs, empty_slabs, slabs_returned, cached_bytes
    unlink_slab(slab)
    cached_bytes -= slab.cut * class_bytes(slab.bucket)
    slabs -= 1
    class_slabs[slab.bucket] -= 1
    empty_slabs -= 1
    slabs_returned = True
    tg_unmap(<void*>slab, SLAB)


cdef void return_empty_slabs(int64_t count) noexcept:
    """Gives up to so many empty slabs back to the system, which says nothing about the program's ups and downs."""
    global slabs_returned
    cdef int b
    cdef bint returned = slabs_returned
    cdef Slab* slab
    cdef Slab* next_slab
    for b in range(SLAB_CLASSES):
        slab = rooms[b]
        while slab != NULL and count > 0:
            next_slab = slab.next
            if slab.live == 0:
                return_slab(slab)
                count -= 1
            slab = next_slab
    slabs_returned = returned


cdef void settle_slabs() noexcept:
    """Called now and then: of what was kept for more and not needed since the last call half goes back."""
    global spare_slabs, least_empty
    cdef int64_t surplus = (min(least_empty, spare_slabs - SPARE_SLABS) + 1) // 2
    if surplus > 0:
        spare_slabs -= surplus
        return_empty_slabs(empty_slabs - spare_slabs)
    least_empty = empty_slabs


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
    if b < SLAB_CLASSES:
        s = slab_take(b, rounded)
        if s == NULL:
            return NULL
    elif buckets[b] != NULL:
        s = buckets[b]
        buckets[b] = s.next
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
    s.birth = 0
    if noting:
        on_birth(s)
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
    global free_headers, system_allocations
    cdef Storage* s = free_headers
    if s != NULL:
        free_headers = s.next
    else:
        system_allocations += 1
        s = <Storage*>malloc(sizeof(Storage))
        if s == NULL:
            raise MemoryError("no memory for a storage header")
    s.refs = 1
    s.version = 0
    s.birth = 0
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


cdef Storage* storage_exact(int64_t nbytes) except NULL:
    """A storage without rounding to a class, for what lives long: its memory goes back to the system at once."""
    global live_bytes, live_blocks, peak_bytes, system_allocations, free_headers
    cdef Storage* s = header_new()
    s.nbytes = (nbytes + 63) & ~<int64_t>63
    s.ptr = <char*>tg_alloc(HUGE >> 1 if s.nbytes >= HUGE else 64, <size_t>s.nbytes)
    if s.ptr == NULL:
        s.next = free_headers
        free_headers = s
        raise RuntimeError(
            f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {nbytes} bytes.")
    s.bucket = EXACT
    system_allocations += 1
    live_blocks += 1
    live_bytes += s.nbytes
    if live_bytes > peak_bytes:
        peak_bytes = live_bytes
    return s


cdef Storage* storage_share(Storage* parent) except NULL:
    """The same memory with a version count of its own."""
    cdef Storage* s = header_new()
    while parent.bucket < 0 and parent.parent != NULL:
        parent = parent.parent
    s.ptr = parent.ptr
    s.nbytes = parent.nbytes
    s.parent = parent
    s.birth = parent.birth
    parent.refs += 1
    return s


cdef void release_held() noexcept:
    """Frees what waited for the end of a capture."""
    global held
    cdef Storage* s
    while held != NULL and not holding:
        s = held
        held = s.next
        storage_free(s)


cdef void storage_free(Storage* s) noexcept:
    global live_bytes, live_blocks, cached_bytes, free_headers, released_since_trim, held
    cdef int64_t rounded = 0
    cdef PyObject* owner
    cdef Storage* parent
    if holding:
        s.next = held
        held = s
        return
    if noting and s.birth:
        on_death(s)
    if s.bucket < 0:
        if s.bucket == EXACT:
            tg_free(<void*>s.ptr)
            live_bytes -= s.nbytes
            live_blocks -= 1
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
    if s.bucket < SLAB_CLASSES:
        slab_give(s, rounded)
        return
    if cached_bytes + rounded > cache_limit:
        tg_free(<void*>s)
        released_since_trim += rounded
        if released_since_trim > <int64_t>64 << 20:
            released_since_trim = 0
            tg_trim()
        return
    s.next = buckets[s.bucket]
    buckets[s.bucket] = s
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
    global cached_bytes, slabs_returned, spare_slabs
    cdef int b
    cdef int64_t rounded = 0
    cdef Storage* s
    cdef Storage* following
    spare_slabs = SPARE_SLABS
    return_empty_slabs(empty_slabs)
    slabs_returned = False
    for b in range(SLAB_CLASSES, N_BUCKETS):
        s = buckets[b]
        buckets[b] = NULL
        while s != NULL:
            following = s.next
            bucket_of(s.nbytes, &rounded)
            cached_bytes -= rounded
            tg_free(<void*>s)
            s = following
    tg_trim()


def set_cache_limit(int64_t nbytes):
    """Sets how many bytes of free blocks are kept for reuse (4 GiB at first); returns the limit before.

    ValueError if negative. What is kept already stays until `empty_cache()`.
    """
    global cache_limit
    if nbytes < 0:
        raise ValueError(f"the limit of the storage cache cannot be negative, got {nbytes}")
    before = cache_limit
    cache_limit = nbytes
    return before


def reset_peak():
    """Counts `peak_bytes` of `memory_stats` anew, from what is held now."""
    global peak_bytes
    peak_bytes = live_bytes


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
