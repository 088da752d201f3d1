"""Looking at the graph: nodes for `Tensor.grad_fn`, records in Python's words for what walks them in Python."""

import cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uintptr_t

from tapegrad._elements cimport scalar_at
from tapegrad._layout cimport *
from tapegrad._tensor cimport Hooks, Tensor, edge_of, grad_of, set_grad, tensor_over
from tapegrad.tape._storage cimport Storage
from tapegrad.tape._tape cimport (
    ext_edges, ext_params, ext_words, extension, op_name, op_row, record, record_drop_saved, record_edge,
    record_extended, record_obj, record_ptr, record_release, record_retain, record_saved, record_shape, record_version,
)


cdef Tensor saved_tensor(int64_t i, int k):
    """Saved input k (3: the result) of record i as a tensor with its place in the history."""
    cdef int64_t* r = record(i)
    cdef int64_t* shape
    cdef int64_t* m
    cdef int64_t e
    cdef Storage* st = <Storage*><uintptr_t>record_saved(r, k)
    cdef Tensor t
    cdef int64_t strides[MAX_DIMS]
    cdef int nd, d, dt
    cdef int64_t step = 1
    if st == NULL:
        raise RuntimeError("this value was not saved")
    if k == 3:
        e = i
        shape = record_shape(r)
        nd = <int>((r[REC_OP] >> 16) & 0xFF)
        dt = <int>((r[REC_OP] >> 24) & 0xFF)
    else:
        e = record_edge(r, k)
        dt = <int>((r[REC_OP] >> 32) & 0xFF)
        if op_row(r[REC_OP] & 0xFFFF)[OP_INPUT_DTYPE + k] >= 0:
            dt = <int>op_row(r[REC_OP] & 0xFFFF)[OP_INPUT_DTYPE + k]
        if record_extended(r) and has_meta(r):
            m = extension(r) + EXT_META + k * EXT_META_WORDS
            nd = <int>(m[0] >> 8)
            t = tensor_over(st, <char*><uintptr_t>record_ptr(r, k), <int>(m[0] & 0xFF), nd, m + 1, m + 9)
            return attach(t, e)
        if e >= 0:
            shape = record_shape(record(e))
            nd = <int>((record(e)[REC_OP] >> 16) & 0xFF)
        elif (r[REC_OP] >> (48 + k)) & 1:
            shape = record_shape(r)
            nd = <int>((r[REC_OP] >> 16) & 0xFF)
        else:
            shape = r
            nd = 0
    for d in range(nd - 1, -1, -1):
        strides[d] = step
        step *= shape[d]
    return attach(tensor_over(st, <char*><uintptr_t>record_ptr(r, k), dt, nd, shape, strides), e)


cdef inline bint has_meta(int64_t* r) noexcept:
    return op_row(r[REC_OP] & 0xFFFF)[OP_KIND] == KIND_STRUCTURED or ((r[REC_OP] >> 40) & 0xFF) == LAYOUT_GENERAL


cdef Tensor attach(Tensor t, int64_t e):
    if e >= 0:
        record_retain(e)
        t.rec = e
        t.requires = True
    return t


@cython.binding(False)
cdef class Node:
    """An operation on the tape, as `Tensor.grad_fn` shows it."""
    cdef int64_t rec

    def __cinit__(self):
        self.rec = -1

    def __init__(self):
        raise TypeError("nodes come from Tensor.grad_fn")

    def __dealloc__(self):
        if self.rec >= 0:
            record_release(self.rec)

    cdef int64_t* words(self) except NULL:
        if self.rec < 0:
            raise TypeError("nodes come from Tensor.grad_fn")
        return record(self.rec)

    def name(self):
        """The operation's name in PyTorch's spelling, for example 'MulBackward0'."""
        cdef int64_t* r = self.words()
        if r[REC_FLAGS] & FLAG_LEAF:
            return "AccumulateGrad"
        name = op_name(r[REC_OP] & 0xFFFF)
        return "".join([part.capitalize() for part in name.split("_")]) + "Backward0"

    @property
    def next_functions(self):
        """The nodes of the inputs, as ((node or None, 0), ...)."""
        return tuple([(None if e < 0 else make_node(e), 0) for e in self.edges()])

    def edges(self):
        """The records of the inputs, -1 where no gradient flows."""
        cdef int64_t* r = self.words()
        if r[REC_FLAGS] & FLAG_LEAF:
            return []
        cdef int64_t op = r[REC_OP] & 0xFFFF
        cdef int64_t* ext
        if op_row(op)[OP_FLAGS] & OPFLAG_VARIADIC:
            ext = extension(r)
            return [ext_edges(ext)[k] for k in range(ext[EXT_EDGES])]
        return [record_edge(r, k) for k in range(op_row(op)[OP_INPUTS])]

    def __repr__(self):
        return f"<{self.name()} object at {hex(<uintptr_t><PyObject*>self)}>"

    def __eq__(self, other):
        return isinstance(other, Node) and (<Node>other).rec == self.rec

    def __hash__(self):
        return hash(self.rec)

    @property
    def index(self):
        """The place of the record on the tape."""
        return self.rec


