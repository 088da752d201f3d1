"""The call of a compiled function: the way to the program of the last call, without Python.

`Caller.__call__` compares the arguments, the modes and the guards with those of the entry that ran last; where
all fit it runs that entry's machine. Anything else is `slow`, which `compiled.py` writes. Of a function that is not
replayed, many calls run as they are without a look; they are measured, which tells when a recording pays.
"""

from time import perf_counter_ns

from libc.stdint cimport int64_t
from libc.string cimport memcmp

from tapegrad._tensor cimport Tensor, default_dt, grad_mode, inference_mode
from tapegrad.replay._guards cimport Snapshot
from tapegrad.replay._look cimport attributes_of
from tapegrad.replay._machine cimport Machine
from tapegrad.replay._plans cimport TensorForm
from tapegrad.tape cimport _capture


cdef class Form:
    """Arguments of a call whose tensors are not inside containers."""
    cdef tuple parts                    # per argument: a TensorForm, `unused`, or the value itself
    cdef tuple names                    # of keyword arguments, which come last
    cdef bint grad, inference
    cdef int dt

    def __init__(self, tuple args, dict kwargs, frozenset not_used=frozenset()):
        cdef list parts = []
        for key, o in (*enumerate(args), *kwargs.items()):
            if isinstance(o, Tensor):
                parts.append(TensorForm(o))
            elif key in not_used and plain(o):
                parts.append(unused)
            else:
                parts.append(o)
        self.parts = tuple(parts)
        self.names = tuple(kwargs)
        self.grad = grad_mode()
        self.inference = inference_mode()
        self.dt = default_dt

    cdef tuple tensors_of(self, tuple args, dict kwargs):
        """The tensors among the arguments if they fit, else None."""
        cdef tuple all_args = args
        cdef list tensors = []
        cdef int64_t k, n
        if grad_mode() != self.grad or inference_mode() != self.inference or default_dt != self.dt:
            return None
        if kwargs:
            if tuple(kwargs) != self.names:
                return None
            all_args = (*args, *kwargs.values())
        elif self.names:
            return None
        n = len(self.parts)
        if len(all_args) != n:
            return None
        for k in range(n):
            part = self.parts[k]
            o = all_args[k]
            if type(part) is TensorForm:
                if not isinstance(o, Tensor) or not (<TensorForm>part).fits(<Tensor>o) or attributes_of(o):
                    return None
                tensors.append(o)
            elif part is unused:
                if not plain(o):
                    return None
            elif part is not o and not (type(part) is type(o) and plain(o) and equal(part, o)):
                return None
        if n and len(tensors) == n == len(args):
            return args
        return tuple(tensors)


cdef object unused = object()           # stands for any number or text that the function does not look at


def without_unused(args, kwargs, not_used):
    """The same arguments with None for numbers and texts that the function does not look at."""
    return (
        tuple([None if k in not_used and plain(o) else o for k, o in enumerate(args)]),
        {k: None if k in not_used and plain(o) else o for k, o in kwargs.items()},
    )


cdef inline bint plain(object o):
    return isinstance(o, (int, float, str, bytes, complex)) or o is None


cdef inline bint equal(object a, object b) except -1:
    """Whether two numbers or texts of one type are the same to the bit: -0.0 is not 0.0."""
    cdef double x, y
    if type(a) is float:
        x = a
        y = b
        return memcmp(&x, &y, 8) == 0
    return a == b and not isinstance(a, (float, complex))


cdef int64_t disabled = 0               # calls of functions in which nothing is compiled, in all threads


def run_disabled(fn, bint recursive, tuple args, dict kwargs):
    """Calls a function that is not to be compiled, nor (if `recursive`) is what it calls."""
    global disabled
    if _capture.listening():
        _capture.note_refusal("a function that is not to be compiled is called")
    disabled += recursive
    try:
        return fn(*args, **kwargs)
    finally:
        disabled -= recursive


cdef class Caller:
    """What `compile` returns, to be completed by `slow(args, kwargs)` and `rerun(args, kwargs)`."""
    cdef public object fn
    cdef public int64_t replayed_fast
    cdef public int64_t until_due       # replays until the next call goes the slow way, once
    cdef public int64_t unseen          # calls to come that run as they are, without a look
    cdef public int64_t plain_fast      # such calls so far
    cdef public int64_t typical         # ns that the function takes, or 0
    cdef bint ran
    cdef public Form form
    cdef public Machine machine
    cdef public Snapshot snapshot
    cdef public object contents         # whether what must be compared by value is the same, or None

    def remember_fast(self, Form form, Machine machine, Snapshot snapshot, contents=None):
        """The next call tries these first. All four at once: what they replace is freed after."""
        cdef tuple before = (self.form, self.machine, self.snapshot, self.contents)
        self.form = form
        self.machine = machine
        self.snapshot = snapshot
        self.contents = contents
        del before

    def forget_fast(self):
        """The next call goes the slow way."""
        self.remember_fast(None, None, None)

    def run_plain(self, tuple args, dict kwargs):
        """Calls the function and measures it."""
        cdef int64_t start = perf_counter_ns()
        result = self.fn(*args, **kwargs)
        self._note_time(perf_counter_ns() - start)
        return result

    cdef void _note_time(self, int64_t took) noexcept:
        """Short times count at once, long ones little by little; not the first, in which kernels are made."""
        if not self.ran:
            self.ran = True
        elif took < self.typical or not self.typical:
            self.typical = max(took, 1)
        else:
            self.typical += min(took - self.typical, self.typical // 16 + 1)

    def __call__(self, *args, **kwargs):
        cdef tuple tensors
        cdef Machine machine = self.machine     # all four as they are now: another thread may exchange them
        cdef Form form = self.form
        cdef Snapshot snapshot = self.snapshot
        cdef object contents = self.contents
        if disabled or _capture.listening():
            return self.fn(*args, **kwargs)     # part of the recording that goes on
        if self.unseen > 0:
            self.unseen -= 1
            self.plain_fast += 1
            return self.run_plain(args, kwargs)
        if machine is not None:
            # Arguments come last: what the guards ask may run code, which may exchange their memory.
            if snapshot.unchanged() and (contents is None or contents()):
                tensors = form.tensors_of(args, kwargs)
                if tensors is not None:
                    done, result = machine.run(tensors)
                    if done:
                        self.replayed_fast += 1
                        self.until_due -= 1
                        if self.until_due == 0:
                            self.forget_fast()
                        return result
                    if done is None:
                        return self.rerun(args, kwargs)
        return self.slow(args, kwargs)
