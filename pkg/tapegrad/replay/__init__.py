"""Replay: a step recorded once and run as one native call."""

from .compiled import CompiledFunction, forget_programs
from .entries import Counters
from .front import CompiledModule, compile

__all__ = ["CompiledFunction", "CompiledModule", "Counters", "compile", "forget_programs"]