cdef object make_node(int64_t i):
    cdef Node node = Node.__new__(Node)
    record_retain(i)
    node.rec = i
    return node


def record_view(int64_t i):
    """What the derivative in tensor ops needs of record i: a dict of plain values and saved tensors."""
    cdef int64_t* r = record(i)
    cdef int64_t op = r[REC_OP] & 0xFFFF
    cdef int64_t* ext
    cdef int64_t* w
    cdef int k, dt
    info = {"op": op, "flags": r[REC_FLAGS] & 0xFFFFFFFF, "numel": r[REC_NUMEL], "dt": <int>((r[REC_OP] >> 24) & 0xFF),
            "compute": <int>((r[REC_OP] >> 32) & 0xFF),
            "shape": tuple([record_shape(r)[d] for d in range((r[REC_OP] >> 16) & 0xFF)]),
            "saved": [None] * 4, "words": (), "params": b"", "aux": None, "version_errors": []}
    for k in range(4):
        if record_saved(r, k) != 0:
            if (<Storage*><uintptr_t>record_saved(r, k)).version & 0x7FFFFFFF != record_version(r, k):
                info["version_errors"].append(k)
            info["saved"][k] = saved_tensor(i, k)
        elif k < 3 and (r[REC_FLAGS] >> (FLAG_SCALAR_SHIFT + k)) & 1:
            dt = <int>((r[REC_OP] >> 32) & 0xFF)
            if op_row(op)[OP_INPUT_DTYPE + k] >= 0:
                dt = <int>op_row(op)[OP_INPUT_DTYPE + k]
            info["saved"][k] = scalar_at(<char*><uintptr_t>record_ptr(r, k), dt)
    if record_extended(r):
        ext = extension(r)
        w = ext_words(ext)
        info["words"] = tuple([w[k] for k in range(ext[EXT_WORDS])])
        info["params"] = (<char*>ext_params(ext))[:ext[EXT_PARAMS]]
        if ext[EXT_AUX] != 0:
            k = <int>(ext[EXT_AUX_META] >> EXT_AUX_VERSION_SHIFT)
            if (<Storage*><uintptr_t>ext[EXT_AUX]).version & 0x7FFFFFFF != k:
                info["version_errors"].append(4)
            info["aux"] = aux_tensor(ext)
    else:
        info["params"] = (<char*>(r + REC_PARAM))[:8] if r[REC_FLAGS] & FLAG_NEAR else bytes(8)
    return info


cdef Tensor aux_tensor(int64_t* ext):
    """The second result that a record kept."""
    cdef Storage* st = <Storage*><uintptr_t>ext[EXT_AUX]
    cdef int64_t strides[MAX_DIMS]
    cdef int nd = <int>(ext[EXT_AUX_META] >> 8 & 0xFF), d
    cdef int64_t step = 1
    for d in range(nd - 1, -1, -1):
        strides[d] = step
        step *= ext[EXT_AUX_META + 1 + d]
    return tensor_over(st, st.ptr, <int>(ext[EXT_AUX_META] & 0xFF), nd, ext + EXT_AUX_META + 1, strides)


def record_info(int64_t i):
    """(sequence number, flags, shape, dtype index) of record i."""
    cdef int64_t* r = record(i)
    return (r[REC_SEQ], r[REC_FLAGS] & 0xFFFFFFFF, tuple([record_shape(r)[d] for d in range((r[REC_OP] >> 16) & 0xFF)]),
            <int>((r[REC_OP] >> 24) & 0xFF))


def edge_index(Tensor t not None):
    """The record that gradients of t flow to, or -1."""
    return edge_of(t)


def drop_saved(int64_t i):
    """Frees what record i saved and marks it as freed."""
    cdef int64_t* r = record(i)
    if r[REC_FLAGS] & FLAG_SAVES:
        record_drop_saved(r)
        r[REC_FLAGS] |= FLAG_FREED


def node_of_record(int64_t i):
    """A Node that holds record i."""
    return make_node(i)


def record_grad(int64_t i):
    """The public gradient at record i, or None."""
    return grad_of(i)


def set_record_grad(int64_t i, value):
    """Sets the public gradient at record i."""
    set_grad(i, value)


cpdef object record_hooks(int64_t i):
    """The Hooks of record i, or None."""
    cdef int64_t* r = record(i)
    if record_obj(r) == 0:
        return None
    obj = <object><PyObject*><uintptr_t>r[REC_OBJ]
    return obj if isinstance(obj, Hooks) else None
