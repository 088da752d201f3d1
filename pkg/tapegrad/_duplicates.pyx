"""What `copy` and `pickle` need of a tensor: the memory around it, and what users hang on it."""

from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy

from tapegrad._elements cimport UINT8, itemsizes
from tapegrad._layout cimport *
from tapegrad._tensor cimport Tensor, tensor_new, tensor_over
from tapegrad.tape cimport _capture


def place_of_memory(Tensor t not None):
    """Where the memory begins that this tensor and its views lie in, and its size in bytes."""
    return <int64_t><uintptr_t>t.st.ptr, t.st.nbytes


def fills_memory(Tensor t not None):
    """True if the tensor is all of its memory, in order."""
    return t.contig and t.data_ == t.st.ptr and t.numel_ * itemsizes[t.dt] == t.st.nbytes


def copy_of_memory(Tensor t not None):
    """The bytes of all the memory that a tensor lies in, as a tensor with memory of its own."""
    cdef int64_t n = t.st.nbytes
    cdef Tensor copy = tensor_new(UINT8, 1, &n)
    if _capture.listening():
        _capture.note_refusal("a tensor is deep-copied that shares its memory with others")
    memcpy(copy.data_, t.st.ptr, n)
    return copy


def placed_in(Tensor t not None, Tensor memory not None):
    """A tensor without history that lies in the memory of `memory` as `t` does in its own."""
    cdef int64_t offset = t.data_ - t.st.ptr
    if memory.st.nbytes != t.st.nbytes:
        raise ValueError("the two memories differ in size")
    return tensor_over(memory.st, memory.st.ptr + offset, t.dt, t.ndim_, t.shape_, t.strides_)


def attributes_of(Tensor t not None):
    """The attributes that a user has set on a plain tensor, or None; those of a subclass are in its `__dict__`."""
    return t.attributes


def set_attributes(Tensor t not None, dict attributes):
    """Sets all of them at once."""
    t.attributes = attributes
