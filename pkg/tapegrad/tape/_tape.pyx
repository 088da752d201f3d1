"""The tape: records in segments that never move, counted references, no recursion.

A record is one application of an op together with the slot of its one result; words are named in
`_layout.pxd`. It lives while a Tensor or a live record holds its result. Releasing the last holder
releases the record's saved values and its edges, and so on down, through a worklist threaded
through the dead records themselves. Freed places are reused; order is kept by sequence numbers.
Segments come and go in regions of eight, whose size suits huge pages.
The GIL is the tape's lock: kernels that run without it touch element data only.
"""

from cpython.ref cimport PyObject, Py_XDECREF
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memset

from tapegrad._layout cimport *
from tapegrad.tape._storage cimport Storage, map_pages, storage_new, storage_release, unmap_pages

cdef enum:
    REGION_SEGMENTS = 8
    MAX_REGIONS = 8192                  # MAX_SEGMENTS // REGION_SEGMENTS
    SEGMENT_BYTES = 786432              # SEGMENT_RECORDS * REC_WORDS * 8
    REGION_BYTES = 6291456              # eight segments, three huge pages

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
cdef int n_regions = 0             # regions below were used at some time
cdef int first_absent = -1         # regions whose memory went back, linked by segment_next of their first
cdef int held_regions = 0
cdef int empty_regions = 0
cdef int spare_regions = 2         # empty regions kept
cdef bint regions_returned = False  # since the last time one was taken
cdef int64_t live_records = 0
cdef int64_t sequence = 2             # the first leaf comes at 1: numbers are positive


if SEGMENT_BYTES != SEGMENT_RECORDS * REC_WORDS * 8 or MAX_REGIONS * REGION_SEGMENTS != MAX_SEGMENTS:
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


cdef int grow() except -1:
    global n_regions, first_absent, held_regions, empty_regions, spare_regions, regions_returned
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
    held_regions += 1
    empty_regions += 1
    if regions_returned:
        # Memory that came back is wanted again: a program that goes up and down keeps more.
        regions_returned = False
        spare_regions *= 2
    return 0


cdef void return_region(int g) noexcept:
    """Gives the memory of a region without live records back to the system."""
    global first_absent, held_regions, empty_regions, regions_returned
    cdef int k, s = g * REGION_SEGMENTS
    unmap_pages(segment_table[s], REGION_BYTES)
    for k in range(s, s + REGION_SEGMENTS):
        unlink(k)
        segment_table[k] = NULL
    segment_next[s] = first_absent
    first_absent = g
    held_regions -= 1
    empty_regions -= 1
    regions_returned = True


cpdef void empty_cache() noexcept:
    """Gives the memory of regions without live records back to the system."""
    global regions_returned, spare_regions
    cdef int g
    spare_regions = 2
    for g in range(n_regions):
        if segment_table[g * REGION_SEGMENTS] != NULL and region_live[g] == 0:
            return_region(g)
    regions_returned = False            # asked for, which says nothing about the program's ups and downs


