"""Where blocks of memory fit beside those that are alive with them: a program may have tens of thousands."""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove


cdef struct Placed:
    int64_t start
    int64_t end
    int64_t first
    int64_t last


def best_fit(blocks):
    """Each block (key, first step, last step, bytes) goes into the smallest gap among those before it.

    Those of them count that are alive with it. Gives the offsets by key, and the bytes that it takes.
    """
    cdef list todo = list(blocks)
    cdef Placed* placed = <Placed*>malloc((len(todo) + 1) * sizeof(Placed))
    cdef int64_t n = 0, total = 0, first, last, size, at, where, best, k
    cdef dict offsets = {}
    if placed == NULL:
        raise MemoryError("no memory to plan that of a program")
    try:
        for key, first_, last_, size_ in todo:
            first, last, size = first_, last_, size_
            at, best, where = 0, -1, 0
            for k in range(n):          # by their start
                if placed[k].last < first or last < placed[k].first:
                    continue
                if placed[k].start - at >= size and (best < 0 or placed[k].start - at < best):
                    best = placed[k].start - at
                    where = at
                if placed[k].end > at:
                    at = placed[k].end
            if best < 0:
                where = at
            offsets[key] = where
            k = n
            while k > 0 and placed[k - 1].start > where:
                k -= 1
            memmove(&placed[k + 1], &placed[k], (n - k) * sizeof(Placed))
            placed[k] = Placed(where, where + size, first, last)
            n += 1
            if where + size > total:
                total = where + size
    finally:
        free(placed)
    return offsets, total
