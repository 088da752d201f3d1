"""Whose memory an address is, while a recording is read."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from tapegrad._layout cimport *


cdef struct Range:
    int64_t start
    int64_t end
    int64_t first           # offsets count from here
    int64_t owner


cdef class Places:
    """Ranges of addresses and their owners, which are numbers; what is put later hides what was there.

    `number_of(owner, line)` is asked for an owner's buffer at its first operand, `operand(buffer, offset)` makes one.
    """

    cdef Range* ranges
    cdef int64_t n
    cdef int64_t room
    cdef object number_of
    cdef object make
    cdef dict numbers

    def __init__(self, number_of, operand):
        self.number_of = number_of
        self.make = operand
        self.numbers = {}

    def __dealloc__(self):
        free(self.ranges)

    cdef int64_t after(self, int64_t address) noexcept:
        """The first range that starts behind an address."""
        cdef int64_t low = 0, high = self.n, middle
        while low < high:
            middle = (low + high) >> 1
            if self.ranges[middle].start <= address:
                low = middle + 1
            else:
                high = middle
        return low

    cdef int insert(self, int64_t at, Range r) except -1:
        cdef Range* grown
        if self.n == self.room:
            grown = <Range*>realloc(self.ranges, <size_t>(2 * self.room + 64) * sizeof(Range))
            if grown == NULL:
                raise MemoryError("no memory to read a recording")
            self.ranges = grown
            self.room = 2 * self.room + 64
        memmove(self.ranges + at + 1, self.ranges + at, <size_t>(self.n - at) * sizeof(Range))
        self.ranges[at] = r
        self.n += 1
        return 0

    def put(self, int64_t start, int64_t end, int64_t owner, first=None):
        """The addresses from `start` to `end` belong to `owner`; offsets count from `first`, or from `start`."""
        cdef Range r = Range(start, end, start if first is None else <int64_t>first, owner)
        cdef Range rest
        cdef int64_t at
        if end <= start:
            return
        at = self.after(start)
        if at > 0 and self.ranges[at - 1].end > start:
            at -= 1
        while at < self.n and self.ranges[at].start < end:
            rest = self.ranges[at]
            if rest.start < start:      # its front stays
                self.ranges[at].end = start
                at += 1
                if rest.end > end:
                    rest.start = end
                    self.insert(at, rest)
                    break
            elif rest.end > end:        # its back stays
                self.ranges[at].start = end
                break
            else:
                self.n -= 1
                memmove(self.ranges + at, self.ranges + at + 1, <size_t>(self.n - at) * sizeof(Range))
        self.insert(at, r)

    def owner(self, int64_t address):
        """The owner of an address, or None."""
        cdef int64_t at = self.after(address) - 1
        return self.ranges[at].owner if at >= 0 and address < self.ranges[at].end else None

    def operand(self, int64_t address, line=None):
        """Where an address lies: an operand; LookupError if it is nobody's."""
        cdef int64_t at = self.after(address) - 1
        cdef Range r
        if at < 0 or address >= self.ranges[at].end:
            raise LookupError("memory is used that the recording does not know")
        r = self.ranges[at]
        number = self.numbers.get(r.owner)
        if number is None:
            number = self.numbers[r.owner] = self.number_of(r.owner, line)
        return self.make((number, address - r.first))

    def operands(self, bytes frame not None, int64_t mask, line=None):
        """Operands of the words of a frame that `mask` names, by word; those that are 0 are left out."""
        cdef int64_t f[FRAME_WORDS]
        cdef int w
        if PyBytes_GET_SIZE(frame) != FRAME_WORDS * 8:
            raise ValueError("a frame has another size")
        memcpy(f, PyBytes_AS_STRING(frame), FRAME_WORDS * 8)
        found = {}
        for w in range(FRAME_WORDS):
            if (mask >> w) & 1 and f[w] != 0:
                found[w] = self.operand(f[w], line)
        return found