cdef int64_t record_new() except -1:
    """A zeroed record with one reference and the next sequence number."""
    global live_records, sequence, empty_regions
    cdef int s
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
        if region_live[s // REGION_SEGMENTS] == 0:
            empty_regions -= 1
        region_live[s // REGION_SEGMENTS] += 1
    segment_live[s] += 1
    if segment_live[s] == SEGMENT_RECORDS:
        unlink(s)
    live_records += 1
    sequence += 2                       # the odd numbers are for leaves
    memset(r, 0, REC_WORDS * 8)
    r[REC_SEQ] = sequence
    r[REC_REFS] = 1
    r[REC_EDGE] = -1
    r[REC_EDGE + 1] = -1
    r[REC_EDGE + 2] = -1
    return (<int64_t>s << SEGMENT_SHIFT) + i


cdef int64_t record_new_leaf() except -1:
    """A record that comes before the newest one in the order: a leaf is often made by its first consumer."""
    global sequence
    cdef int64_t i = record_new()
    sequence -= 2
    record(i)[REC_SEQ] = sequence - 1
    return i


cdef void give_back(int64_t i) noexcept:
    global live_records, empty_regions
    cdef int s = <int>(i >> SEGMENT_SHIFT)
    cdef int g = s // REGION_SEGMENTS
    cdef int64_t k = i & (SEGMENT_RECORDS - 1)
    if segment_live[s] == SEGMENT_RECORDS:
        link(s)
    (segment_table[s] + k * REC_WORDS)[0] = segment_free[s]
    segment_free[s] = <int>k
    segment_live[s] -= 1
    live_records -= 1
    if segment_live[s] == 0:
        segment_free[s] = -1            # from the front again, in the order of memory
        segment_used[s] = 0
        region_live[g] -= 1
        if region_live[g] == 0:
            empty_regions += 1
            if empty_regions > spare_regions:
                return_region(g)


cdef int64_t* record_extend(int64_t* r, int64_t param_bytes, int64_t words, int64_t edges) except NULL:
    """Gives the record an extension block with room for these; returns its words."""
    cdef Storage* s = storage_new((EXT_BODY + ((param_bytes + 7) >> 3) + words + edges) * 8)
    cdef int64_t* ext = <int64_t*>s.ptr
    ext[EXT_AUX] = 0
    ext[EXT_PARAMS] = param_bytes
    ext[EXT_WORDS] = words
    ext[EXT_EDGES] = edges
    r[REC_EXT] = <int64_t><uintptr_t>s
    return ext


cdef void record_drop_saved(int64_t* r) noexcept:
    """Frees what the record saved for its backward; the edges stay."""
    cdef int i
    cdef int64_t s
    cdef int64_t* ext
    for i in range(4):
        s = r[REC_SAVED + i]
        if s != 0:
            r[REC_SAVED + i] = 0
            storage_release(<Storage*><uintptr_t>s)
    if r[REC_EXT] != 0:
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
    r[REC_REFS] -= 1
    if r[REC_REFS] != 0:
        return
    r[REC_SEQ] = -1                     # end of the worklist, linked through this word
    pending = i
    while pending >= 0:
        i = pending
        r = record(i)
        pending = r[REC_SEQ]
        for k in range(MAX_INPUTS):
            e = r[REC_EDGE + k]
            if e >= 0:
                pending = drop_edge(e, pending)
        if r[REC_FLAGS] & FLAG_SAVES:
            record_drop_saved(r)
        if r[REC_EXT] != 0:
            ext = extension(r)
            n = ext[EXT_EDGES]
            if n:
                edges = ext_edges(ext)
                for k in range(n):
                    e = edges[k]
                    if e >= 0:
                        pending = drop_edge(e, pending)
            storage_release(<Storage*><uintptr_t>r[REC_EXT])
        obj = <PyObject*><uintptr_t>r[REC_OBJ]
        give_back(i)
        if obj != NULL:
            # May run Python code that releases other records; ours are out of its reach.
            Py_XDECREF(obj)


cdef inline int64_t drop_edge(int64_t e, int64_t pending) noexcept:
    cdef int64_t* r = record(e)
    r[REC_REFS] -= 1
    if r[REC_REFS] == 0:
        r[REC_SEQ] = pending
        return e
    return pending


def addresses():
    """Addresses of the segment table and of the op table."""
    return <int64_t><uintptr_t>segments, <int64_t><uintptr_t>ops


def tape_stats():
    """Live records of the tape and the bytes of its segments, as a dict.

    >>> import tapegrad as torch
    >>> torch.tape_stats()["records"] >= 0
    True
    """
    return {"records": live_records, "segment_bytes": <int64_t>held_regions * REGION_BYTES}


def set_op(int64_t op, int64_t word, int64_t value):
    """Writes one number of an op's row."""
    if not (0 <= op < MAX_OPS and 0 <= word < OP_WORDS):
        raise IndexError("no such word in the op table")
    op_table[op * OP_WORDS + word] = value


def get_op(int64_t op, int64_t word):
    """Reads one number of an op's row."""
    if not (0 <= op < MAX_OPS and 0 <= word < OP_WORDS):
        raise IndexError("no such word in the op table")
    return op_table[op * OP_WORDS + word]


def set_op_names(list names):
    """Names by op number, for messages and nodes."""
    global op_names
    op_names = names


cdef object op_name(int64_t op):
    return op_names[op]
