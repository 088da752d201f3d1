"""The recorder of structured ops, and kernels run outside of the history.

A structured op has a rule, asked once per layout of inputs, and kernels of its own (`ops/registry.py`).
"""

from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from tapegrad._elements cimport category
from tapegrad._layout cimport *
from tapegrad._near_plans cimport KEY_NONE, KEY_WORDS, NearPlans, put_key, put_layout
from tapegrad._tensor cimport (
    Tensor, contiguous_, edge_of, grad_mode, inference_mode, needs_grad, put_meta, put_shape, read_shape, refuse_saving,
    same_shape, save, tensor_new, unsupported,
)
from tapegrad.tape cimport _capture
from tapegrad.tape._execute cimport execute, kernel_of, raise_kernel_error
from tapegrad.tape._storage cimport Storage, storage_new, storage_release, storage_retain
from tapegrad.tape._tape cimport (
    ext_edges, ext_params, ext_words, kernel_t, op_name, op_row, record, record_extend, record_new, record_retain,
    record_saves, record_set_edge,
)

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident()


cdef class Planned:
    """A structured op's plan for inputs of one layout, in machine words."""
    cdef int64_t* words
    cdef int64_t n_words
    cdef int64_t shape[MAX_DIMS]
    cdef int ndim
    cdef int dt                         # of the result
    cdef bytes params
    cdef int aux_dt                     # of the second result, or -1
    cdef int aux_ndim
    cdef int64_t aux_shape[MAX_DIMS]
    cdef bint returns_aux
    cdef tuple copies                   # inputs to be made contiguous first, or None

    def __cinit__(self, plan, bint returns_aux):
        cdef int64_t k
        self.n_words = len(plan.words)
        self.words = <int64_t*>malloc(<size_t>(self.n_words * 8 + 8))
        if self.words == NULL:
            raise MemoryError("no memory for a plan")
        for k in range(self.n_words):
            self.words[k] = plan.words[k]
        self.ndim = read_shape(plan.shape, self.shape)
        self.dt = plan.dtype.index
        self.params = bytes(plan.params)
        self.aux_dt = -1
        if plan.aux is not None:
            self.aux_ndim = read_shape(plan.aux[0], self.aux_shape)
            self.aux_dt = plan.aux[1].index
        self.returns_aux = returns_aux
        self.copies = tuple(plan.make_contiguous) if plan.make_contiguous else None

    def __dealloc__(self):
        free(self.words)


