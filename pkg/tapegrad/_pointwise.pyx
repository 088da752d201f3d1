"""The recorder of pointwise ops: promotion, broadcasting, the kernel's call, the record."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcpy

from tapegrad cimport _tensor
from tapegrad._elements cimport BOOL, INT64, category, classify, itemsizes, promotion, store_scalar, type_name
from tapegrad._layout cimport *
from tapegrad._tensor cimport (
    VIEW_NO_GRAD, Tensor, cast_op, cast_to, check_inplace, check_view, clone, default_dt, edge_of, grad_mode,
    inference_mode, needs_grad, overwritten_op, put_meta, put_shape, rebase, refuse_no_grad_view, refuse_saving,
    same_shape, save, set_grad_mode, tensor_new, unsupported,
)
from tapegrad.tape cimport _capture
from tapegrad.tape._execute cimport execute, kernel_of, raise_kernel_error
from tapegrad.tape._tape cimport (
    ext_params, ext_words, extension, kernel_t, op_name, op_row, record, record_extend, record_near, record_new,
    record_retain, record_saves, record_set_edge, record_set_ptr,
)

from tapegrad._tensor import MULTI_VIEW


cdef object shapes_error(Tensor a, Tensor b):
    cdef int d, da, db
    cdef int n = a.ndim_ if a.ndim_ > b.ndim_ else b.ndim_
    for d in range(n):
        da = a.ndim_ - n + d
        db = b.ndim_ - n + d
        if da >= 0 and db >= 0 and a.shape_[da] != b.shape_[db] and a.shape_[da] != 1 and b.shape_[db] != 1:
            raise RuntimeError(f"The size of tensor a ({a.shape_[da]}) must match the size of tensor b "
                               f"({b.shape_[db]}) at non-singleton dimension {d}")
    raise RuntimeError(f"tensors of shapes {list(a.shape)} and {list(b.shape)} do not broadcast together")


cdef bint overlaps(Tensor a, Tensor out) noexcept:
    """True if a shares out's memory in another arrangement."""
    cdef int d
    if a.st.ptr != out.st.ptr:
        return False
    if a.data_ == out.data_ and same_shape(a, out):
        for d in range(a.ndim_):
            if a.strides_[d] != out.strides_[d] and a.shape_[d] > 1:
                return True
        return False
    return True


cdef Tensor data_copy(Tensor t):
    """A contiguous copy of the data, outside of the history."""
    cdef Tensor c = tensor_new(t.dt, t.ndim_, t.shape_)
    if t.contig:
        memcpy(c.data_, t.data_, t.numel_ * itemsizes[t.dt])
        if _capture.listening():
            _capture.note_outside(t, t.st)
            _capture.log_copy(c.data_, t.data_, t.numel_ * itemsizes[t.dt])
    else:
        copy_data(t, c)
    return c


cdef int copy_data(Tensor src, Tensor out) except -1:
    """out[...] = src of the same dtype (src may broadcast), outside of the history."""
    cdef PyObject* args[1]
    cdef bint mode = grad_mode()
    args[0] = <PyObject*>src
    set_grad_mode(False)
    try:
        record_pointwise(cast_op[out.dt], 1, args, out, None)
    finally:
        set_grad_mode(mode)
    return 0


cdef void make_plan(
    int64_t* plan, int n, PyObject** ts, int nd, const int64_t* shape, const int64_t* out_strides
) noexcept:
    """Strides of all operands over the result's shape, adjacent dimensions merged where they can be."""
    cdef int64_t st[7][MAX_DIMS]
    cdef int k, d, dd, m, j
    cdef int64_t step
    cdef Tensor t
    cdef bint joins
    for d in range(nd):
        st[0][d] = out_strides[d]
    for k in range(3):
        for d in range(nd):
            st[1 + k][d] = 0
            st[4 + k][d] = 0
        if k < n and ts[k] != NULL:
            t = <Tensor>ts[k]
            step = 1
            for dd in range(t.ndim_ - 1, -1, -1):
                d = dd + nd - t.ndim_
                if t.shape_[dd] != 1 or shape[d] == 1:
                    st[1 + k][d] = t.strides_[dd]
                    st[4 + k][d] = step
                step *= t.shape_[dd]
    m = 0                               # dimensions kept so far, from the left
    for d in range(nd):
        if shape[d] == 1:
            continue
        joins = m > 0
        if joins:
            for j in range(7):
                if plan[PLAN_OUT + j * MAX_DIMS + m - 1] != st[j][d] * shape[d]:
                    joins = False
                    break
        if joins:
            plan[PLAN_SHAPE + m - 1] *= shape[d]
            for j in range(7):
                plan[PLAN_OUT + j * MAX_DIMS + m - 1] = st[j][d]
        else:
            plan[PLAN_SHAPE + m] = shape[d]
            for j in range(7):
                plan[PLAN_OUT + j * MAX_DIMS + m] = st[j][d]
            m += 1
    if m == 0:
        plan[PLAN_SHAPE] = 1
        for j in range(7):
            plan[PLAN_OUT + j * MAX_DIMS] = 0
        m = 1
    plan[PLAN_NDIM] = m
    if _capture.active:                 # recordings are compared word by word: no garbage behind the dimensions used
        for j in range(PLAN_SHAPE, PLAN_WORDS):
            if (j - PLAN_SHAPE) % MAX_DIMS >= m:
                plan[j] = 0


