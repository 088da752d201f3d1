"""Looking at tensors, storages and records from Python: where memory lies, what a record says, what is in it."""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy

from tapegrad._elements cimport itemsizes
from tapegrad._layout cimport *
from tapegrad._tensor cimport Tensor
from tapegrad.tape._copies cimport record_copy_out
from tapegrad.tape._execute cimport blas_table
from tapegrad.tape._storage cimport Storage
from tapegrad.tape._tape cimport extension, kernel_t, record, record_extended, record_obj, record_refs, segments


cdef Storage* root_of(Storage* st) noexcept:
    """The storage whose memory this one shows."""
    while st.bucket < 0 and st.parent != NULL:
        st = st.parent
    return st


def memory_of(Tensor t not None):
    """(storage, start and bytes of the memory behind it, address of the first element, end of the last)."""
    cdef Storage* root = root_of(t.st)
    cdef int64_t last = 0, first = <int64_t><uintptr_t>t.data_
    cdef int d
    for d in range(t.ndim_):
        last += (t.shape_[d] - 1) * t.strides_[d]
    return (<int64_t><uintptr_t>t.st, <int64_t><uintptr_t>root.ptr, root.nbytes, first,
            first + ((last + 1) * itemsizes[t.dt] if t.numel_ > 0 else 0))


def storage_words(int64_t storage):
    """(references, version, start, bytes) of a storage, by its address; it must be alive or held by a capture."""
    cdef Storage* s = <Storage*><uintptr_t>storage
    return s.refs, s.version, <int64_t><uintptr_t>s.ptr, s.nbytes


def record_of(Tensor t not None):
    """The record of a tensor's history, or -1."""
    return t.rec


def layout_of(Tensor t not None):
    """(dtype index, shape, strides, requires_grad, is a leaf, inference)."""
    return (t.dt, tuple([t.shape_[d] for d in range(t.ndim_)]), tuple([t.strides_[d] for d in range(t.ndim_)]),
            bool(t.requires_grad), bool(t.is_leaf), bool(t.inference))


cpdef object attributes_of(Tensor t):
    """The attributes that users have given the tensor, or None."""
    if t.attributes is not None or type(t) is Tensor:
        return t.attributes
    return getattr(t, "__dict__", None)


def view_marks(Tensor t not None):
    """How a view was made, where that forbids changes in place: 1 with others together, 2 with gradients off."""
    return t.view_marks


def record_words(int64_t i):
    """A copy of a record (COPY_WORDS), of its extension block or None, and where numbers among the inputs lie."""
    cdef int64_t* r = record(i)
    cdef int64_t words[COPY_WORDS]
    cdef int64_t* ext
    cdef int64_t n
    record_copy_out(r, words)
    copy = (<char*>words)[:COPY_WORDS * 8]
    if not record_extended(r):
        return copy, None, <int64_t><uintptr_t>(r + REC_PARAM)
    ext = extension(r)
    n = EXT_BODY + ((ext[EXT_PARAMS] + 7) >> 3) + ext[EXT_WORDS] + ext[EXT_EDGES]
    return copy, (<char*>ext)[:n * 8], <int64_t><uintptr_t>ext


def is_record(int64_t i):
    """Whether record i is alive."""
    return segments[i >> SEGMENT_SHIFT] != NULL and record_refs(record(i)) > 0


def record_object(int64_t i):
    """What Python hangs on record i: its gradient, its Hooks, or None."""
    cdef int64_t held = record_obj(record(i))
    return None if held == 0 else <object><PyObject*><uintptr_t>held


def gradient_of(Tensor leaf not None):
    """The gradient of a leaf, or None, whatever captures listen."""
    return gradient_at(leaf)


def read_memory(Tensor t not None):
    """All bytes of the memory behind a tensor."""
    cdef Storage* root = root_of(t.st)
    return root.ptr[:root.nbytes]


def write_memory(Tensor t not None, bytes data, int64_t version):
    """Puts back what `read_memory` gave, and the version; ValueError if the tensor has other memory now."""
    cdef Storage* root = root_of(t.st)
    if root.nbytes != len(data):
        raise ValueError("the tensor has other memory now")
    memcpy(root.ptr, PyBytes_AS_STRING(data), <size_t>root.nbytes)
    t.st.version = version


def read_tensor(Tensor t not None):
    """The elements of a tensor in row-major order, as bytes."""
    cdef int64_t size = itemsizes[t.dt], k, at
    cdef int d
    cdef int64_t index[MAX_DIMS]
    cdef bytearray out
    if t.contig:
        return t.data_[:t.numel_ * size]
    out = bytearray(t.numel_ * size)
    for d in range(t.ndim_):
        index[d] = 0
    for k in range(t.numel_):
        at = 0
        for d in range(t.ndim_):
            at += index[d] * t.strides_[d]
        memcpy(<char*>out + k * size, t.data_ + at * size, <size_t>size)
        for d in range(t.ndim_ - 1, -1, -1):
            index[d] += 1
            if index[d] < t.shape_[d]:
                break
            index[d] = 0
    return bytes(out)


def plan_call(int64_t address, bytes frame, words, params, table, int64_t table_word):
    """Answer of a kernel's planning call: (items, grain, phases, bytes of scratch)."""
    cdef int64_t f[FRAME_WORDS]
    cdef int64_t items
    memcpy(f, PyBytes_AS_STRING(frame), FRAME_WORDS * 8)
    if words is not None:
        f[FRAME_EXT] = <int64_t><uintptr_t>PyBytes_AS_STRING(words)
    if params is not None:
        f[FRAME_PARAMS] = <int64_t><uintptr_t>PyBytes_AS_STRING(params)
    if table is not None:
        f[table_word] = <int64_t><uintptr_t>PyBytes_AS_STRING(table)
    f[FRAME_BLAS] = blas_table
    f[FRAME_GRAIN] = 1
    f[FRAME_SCRATCH_BYTES] = 0
    f[FRAME_PHASES] = 1
    f[FRAME_PHASE] = 0
    items = (<kernel_t><uintptr_t>address)(f, -1, 0)
    return items, max(f[FRAME_GRAIN], 1), f[FRAME_PHASES], f[FRAME_SCRATCH_BYTES]


def is_listened_to(Tensor t not None):
    """Whether anything is called, or kept, when a gradient reaches the tensor."""
    return listened_to(t)


cdef bint listened_to(Tensor t):
    return t.rec >= 0 and ((record(t.rec)[REC_FLAGS] & FLAG_RETAIN) != 0 or has_hooks(t))


cdef bint has_hooks(Tensor leaf):
    """Whether anything is called when a gradient reaches the leaf."""
    cdef int64_t held
    if leaf.rec < 0:
        return False
    held = record_obj(record(leaf.rec))
    if held == 0 or isinstance(<object><PyObject*><uintptr_t>held, Tensor):
        return False
    hooks = <object><PyObject*><uintptr_t>held
    return bool(hooks.pre) or bool(hooks.post)


cdef object gradient_at(Tensor leaf):
    """The gradient of a leaf, or None; a leaf with hooks answers with its Hooks' gradient."""
    cdef int64_t* r
    if leaf.rec < 0:
        return None
    r = record(leaf.rec)
    if record_obj(r) == 0:
        return None
    held = <object><PyObject*><uintptr_t>record_obj(r)
    if isinstance(held, Tensor):
        return held
    return held.grad
