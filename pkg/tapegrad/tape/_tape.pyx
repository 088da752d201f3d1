"""The tape: records in segments that never move, counted references, no recursion.

A record is one application of an op together with the slot of its one result; words are named in
`_layout.pxd`. It lives while a Tensor or a live record holds its result. Releasing the last holder
releases the record's saved values and its edges, and so on down, through a worklist threaded
through the dead records themselves. Freed places are reused; order is kept by sequence numbers.
Segments come and go in regions of eight, whose size suits huge pages: three planes of 2 MiB, one for
each of the three cache lines of a record.
The GIL is the tape's lock: kernels that run without it touch element data only.
"""

from cpython.ref cimport PyObject, Py_XDECREF
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memset

from tapegrad._layout cimport *
from tapegrad.tape._storage cimport (
    Storage, noting, map_pages, settle_slabs, storage_new, storage_release, unmap_pages,
)

cdef enum:
    REGION_SEGMENTS = 8
    MAX_REGIONS = 8192                  # MAX_SEGMENTS // REGION_SEGMENTS
    SEGMENT_BYTES = 262144              # SEGMENT_RECORDS * REC_WORDS * 8: its part of each plane
    PLANE_BYTES = 2097152               # eight segments, one huge page
    REGION_BYTES = 6291456              # three planes
    SPARE_BYTES = 25165824              # of empty regions, kept at first
    WINDOW = 33554432                   # sequence numbers from one look at what is kept in vain to the next

cdef int64_t* segment_table[MAX_SEGMENTS]
cdef int64_t op_table[MAX_OPS * OP_WORDS]

cdef int64_t** segments = segment_table
cdef int64_t* ops = op_table
cdef list op_names = []

# Per segment: live records, records ever used (from the front), first free one of these, links of the
# list of segments with room.
cdef int segment_live[MAX_SEGMENTS]
cdef int segment_used[MAX_SEGMENTS]
cdef int segment_free[MAX_SEGMENTS]
cdef int segment_next[MAX_SEGMENTS]
cdef int segment_prev[MAX_SEGMENTS]
cdef int first_room = -1           # head of the list of segments with a free record
cdef int region_live[MAX_REGIONS]   # segments of the region with live records
cdef int64_t region_used[MAX_REGIONS]  # FLAG_NEAR and FLAG_FAR: what dead records used beside the first plane
cdef int n_regions = 0             # regions below were used at some time
cdef int first_absent = -1         # regions whose memory went back, linked by segment_next of their first
cdef int held_regions = 0
cdef int64_t empty_bytes = 0        # resident in regions without live records
cdef int64_t spare_bytes = SPARE_BYTES  # that much of it is kept
cdef int64_t least_empty = 0        # the smallest empty_bytes since the window began
cdef int64_t window_end = WINDOW
cdef bint regions_returned = False  # since the last time one was taken
cdef int64_t live_records = 0
cdef int64_t sequence = 2             # the first leaf comes at 1: numbers are positive


if (SEGMENT_BYTES != SEGMENT_RECORDS * REC_WORDS * 8 or MAX_REGIONS * REGION_SEGMENTS != MAX_SEGMENTS
        or PLANE_BYTES != REC_NEAR * 8 or REC_FAR != 2 * REC_NEAR or REGION_BYTES != 3 * PLANE_BYTES):
    raise ImportError("the sizes of the tape's regions do not fit its layout")


cdef void link(int s) noexcept:
    global first_room
    segment_next[s] = first_room
    segment_prev[s] = -1
    if first_room >= 0:
        segment_prev[first_room] = s
    first_room = s


cdef void unlink(int s) noexcept:
    global first_room
    if segment_prev[s] >= 0:
        segment_next[segment_prev[s]] = segment_next[s]
    else:
        first_room = segment_next[s]
    if segment_next[s] >= 0:
        segment_prev[segment_next[s]] = segment_prev[s]


cdef inline int64_t resident(int g) noexcept:
    """Bytes of the planes of an empty region that were touched."""
    cdef int64_t used = region_used[g]
    return PLANE_BYTES * (1 + (used & FLAG_NEAR != 0) + (used & FLAG_FAR != 0))