cdef int refuse_view(Tensor t) except -1:
    """RuntimeError for a view that must not get a history by an in-place change."""
    if t.view_marks & VIEW_NO_GRAD:
        refuse_no_grad_view()
    raise RuntimeError(MULTI_VIEW)


cdef object refuse_bool(int64_t op, int n, PyObject** args):
    if n == 1:
        raise RuntimeError("Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert "
                           "a mask, use the `~` or `logical_not()` operator instead.")
    for k in range(n):
        if not isinstance(<object>args[k], Tensor) or (<Tensor>args[k]).dt != BOOL:
            raise RuntimeError(
                "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a "
                "mask, use the `~` or `logical_not()` operator instead.")
    raise RuntimeError("Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
                       "`logical_xor()` operator instead.")


cdef Tensor record_pointwise(int64_t op, int n, PyObject** args, Tensor inplace, object params):
    """Records and runs one pointwise op on tensors and Python numbers.

    `params` is None or a tuple of numbers, stored in the compute type. With `inplace` the result
    goes there. TypeError for arguments that are neither; RuntimeError where the shapes do not
    broadcast or the type is not supported.
    """
    cdef int64_t* row = op_row(op)
    cdef int64_t f[FRAME_WORDS]
    cdef int64_t scalars[3]
    cdef int64_t packed[4]
    cdef int64_t plan[PLAN_WORDS]
    cdef int64_t shape[MAX_DIMS]
    cdef PyObject* ts[3]
    cdef Tensor t, out, k0 = None, _k1 = None, _k2 = None, first = None  # k: they keep ts alive
    cdef int k, d, dd, nd = 0, want, dt, out_dt, layout
    cdef int dim_dt = -1, zero_dt = -1, scalar_cat = -1, cat
    cdef int64_t numel, status, address = 0, need, i, e, offset, param_bytes = 0, n_scalars = 0
    cdef int64_t* r
    cdef int64_t* ext
    cdef char* slot
    cdef bint flat = True, requires = False, cloned = False

    for k in range(n):
        if isinstance(<object>args[k], Tensor):
            ts[k] = args[k]
            t = <Tensor>args[k]
            if t.dt == BOOL and row[OP_FLAGS] & OPFLAG_NO_BOOL:
                refuse_bool(op, n, args)
            if row[OP_INPUT_DTYPE + k] < 0:
                if t.ndim_ > 0:
                    dim_dt = t.dt if dim_dt < 0 else promotion[dim_dt][t.dt]
                else:
                    zero_dt = t.dt if zero_dt < 0 else promotion[zero_dt][t.dt]
        else:
            ts[k] = NULL
            n_scalars += 1
            cat = classify(<object>args[k])
            if cat < 0:
                raise TypeError(f"{op_name(op)}(): argument {k + 1} must be Tensor or a number, "
                                f"not {type(<object>args[k]).__name__}")
            if cat == 0 and row[OP_FLAGS] & OPFLAG_NO_BOOL:
                refuse_bool(op, n, args)
            if row[OP_INPUT_DTYPE + k] < 0 and cat > scalar_cat:
                scalar_cat = cat
    dt = dim_dt
    if zero_dt >= 0 and (dt < 0 or category[zero_dt] > category[dt]):
        dt = zero_dt if dt < 0 else promotion[dt][zero_dt]
    if scalar_cat >= 0 and (dt < 0 or scalar_cat > category[dt]):
        dt = default_dt if scalar_cat == 2 else INT64 if scalar_cat == 1 else BOOL
    if dt < 0:
        dt = default_dt
    if row[OP_PROMOTION] == PROMOTE_FLOAT and category[dt] < 2:
        dt = default_dt
    if not (row[OP_DTYPES] >> dt) & 1:
        unsupported(op, dt)
    out_dt = dt if row[OP_RESULT] < 0 else <int>row[OP_RESULT]
    if inplace is not None:
        check_inplace(inplace)
        if out_dt != inplace.dt:
            if category[out_dt] > category[inplace.dt]:
                raise RuntimeError(f"result type {type_name(out_dt)} can't be cast to the desired output type "
                                   f"{type_name(inplace.dt)}")
            out = record_pointwise(op, n, args, None, params)
            if not same_shape(out, inplace):
                raise RuntimeError(f"output with shape {list(inplace.shape)} doesn't match the broadcast shape "
                                   f"{list(out.shape)}")
            ts[0] = <PyObject*>out
            return record_pointwise(cast_op[inplace.dt], 1, ts, inplace, None)

    # Operands in the compute type, and the result's shape.
    for k in range(n):
        want = dt if row[OP_INPUT_DTYPE + k] < 0 else <int>row[OP_INPUT_DTYPE + k]
        if ts[k] == NULL:
            scalars[k] = 0              # recordings are compared word by word
            store_scalar(<object>args[k], want, row[OP_FLAGS] & OPFLAG_BOUNDS == 0, <char*>&scalars[k])
            continue
        t = <Tensor>ts[k]
        if t.dt != want:
            t = cast_to(t, want)
        if inplace is not None and t is not inplace and overlaps(t, inplace):
            t = clone(t)
        if k == 0:
            k0 = t
        elif k == 1:
            _k1 = t
        else:
            _k2 = t
        ts[k] = <PyObject*>t
        if needs_grad(t):               # of each: a view may have to catch up with its base first
            requires = True
        if first is None:
            first = t
            nd = t.ndim_
            for d in range(nd):
                shape[d] = t.shape_[d]
        elif not same_shape(first, t):
            if t.ndim_ > nd:
                for d in range(nd - 1, -1, -1):
                    shape[d + t.ndim_ - nd] = shape[d]
                for d in range(t.ndim_ - nd):
                    shape[d] = 1
                nd = t.ndim_
            for dd in range(t.ndim_):
                d = dd + nd - t.ndim_
                if shape[d] == 1:
                    shape[d] = t.shape_[dd]
                elif t.shape_[dd] != 1 and t.shape_[dd] != shape[d]:
                    shapes_error(first, t)
    if inplace is not None:
        flat = nd <= inplace.ndim_
        if flat:
            for dd in range(nd):
                if shape[dd] != 1 and shape[dd] != inplace.shape_[dd + inplace.ndim_ - nd]:
                    flat = False
        if not flat:
            raise RuntimeError(f"output with shape {list(inplace.shape)} doesn't match the broadcast shape "
                               f"{[shape[d] for d in range(nd)]}")
        nd = inplace.ndim_
        for d in range(nd):
            shape[d] = inplace.shape_[d]
    requires = requires and grad_mode() and category[out_dt] == 2
    if requires and inplace is not None and inplace.view_marks:
        refuse_view(inplace)

    need = 0
    if requires:
        for k in range(n):
            if ts[k] != NULL and (<Tensor>ts[k]).requires:
                need |= row[OP_NEEDS + k]

    if need:
        for k in range(n):
            if need & (1 << k) and ts[k] != NULL and (<Tensor>ts[k]).inference and not inference_mode():
                refuse_saving()
    if inplace is None:
        out = tensor_new(out_dt, nd, shape)
    else:
        out = inplace
        if inplace.base is not None and (requires or needs_grad(inplace)) and grad_mode():
            check_view(inplace)         # before anything is written
        if need & 1 and ts[0] == <PyObject*>inplace:
            k0 = data_copy(inplace)     # the derivative reads the value that is about to go
            cloned = True
    numel = out.numel_
    flat = out.contig
    f[FRAME_OUT] = <int64_t><uintptr_t>out.data_
    f[FRAME_N] = numel
    for k in range(n):
        if ts[k] == NULL:
            f[FRAME_IN + k] = <int64_t><uintptr_t>&scalars[k]
            f[FRAME_STEP + k] = 0
        else:
            t = <Tensor>ts[k]
            f[FRAME_IN + k] = <int64_t><uintptr_t>t.data_
            f[FRAME_STEP + k] = 1 if t.numel_ == numel else 0
            if not t.contig or (t.numel_ != numel and t.numel_ != 1):
                flat = False
    if params is not None:
        slot = <char*>packed
        for p in params:
            store_scalar(p, dt, False, slot)
            slot += itemsizes[dt]
        param_bytes = slot - <char*>packed
        f[FRAME_PARAMS] = <int64_t><uintptr_t>packed
    if flat:
        layout = LAYOUT_FLAT
    else:
        layout = LAYOUT_GENERAL
        make_plan(plan, n, ts, nd, shape, out.strides_)
        f[FRAME_EXT] = <int64_t><uintptr_t>plan
    if numel > 0:
        address = kernel_of(op, OP_FORWARD + layout * 8 + dt, 0, layout, dt)
        if numel <= HEAVY_ELEMENTS:
            status = (<kernel_t><uintptr_t>address)(f, 0, numel)
        else:
            status = execute(f, address, KIND_POINTWISE, numel)
        if status != 0:
            raise_kernel_error(op, status, f)
    if _capture.listening():
        tell(op, n, ts, out, dt, layout, address, f, plan, packed, param_bytes)

    if requires:
        i = record_new()
        r = record(i)
        r[REC_OP] = (op | (<int64_t>nd << 16) | (<int64_t>out_dt << 24) | (<int64_t>dt << 32)
                     | (<int64_t>layout << 40) | (f[FRAME_STEP] << 48)
                     | ((f[FRAME_STEP + 1] << 49) if n > 1 else 0) | ((f[FRAME_STEP + 2] << 50) if n > 2 else 0))
        r[REC_NUMEL] = numel
        offset = (param_bytes + 7) & ~<int64_t>7
        if layout == LAYOUT_GENERAL or nd > 3 or offset + n_scalars * 8 > 8:
            ext = record_extend(r, offset + n_scalars * 8, PLAN_WORDS if layout == LAYOUT_GENERAL else 0, 0)
            slot = <char*>ext_params(ext)
            if layout == LAYOUT_GENERAL:
                if cloned:              # the derivative reads the copy, which lies in another way
                    ts[0] = <PyObject*>k0
                    make_plan(plan, n, ts, nd, shape, out.strides_)
                    ts[0] = <PyObject*>inplace
                memcpy(ext_words(ext), plan, sizeof(plan))
        else:
            slot = <char*>(r + REC_PARAM)
        if param_bytes:
            record_near(r)
            if param_bytes < 8 and slot == <char*>(r + REC_PARAM):
                r[REC_PARAM] = 0
            memcpy(slot, packed, param_bytes)
        put_shape(r, nd, shape)
        for k in range(n):
            if ts[k] == NULL:
                if need & (1 << k):
                    record_near(r)
                    memcpy(slot + offset, &scalars[k], 8)
                    if slot + offset != <char*>(r + REC_PARAM):
                        record_set_ptr(r, k, <int64_t><uintptr_t>(slot + offset))
                    # PyTorch saves such a number as a tensor, and frees it.
                    record_saves(r)
                    r[REC_FLAGS] |= <int64_t>1 << (FLAG_SCALAR_SHIFT + k)
                offset += 8
                continue
            t = <Tensor>ts[k]
            if t.requires and row[OP_DERIVATIVE + k] != DERIVATIVE_NONE:
                e = edge_of(t)
                record_retain(e)
                record_set_edge(r, k, e)
            if need & (1 << k):
                if k == 0 and cloned:
                    t = k0
                save(r, k, t)
                if layout == LAYOUT_GENERAL:
                    put_meta(extension(r), k, t)
        if op == cast_op[out_dt] and dt == out_dt and f[FRAME_STEP]:
            r[REC_FLAGS] |= FLAG_ALIAS
        if need & 8:
            save(r, 3, out)
            if inplace is not None:
                r[REC_MORE_VERSIONS] += <int64_t>1 << 32
        if inplace is None:
            out.rec = i
            out.requires = True
        else:
            _capture.changed(out.st)
            rebase(out, i)
    elif inplace is not None:
        _capture.changed(out.st)
        if grad_mode() and needs_grad(out):
            forget(out)
    return out


