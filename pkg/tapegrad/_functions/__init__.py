"""The public functions on tensors, by subject; `tables` says which stands under which name.

A pointwise op gets its function, method and in-place method from its declaration alone; the other
modules hold what takes options, chooses between ops, or is made of several.
"""
