"""Tools for those who work on tapegrad itself; `stubs` writes the type stubs."""
