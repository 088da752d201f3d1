"""What to write instead of code that cannot be replayed: the end of the warning."""

from __future__ import annotations

__all__ = ["ADVICE", "advice_for"]

# Part of a reason -> what helps. The first that is found in the reason counts.
ADVICE = {
    "another number": (
        "a number that is computed with can be passed as a tensor of one element; one that chooses a branch, an index "
        "or a shape is better used outside, with its tensors passed"
    ),
    "another text": "a text that changes is better left outside",
    "another function": "define it once, and not anew for each call",
    "another object": "make it once and pass the same one, or pass the tensors in it",
    "of other things at": "lists, tuples and dicts of the same length, with the same keys, can be replayed",
    "a tensor of another shape": "pad batches to a few shapes, or leave out the last one (drop_last=True)",
    "or something else": "compile a function for each case",
    "the default dtype": "call it in one mode",
    "the number of its arguments": "pass the same number of arguments, or a tensor that holds them all",
    "guards keep failing": (
        "a number that is computed with can be a tensor, filled in place; what chooses a branch, an index or a shape "
        "is better used outside"
    ),
    "option of an optimizer is a tensor made inside": "make it outside and change it in place there",
    "deep-copied that shares its memory": "copy it outside",
    "changed inside": "change it outside the compiled function, or in place if it is a tensor",
    "the value of a tensor is read": "return the tensor and read it outside",
    "is read by Python": "read it outside",
    "handles the error of a line": "check outside what makes it fail, or pass what does not",
    "values of a tensor are read": "return the tensor and read it outside",
    "Python branches on the value": "torch.where chooses without a branch; or compile the parts and branch outside",
    "random numbers are drawn inside": "draw them outside, or with torch.rand and its like",
    "a random generator is made": "make it outside",
    "a random generator is seeded": "seed it outside",
    "random numbers are seeded": "seed them outside",
    "threads are started": "compile what each thread runs",
    "runs in other threads": "compile what each thread runs",
    "one container in two places": "return it once, or a copy",
    "the state of a random generator is": "read and set it outside",
    "a NumPy array becomes a tensor": "make the tensor outside and pass it",
    "exchanged through .data": "copy_() under torch.no_grad() keeps the memory",
    "a hook on a gradient was called": "torch.autograd.grad gives the gradient without one",
    "retain_grad()": "torch.autograd.grad gives the gradient, to be returned",
    "a hook or a kept gradient on an intermediate value": "torch.autograd.grad gives the gradient, to be returned",
    "is made a gradient inside": "give the gradient a copy of it",
    "has hooks on its gradient": "change the gradient between backward() and step()",
    "a graph from before the": "make the graph inside, or pass what it starts from",
    "kept somewhere else than in its results": "return it",
    "parts of memory that NumPy gave": "copy one of them",
    "of an argument is used": "pass it as an argument of its own",
    "returns memory around an argument's": "pass the whole tensor",
    "is not new is put where": "put it before the lines that may fail, or behind them",
    "a gradient is transposed": "put a contiguous copy there",
    "a gradient shares its memory": "give each gradient memory of its own",
    "changed in place after it was taken": "take the view after the change",
    "of a tensor made inside the function is kept": "return it",
    "container that is among its arguments": "return its tensors in a new one",
    "the function returns an object": "tensors, numbers, texts, and tuples, lists and dicts of them can be returned",
    "too many": "pass what is used of it as tensors",
    "is not to be compiled": "call it outside",
    "(it is in C": "pass what is used of it",
    "(an iterator)": "take the next item outside and pass it",
    "a value of its own in each thread": "pass it as an argument",
    "by a weak reference alone": "hold it where the function finds it, or pass it as an argument",
    "cannot be known": "name what is used",
    "differs from call to call": "what decides it must be an argument, or be reached by a name",
    "a mode is left changed": "use it as a context, or set it outside",
}  # fmt: skip


def advice_for(why: str) -> str:
    """The advice for a reason, to be put behind it; empty where there is none."""
    return next((f"; {text}" for part, text in ADVICE.items() if part in why), "")
