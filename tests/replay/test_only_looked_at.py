"""Tensors from outside of which a step uses only how they are: another memory, shape or type is seen."""

import pytest
import tapegrad as torch

LOOKS = {
    "zeros_like": lambda x, w: x.sum() + torch.zeros_like(w),
    "ones_like": lambda x, w: x.sum() + torch.ones_like(w),
    "full_like": lambda x, w: x.sum() + torch.full_like(w, 3),
    "rand_like": lambda x, w: x.sum() + torch.rand_like(w),
    "randn_like": lambda x, w: x.sum() + torch.randn_like(w),
    "expand_as": lambda x, w: x.sum().expand_as(w),
    "view_as": lambda x, w: x[: w.numel()].view_as(w),
    "reshape_as": lambda x, w: x[: len(w)].reshape_as(w),
    "new_zeros": lambda x, w: x.sum() + w.new_zeros(2),
    "new_ones": lambda x, w: x.sum() + w.new_ones(2),
    "new_full": lambda x, w: x.sum() + w.new_full((2,), 2),
    "type_as": lambda x, w: x.type_as(w),
    "to": lambda x, w: x.to(w),
    "type": lambda x, w: x.type(w.dtype),
    "result_type": lambda x, w: x.to(torch.result_type(w, 1)),
}


def looked(look, compiled):
    torch.manual_seed(0)
    w = torch.ones(2)
    f = torch.compile(lambda x: look(x, w)) if compiled else lambda x: look(x, w)
    seen = []
    for new in (None, None, None, None, torch.ones(3), torch.ones(3), torch.ones(3, dtype=torch.float64)):
        if new is not None:
            w.data = new
        out = f(torch.arange(4.0))
        seen.append((out.dtype, tuple(out.shape), out.tolist()))
    assert not compiled or f.counters.replayed >= 1
    return seen


@pytest.mark.parametrize("name", LOOKS)
def test_a_tensor_that_is_only_looked_at_changes(name):
    assert looked(LOOKS[name], True) == looked(LOOKS[name], False)