cdef class Runner:
    """Runs one structured op: plans each layout of inputs once, then records and launches.

    A rule is a pure function of the inputs' shapes, strides and dtypes and of the other arguments,
    so its answers are kept.
    """
    cdef int64_t op
    cdef int n_inputs
    cdef bint contiguous
    cdef bint variadic
    cdef bint returns_aux
    cdef object rule
    cdef tuple names
    cdef set optional                   # inputs that may be None
    cdef tuple parameters               # of the rule, by name
    cdef tuple defaults                 # of the last of them
    cdef dict plans
    cdef NearPlans near
    # The last launch of the thread whose Shortcut waits for it.
    cdef int watched
    cdef unsigned long watcher
    cdef tuple last_inputs
    cdef Planned last_plan
    cdef object last_result

    def __cinit__(self, op):
        self.op = op.id
        self.n_inputs = <int>len(op.inputs)
        self.contiguous = op.contiguous
        self.variadic = op.variadic
        self.returns_aux = op.returns_aux
        self.rule = op.rule
        self.names = op.inputs
        code = op.rule.__code__
        self.parameters = code.co_varnames[:code.co_argcount]
        self.defaults = op.rule.__defaults__ or ()
        self.optional = set(self.parameters[code.co_argcount - len(self.defaults):])
        self.plans = {}
        self.near = NearPlans()

    cdef object go(self, tuple args, Py_ssize_t n, Planned plan):
        """Launches a plan with the first `n` arguments as inputs."""
        result = launch(self.op, args, <int>n, plan)
        if self.watched and self.watcher == PyThread_get_thread_ident():
            self.last_inputs = args[:n]
            self.last_plan = plan
            self.last_result = result
        return result

    cdef tuple dense(self, tuple inputs, tuple copies):
        """The inputs with those named (all if None) made contiguous."""
        cdef list made = list(inputs)
        cdef int k
        for k in range(<int>len(made)):
            if made[k] is not None and (copies is None or k in copies):
                made[k] = contiguous_(<Tensor>made[k])
        return tuple(made)

    cdef int check_missing(self, tuple inputs) except -1:
        """TypeError for a None in the place of an input that the rule gives no default."""
        cdef int k
        for k in range(<int>len(inputs)):
            if inputs[k] is None and not (self.variadic or self.names[k] in self.optional):
                raise TypeError(f"{op_name(self.op)}(): argument '{self.names[k]}' (position {k + 1}) must be Tensor, "
                                "not NoneType")
        return 0

    cdef tuple in_order(self, tuple args, dict named):
        """All arguments in the order of the rule's parameters, or None where the rule has to refuse them."""
        cdef list found = list(args)
        cdef Py_ssize_t k, taken = 0, n = len(self.parameters), first = n - len(self.defaults)
        if n < len(args):
            return None
        for k in range(len(args), n):
            if self.parameters[k] in named:
                found.append(named[self.parameters[k]])
                taken += 1
            elif k >= first:
                found.append(self.defaults[k - first])
            else:
                return None
        return tuple(found) if taken == len(named) else None

    def __call__(self, *args, **named):
        cdef tuple inputs, rest, ordered
        cdef uint64_t words[129 + 2 * MAX_DIMS]
        cdef int n = 0, k
        cdef Tensor t
        cdef Planned plan
        cdef bint dense = True
        cdef uint64_t near_key[KEY_WORDS]
        cdef int n_near = -1
        if named:
            ordered = self.in_order(args, named)
            if ordered is not None:
                args = ordered
                named = {}
        if not named:
            n_near = 0
            for k in range(<int>len(args)):
                n_near = put_key(args[k], near_key, n_near, k < (1 if self.variadic else self.n_inputs))
            if n_near > 0:
                plan = <Planned>self.near.find(near_key, n_near)
                if plan is not None:
                    if self.variadic:
                        inputs = tuple(args[0])
                        return self.go(inputs, len(inputs), plan)
                    return self.go(args, min(self.n_inputs, len(args)), plan)
        if self.variadic:
            inputs = tuple(args[0])
            rest = args[1:]
        else:
            inputs = args[:self.n_inputs]
            rest = args[self.n_inputs:]
        for k in range(<int>len(inputs)):
            o = inputs[k]
            if n > 127:
                n = -1                  # a long list of tensors
            if o is None and (k > 0 or self.variadic):
                if n >= 0:
                    words[n] = <uint64_t>KEY_NONE << 60
                    n += 1
                continue
            if not isinstance(o, Tensor):
                name = "tensors" if self.variadic else self.names[k]
                raise TypeError(f"{op_name(self.op)}(): argument '{name}' (position {k + 1}) must be Tensor, "
                                f"not {type(o).__name__}")
            t = <Tensor>o
            if not t.contig and self.contiguous:
                dense = False
            if n >= 0:
                n = put_layout(t, words, n)
        if not dense:
            return self(*((self.dense(inputs, None),) if self.variadic else self.dense(inputs, None)), *rest, **named)
        if n >= 0:
            key = (<char*>words)[:n * 8]
            if rest or named:
                key = (key, rest, *named.items()) if named else (key, rest)
            plan = self.plans.get(key)
        elif n_near > 0:
            key = (<char*>near_key)[:n_near * 8]
            plan = self.plans.get(key)
        else:
            key = None                  # a long list of tensors that differ is planned each time
            plan = None
        if plan is None:
            self.check_missing(inputs)
            plan = Planned(self.rule(*args, **named), self.returns_aux)
            if key is not None:
                if len(self.plans) >= 4096:
                    self.plans.clear()
                self.plans[key] = plan
        if plan.copies is not None:
            return self(*self.dense(inputs, plan.copies), *rest, **named)
        if n_near > 0:
            self.near.put(near_key, n_near, plan)
        return self.go(inputs, len(inputs), plan)


