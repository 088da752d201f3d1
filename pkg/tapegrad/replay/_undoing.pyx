"""Undoing a run: what a step has left whose error the function handles, so that it can run as Python instead."""

from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy


cdef class Undoing:
    """Puts back what a run has changed, where one of the instructions `steps` fails.

    `spans` are (base or -1, address, bytes, address of the copy that the run makes first): with a base, the
    address is the base's. `states` are (address, bytes) of the generators that the run draws from, whose locks
    are held meanwhile.
    """

    def __init__(self, frozenset steps, tuple spans, tuple states):
        self.steps = steps
        self.spans = spans
        self.states = states

    cdef int begin(self) except -1:
        """Before a run."""
        self.before = [(<char*><uintptr_t><int64_t>address)[:<int64_t>nbytes] for address, nbytes in self.states]
        return 0

    cdef bint undo(self, int64_t failed, const int64_t* bases) except -1:
        """Whether the instruction that failed is one of these; then all is as before the run."""
        if failed not in self.steps:
            return False
        for base, address, nbytes, copy in self.spans:
            if base >= 0:
                address = bases[<int64_t>base]
            memcpy(<void*><uintptr_t><int64_t>address, <void*><uintptr_t><int64_t>copy, <size_t><int64_t>nbytes)
        for (address, nbytes), data in zip(self.states, self.before):
            memcpy(<void*><uintptr_t><int64_t>address, <char*>data, <size_t><int64_t>nbytes)
        return True
