"""Guards: whether the Python objects that a recording went through still hold what they held.

A snapshot remembers what dicts, lists, closure cells and names of namespaces hold by identity, in order, so that
looking costs a pointer comparison per entry. What differs is then looked at again in Python (`guards.py`).
"""

from types import CellType

cimport cython
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyCallable_Check, Py_TYPE
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free


cdef extern from "Python.h":
    # Without counting references: nothing here lets go of the lock.
    ctypedef struct PyTypeObject:
        unsigned long tp_flags
        PyObject* tp_dict
        PyObject* tp_mro
    unsigned long Py_TPFLAGS_HEAPTYPE
    Py_ssize_t dict_size "PyDict_GET_SIZE"(PyObject* d) noexcept
    int dict_next "PyDict_Next"(PyObject* d, Py_ssize_t* place, PyObject** key, PyObject** value) noexcept
    Py_ssize_t list_size "PyList_GET_SIZE"(PyObject* o) noexcept
    PyObject* list_item "PyList_GET_ITEM"(PyObject* o, Py_ssize_t i) noexcept
    PyObject* cell_item "PyCell_GET"(PyObject* cell) noexcept
    object dict_of "PyObject_GenericGetDict"(object o, void* context)


cdef class View:
    """Some names of a namespace: of a dict, of a class's mapping, or (with `owner`) attributes of an object.

    With `called`, any value that cannot be called is the same as any other. HOME are names of which the owner's are
    looked at without asking it.
    """
    cdef readonly object namespace
    cdef readonly object owner
    cdef bint is_dict
    cdef bint is_home
    cdef bint called
    cdef readonly tuple names
    cdef list last                      # what the owner gave, which may be nobody else's

    def __init__(self, namespace, tuple names not None, owner=None, bint called=False):
        self.last = [None] * len(names)
        self.namespace = namespace
        self.owner = owner
        self.is_dict = isinstance(namespace, dict) and owner is None
        self.is_home = names is HOME
        self.names = names
        self.called = called

    cdef PyObject* value(self, int64_t i):
        """What name i stands for, a reference of the namespace's; NULL for nothing."""
        cdef PyObject* there
        name = self.names[i]
        if self.is_dict:
            there = PyDict_GetItem(self.namespace, name)
            if self.called and there != NULL and not PyCallable_Check(<object>there):
                return <PyObject*>uncallable
            return there
        if self.is_home:
            if i == 0:
                return <PyObject*>Py_TYPE(self.owner)
            self.last[i] = found = dict_of(self.owner, NULL)
        elif self.owner is not None:
            found = self.last[i] = getattr(self.owner, name, missing)
        else:
            found = self.namespace.get(name, missing)
        return NULL if found is missing else <PyObject*>found

    def values(self):
        """What the names stand for, `missing` for nothing."""
        cdef int64_t i
        cdef PyObject* found
        out = []
        for i in range(len(self.names)):
            found = self.value(i)
            out.append(<object>found if found != NULL else missing)
        return out


cdef class Names:
    """Which names a class or a dict has, whatever they stand for; of a class also the order of its bases.

    `exact` if names matter that code does not show.
    """
    cdef readonly object owner
    cdef readonly bint exact
    cdef PyObject* space                # its dict

    def __init__(self, owner, bint exact=True):
        self.owner = owner
        self.exact = exact
        if isinstance(owner, dict):
            self.space = <PyObject*>owner
        elif isinstance(owner, type) and (<PyTypeObject*>owner).tp_flags & Py_TPFLAGS_HEAPTYPE:
            self.space = <PyObject*>(<PyTypeObject*>owner).tp_dict
        else:
            raise TypeError(f"{owner!r} is neither a dict nor a class that can change")

    cdef PyObject* order(self) noexcept:
        return <PyObject*>(<PyTypeObject*>self.owner).tp_mro if isinstance(self.owner, type) else NULL

    def values(self):
        """The order of the bases, and the names."""
        cdef PyObject* order = self.order()
        return [<object>order if order != NULL else missing, *<object>self.space]

    cdef bint are(self, PyObject* values) noexcept:
        """Whether `values()` would give the same."""
        cdef PyObject* order = self.order()
        cdef PyObject* key
        cdef PyObject* value
        cdef Py_ssize_t place = 0, k = 1
        if list_size(values) != 1 + dict_size(self.space) or (order != NULL and list_item(values, 0) != order):
            return False
        while k < list_size(values) and dict_next(self.space, &place, &key, &value):
            if list_item(values, k) != key:
                return False
            k += 1
        return True


HOME = ("__class__", "__dict__")        # both may be assigned
missing = object()                      # what stands for nothing
cdef object uncallable = object()       # what stands for all values that cannot be called


cdef enum:
    DICT = 0
    LIST = 1
    CELL = 2
    VIEW = 3
    NAMES = 4


cdef char kind_of(object container):
    if isinstance(container, dict):
        return DICT
    if isinstance(container, list):
        return LIST
    if isinstance(container, View):
        return VIEW
    if isinstance(container, Names):
        return NAMES
    if type(container) is not CellType:
        raise TypeError(f"a {type(container).__name__} cannot be guarded")
    return CELL


