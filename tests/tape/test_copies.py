"""Records written out as words in a row, and made again from them."""

from __future__ import annotations

import pytest
from tapegrad import _layout as words
from tapegrad.autograd import _nodes
from tapegrad.tape import _copies


def graphs(torch, x):
    a = torch.full(x.shape, 2.0)
    return {
        "add": (x + a, 0),
        "mul": (x * a, 1),
        "mul by a number": (x * 3.0, 0),
        "exp": (x.exp(), 1),
        "where": (torch.where(x > 0.0, x, x * 2.0), 1),
        "lerp": (torch.lerp(x, x * 2.0, x + 1.0), 3),
        "part": (x.reshape(-1)[1:] * x.reshape(-1)[1:], 2),
        "view": (x.reshape(-1), 0),
    }


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 2, 3), (1, 1, 2, 3)])
@pytest.mark.parametrize("name", ["add", "mul", "mul by a number", "exp", "where", "lerp", "part", "view"])
def test_words(torch, name, shape):
    x = torch.ones(shape, requires_grad=True)
    y, saved = graphs(torch, x)[name]
    i = _nodes.edge_index(y)
    seen = _copies.words_of(i)
    assert len(seen) == words.COPY_WORDS
    assert seen[words.COPY_NUMEL] == y.numel()
    assert seen[words.COPY_REFS] == 1
    storages = seen[words.COPY_SAVED : words.COPY_SAVED + 4]
    assert sum(s != 0 for s in storages) == saved
    if saved:
        assert all(p != 0 for s, p in zip(storages, seen[words.COPY_PTR :], strict=False) if s)
    if y.ndim <= 3:
        assert seen[words.COPY_SHAPE : words.COPY_SHAPE + y.ndim] == tuple(y.shape)
    edges = [e for e in seen[words.COPY_EDGE : words.COPY_EDGE + 3] if e >= 0]
    assert edges == [e for e in y.grad_fn.edges() if e >= 0]
    records = torch.tape_stats()["records"]
    if y.ndim > 3:
        return  # its shape lies in the extension block, which is not copied
    again = _copies.words_of_copy(i)
    assert torch.tape_stats()["records"] == records
    for word in (words.COPY_OP, words.COPY_NUMEL, words.COPY_REFS, words.COPY_PARAM, *range(7, 13)):
        assert again[word] == seen[word], word
    assert again[words.COPY_SEQ] > seen[words.COPY_SEQ]
    assert not any(again[words.COPY_SAVED : words.COPY_SAVED + 4])
    y.sum().backward()