cdef int tell(int64_t op, int n, PyObject** ts, Tensor out, int dt, int layout, int64_t address, int64_t* f,
              int64_t* plan, int64_t* packed, int64_t param_bytes) except -1:
    """Tells the capture of this call; before the version counts it."""
    cdef int64_t reads = 0
    cdef int k
    for k in range(n):
        if ts[k] == NULL:
            reads |= (<int64_t>1 << 32) << k
        else:
            reads |= (<int64_t>1 << FRAME_IN) << k
            _capture.note_outside(<object>ts[k], (<Tensor>ts[k]).st)
    _capture.note_outside(out, out.st)
    if address != 0:
        _capture.log_kernel(op, 0, layout, dt, address, f[FRAME_N], f, reads, <int64_t>1 << FRAME_OUT,
                            plan if layout == LAYOUT_GENERAL else NULL, PLAN_WORDS,
                            packed if param_bytes > 0 else NULL, param_bytes, NULL, 0)
    return 0


cdef int forget(Tensor t) except -1:
    """t, which has a history, was overwritten with values that have none: the gradient of what it was is 0."""
    cdef int64_t e = edge_of(t)
    cdef int64_t i = record_new()
    cdef int64_t* r = record(i)
    r[REC_OP] = (overwritten_op | (<int64_t>t.ndim_ << 16) | (<int64_t>t.dt << 24) | (<int64_t>t.dt << 32)
                 | (<int64_t>LAYOUT_FLAT << 40) | (<int64_t>1 << 48))
    r[REC_NUMEL] = t.numel_
    put_shape(r, t.ndim_, t.shape_)
    record_retain(e)
    record_set_edge(r, 0, e)
    return rebase(t, i)


_tensor.pointwise = record_pointwise