@cython.no_gc_clear                     # `entries` points to what `kept` holds
cdef class Snapshot:
    """What dicts, lists, closure cells and single names of namespaces held, and which names there were."""

    def __cinit__(self, list containers):
        cdef int64_t at = 0, k
        self.containers = containers
        self.n = len(containers)
        self.first = <int64_t*>calloc(<size_t>(self.n + 1), 8)
        self.held = <PyObject**>calloc(<size_t>(self.n + 1), sizeof(PyObject*))
        self.kinds = <char*>calloc(<size_t>(self.n + 1), 1)
        if self.first == NULL or self.held == NULL or self.kinds == NULL:
            raise MemoryError("no memory for the guards of a compiled program")
        for k in range(self.n):
            self.held[k] = <PyObject*>containers[k]
            self.kinds[k] = kind_of(containers[k])
            self.first[k] = at
            at += self.size(k)
        self.first[self.n] = at
        self.kept = [None] * at
        self.entries = <PyObject**>calloc(<size_t>(at + 1), sizeof(PyObject*))
        if self.entries == NULL:
            raise MemoryError("no memory for the guards of a compiled program")
        for k in range(self.n):
            self.take(k)

    cdef int64_t size(self, int64_t k) noexcept:
        """The entries of container k, of which each key of a dict is one too."""
        if self.kinds[k] == DICT:
            return 2 * dict_size(self.held[k])
        if self.kinds[k] == LIST:
            return list_size(self.held[k])
        return len((<View>self.held[k]).names) if self.kinds[k] == VIEW else 1

    cdef int take(self, int64_t k) except -1:
        """Puts what container k holds in the place of what it held; ValueError if that was more or less."""
        cdef int64_t at = self.first[k], last = self.first[k + 1]
        cdef Py_ssize_t place = 0
        cdef PyObject* container = self.held[k]
        cdef PyObject* key
        cdef PyObject* value
        if self.size(k) != last - at:
            raise ValueError("the container has another size now")
        if self.kinds[k] == DICT:
            while dict_next(container, &place, &key, &value):
                self.put(at, key)
                self.put(at + 1, value)
                at += 2
        elif self.kinds[k] == LIST:
            for place in range(last - at):
                self.put(at + place, list_item(container, place))
        elif self.kinds[k] == VIEW:
            for place in range(last - at):
                self.put(at + place, (<View>container).value(place))
        elif self.kinds[k] == NAMES:
            names = (<Names>container).values()
            self.put(at, <PyObject*>names)
        else:
            self.put(at, cell_item(container))
        return 0

    cdef int put(self, int64_t at, PyObject* o) except -1:
        self.entries[at] = o            # before the old one goes, which may run code
        self.kept[at] = <object>o if o != NULL else None
        return 0

    def __dealloc__(self):
        free(self.entries)
        free(self.first)
        free(self.held)
        free(self.kinds)

    cdef int64_t differs(self, int64_t start):
        """The first container from `start` on that differs, or -1."""
        cdef int64_t k, at, last
        cdef Py_ssize_t place
        cdef PyObject* key
        cdef PyObject* value
        cdef PyObject* container
        for k in range(start, self.n):
            container = self.held[k]
            at = self.first[k]
            last = self.first[k + 1]
            if self.kinds[k] == DICT:
                if 2 * dict_size(container) != last - at:
                    return k
                place = 0
                while at < last and dict_next(container, &place, &key, &value):
                    if key != self.entries[at] or value != self.entries[at + 1]:
                        return k
                    at += 2
            elif self.kinds[k] == VIEW:
                for place in range(last - at):
                    if (<View>container).value(place) != self.entries[at + place]:
                        return k
            elif self.kinds[k] == NAMES:
                if not (<Names>container).are(self.entries[at]):
                    return k
            elif self.kinds[k] == LIST:
                if list_size(container) != last - at:
                    return k
                for place in range(last - at):
                    if list_item(container, place) != self.entries[at + place]:
                        return k
            elif cell_item(container) != self.entries[at]:
                return k
        return -1

    cdef bint unchanged(self):
        """Whether everything is the very object that it was."""
        return self.differs(0) < 0

    def first_difference(self, int64_t start=0):
        """The index of the first container from `start` on that differs, or -1."""
        return self.differs(start)

    def was(self, int64_t k):
        """What container k held: a list of values (`missing` for nothing), or of (key, value)."""
        cdef int64_t at
        found = []
        if isinstance(self.containers[k], dict):
            for at in range(self.first[k], self.first[k + 1], 2):
                found.append((<object>self.entries[at], <object>self.entries[at + 1]))
        else:
            for at in range(self.first[k], self.first[k + 1]):
                found.append(<object>self.entries[at] if self.entries[at] != NULL else missing)
        return found

    def accept(self, int64_t k):
        """Takes what container k holds now, of the same size, for what it held."""
        held = self.was(k)              # nothing of it dies, and runs code, before all is in its place
        self.take(k)
        del held
