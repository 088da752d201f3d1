# No names for Python; what `_turns.pxd` declares is for Cython.