cdef class Shortcut:
    """A public function that comes down to one structured op, called with positional arguments only.

    The function looks at layouts and arguments and ends in one call of the op with the tensors as they came:
    where it did so once, the next call with the same layouts and arguments goes to the op's plan at once.
    """
    cdef object op
    cdef Runner runner                  # None before the first call
    cdef object function
    cdef NearPlans near

    def __cinit__(self, function, op):
        self.function = function
        self.op = op
        self.near = NearPlans()

    def __call__(self, *args):
        cdef uint64_t key[KEY_WORDS]
        cdef int n = 0, k
        cdef Planned plan
        cdef tuple inputs = None
        cdef Runner runner = self.runner
        if runner is None:
            runner = self.runner = self.op.run
        for k in range(<int>len(args)):
            n = put_key(args[k], key, n, k < (1 if runner.variadic else runner.n_inputs))
        if n <= 0:
            return self.function(*args)
        plan = <Planned>self.near.find(key, n)
        if plan is not None:
            if runner.variadic:
                inputs = tuple(args[0])
                return runner.go(inputs, len(inputs), plan)
            return runner.go(args, min(runner.n_inputs, len(args)), plan)
        if runner.watched and runner.watcher != PyThread_get_thread_ident():
            return self.function(*args)     # another thread's launches are noted now; a later call is as good
        runner.watcher = PyThread_get_thread_ident()
        runner.watched += 1
        try:
            result = self.function(*args)
            if result is runner.last_result:
                inputs = tuple(args[0]) if runner.variadic else args[:runner.n_inputs]
                if len(inputs) == len(runner.last_inputs):
                    for k in range(<int>len(inputs)):
                        if inputs[k] is not runner.last_inputs[k]:
                            break
                    else:
                        self.near.put(key, n, runner.last_plan)
        finally:
            runner.watched -= 1
            if runner.watched == 0:
                runner.last_inputs = None
                runner.last_plan = None
                runner.last_result = None
        return result


