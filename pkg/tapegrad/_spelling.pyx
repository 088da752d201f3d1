"""Functions that take their arguments under several names: PyTorch's own, and NumPy's.

A call costs nothing for the names that are not used: it is a vectorcall, which looks at names only where there
are some. Where there is something to call with all arguments in order, or a pointwise op, no Python frame is made.
"""

from cpython.ref cimport Py_INCREF, PyObject
from cpython.tuple cimport PyTuple_New
from cpython.type cimport PyType_Modified

from libc.stdint cimport int64_t

from tapegrad._tensor cimport Tensor, pointwise

cdef extern from "Python.h":
    ctypedef struct PyTypeObject:
        unsigned long tp_flags
        Py_ssize_t tp_vectorcall_offset
        void* tp_call
    unsigned long Py_TPFLAGS_HAVE_VECTORCALL
    unsigned long Py_TPFLAGS_METHOD_DESCRIPTOR
    PyObject* PyExc_AttributeError
    PyObject* PyExc_IndexError
    int PyErr_ExceptionMatches(PyObject* kind) noexcept
    void PyErr_Fetch(PyObject** kind, PyObject** value, PyObject** trace) noexcept
    void PyErr_Restore(PyObject* kind, PyObject* value, PyObject* trace) noexcept
    void Py_XDECREF(PyObject* o) noexcept
    object PyMethod_New(object function, object instance)
    Py_ssize_t PyVectorcall_NARGS(size_t n)
    object PyObject_Call(object function, object args, PyObject* named)
    object PyObject_Vectorcall(object function, PyObject* const* args, size_t n, PyObject* names)
    object PyVectorcall_Call(object function, object args, object named)
    PyObject* PyTuple_GET_ITEM(PyObject* t, Py_ssize_t k)
    void PyTuple_SET_ITEM(object t, Py_ssize_t k, object value)


cdef class Spelled:
    """A function with its arguments under several names; it binds as a method does."""
    cdef void* vectorcall
    cdef dict __dict__
    cdef readonly object function
    cdef object target                  # called with all arguments in order; None: `function` is called
    cdef int64_t op                     # of a function that only records a pointwise op, or -1
    cdef bint tensors_only              # takes no number
    cdef readonly tuple names           # the parameters of `function`
    cdef tuple defaults                 # of the last of them
    cdef readonly dict others           # names beside these, and the parameter that each stands for
    cdef dict shown                     # parameters whose first name is another one
    cdef readonly str star              # the name of what is given as `*sizes`, or None
    cdef object check                   # raises TypeError for an argument of the wrong kind, of a call that failed
    cdef dict places                    # of all names
    cdef Py_ssize_t most, least

    def __cinit__(self, function, tuple names, tuple defaults, dict others, dict shown, target=None,
                  int64_t op=-1, bint tensors_only=False, str star=None, check=None):
        self.vectorcall = <void*>call
        self.function = function
        self.target = target
        self.op = op
        self.tensors_only = tensors_only
        self.star = star
        self.check = check
        self.names = names
        self.defaults = defaults
        self.others = others
        self.shown = shown
        self.most = len(names)
        self.least = self.most - len(defaults)
        self.places = {name: k for k, name in enumerate(names)}
        for name, own in others.items():
            if own in self.places:          # not one that is given by name only
                self.places[name] = self.places[own]

    @property
    def __signature__(self):
        import inspect

        signature = inspect.signature(self.function)
        shown = [p.replace(name=self.shown.get(p.name, p.name)) for p in signature.parameters.values()]
        return signature.replace(parameters=shown)

    @property
    def is_short(self):
        """True where a call makes no Python frame."""
        return self.target is not None or self.op >= 0

    def __call__(self, *args, **named):     # for who asks for it by name; calls come by the vectorcall
        return PyVectorcall_Call(self, args, named)

    def __get__(self, instance, kind):
        return self if instance is None else PyMethod_New(self, instance)

    def __repr__(self):
        return repr(self.function)

    def __reduce__(self):
        return self.__qualname__            # by its name, as functions are

    cdef bint takes(self, PyObject* const* args, Py_ssize_t n) noexcept:
        """Whether the op can be recorded of these."""
        cdef Py_ssize_t k, tensors = 0
        for k in range(n):
            tensors += isinstance(<object>args[k], Tensor)
        return tensors == n or (tensors > 0 and not self.tensors_only)

    cdef object plainly(self, PyObject* const* args, size_t n, PyObject* named):
        """Calls the function itself with its own names."""
        cdef Py_ssize_t k, given = PyVectorcall_NARGS(n)
        cdef dict own
        cdef list values
        if named == NULL:
            return PyObject_Vectorcall(self.function, args, n, NULL)
        for name in <tuple>named:
            if name in self.others or name == self.star:
                break
        else:
            return PyObject_Vectorcall(self.function, args, n, named)
        own = {}
        values = [<object>args[k] for k in range(given)]
        for k, name in enumerate(<tuple>named):
            name = self.others.get(name, name)
            if name in own or (name == self.star and len(values) > self.most):
                raise TypeError(f"{self.__name__}() got multiple values for argument '{name}'")
            if name == self.star:
                values.append(<object>args[given + k])
            else:
                own[name] = <object>args[given + k]
        return self.function(*values, **own)