cdef int grow() except -1:
    global n_regions, first_absent, held_regions, empty_bytes, spare_bytes, regions_returned
    cdef int s, g, k
    # The first region lies on small pages, which cost only what is touched of them.
    cdef char* words = <char*>map_pages(REGION_BYTES, held_regions > 0)
    if words == NULL:
        raise MemoryError("no memory for another segment of the tape")
    if first_absent >= 0:
        g = first_absent
        first_absent = segment_next[g * REGION_SEGMENTS]
    elif n_regions < MAX_REGIONS:
        g = n_regions
        n_regions += 1
    else:
        unmap_pages(words, REGION_BYTES)
        raise MemoryError("the tape is full: 268 million live records")
    for k in range(REGION_SEGMENTS - 1, -1, -1):
        s = g * REGION_SEGMENTS + k
        segment_free[s] = -1
        segment_used[s] = 0
        segment_live[s] = 0
        segment_table[s] = <int64_t*>(words + k * SEGMENT_BYTES)
        link(s)
    region_live[g] = 0
    region_used[g] = 0
    held_regions += 1
    empty_bytes += PLANE_BYTES
    if regions_returned:
        # Memory that came back is wanted again: a program that goes up and down keeps more.
        regions_returned = False
        spare_bytes *= 2
    return 0


cdef void return_region(int g) noexcept:
    """Gives the memory of a region without live records back to the system."""
    global first_absent, held_regions, empty_bytes, regions_returned
    cdef int k, s = g * REGION_SEGMENTS
    unmap_pages(segment_table[s], REGION_BYTES)
    for k in range(s, s + REGION_SEGMENTS):
        unlink(k)
        segment_table[k] = NULL
    segment_next[s] = first_absent
    first_absent = g
    held_regions -= 1
    empty_bytes -= resident(g)
    regions_returned = True


cdef void return_regions(int64_t keep) noexcept:
    """Gives empty regions back until those left take no more than `keep` bytes."""
    global regions_returned
    cdef bint returned = regions_returned
    cdef int g
    for g in range(n_regions - 1, -1, -1):
        if empty_bytes <= keep:
            break
        if segment_table[g * REGION_SEGMENTS] != NULL and region_live[g] == 0:
            return_region(g)
    regions_returned = returned         # asked for, which says nothing about the program's ups and downs


cdef void settle() noexcept:
    """Once in a window: of what is kept for more and was not needed in it half goes back."""
    global window_end, spare_bytes, least_empty
    cdef int64_t surplus = min(least_empty, spare_bytes - SPARE_BYTES)
    window_end = sequence + WINDOW
    if surplus > 0:
        spare_bytes -= (surplus + 1) // 2
        return_regions(spare_bytes)
    least_empty = empty_bytes
    settle_slabs()


cpdef void empty_cache() noexcept:
    """Gives the memory of regions without live records back to the system."""
    global regions_returned, spare_bytes
    spare_bytes = SPARE_BYTES
    return_regions(0)
    regions_returned = False


cdef int64_t record_new() except -1:
    """A record with one reference and the next sequence number; the op's word and NUMEL are not yet set."""
    global live_records, sequence, empty_bytes, least_empty
    cdef int s, g
    cdef int64_t i
    cdef int64_t* r
    if first_room < 0:
        grow()
    s = first_room
    i = segment_free[s]
    if i >= 0:
        r = segment_table[s] + i * REC_WORDS
        segment_free[s] = <int>r[0]
    else:
        i = segment_used[s]
        r = segment_table[s] + i * REC_WORDS
        segment_used[s] += 1
    if segment_live[s] == 0:
        g = s // REGION_SEGMENTS
        if region_live[g] == 0:
            empty_bytes -= resident(g)
            if empty_bytes < least_empty:
                least_empty = empty_bytes
        region_live[g] += 1
    segment_live[s] += 1
    if segment_live[s] == SEGMENT_RECORDS:
        unlink(s)
    live_records += 1
    sequence += 2                       # the odd numbers are for leaves
    if sequence >= window_end:
        settle()
    r[REC_FLAGS] = <int64_t>1 << 32
    r[REC_SEQ] = sequence
    r[REC_EDGES] = -1
    return (<int64_t>s << SEGMENT_SHIFT) + i


cdef int64_t record_new_leaf() except -1:
    """A record that comes before the newest one in the order: a leaf is often made by its first consumer."""
    global sequence
    cdef int64_t i = record_new()
    sequence -= 2
    record(i)[REC_SEQ] = sequence - 1
    return i


cdef int64_t next_sequence() noexcept:
    """Records made from now on have this sequence number or a later one."""
    return sequence + 1


cdef inline void give_back(int64_t i, int64_t* r) noexcept:
    global live_records, empty_bytes
    cdef int s = <int>(i >> SEGMENT_SHIFT)
    cdef int g = s // REGION_SEGMENTS
    cdef int64_t k = i & (SEGMENT_RECORDS - 1)
    if segment_live[s] == SEGMENT_RECORDS:
        link(s)
    region_used[g] |= r[REC_FLAGS]
    r[0] = segment_free[s]
    segment_free[s] = <int>k
    segment_live[s] -= 1
    live_records -= 1
    if segment_live[s] == 0:
        segment_free[s] = -1            # from the front again, in the order of memory
        segment_used[s] = 0
        region_live[g] -= 1
        if region_live[g] == 0:
            empty_bytes += resident(g)
            if empty_bytes > spare_bytes:
                return_region(g)