cdef object launch(int64_t op, tuple inputs, int n, Planned plan):
    """Records and runs one planned structured op; the first `n` are its inputs."""
    cdef int64_t* row = op_row(op)
    cdef int64_t f[FRAME_WORDS]
    cdef int64_t need = 0, status, i, e, address
    cdef int64_t* r
    cdef int64_t* ext
    cdef Storage* block = NULL
    cdef int k, dt
    cdef bint requires = False, variadic = (row[OP_FLAGS] & OPFLAG_VARIADIC) != 0
    cdef Tensor t, out, second = None
    dt = (<Tensor>inputs[0]).dt if n else plan.dt
    if not (row[OP_DTYPES] >> dt) & 1:
        unsupported(op, dt)
    out = tensor_new(plan.dt, plan.ndim, plan.shape)
    f[FRAME_AUX] = 0
    if plan.aux_dt >= 0:
        second = tensor_new(plan.aux_dt, plan.aux_ndim, plan.aux_shape)
        f[FRAME_AUX] = <int64_t><uintptr_t>second.data_
    for k in range(3):
        f[FRAME_IN + k] = 0
        f[FRAME_STEP + k] = 1
    if variadic:
        block = storage_new(n * 8)
        f[FRAME_IN] = <int64_t><uintptr_t>block.ptr
    for k in range(n):
        if inputs[k] is None:
            continue
        t = <Tensor>inputs[k]
        if variadic:
            (<int64_t*>block.ptr)[k] = <int64_t><uintptr_t>t.data_
        else:
            f[FRAME_IN + k] = <int64_t><uintptr_t>t.data_
        if needs_grad(t) and row[OP_DERIVATIVE + (0 if variadic else k)] != DERIVATIVE_NONE:
            requires = True
            need |= row[OP_NEEDS + (0 if variadic else k)]
    requires = requires and grad_mode() and category[plan.dt] == 2
    if requires and not variadic and not inference_mode():
        for k in range(n):
            if need & (1 << k) and inputs[k] is not None and (<Tensor>inputs[k]).inference:
                refuse_saving()
    f[FRAME_OUT] = <int64_t><uintptr_t>out.data_
    f[FRAME_N] = out.numel_
    f[FRAME_EXT] = <int64_t><uintptr_t>plan.words
    f[FRAME_PARAMS] = <int64_t><uintptr_t><char*>plan.params
    try:
        address = kernel_of(op, OP_FORWARD + dt, 0, 0, dt)
        status = execute(f, address, KIND_STRUCTURED, out.numel_)
    finally:
        if block != NULL:
            storage_release(block)
    if status != 0:
        raise_kernel_error(op, status, f)
    if _capture.listening():
        tell(op, dt, inputs[:n], out, second, address, f, plan.words, plan.n_words, plan.params, variadic)
    if requires:
        i = record_new()
        r = record(i)
        r[REC_OP] = (op | (<int64_t>plan.ndim << 16) | (<int64_t>plan.dt << 24) | (<int64_t>dt << 32)
                     | (<int64_t>7 << 48))
        r[REC_NUMEL] = out.numel_
        ext = record_extend(r, len(plan.params), plan.n_words, n if variadic else 0)
        memcpy(ext_params(ext), <char*>plan.params, len(plan.params))
        memcpy(ext_words(ext), plan.words, plan.n_words * 8)
        put_shape(r, plan.ndim, plan.shape)
        for k in range(n):
            if inputs[k] is None:
                continue
            t = <Tensor>inputs[k]
            e = -1
            if t.requires and row[OP_DERIVATIVE + (0 if variadic else k)] != DERIVATIVE_NONE:
                e = edge_of(t)
                record_retain(e)
            if variadic:
                ext_edges(ext)[k] = e
            else:
                record_set_edge(r, k, e)
                if need & (1 << k):
                    save(r, k, t)
                    put_meta(ext, k, t)
        if need & 8:
            save(r, 3, out)
        if need & 16:
            storage_retain(second.st)
            ext[EXT_AUX] = <int64_t><uintptr_t>second.st
            ext[EXT_AUX_META] = (second.dt | (<int64_t>second.ndim_ << 8)
                                 | ((second.st.version & 0x7FFFFFFF) << EXT_AUX_VERSION_SHIFT))
            for k in range(second.ndim_):
                ext[EXT_AUX_META + 1 + k] = second.shape_[k]
            record_saves(r)
        out.rec = i
        out.requires = True
    if plan.returns_aux:
        return out, second
    return out


cdef int tell(int64_t op, int dt, tuple inputs, Tensor out, Tensor second, int64_t address, int64_t* f,
              int64_t* words, int64_t n_words, bytes params, bint variadic) except -1:
    """Tells the capture of this call."""
    cdef int64_t reads = 0, writes = <int64_t>1 << FRAME_OUT
    cdef int k
    cdef bytearray table = bytearray(len(inputs) * 8 if variadic else 0)
    cdef int64_t* places = <int64_t*><char*>table
    _capture.note_outside(out, out.st)
    for k in range(<int>len(inputs)):
        if inputs[k] is None:
            continue
        _capture.note_outside(inputs[k], (<Tensor>inputs[k]).st)
        if variadic:
            places[k] = <int64_t><uintptr_t>(<Tensor>inputs[k]).data_
        else:
            reads |= (<int64_t>1 << FRAME_IN) << k
    if second is not None:
        writes |= <int64_t>1 << FRAME_AUX
    _capture.log_kernel(op, 0, 0, dt, address, 0, f, reads, writes, words, n_words, <char*>params, len(params),
                        <char*>table if variadic else NULL, len(inputs))
    return 0