# What the functions below return as C sees it: NULL with an exception set. Looking at that is cheaper than `try`.
ctypedef PyObject* (*raw_t)(void* self, PyObject* const* args, size_t n, PyObject* named) noexcept


cdef PyObject* call(void* self, PyObject* const* args, size_t n, PyObject* named) noexcept:
    cdef PyObject* result = raw_called(self, args, n, named)
    cdef PyObject* kind = NULL
    cdef PyObject* value = NULL
    cdef PyObject* trace = NULL
    cdef PyObject* fine
    if result == NULL and (PyErr_ExceptionMatches(PyExc_AttributeError) or PyErr_ExceptionMatches(PyExc_IndexError)):
        PyErr_Fetch(&kind, &value, &trace)
        fine = raw_refuse(self, args, n, named)
        if fine == NULL:
            Py_XDECREF(kind)
            Py_XDECREF(value)
            Py_XDECREF(trace)
        else:
            Py_XDECREF(fine)
            PyErr_Restore(kind, value, trace)
    return result


cdef raw_t raw_called, raw_refuse


cdef object refuse(Spelled self, PyObject* const* args, size_t n, PyObject* named):
    """TypeError where an argument of the wrong kind made a call fail; else None."""
    cdef Py_ssize_t k, given = PyVectorcall_NARGS(n)
    if self.check is None:
        return None
    found = {self.names[k]: <object>args[k] for k in range(min(given, self.most))}
    if named != NULL:
        for k, name in enumerate(<tuple>named):
            found[self.others.get(name, name)] = <object>args[given + k]
    for name in found:
        self.check(self.__name__, self.shown.get(name, name), self.places.get(name, 0) + 1, found[name])
    return None


cdef object called(Spelled self, PyObject* const* args, size_t n, PyObject* named):
    cdef Py_ssize_t k, j, place, given = PyVectorcall_NARGS(n), n_named
    cdef tuple values
    if self.target is None:
        if named != NULL:
            return self.plainly(args, n, named)
        if self.op >= 0 and given == self.most and self.takes(args, given):
            return pointwise(self.op, <int>given, <PyObject**>args, None, None)
        return PyObject_Vectorcall(self.function, args, n, NULL)
    if given > self.most or (named == NULL and given < self.least):
        return self.plainly(args, n, named)
    values = PyTuple_New(self.most)
    for k in range(given):
        Py_INCREF(<object>args[k])
        PyTuple_SET_ITEM(values, k, <object>args[k])
    if named != NULL:
        n_named = len(<tuple>named)
        for j in range(n_named):
            name = <object>PyTuple_GET_ITEM(named, j)
            for place in range(given, self.most):
                if name is <object>PyTuple_GET_ITEM(<PyObject*>self.names, place):
                    break
            else:
                found = self.places.get(name)
                if found is None:
                    return self.plainly(args, n, named)
                place = found
            if PyTuple_GET_ITEM(<PyObject*>values, place) != NULL:
                return self.plainly(args, n, named)
            Py_INCREF(<object>args[given + j])
            PyTuple_SET_ITEM(values, place, <object>args[given + j])
    for k in range(given, self.most):
        if PyTuple_GET_ITEM(<PyObject*>values, k) == NULL:
            if k < self.least:
                return self.plainly(args, n, named)
            value = <object>PyTuple_GET_ITEM(<PyObject*>self.defaults, k - self.least)
            Py_INCREF(value)
            PyTuple_SET_ITEM(values, k, value)
    return PyObject_Call(self.target, values, NULL)


cdef int make_callable() except -1:
    """Gives the class the slots of a vectorcall."""
    cdef PyTypeObject* kind = <PyTypeObject*>Spelled
    cdef Spelled probe = Spelled.__new__(Spelled, None, (), (), {}, {})
    kind.tp_vectorcall_offset = <char*>&probe.vectorcall - <char*><PyObject*>probe
    kind.tp_call = <void*>PyVectorcall_Call
    kind.tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR
    PyType_Modified(Spelled)
    return 0


raw_called = <raw_t><void*>called
raw_refuse = <raw_t><void*>refuse
make_callable()
