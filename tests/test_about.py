"""What tensors and dtypes say about themselves; formats of memory; memory exchanged with other libraries."""

from __future__ import annotations

import array
import warnings

import numpy as np
import pytest

CALLS = """
torch.zeros_like(torch.ones(2), memory_format=torch.preserve_format)
torch.ones(2).clone(memory_format=torch.preserve_format)
torch.ones(2, 3).t().contiguous(memory_format=torch.contiguous_format).stride()
torch.ones(2).is_contiguous(memory_format=torch.contiguous_format)
torch.zeros(2, layout=torch.strided)
torch.ones(2).layout
torch.preserve_format
isinstance(torch.preserve_format, torch.memory_format)
isinstance(torch.strided, torch.layout)
torch.cuda.get_rng_state_all()
torch.distributed.is_initialized()
torch.ones(2).is_pinned()
torch.round(torch.tensor([1.234, -5.678, 1234.5]), decimals=2)
torch.round(torch.tensor([1.234, -5.678, 1234.5]), decimals=-2)
torch.tensor([1.25, 2.5], dtype=torch.float64).round(decimals=1)
torch.tensor([1.26, 2.5]).round_(decimals=1)
torch.tensor([1.26, 2.5]).round_()
torch.tensor([12]).round(decimals=-1)
torch.ones(2).round(1)
torch.ones(2).get_device()
torch.ones(2, dtype=torch.float64).nbytes
torch.ones(2, dtype=torch.uint8).itemsize
torch.is_complex(torch.ones(1))
torch.ones(1).is_complex()
torch.is_nonzero(torch.ones(1))
torch.is_nonzero(torch.zeros(1, 1))
torch.is_nonzero(torch.ones(2))
torch.ones(1).is_nonzero()
torch.is_same_size(torch.ones(1, 2), torch.ones(1, 2))
torch.ones(2).is_same_size(torch.ones(3))
torch.is_inference(torch.ones(1))
[torch.can_cast(a, torch.uint8) for a in (torch.bool, torch.int64, torch.float32)]
[torch.can_cast(a, torch.bool) for a in (torch.bool, torch.int64, torch.float32)]
torch.typename(torch.ones(1, dtype=torch.int64))
torch.typename(3)
torch.typename(torch.nn.Linear(1, 1))
torch.ones(2, 3).H.shape
torch.ones(2).H
torch.ones(4, 2, 3).mH.shape
torch.ones(2).real
torch.ones(2).imag
torch.ones(1, requires_grad=True).__dlpack__()
tuple(int(v) for v in torch.ones(2).__dlpack_device__())
torch.frombuffer(bytearray(8), dtype=torch.float32)
torch.frombuffer(bytearray(range(12)), dtype=torch.int32, count=2, offset=4)
torch.frombuffer(b"1234", dtype=torch.uint8)
torch.frombuffer(bytearray(7), dtype=torch.float32)
torch.frombuffer(bytearray(0), dtype=torch.float32)
torch.frombuffer(bytearray(8), dtype=torch.float32, count=3)
torch.frombuffer(bytearray(8), dtype=torch.float32, offset=9)
torch.frombuffer([1], dtype=torch.float32)
torch.frombuffer(bytearray(8), dtype=torch.float32, requires_grad=True)
torch.from_dlpack(3)
issubclass(torch.optim.lr_scheduler.StepLR, torch.optim.lr_scheduler.LRScheduler)
"""


def outcome(torch, call):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return repr(eval(call, {"torch": torch}))
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("call", CALLS.split("\n")[1:-1])
def test_calls(torch, reference, call):
    assert outcome(torch, call) == outcome(reference, call)


def test_buffers_share_their_memory(torch):
    values = array.array("f", [1.0, 2.0, 3.0])
    t = torch.frombuffer(values, dtype=torch.float32)
    t[1] = 7
    assert values.tolist() == [1.0, 7.0, 3.0]
    with pytest.warns(UserWarning, match="The given buffer is not writable"):
        torch.frombuffer(b"ab", dtype=torch.uint8)


def test_memory_through_dlpack(torch):
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    t = torch.from_dlpack(a)
    t[0, 0] = 9
    assert a[0, 0] == 9
    b = np.from_dlpack(t.t())
    assert b.shape == (3, 2)
    b[1, 1] = 5
    assert t[1, 1].item() == 5
    assert torch.from_dlpack(torch.ones(2)).tolist() == [1.0, 1.0]


def test_memory_between_the_two_libraries(reference):
    import tapegrad as torch

    mine = torch.arange(4.0)
    theirs = reference.from_dlpack(mine)
    theirs[2] = 8
    assert mine.tolist() == [0.0, 1.0, 8.0, 3.0]
    back = torch.from_dlpack(theirs)
    back[0] = 4
    assert (theirs[0].item(), mine[0].item()) == (4.0, 4.0)