cdef int64_t* record_extend(int64_t* r, int64_t param_bytes, int64_t words, int64_t edges) except NULL:
    """Gives the record an extension block with room for these; returns its words."""
    cdef Storage* s = storage_new((EXT_BODY + ((param_bytes + 7) >> 3) + words + edges) * 8)
    cdef int64_t* ext = <int64_t*>s.ptr
    if noting:                         # a recording is compared with the next one, word by word
        memset(ext, 0, <size_t>s.nbytes)
    ext[EXT_AUX] = 0
    ext[EXT_PARAMS] = param_bytes
    ext[EXT_WORDS] = words
    ext[EXT_EDGES] = edges
    record_near(r)
    r[REC_FLAGS] |= FLAG_EXTENDED
    r[REC_EXT] = <int64_t><uintptr_t>s
    return ext


cdef void record_drop_saved(int64_t* r) noexcept:
    """Frees what the record saved for its backward; the edges stay."""
    cdef int i
    cdef int64_t s
    cdef int64_t* ext
    for i in range(2):
        s = r[REC_SAVED + i]
        if s != 0:
            r[REC_SAVED + i] = 0
            storage_release(<Storage*><uintptr_t>s)
    if r[REC_FLAGS] & FLAG_NEAR == 0:
        return
    for i in range(2):
        s = r[REC_MORE_SAVED + i]
        if s != 0:
            r[REC_MORE_SAVED + i] = 0
            storage_release(<Storage*><uintptr_t>s)
    if record_extended(r):
        ext = extension(r)
        s = ext[EXT_AUX]
        if s != 0:
            ext[EXT_AUX] = 0
            storage_release(<Storage*><uintptr_t>s)


cdef void record_release(int64_t i) noexcept:
    """Drops one reference; what dies with it dies without recursion."""
    cdef int64_t* r = record(i)
    cdef int64_t pending, e, n, k
    cdef int64_t* ext
    cdef int64_t* edges
    cdef PyObject* obj
    r[REC_FLAGS] -= <int64_t>1 << 32
    if r[REC_FLAGS] >> 32 != 0:
        return
    r[REC_SEQ] = -1                     # end of the worklist, linked through this word
    pending = i
    while pending >= 0:
        i = pending
        r = record(i)
        pending = r[REC_SEQ]
        for k in range(MAX_INPUTS):
            e = record_edge(r, k)
            if e >= 0:
                pending = drop_edge(e, pending)
        if r[REC_FLAGS] & (FLAG_SAVES | FLAG_FREED) == FLAG_SAVES:
            record_drop_saved(r)
        if record_extended(r):
            ext = extension(r)
            n = ext[EXT_EDGES]
            if n:
                edges = ext_edges(ext)
                for k in range(n):
                    e = edges[k]
                    if e >= 0:
                        pending = drop_edge(e, pending)
            storage_release(<Storage*><uintptr_t>r[REC_EXT])
        obj = <PyObject*><uintptr_t>record_obj(r)
        give_back(i, r)
        if obj != NULL:
            # May run Python code that releases other records; ours are out of its reach.
            Py_XDECREF(obj)


cdef inline int64_t drop_edge(int64_t e, int64_t pending) noexcept:
    cdef int64_t* r = record(e)
    r[REC_FLAGS] -= <int64_t>1 << 32
    if r[REC_FLAGS] >> 32 == 0:
        r[REC_SEQ] = pending
        return e
    return pending


def addresses():
    """Addresses of the segment table and of the op table."""
    return <int64_t><uintptr_t>segments, <int64_t><uintptr_t>ops


def tape_stats():
    """Live records of the tape and the bytes of its segments, as a dict.

    Segments without live records count with the memory that they were seen to touch.

    >>> import tapegrad as torch
    >>> torch.tape_stats()["records"] >= 0
    True
    """
    cdef int g, live = 0
    for g in range(n_regions):
        live += segment_table[g * REGION_SEGMENTS] != NULL and region_live[g] > 0
    return {"records": live_records, "segment_bytes": <int64_t>live * REGION_BYTES + empty_bytes}


def set_op(int64_t op, int64_t word, int64_t value):
    """Writes one number of an op's row."""
    if not (0 <= op < MAX_OPS and 0 <= word < OP_WORDS):
        raise IndexError("no such word in the op table")
    op_table[op * OP_WORDS + word] = value


def settle_now():
    """Ends the window over which it is seen how much of the kept memory is needed; for tests."""
    settle()


def set_op_names(list names):
    """Names by op number, for messages and nodes."""
    global op_names
    op_names = names


cdef object op_name(int64_t op):
    return op_names[op]
