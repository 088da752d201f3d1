"""Interrupts held back while something runs that must not be left half done.

A half imported Numba cannot be imported again, and half of a compilation leaves Numba's tables inconsistent: after one
Ctrl-C at a wrong moment nothing would compile until the process ends. So while a kernel is made or loaded, signals
whose handlers are Python functions wait; at the end the handlers run, and the usual one raises KeyboardInterrupt.
One kernel is at most some seconds, so a second Ctrl-C waits as the first does. Signals that end the process without
asking Python (SIGQUIT, say) do so at once.

This is C since an `__enter__` or `__exit__` in Python can be interrupted itself (see `_mode_scope`).
"""

import _signal
import sys
import threading

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident()

cdef object getsignal = _signal.getsignal
cdef object setsignal = _signal.signal
cdef tuple numbers = tuple(sorted(int(n) for n in _signal.valid_signals()))
cdef object main_thread = threading.main_thread
cdef object notice = None


def set_notice(str text):
    """What is written to stderr when a Ctrl-C comes that has to wait; None for nothing."""
    global notice
    notice = text


cdef class held_back:
    """Signals with a handler in Python wait until the end of a `with` statement.

    They do so in the main thread, the only one that runs such handlers; elsewhere nothing happens. Inside one another
    the outermost counts. Each `with` takes an object of its own.
    """

    cdef list handlers          # (signal, what handled it)
    cdef list arrived           # (handler, signal, frame) in order

    def __cinit__(self):
        self.handlers = []
        self.arrived = []

    def __enter__(self):
        if PyThread_get_thread_ident() != main_thread().ident:
            return
        for number in numbers:
            handler = getsignal(number)
            if callable(handler) and not isinstance(handler, held_back):
                try:
                    setsignal(number, self)     # handlers of signals that came before this run in here
                except ValueError:              # the main thread of an interpreter that is not the main one
                    return
                except BaseException:
                    self.__exit__(None, None, None)
                    raise
                self.handlers.append((number, handler))

    def __call__(self, number, frame):
        if notice is not None and number == _signal.SIGINT and not self.arrived:
            try:
                sys.stderr.write(notice)
                sys.stderr.flush()
            except Exception:           # closed, or none
                pass
        for n, handler in self.handlers:
            if n == number:
                self.arrived.append((handler, number, frame))

    def __exit__(self, kind, error, traceback):
        first = None
        while self.handlers:
            number, handler = self.handlers[len(self.handlers) - 1]
            try:
                setsignal(number, handler)      # one that is back already may run in here and raise
            except BaseException as problem:
                first = first or problem
                continue
            self.handlers.pop()
        for handler, number, frame in self.arrived:
            try:
                handler(number, frame)
            except BaseException as problem:
                first = first or problem
        if first is not None:
            raise first
