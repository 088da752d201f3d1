cdef void take_turn() noexcept nogil
cdef void give_turn() noexcept nogil
