"""Benchmarks of tapegrad: single ops, training steps, whole programs, start-up, memory."""
