"""Replay: a step recorded once and run as one native call."""

from .compile import CompiledFunction, compile

__all__ = ["CompiledFunction", "compile"]