def run_kernel(int64_t op, int dt, Tensor out not None, tuple inputs=(), words=(), params=b"", int64_t ext_address=0,
               bint serial=False):
    """Runs an op's kernel into existing memory, outside of the history; bumps the version of `out`.

    `serial` makes one call of all items, without a planning call.
    """
    cdef int64_t* row = op_row(op)
    cdef int64_t f[FRAME_WORDS]
    cdef int64_t local[64]
    cdef int64_t status, address
    cdef int k
    cdef Tensor t
    if len(words) > 64 or len(inputs) > 3:
        raise ValueError("run_kernel takes up to 64 words and three inputs")
    if not (row[OP_DTYPES] >> dt) & 1:
        unsupported(op, dt)
    if not out.contig:
        raise ValueError("run_kernel writes contiguous memory")
    for k in range(len(words)):
        local[k] = words[k]
    for k in range(3):
        f[FRAME_IN + k] = 0
    for k in range(len(inputs)):
        t = <Tensor?>inputs[k]
        f[FRAME_IN + k] = <int64_t><uintptr_t>t.data_
    f[FRAME_OUT] = <int64_t><uintptr_t>out.data_
    f[FRAME_AUX] = 0
    f[FRAME_N] = out.numel_
    f[FRAME_EXT] = ext_address if ext_address != 0 else <int64_t><uintptr_t>local
    f[FRAME_PARAMS] = <int64_t><uintptr_t><char*>params
    address = kernel_of(op, OP_FORWARD + dt, 0, 0, dt)
    if _capture.listening():
        tell(op, dt, inputs, out, None, address, f, NULL if ext_address != 0 else local, len(words), params, False)
    _capture.changed(out.st)
    if serial:
        status = (<kernel_t><uintptr_t>address)(f, 0, out.numel_)
    else:
        status = execute(f, address, row[OP_KIND], out.numel_)
    if status != 0:
        raise_kernel_error(op, status, f)
    return out


def multi_tensor_update(int64_t op, tuple columns, tuple params, tuple writes, bint steps, bint only_check=False):
    """One native call over equally long lists of tensors; the columns marked in `writes` change in place.

    All tensors are contiguous and of one dtype, and row i of every column has the same shape; with
    `steps` the last column holds single float32 elements. Returns False, with nothing written, where
    the tensors are not like that; ValueError if the lists differ in length. `only_check` writes nothing.
    """
    cdef int64_t f[FRAME_WORDS]
    cdef int64_t status, address
    cdef int n_columns = <int>len(columns), c
    cdef int64_t n = len(columns[0]), i
    cdef Storage* block
    cdef int64_t* w
    cdef double values[32]
    cdef Tensor t
    cdef int dt = -1
    cdef list column
    if n == 0:
        return True
    if len(params) > 32:
        raise ValueError("at most 32 parameters")
    for c in range(len(params)):
        values[c] = params[c]
    block = storage_new(n * (1 + n_columns) * 8)
    w = <int64_t*>block.ptr
    try:
        for c in range(n_columns):
            column = columns[c]
            if len(column) != n:
                raise ValueError(f"{op_name(op)}: the lists of tensors have different lengths")
            for i in range(n):
                t = <Tensor?>column[i]
                if c == 0:
                    w[i * (1 + n_columns)] = t.numel_
                    if dt < 0:
                        dt = t.dt
                if steps and c == n_columns - 1:
                    if t.dt != 0 or t.numel_ != 1:
                        return False
                elif t.dt != dt or not t.contig or (c > 0 and not same_shape(t, <Tensor>(<list>columns[0])[i])):
                    return False
                w[i * (1 + n_columns) + 1 + c] = <int64_t><uintptr_t>t.data_
        if not (op_row(op)[OP_DTYPES] >> dt) & 1:
            unsupported(op, dt)
        if only_check:
            return True
        f[FRAME_N] = n
        f[FRAME_EXT] = <int64_t><uintptr_t>w
        f[FRAME_PARAMS] = <int64_t><uintptr_t>values
        address = kernel_of(op, OP_FORWARD + dt, 0, 0, dt)
        if _capture.listening():
            for column in columns:
                for t in column:
                    _capture.note_outside(t, t.st)
            _capture.log_kernel(op, 0, 0, dt, address, 0, f, 0, 0, w, n * (1 + n_columns), values, len(params) * 8,
                                NULL, 0)
        for c in range(n_columns):
            if writes[c]:
                column = columns[c]
                for i in range(n):
                    _capture.changed((<Tensor>column[i]).st)
        status = execute(f, address, KIND_STRUCTURED, n)
        if status != 0:
            raise_kernel_error(op, status, f)
    finally:
        storage_release(block)
    return True
