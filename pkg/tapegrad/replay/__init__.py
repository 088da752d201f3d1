"""Replay: a step recorded once and run as one native call."""

from .. import native
from . import _machine
from .compiled import CompiledFunction
from .entries import Counters
from .front import CompiledModule, compile

__all__ = ["CompiledFunction", "CompiledModule", "Counters", "compile"]

_machine.set_hook("run_parallel", native.run_parallel)
native.threads.when_changed(lambda n: _machine.set_hook("n_threads", n))
