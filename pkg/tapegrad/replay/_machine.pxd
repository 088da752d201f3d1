from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from tapegrad._tensor cimport Tensor
from tapegrad.replay._plans cimport Arena
from tapegrad.replay._undoing cimport Undoing
from tapegrad.tape._storage cimport Storage

cdef class Machine:
    cdef int64_t* code
    cdef int64_t n
    cdef int64_t* spots                 # of each: address of the word to patch, base, offset
    cdef int64_t n_spots
    cdef int64_t n_bases
    cdef int64_t* base_source
    cdef int64_t* base_number           # which argument or leaf
    cdef int64_t* base_bytes
    cdef int64_t* base_written
    cdef int64_t* base_version          # times it is changed: the version of a fresh storage, else added
    cdef int64_t* base_address
    cdef Storage** base_storage
    cdef bint lends                     # some base that is not fresh is written
    cdef object keep
    cdef Arena room                     # where it works; other machines may, too, but one at a time
    cdef public bint timed
    cdef public tuple guarded           # of Guarded: tensors whose memory or history the program uses
    cdef public tuple leaves            # tensors whose gradients it looks at or puts
    cdef public tuple entry             # per leaf: None not looked at, False None, True a gradient to add to
    cdef public tuple exit              # per leaf: None as it was, False None, TensorPlan or a tensor
    cdef public tuple order             # per instruction: its step's place in the recording
    cdef public tuple base_places       # per base: places in the recording that change it
    cdef public tuple events            # (instruction, leaf, state as in `exit`) in order, for runs that fail
    cdef public tuple turned_on         # arguments that the code makes require gradients
    cdef public tuple apart             # arguments that must be none of the tensors in `guarded`
    cdef public tuple together          # pairs of leaves whose gradients lie in one memory
    cdef public int64_t twice           # pairs of arguments that are one object
    cdef public tuple switches          # (place in the recording, leaf or Argument, its requires_grad from there)
    cdef public tuple modes             # (place in the recording, attributes of a module, its training mode from there)
    cdef public tuple dropped           # leaves whose gradients become None before anything is computed
    cdef public tuple bumps             # (tensor, count, places in the recording): versions of tensors from outside
    cdef public tuple stamps
    cdef public tuple shared_plans
    cdef public object result
    cdef int64_t* ranges                # (start, end) of written memory from outside
    cdef int64_t n_ranges
    cdef public object fail             # called with (instruction, status, two details): raises
    cdef public tuple fixed             # (argument, the tensor that it must be)
    cdef public tuple relations         # (i, j, bytes from i to j, same object) of arguments of one memory
    cdef public Undoing undoing         # for steps whose errors the function handles, or None
    cdef public tuple locks             # of generators that are drawn from

    cdef bint fits(self, tuple arguments) except -1
    cdef bint overlapping(self) except -1
    cdef int turn_off(self, tuple arguments) except -1
    cdef bint still_fits(self, tuple arguments) except -1
    cdef Tensor leaf(self, int64_t k, tuple arguments)
    cdef Storage* storage_at(self, int64_t k, tuple arguments) except NULL
    cdef int64_t execute(self) except -2
    cdef int64_t go(self, int64_t i) noexcept nogil
    cdef int64_t go_timed(self) noexcept nogil
    cdef int bump(self, int64_t failed) except -1
    cdef object passed(self, int64_t failed, object count, tuple places)
    cdef object failed(self, int64_t i, tuple arguments)
    cdef int forget_shared(self) except -1
    cdef object finish(self, tuple arguments)
    cdef int put_gradient(self, Tensor leaf, object state, tuple arguments, list records) except -1
    cdef Tensor make(self, object plan, tuple arguments, list records)
    cdef object build(self, object shape, tuple arguments, list records)
    cdef list stamp(self, tuple arguments)
