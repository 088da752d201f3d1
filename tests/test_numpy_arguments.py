"""NumPy's numbers and arrays as arguments: dimensions, sizes, indices, factors, hyperparameters; values and errors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

# Every call is made here and in PyTorch: t is a matrix of floats, i one of integers.
CALLS = """
t.sum(np.int64(1))
t.sum(dim=np.int64(1))
t.sum((np.int64(0), np.int32(1)))
t.mean(np.int64(0))
t.prod(np.int64(0))
t.max(np.int64(1)).values
t.argmax(np.int64(1))
t.any(np.int64(1))
t.var(np.int64(1))
t.norm(np.float64(2))
t.norm(np.int64(1))
t.norm(2, np.int64(1))
t.softmax(np.int64(1))
torch.softmax(t, dim=np.int64(1))
torch.nn.functional.softmax(t, np.int64(1))
torch.nn.Softmax(np.int64(1))(t)
t.logsumexp(np.int64(1))
t.view(np.int64(3), np.int64(2))
t.view(np.array([3, 2]))
t.reshape(np.int64(-1))
t.reshape((np.int64(3), 2))
t.reshape(np.array([3, 2]))
t.permute(np.int64(1), np.int64(0))
t.transpose(np.int64(0), np.int64(1))
t.unsqueeze(np.int64(0))
t.squeeze(np.int64(0))
t.flatten(np.int64(0), np.int64(1))
t.narrow(np.int64(0), np.int64(0), np.int64(1))
t.select(np.int64(0), np.int64(1))
t.expand(np.int64(2), np.int64(2), np.int64(3))
t.repeat(np.int64(2), np.int64(1))
t.split(np.int64(1))[0]
t.split([np.int64(1), np.int64(1)])[0]
t.chunk(np.int64(2), np.int64(0))[0]
t.unbind(np.int64(1))[0]
t.movedim(np.int64(0), np.int64(1))
t.unflatten(np.int64(1), (np.int64(3), 1))
t.size(np.int64(1))
t.stride(np.int64(1))
t[np.int64(1)]
t[np.int64(0), np.int64(1)]
t[np.int64(0):np.int64(1)]
t[np.array([0, 1])]
t[np.array([True, False])]
t[[np.int64(1), np.int64(0)]]
t[:, np.uint8(1)]
t[np.array(1)]
t[t > np.float32(2)]
t[np.array([[True, False, True], [False, True, False]])]
t.gather(np.int64(1), i)
t.index_select(np.int64(1), i[0])
torch.cat([t, t], np.int64(1))
torch.stack([t, t], np.int64(1))
torch.cat([t, t], dim=np.int64(1))
t.add(t, alpha=np.float32(2))
t.add(t, alpha=np.int64(2))
t.add(t, alpha=np.float64(2))
t.sub(t, alpha=np.bool_(True))
i.add(i, alpha=np.float32(2))
i.add(i, alpha=np.int64(2))
torch.add(t, t, alpha=np.int64(2))
t.clamp(np.float32(2), np.float64(4))
i.clamp(np.float32(2), np.float64(4))
i.clamp(min=np.int64(2))
t.lerp(t * 2, np.float32(0.5))
t.addcmul(t, t, value=np.float32(0.5))
t.addcdiv(t, t, value=np.float64(0.5))
t.pow(np.float32(2))
i.pow(np.int64(2))
torch.pow(np.float32(2), t)
torch.pow(np.int64(2), i)
t.floor_divide(np.int64(2))
i.floor_divide(np.int64(2))
i.remainder(np.int64(2))
i.div(np.int64(2), rounding_mode="trunc")
i.div(np.float32(2), rounding_mode="trunc")
t.div(np.float32(2), rounding_mode="floor")
t.fill_(np.float32(3))
t.clone().fill_(np.int64(3))
t.masked_fill(t > 2, np.float32(7))
i.masked_fill(i > 0, np.float32(7))
torch.where(t > 2, t, np.float32(0))
torch.where(t > 2, t, np.float64(0))
torch.where(t > 2, np.float32(1), np.float32(0))
torch.zeros(np.int64(2), np.int64(3))
torch.zeros((np.int64(2), np.int64(3)))
torch.zeros(np.array([2, 3]))
torch.ones(np.int32(2))
torch.empty(np.int64(0))
torch.full((np.int64(2),), np.float32(1.5))
torch.full((2,), np.float64(1.5))
torch.full((2,), np.int32(1))
torch.full((2,), np.bool_(1))
torch.full_like(t, np.float32(2))
torch.full_like(i, np.float32(2))
torch.arange(np.int64(3))
torch.arange(np.float32(0), np.float32(1), np.float32(0.25))
torch.arange(np.int64(1), np.int64(4), np.int64(2))
torch.arange(np.float64(3))
torch.linspace(np.float32(0), np.float64(1), np.int64(5))
torch.linspace(0, 1, np.int32(5))
torch.eye(np.int64(3))
torch.eye(np.int64(2), np.int64(3))
torch.randn(np.int64(2)).shape
torch.rand(np.int64(2), np.int64(3)).shape
torch.randint(np.int64(0), np.int64(5), (np.int64(3),)).shape
torch.randint(np.int64(5), (3,)).shape
torch.randperm(np.int64(4)).shape
torch.normal(np.float32(0), np.float32(1), (np.int64(2),)).shape
torch.bernoulli(t * 0, np.float32(0.5)).shape
torch.tril(t, np.int64(0))
torch.triu(t, diagonal=np.int64(1))
torch.tensor([np.float32(1), np.float32(2)])
torch.tensor([np.float32(1), 2.0])
torch.tensor([np.float32(1), np.float64(2)])
torch.tensor([np.int32(1), np.int32(2)])
torch.tensor([np.int32(1), 2])
torch.tensor([np.uint8(1)])
torch.tensor([np.bool_(1), True])
torch.tensor([np.float64(1), 2])
torch.tensor([[np.float32(1)], [np.float32(2)]])
torch.tensor([np.ones(2, np.float32), np.ones(2, np.float32)])
torch.tensor([[np.ones(2, np.float32)], [np.ones(2, np.float32)]])
torch.tensor((np.int64(1), np.int64(2)))
torch.tensor(np.int32(3))
torch.tensor(np.float32(3))
torch.tensor(np.bool_(True))
torch.tensor(np.array(3.0))
torch.tensor([torch.tensor(1), np.int64(2)])
torch.as_tensor(np.float32(3))
torch.as_tensor([np.float32(3)])
torch.as_tensor(np.int64(3))
torch.scalar_tensor(np.float32(2))
torch.Tensor([np.float64(1)])
torch.Tensor(np.array([1, 2]))
torch.FloatTensor(np.array([1.0, 2.0], np.float32))
torch.LongTensor(np.array([1, 2]))
torch.FloatTensor([np.float64(1)])
torch.FloatTensor(np.int64(3)).shape
torch.Tensor(np.int64(3)).shape
torch.isclose(t, t, rtol=np.float32(1e-05), atol=np.float64(1e-08))
torch.allclose(t, t, np.float32(1e-05))
torch.manual_seed(np.int64(3)).initial_seed()
torch.nn.Linear(np.int64(3), np.int64(2))(t).shape
torch.nn.Dropout(np.float32(0.0))(t)
torch.nn.functional.dropout(t, np.float64(0.0))
torch.nn.LeakyReLU(np.float32(0.1))(t)
torch.nn.functional.leaky_relu(t, np.float32(0.1))
torch.nn.functional.elu(t, np.float32(0.1))
torch.nn.functional.softplus(t, np.float32(2))
torch.nn.functional.one_hot(i, np.int64(4))
torch.nn.functional.cross_entropy(t, i[:, 0], ignore_index=np.int64(-1))
torch.nn.functional.cross_entropy(t, i[:, 0], label_smoothing=np.float32(0.1))
torch.nn.functional.huber_loss(t, t * 2, delta=np.float32(0.5))
torch.nn.functional.smooth_l1_loss(t, t * 2, beta=np.float32(0.5))
torch.nn.init.constant_(t.clone(), np.float32(2))
torch.nn.init.uniform_(t.clone(), np.float32(0), np.float32(1)).shape
torch.nn.init.normal_(t.clone(), np.float32(0), np.float32(1)).shape
torch.nn.init.xavier_uniform_(t.clone(), gain=np.float32(1)).shape
t.clone().uniform_(np.float32(0), np.float32(1)).shape
t.clone().normal_(np.float32(0), np.float32(1)).shape
t.clone().bernoulli_(np.float32(0.5)).shape
t.new_full((np.int64(2),), np.float32(3))
t.new_zeros(np.int64(2))
t.new_tensor(np.array([1, 2]))
opt(torch.optim.SGD, lr=np.float32(0.1))
opt(torch.optim.SGD, lr=np.float64(0.1), momentum=np.float64(0.9))
opt(torch.optim.SGD, lr=np.float32(0.1), weight_decay=np.float32(0.01), momentum=np.float32(0.9))
opt(torch.optim.Adam, lr=np.float32(0.1))
opt(torch.optim.Adam, lr=np.float64(0.1), betas=(np.float64(0.9), np.float64(0.99)), eps=np.float64(1e-08))
opt(torch.optim.AdamW, lr=np.float32(0.1), weight_decay=np.float32(0.1))
torch.nn.utils.clip_grad_norm_([g(M)], np.float32(0.1))
torch.nn.utils.clip_grad_value_([g(M)], np.float32(0.1))
setitem(t, (np.int64(0), np.int64(1)), np.float64(9))
setitem(t, slice(np.int64(0), np.int64(1)), np.int64(5))
setitem(t, t > 3, np.float64(0))
setitem(i, i > 0, np.float64(0))
setitem(t, t > np.int64(3), np.int64(0))
np.float32(2) in t
torch.equal(t, t)
torch.utils.data.random_split(list(range(10)), [np.int64(3), np.int64(7)])[0].__len__()
len(torch.utils.data.DataLoader(list(range(10)), batch_size=np.int64(3)))
list(torch.utils.data.DataLoader([np.float32(1), np.float32(2)], batch_size=2))[0]
list(torch.utils.data.DataLoader([np.float64(1), np.float64(2)], batch_size=2))[0]
list(torch.utils.data.DataLoader([np.int64(1), np.int32(2)], batch_size=2))[0]
list(torch.utils.data.DataLoader([np.bool_(1), np.bool_(0)], batch_size=2))[0]
t.item() if t.numel() == 1 else t.flatten()[np.int64(2)].item()
i.bool() & np.int64(1)
np.array(t).sum()
np.array([t[0, 0], t[0, 1]])
np.asarray(t, dtype=np.float64)
np.float32(t[0, 0])
np.int64(i[0, 0])
float(t[0, 0])
np.concatenate([t, t]).shape
np.stack([t, t]).shape
np.vstack([t, t]).shape
np.random.default_rng(0).choice(i.flatten(), 2).shape
np.testing.assert_allclose(t, t)
np.isin(i, [1]).sum()
np.linalg.norm(t)
np.allclose(t, t.numpy())
sum(t)
max(i.flatten())
sorted(t.flatten())[0]
round(t[0, 0].item(), 2)
range(i[0, 1])[0]
[1, 2, 3][i[0, 1]]
np.arange(5)[i[0, 1]]
np.arange(5)[i.flatten()]
np.zeros((2, 3))[i[0, 0], i[0, 1]]
np.zeros(i[0, 1])
np.repeat(t, 2)
np.arange(10)[i[0, 0]:i[0, 1]]
"""


def steps(torch, optimizer, **options):
    """A parameter after two steps."""
    p = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = optimizer([p], **options)
    for _ in range(2):
        (p * p).sum().backward()
        optimizer.step()
    return p.detach()


def with_gradient(torch):
    p = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    (p * p).sum().backward()
    return p


def setitem(t, key, value):
    t[key] = value
    return t


def outcome(torch, call):
    names = {"torch": torch, "np": np, "opt": lambda *a, **k: steps(torch, *a, **k), "g": with_gradient}
    names |= {"setitem": setitem, "i": torch.tensor([[0, 1, 2], [2, 1, 0]])}
    names["t"] = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = eval(call, names)
    except Exception as error:
        return type(error).__name__
    if isinstance(result, torch.Tensor):
        return str(result.dtype), tuple(result.shape), repr(np.asarray(result.detach()).tolist())
    return type(result).__name__, repr(result)


@pytest.mark.parametrize("call", CALLS.split("\n")[1:-1])
def test_calls(torch, reference, call):
    assert outcome(torch, call) == outcome(reference, call)


def test_integers_that_count_threads(torch):
    before = torch.get_num_threads()
    torch.set_num_threads(np.int64(1))
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)
