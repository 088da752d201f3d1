from tapegrad._tensor cimport Tensor
from tapegrad.tape._storage cimport Storage

cpdef object attributes_of(Tensor t)
cdef Storage* root_of(Storage* st) noexcept
cdef bint has_hooks(Tensor leaf)
cdef bint listened_to(Tensor t)
cdef object gradient_at(Tensor leaf)
