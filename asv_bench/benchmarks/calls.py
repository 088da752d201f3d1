"""Every public function as somebody would call it: the list behind compare_calls.py.

A call is Python text over the names that `names` gives, the same text for both libraries. Floating point inputs
have the letters of LEAVES; a call that uses one is timed with its backward too, where PyTorch differentiates it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SIZES = {"10": 10, "10k": 10_000, "1M": 1_000_000}
LEAVES = ("x", "y", "z", "p", "m", "w", "b", "v")

# fmt: off
UNARY = (
    "neg abs square sign floor ceil trunc round isnan isinf isfinite logical_not exp expm1 sin cos tan tanh "
    "sigmoid erf relu clone sum mean prod amax amin max min argmax argmin any all var std norm nonzero"
)
POSITIVE = "reciprocal sqrt rsqrt log log1p log2 log10"
BINARY = "add sub mul maximum minimum lt le eq ne gt ge isclose logical_and logical_or logical_xor allclose equal"
LIBRARY = "elu silu gelu leaky_relu logsigmoid softplus"  # of nn.functional, with the input alone
# fmt: on

EVERY_SIZE = [
    *(f"torch.{name}(x)" for name in UNARY.split()),
    *(f"torch.{name}(p)" for name in POSITIVE.split()),
    *(f"torch.{name}(x, y)" for name in BINARY.split()),
    *(f"F.{name}(x)" for name in LIBRARY.split()),
    # arithmetic
    "x + y",
    "x * 2.0",
    "1.0 - x",
    "x / p",
    "-x",
    "x > 0",
    "torch.div(x, p)",
    "torch.pow(p, 2)",
    "torch.pow(p, 1.7)",
    "torch.clamp(x, -0.5, 0.5)",
    "torch.clamp(x, min=0.0)",
    "torch.clamp_min(x, 0.0)",
    "torch.clamp_max(x, 0.0)",
    "torch.lerp(x, y, 0.3)",
    "torch.addcmul(x, y, z)",
    "torch.addcmul(x, y, z, value=0.5)",
    "torch.addcdiv(x, y, p)",
    "torch.addcdiv(x, y, p, value=0.5)",
    "torch.floor_divide(x, p)",
    "torch.remainder(x, p)",
    "torch.bitwise_and(i, i)",
    "torch.bitwise_or(i, i)",
    "torch.bitwise_xor(i, i)",
    "torch.bitwise_not(i)",
    "torch.where(mask, x, y)",
    "torch.where(mask)",
    "torch.masked_fill(x, mask, 0.0)",
    "x.add_(1e-9)",
    "x.mul_(1.0)",
    "x.copy_(y)",
    "b0.zero_()",
    "b0.fill_(1.0)",
    # reductions along a dimension, and with keywords
    "torch.sum(m, 1)",
    "torch.sum(m, dim=0)",
    "m.sum(dim=1, keepdim=True)",
    "m.mean(dim=1)",
    "m.mean(-1, keepdim=True)",
    "m.var(dim=1, unbiased=False)",
    "m.std(dim=0)",
    "m.max(dim=1)",
    "m.min(1)",
    "m.amax(dim=1)",
    "m.argmax(dim=1)",
    "m.argmin(1)",
    "m.norm(dim=1)",
    "m.prod(1)",
    "(m > 0).any(dim=1)",
    "torch.logsumexp(m, 1)",
    "torch.logsumexp(m, dim=1, keepdim=True)",
    "torch.softmax(m, 1)",
    "torch.softmax(m, dim=-1)",
    "torch.log_softmax(m, dim=1)",
    "F.softmax(m, dim=1)",
    "F.log_softmax(m, 1)",
    # shapes
    "x.view(-1)",
    "x.reshape(-1)",
    "torch.reshape(m, (-1,))",
    "torch.flatten(m)",
    "torch.ravel(m)",
    "torch.unflatten(x, 0, (-1, 5))",
    "torch.transpose(m, 0, 1)",
    "torch.permute(m, (1, 0))",
    "torch.movedim(m, 0, 1)",
    "torch.t(m)",
    "m.T",
    "m.mT",
    "torch.unsqueeze(x, 0)",
    "torch.squeeze(x.unsqueeze(0), 0)",
    "torch.narrow(x, 0, 1, 4)",
    "torch.select(m, 0, 1)",
    "torch.broadcast_to(x, (3, -1))",
    "x.expand(3, -1)",
    "torch.unbind(m[:2])",
    "torch.split(x, x.numel() // 5)",
    "torch.chunk(x, 5)",
    "m.repeat(2, 1)",
    "m.T.contiguous()",
    "torch.tril(m)",
    "torch.triu(m, 1)",
    "torch.cat([x, y])",
    "torch.cat([m, m], dim=1)",
    "torch.stack([x, y])",
    "torch.stack([x, y], dim=1)",
    # indexing
    "x[0]",
    "x[1:4]",
    "m[1]",
    "m[:, 1]",
    "m[0, 1]",
    "m[..., None]",
    "m[rows]",
    "m[..., columns]",
    "m[rows, columns]",
    "x[mask]",
    "torch.index_select(m, 0, rows)",
    "torch.index_select(m, 1, columns)",
    "torch.gather(m, 1, places)",
    "torch.scatter_add(m, 1, places, w)",
    # products
    "torch.matmul(m, w.T)",
    "m @ w.T",
    "torch.mm(m, w.T)",
    "torch.mv(m, v)",
    "torch.dot(x, y)",
    "torch.bmm(m.unsqueeze(0), w.T.unsqueeze(0))",
    "F.linear(m, w, b)",
    # losses
    "F.cross_entropy(m, labels)",
    "F.nll_loss(m, labels)",
    "F.mse_loss(x, y)",
    "F.l1_loss(x, y)",
    "F.smooth_l1_loss(x, y)",
    "F.huber_loss(x, y)",
    "F.binary_cross_entropy(u, u0)",
    "F.binary_cross_entropy_with_logits(x, u0)",
    "F.one_hot(labels)",
    "F.dropout(x, 0.5)",
    # types and memory
    "x.to(torch.float64)",
    "x.double()",
    "x.long()",
    "x.int()",
    "mask.float()",
    "x.bool()",
    "torch.is_tensor(x)",
    "torch.is_floating_point(x)",
    "torch.result_type(x, y)",
    "torch.numel(x)",
    "x.detach()",
    "x0.numpy()",
    "torch.from_numpy(array)",
    "torch.as_tensor(array)",
    "torch.tensor(array)",
    # new tensors
    "torch.zeros(n)",
    "torch.ones(n)",
    "torch.empty(n)",
    "torch.full((n,), 2.0)",
    "torch.zeros_like(x)",
    "torch.ones_like(x)",
    "torch.empty_like(x)",
    "torch.full_like(x, 2.0)",
    "x.new_zeros(n)",
    "torch.arange(n)",
    "torch.arange(0, n, 2)",
    "torch.linspace(0, 1, n)",
    "torch.eye(side)",
    "torch.rand(n)",
    "torch.randn(n)",
    "torch.randint(0, 10, (n,))",
    "torch.randperm(n)",
    "torch.rand_like(x)",
    "torch.randn_like(x)",
    "torch.randint_like(x, 10)",
    "torch.normal(x0, p0)",
    "torch.bernoulli(u0)",
    "torch.multinomial(u0, 3)",
    "b0.uniform_(-1, 1)",
    "b0.normal_()",
]

# Calls whose work does not follow the number of elements; they are timed in the first size only.
ONE_SIZE = [
    "torch.tensor(1.5)",
    "torch.tensor([1.0, 2.0])",
    "torch.tensor([1, 2, 3])",
    "torch.tensor([[1.0, 2.0], [3.0, 4.0]])",
    "torch.scalar_tensor(2.0)",
    "torch.asarray([1.0, 2.0])",
    "x0.sum().item()",
    "x0.tolist()",
    "x.size(0)",
    "torch.from_dlpack(x0)",
    "torch.frombuffer(array, dtype=torch.float32)",
    "torch.can_cast(torch.float32, torch.int64)",
    "torch.is_complex(x)",
    "torch.is_inference(x)",
    "torch.is_nonzero(x0[0])",
    "torch.is_same_size(x, y)",
    "torch.typename(x0)",
    "x.shape",
    "x.dim()",
    "torch.promote_types(torch.float32, torch.int64)",
    "torch.get_default_dtype()",
    "torch.is_grad_enabled()",
    *(f"torch.{join}(samples[:{k}])" for join in ("stack", "cat") for k in (2, 4, 64, 100, 1000)),
    "for batch in loader: pass",
    "for batch in pairs_loader: pass",
    "for batch in tensor_loader: pass",
    "nn.utils.clip_grad_norm_(parameters, 1.0)",
    "nn.utils.clip_grad_value_(parameters, 1.0)",
    "model(samples[0])",
]

RANDOM = r"rand|multinomial|dropout|normal\(|bernoulli|uniform_|normal_|empty|loader"  # values that are not compared

# fmt: off
_LEFT_OUT = {
    "a switch or a setting of the process":
        "enable_grad inference_mode no_grad set_grad_enabled is_inference_mode_enabled manual_seed seed initial_seed "
        "get_rng_state set_rng_state set_num_threads get_num_threads set_default_dtype set_printoptions show_config "
        "set_flush_denormal set_default_tensor_type set_default_device get_default_device "
        "are_deterministic_algorithms_enabled get_deterministic_debug_mode set_deterministic_debug_mode "
        "use_deterministic_algorithms is_deterministic_algorithms_warn_only_enabled get_float32_matmul_precision "
        "set_float32_matmul_precision get_num_interop_threads set_num_interop_threads is_warn_always_enabled "
        "set_warn_always",
    "another name of a function that is listed":
        "concat concatenate moveaxis clip absolute negative multiply subtract divide true_divide not_equal greater "
        "greater_equal less less_equal fix swapaxes swapdims",
    "PyTorch has no function of this name":
        "empty_cache memory_stats tape_stats cube integer_floor_divide integer_remainder",
}
# fmt: on
LEFT_OUT = {name: reason for reason, listed in _LEFT_OUT.items() for name in listed.split()}

# Why a call takes longer than PyTorch's: a pattern of rows, and the reason.
_DRAWS = "arguments are looked at in Python, and the draw is one serial call under the generator's lock"
_PARTS = "a Python function over several operations"
REASONS = {
    r"rand|normal_|uniform_|bernoulli|multinomial": _DRAWS,
    r"torch.equal|one_hot|torch.where\(mask\)|logsigmoid": _PARTS,
    r"torch.dot|torch.mv": "a composite: views around a product of matrices",
    r"x0.numpy|torch.tensor\(array\)": "NumPy makes the array from an interface of Python objects",
    r"torch.movedim|is_same_size|frombuffer": "arguments are looked at in Python",
    r"torch.chunk": "pieces are sliced one by one in Python",
    r"m\[\.\.\., columns\]|m\[rows, columns\]": "a key in Python, then one number per row, then rows",
    r"torch.get_default_dtype": "66 ns, a Python function",
}


def _shape(n: int) -> tuple[int, int]:
    rows = {10: 2}.get(n, int(n**0.5))
    return rows, n // rows


def names(torch: Any, n: int, requires_grad: bool) -> dict[str, Any]:
    """What a call may speak of, made from the same numbers for either library."""
    random = np.random.default_rng(n)

    def tensor(values: np.ndarray) -> Any:
        return torch.from_numpy(values)

    rows, columns = _shape(n)
    normal = [random.standard_normal(n).astype(np.float32) for _ in range(5)]
    found: dict[str, Any] = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "n": n, "side": rows}
    for letter, values in zip("xyz", normal, strict=False):
        found[letter] = tensor(values)
    found["p"] = tensor(np.abs(normal[3]) + 0.1)
    found["m"] = tensor(normal[4].reshape(rows, columns))
    found["w"] = tensor(random.standard_normal((rows, columns)).astype(np.float32))
    found["b"] = tensor(random.standard_normal(rows).astype(np.float32))
    found["v"] = tensor(random.standard_normal(columns).astype(np.float32))
    found["u0"] = tensor(random.uniform(0.1, 0.9, n).astype(np.float32))
    found["u"] = found["u0"].clone()
    found["x0"], found["p0"], found["b0"] = (found[letter].clone() for letter in "xpx")
    found["mask"] = found["x"] > 0
    found["i"] = tensor(random.integers(0, 100, n))
    found["rows"] = tensor(random.integers(0, rows, rows))
    found["columns"] = tensor(random.integers(0, columns, rows))
    found["places"] = tensor(random.integers(0, columns, (rows, columns)))
    found["labels"] = tensor(np.arange(rows) % columns)
    found["array"] = normal[0].copy()
    if n == 10:
        _few(torch, found, random)
    if requires_grad:
        for letter in LEAVES:
            found[letter].requires_grad_(True)
    return found


def _few(torch: Any, found: dict[str, Any], random: np.random.Generator) -> None:
    """What the calls of ONE_SIZE speak of beside the rest."""
    data = torch.utils.data
    images = torch.from_numpy(random.standard_normal((1000, 16)).astype(np.float32))
    labels = torch.from_numpy(random.integers(0, 10, 1000))

    class Images(data.Dataset):  # type: ignore[name-defined, misc]
        def __len__(self) -> int:
            return 1000

        def __getitem__(self, i: int) -> Any:
            return images[i]

    class Pairs(Images):
        def __getitem__(self, i: int) -> Any:
            return images[i], labels[i]

    torch.manual_seed(0)
    found["samples"] = list(images.unbind(0))
    found["loader"] = data.DataLoader(Images(), batch_size=64, shuffle=True)
    found["pairs_loader"] = data.DataLoader(Pairs(), batch_size=64, shuffle=True)
    found["tensor_loader"] = data.DataLoader(data.TensorDataset(images, labels), batch_size=64, shuffle=True)
    found["model"] = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    found["parameters"] = list(found["model"].parameters())
    found["model"](images).sum().backward()
