"""Gradient modes set and put back: the part of them that an interrupt must not split.

CPython looks for signals when a Python function begins and when a call returns, so an `__exit__` written in Python
can be interrupted before its first line, and the mode stays. These are C: either nothing of a change is done or all
of it, and the exception is raised before or after.
"""

from cpython.pycapsule cimport PyCapsule_Destructor, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport PyObject
from libc.stdint cimport intptr_t

from tapegrad cimport _tensor
from tapegrad.tape cimport _capture

cdef extern from "Python.h":
    PyObject* PyErr_Occurred()
    void* PyEval_GetFrame()
    int PyFrame_GetLasti(void* frame)

cdef extern from *:
    """
    /* Declared by hand: the destructor gets an object that is dying, whose count Cython must not touch. */
    static void *tg_undo_pointer(PyObject *o) { return PyCapsule_GetPointer(o, NULL); }
    static void *tg_undo_context(PyObject *o) { return PyCapsule_GetContext(o); }
    """
    void* tg_undo_pointer(PyObject* capsule) noexcept
    void* tg_undo_context(PyObject* capsule) noexcept

cdef enum:
    GRAD = 1
    INFERENCE = 2
    SAFE = 4            # never set in a mode; keeps the pointer of a capsule from being NULL


cdef int modes() noexcept:
    return (GRAD if _tensor.grad_mode() else 0) | (INFERENCE if _tensor.inference_mode() else 0)


cdef void set_modes(int word) noexcept:
    _tensor.set_grad_mode(word & GRAD != 0)
    _tensor.set_inference_mode(word & INFERENCE != 0)


cdef void* running_instruction() noexcept:
    """Frame and place of the Python code that runs, in a word; NULL if none runs."""
    cdef void* frame = PyEval_GetFrame()
    return NULL if frame == NULL else <void*>(31 * <intptr_t>frame + PyFrame_GetLasti(frame))


cdef class ModeScope:
    """The modes of the calling thread inside a `with` statement.

    Outside of `mask` they stay what they were; an object may be entered again while it is entered.
    """

    cdef int mask
    cdef int inside
    cdef list before            # the modes at each `__enter__`

    def __cinit__(self, *args, **kwargs):
        self.before = []

    def hold(self, grad=None, inference=None):
        """What is to hold inside; None leaves a mode as it is."""
        self.mask = (0 if grad is None else GRAD) | (0 if inference is None else INFERENCE)
        self.inside = (GRAD if grad else 0) | (INFERENCE if inference else 0)

    def __enter__(self):
        cdef int now = modes()
        _capture.note_context()
        self.before.append(now)
        set_modes(now & ~self.mask | self.inside)

    def __exit__(self, kind, error, traceback):
        set_modes(self.before.pop())


cdef class ModeSwitch(ModeScope):
    """Sets gradients on or off when it is made; as a `with` statement or decorator it puts back what was before.

    An interrupt may fall between the call that makes it and the `with`, where only the interpreter has it. It dies
    then, with the exception raised and the same instruction running, and puts the mode back. Where it was made
    for good (`set_grad_enabled(False)` as a statement) that reads: the call was interrupted and did nothing.
    """

    cdef int first
    cdef readonly bint mode
    cdef object undo

    def __init__(self, mode):
        if not isinstance(mode, bool):
            raise TypeError("set_grad_enabled(): argument 'enabled' (position 1) must be bool, "
                            f"not {type(mode).__name__}")
        self.mode = mode
        self.mask = GRAD
        self.inside = GRAD if mode else 0
        self.first = modes()
        self.undo = PyCapsule_New(<void*><intptr_t>(self.first | SAFE), NULL, <PyCapsule_Destructor>undo_interrupted)
        PyCapsule_SetContext(self.undo, running_instruction())
        set_modes(self.first & ~GRAD | self.inside)

    def __enter__(self):
        self.undo = None
        _capture.note_context()
        self.before.append(self.first)
        set_modes(modes() & ~GRAD | self.inside)

    def __call__(self, function):
        self.undo = None
        set_modes(self.first)
        return self.decorate(function)


cdef void undo_interrupted(PyObject* capsule) noexcept:
    cdef void* where = running_instruction() if PyErr_Occurred() != NULL else NULL
    if where != NULL and where == tg_undo_context(capsule):
        set_modes(<int><intptr_t>tg_undo_pointer(capsule) & ~SAFE)
