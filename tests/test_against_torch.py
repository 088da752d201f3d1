# ruff: noqa: E501 (tables of cases: one line, one thought)
"""What real programs call, with random arguments, in both libraries: results, dtypes, shapes, kinds of error.

A case is a name and a function that draws arguments: NumPy arrays stand for tensors, `Dtype` for a dtype.
Arguments that PyTorch refuses are drawn too; then ours must refuse them with an error of the same type.
"""

from __future__ import annotations

import itertools
import random
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
import tapegrad

reference = pytest.importorskip("torch")
ROUNDS = 20


class Dtype(NamedTuple):
    name: str


FLOATS = ("float32", "float64")
ALL = (*FLOATS, "int64", "int32", "uint8", "bool")
SHAPES = [(), (1,), (3,), (0,), (2, 3), (3, 2), (1, 3), (2, 1), (2, 3, 4), (1, 1, 2), (2, 0, 3), (4, 3, 2, 2)]


class Draw(random.Random):
    def array(self, shape=None, dtypes=ALL, low=-3.0, high=3.0):
        shape = self.choice(SHAPES) if shape is None else shape
        dtype = self.choice(dtypes)
        rng = np.random.default_rng(self.randrange(2**31))
        values = rng.uniform(low, high, shape)
        if dtype in FLOATS:
            return np.asarray(values).astype(dtype)
        if dtype == "bool":
            return np.asarray(values > 0)
        return np.asarray(np.abs(values) if dtype == "uint8" else values).astype(dtype)

    def fits(self, a):
        """Another array that broadcasts with a, mostly."""
        shape = list(a.shape)
        for d in range(len(shape)):
            if self.random() < 0.25:
                shape[d] = 1
        if self.random() < 0.2 and shape:
            shape = shape[1:]
        if self.random() < 0.1:
            shape = [5, *shape]
        if self.random() < 0.08:
            shape = [7]
        return self.array(tuple(shape))

    def number(self):
        return self.choice([0, 1, 2, -1, 3, 300, 0.5, -1.5, 2.0, True, 2**31, float("inf")])

    def dim(self, a):
        return (
            self.randrange(-a.ndim - 1, a.ndim + 1)
            if self.random() < 0.1
            else self.choice(range(-max(1, a.ndim), max(1, a.ndim)))
        )

    def dims(self, a):
        n = self.choice([0, 1, 1, 2, a.ndim])
        return tuple(self.sample(range(-a.ndim, 0), min(n, a.ndim))) if a.ndim else ()

    def dtype(self):
        return Dtype(self.choice(ALL))


def unary(dtypes=ALL, **limits):
    return lambda r: ((r.array(None, dtypes, **limits),), {})


def binary(r):
    a = r.array()
    return (a, r.fits(a) if r.random() < 0.6 else r.number()), {}


def remaining(r):
    """Not by numbers so large that -1 + b rounds to b: then ours is 0 and PyTorch's b."""
    args, named = binary(r)
    return (args[0], 7 if isinstance(args[1], int) and args[1] > 1000 else args[1]), named


def reduction(r):
    a = r.array()
    kind = r.random()
    if kind < 0.3:
        return (a,), {}
    named = {"dim": r.dim(a) if kind < 0.7 else r.dims(a)} if r.random() < 0.5 else {}
    args = (a,) if named else (a, r.dim(a))
    if r.random() < 0.5:
        named["keepdim"] = r.choice([True, False])
    if r.random() < 0.2:
        named["dtype"] = r.dtype()
    return args, named


def one_dim(r):
    a = r.array()
    args, named = ((a,), {"dim": r.dim(a)}) if r.random() < 0.5 else ((a, r.dim(a)), {})
    if r.random() < 0.5:
        named["keepdim"] = r.choice([True, False])
    return args, named


def whole_or_dim(r):
    return ((r.array(),), {}) if r.random() < 0.4 else one_dim(r)


def softmax(r):
    a = r.array(dtypes=(*FLOATS, *FLOATS, "int64"))
    named = {"dtype": Dtype(r.choice(FLOATS))} if r.random() < 0.3 else {}
    return ((a, r.dim(a)), named) if r.random() < 0.5 else ((a,), {"dim": r.dim(a), **named})


def spread(r):
    a = r.array(dtypes=(*FLOATS, *FLOATS, "int64"))
    kind = r.random()
    if kind < 0.3:
        return (a,), {}
    if kind < 0.5:
        return (a,), r.choice([{"unbiased": False}, {"unbiased": True}, {"correction": 0}, {"correction": 2}])
    return (a, r.dim(a)), r.choice([{}, {"keepdim": True}, {"unbiased": False}, {"correction": 0}])


def product(r):
    n, m, k = (r.choice([1, 2, 3, 5]) for _ in range(3))
    a, b = r.choice([((n, m), (m, k)), ((m,), (m,)), ((n, m), (m,)), ((m,), (m, k)), ((2, n, m), (2, m, k)),
                     ((2, n, m), (m, k)), ((4, 1, n, m), (2, m, k)), ((n, m), (n, k)), ((), (m,)), ((0, m), (m, k))])  # fmt: skip
    dtype = (r.choice([*FLOATS, *FLOATS, "int64", "bool"]),)
    return (r.array(a, dtype), r.array(b, dtype if r.random() < 0.9 else ALL)), {}


def joined(r):
    a = r.array(r.choice(SHAPES[1:]))
    rest = [r.array(a.shape if r.random() < 0.8 else r.choice(SHAPES)) for _ in range(r.choice([0, 1, 2]))]
    parts = [a, *rest]
    if r.random() < 0.05:
        parts.append(r.choice([None, 1, [1.0]]))
    parts = parts if r.random() < 0.5 else tuple(parts)
    return r.choice([((parts,), {}), ((parts, r.dim(a)), {}), ((parts,), {"dim": r.dim(a)})])


def viewing(r):
    a = r.array(r.choice(SHAPES[1:]))
    size = r.choice(
        [(-1,), (a.size,), (1, -1), tuple(a.shape[::-1]), (2, -1), (3, 2), (-1, -1), (0, -1), (-2,), a.shape]
    )
    return ((a, *size), {}) if r.random() < 0.5 else ((a, size), {})


def expanding(r):
    a = r.array()
    size = [r.choice([s, s, -1, 5]) for s in a.shape]
    if r.random() < 0.4:
        size = [r.choice([2, -1]), *size]
    return (a, *size), {}


def permuting(r):
    a = r.array(r.choice(SHAPES[1:]))
    order = r.sample(range(a.ndim), a.ndim)
    order = [d - a.ndim if r.random() < 0.3 else d for d in order]
    if r.random() < 0.1 and order:
        order[0] = r.choice([order[-1], 7])
    return ((a, *order), {}) if r.random() < 0.5 else ((a, tuple(order)), {})


def two_dims(r):
    a = r.array()
    return (a, r.dim(a), r.dim(a)), {}


def splitting(r):
    a = r.array()
    size = r.choice([1, 2, 3, 0, -1, [1, 1], [2, 1], [1, 2]])
    return r.choice([((a, size), {}), ((a, size), {"dim": r.dim(a)}), ((a, size, r.dim(a)), {})])


def gathering(r):
    a = r.array(r.choice([(3,), (2, 3), (2, 3, 4), ()]))
    shape = tuple(max(1, s - r.choice([0, 0, 1])) for s in a.shape)
    index = np.asarray(np.random.default_rng(r.randrange(999)).integers(0, r.choice([1, 2, 2, 5]), shape))
    if r.random() < 0.15:
        index = index.astype(r.choice(["int32", "float32", "uint8"]))
    return ((a, r.dim(a), index), {}) if r.random() < 0.6 else ((a,), {"dim": r.dim(a), "index": index})


def selecting(r):
    a = r.array(r.choice([(3,), (2, 3), (2, 3, 4), ()]))
    index = np.asarray(
        np.random.default_rng(r.randrange(999)).integers(
            0, r.choice([1, 2, 2, 5]), r.choice([(2,), (), (0,), (3,), (1, 2)])
        )
    )
    if r.random() < 0.2:
        index = index.astype(r.choice(["int32", "float32", "uint8", "bool"]))
    return (a, r.dim(a), index), {}


def choosing(r):
    a = r.array()
    condition = r.array(a.shape if r.random() < 0.7 else r.choice(SHAPES), ("bool",) if r.random() < 0.9 else ALL)
    return (condition, a if r.random() < 0.8 else r.number(), r.fits(a) if r.random() < 0.7 else r.number()), {}


def masking(r):
    a = r.array()
    mask = r.array(a.shape if r.random() < 0.7 else r.choice(SHAPES), ("bool",) if r.random() < 0.9 else ALL)
    return (a, mask, r.number()), {}


def clamping(r):
    a = r.array()
    low, high = (r.choice([r.number(), None, r.number()]) for _ in range(2))
    return r.choice(
        [((a, low, high), {}), ((a,), {"min": low}), ((a,), {"max": high}), ((a,), {"min": low, "max": high})]
    )


def sizes(r):
    size = r.choice([(), (3,), (2, 3), (0, 2), (-1,), (2.5,), ("x",)])
    named = {"dtype": r.dtype()} if r.random() < 0.5 else {}
    if r.random() < 0.2:
        named["requires_grad"] = r.choice([True, False])
    if r.random() < 0.1:
        named["device"] = "cpu"
    return (size if r.random() < 0.5 else (size,)), named


def filling(r):
    return ((r.choice([(2,), (), (2, 3)]), r.number()), {"dtype": r.dtype()} if r.random() < 0.6 else {})


def like(r):
    return (r.array(),), {"dtype": r.dtype()} if r.random() < 0.4 else {}


def ranging(r):
    args = r.choice([(5,), (2, 7), (0, 1, 0.25), (5, 2, -1), (1.5,), (3, 1), (0, 5, 0), (-3,), (0, 10, 3), (1, 2, 0.3)])
    return args, {"dtype": r.dtype()} if r.random() < 0.3 else {}


def spacing(r):
    return (r.choice([0, -1.5, 3]), r.choice([1, 10, -2.0]), r.choice([0, 1, 5, 17, -1])), (
        {"dtype": Dtype(r.choice(FLOATS))} if r.random() < 0.4 else {})  # fmt: skip


def data(r):
    made = r.choice([1, 1.5, True, [1, 2], [1.5, 2], [[1, 2], [3, 4]], [True, False], [1, 2.5, True], [], [[]], [[1], [2, 3]],
                     "x", None, [None], (1, 2), [[1.0], 2], {"a": 1}, 2**40, float("nan"), [300], 1e300])  # fmt: skip
    return (made,), {"dtype": r.dtype()} if r.random() < 0.4 else {}


def converting(r):
    return (r.array(), r.choice([r.dtype(), r.array(), "cpu"])), {} if r.random() < 0.7 else {"copy": True}


def triangle(r):
    a = r.array()
    return r.choice([((a,), {}), ((a, r.choice([-1, 0, 1, 5])), {}), ((a,), {"diagonal": r.choice([-1, 2])})])


def comparing(r):
    a = r.array(dtypes=(*FLOATS, "int64"))
    b = a + r.choice([0, 0, 1, 1e-9]) if r.random() < 0.7 else r.fits(a)
    return (a, np.asarray(b, a.dtype) if r.random() < 0.9 else np.asarray(b)), {
        "rtol": 1e-3
    } if r.random() < 0.2 else {}


def scaled(r):
    a = r.array()
    return (a, r.fits(a) if r.random() < 0.8 else r.number()), {
        "alpha": r.choice([2, 0.5, -1, 1])
    } if r.random() < 0.6 else {}


def power(r):
    a = r.array()
    return (a, r.choice([2, 3, 0.5, -1, 0, 1, -2, 2.0, 0.0, 300, r.fits(a)])), {}


def dividing(r):
    args, _ = binary(r)
    return args, r.choice([{}, {}, {"rounding_mode": "floor"}, {"rounding_mode": "trunc"}, {"rounding_mode": "x"}])


def squeezing(r):
    a = r.array()
    return r.choice([((a,), {}), ((a, r.dim(a)), {}), ((a,), {"dim": r.dim(a)})])


def unsqueezing(r):
    a = r.array()
    d = r.choice([0, -1, 1, a.ndim, -a.ndim - 1, a.ndim + 1])
    return r.choice([((a, d), {}), ((a,), {"dim": d})])


def flattening(r):
    a = r.array()
    return r.choice([((a,), {}), ((a, 1), {}), ((a, 0, -1), {}), ((a,), {"start_dim": 1}), ((a, 1, 0), {})])


def repeating(r):
    a = r.array()
    n = [r.choice([1, 2, 0]) for _ in range(a.ndim + r.choice([0, 0, 1, -1]))]
    return (a, *n), {}


def norms(r):
    a = r.array(dtypes=(*FLOATS, *FLOATS, "int64"))
    return r.choice([((a,), {}), ((a, r.choice([1, 2, 3.0, float("inf"), 0, "fro"])), {}), ((a, 2, r.dim(a)), {}),
                     ((a,), {"p": 1, "dim": r.dim(a), "keepdim": True}), ((a,), {"dim": r.dim(a)})])  # fmt: skip


def classes(r):
    n, c = r.choice([1, 3, 5]), r.choice([2, 4])
    x = r.array((n, c) if r.random() < 0.8 else (c,), FLOATS if r.random() < 0.9 else ALL)
    target = np.random.default_rng(r.randrange(999)).integers(0, c if r.random() < 0.9 else c + 2, x.shape[:-1])
    target = np.asarray(target)
    if r.random() < 0.08:
        target = target.astype(r.choice(["float32", "int32"]))
    named: dict[str, Any] = {}
    if r.random() < 0.4:
        named["reduction"] = r.choice(["mean", "sum", "none", "x"])
    if r.random() < 0.3:
        named["weight"] = r.array((c,), (str(x.dtype),), 0.1, 2.0)
    if r.random() < 0.2:
        named["ignore_index"] = 1
    return (x, target), named


def smoothed(r):
    args, named = classes(r)
    if r.random() < 0.3:
        named["label_smoothing"] = 0.1
    return args, named


def distance(r):
    a = r.array(dtypes=FLOATS)
    return (a, r.array(a.shape, (str(a.dtype),) if r.random() < 0.9 else ALL)), (
        {"reduction": r.choice(["mean", "sum", "none", "x"])} if r.random() < 0.6 else {})  # fmt: skip


def linear(r):
    n, m, k = 3, 4, 2
    dtype = (r.choice(FLOATS),)
    x = r.array(r.choice([(n, m), (m,), (2, n, m), (n, m + 1)]), dtype)
    return (x, r.array((k, m), dtype), *([r.array((k,), dtype)] if r.random() < 0.6 else [])), {}


def activation(*more):
    return lambda r: (
        (r.array(dtypes=(*FLOATS, *FLOATS, "int64")), *(r.choice(m) for m in more if r.random() < 0.5)),
        {},
    )


def drawn(*args):
    return lambda r: (tuple(a(r) if callable(a) else a for a in args), {})


def bool_or_int(r):
    return r.array(dtypes=("int64", "bool", "uint8"))


CASES: dict[str, Any] = {
    **{f"{where}.{n}": unary() for n in ("exp", "sin", "cos", "tanh", "sigmoid", "abs", "neg", "relu", "square", "sign", "floor", "ceil",
                                         "round", "isnan", "isfinite", "logical_not", "erf", "expm1")
       for where in ("torch", "Tensor")},
    **{f"{where}.{n}": unary(low=0.1, high=4.0) for n in ("log", "sqrt", "rsqrt", "log2", "log10", "log1p", "reciprocal")
       for where in ("torch", "Tensor")},
    **{f"{where}.{n}": binary for n in ("mul", "eq", "ne", "lt", "le", "gt", "ge", "maximum", "minimum", "floor_divide")
       for where in ("torch", "Tensor")},
    "torch.remainder": remaining, "Tensor.remainder": remaining,
    **{f"{where}.{n}": scaled for n in ("add", "sub") for where in ("torch", "Tensor")},
    **{f"operator.{n}": binary for n in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "eq", "lt", "ge", "and", "or",
                                         "xor", "iadd", "imul", "isub")},
    "operator.matmul": product, "torch.div": dividing, "Tensor.div": dividing, "torch.pow": power, "Tensor.pow": power,
    **{f"{where}.{n}": reduction for n in ("sum", "mean") for where in ("torch", "Tensor")},
    **{f"{where}.{n}": whole_or_dim for n in ("max", "min", "argmax", "argmin", "all", "any", "prod", "amax", "amin")
       for where in ("torch", "Tensor")},
    "torch.logsumexp": one_dim, "torch.var": spread, "torch.std": spread, "Tensor.var": spread, "Tensor.std": spread,
    "torch.softmax": softmax, "Tensor.softmax": softmax, "F.softmax": softmax, "F.log_softmax": softmax, "torch.log_softmax": softmax,
    "torch.matmul": product, "torch.mm": product, "torch.bmm": product, "Tensor.dot": product, "Tensor.mm": product,
    "torch.cat": joined, "torch.stack": joined,
    "Tensor.view": viewing, "Tensor.reshape": viewing, "Tensor.expand": expanding, "Tensor.permute": permuting,
    "Tensor.transpose": two_dims, "torch.transpose": two_dims, "Tensor.split": splitting, "torch.split": splitting,
    "Tensor.chunk": splitting, "torch.gather": gathering, "Tensor.gather": gathering, "torch.index_select": selecting,
    "torch.where": choosing, "Tensor.masked_fill": masking, "Tensor.masked_fill_": masking,
    "torch.clamp": clamping, "Tensor.clamp": clamping, "Tensor.clip": clamping, "Tensor.clamp_": clamping,
    "torch.zeros": sizes, "torch.ones": sizes, "torch.full": filling, "torch.zeros_like": like, "torch.ones_like": like,
    "torch.arange": ranging, "torch.linspace": spacing, "torch.tensor": data, "torch.as_tensor": data,
    "torch.eye": drawn(lambda r: r.choice([0, 1, 3, -1])), "torch.FloatTensor": drawn(lambda r: r.choice([[1, 2], [1.5], 0, []])),
    "torch.LongTensor": drawn(lambda r: r.choice([[1, 2], [[3]], 0, []])),
    "Tensor.to": converting, "Tensor.float": unary(), "Tensor.double": unary(), "Tensor.long": unary(), "Tensor.bool": unary(),
    "Tensor.type": drawn(Draw.array, lambda r: r.choice(["torch.FloatTensor", Dtype("int64")])),
    "Tensor.type_as": drawn(Draw.array, Draw.array),
    "torch.triu": triangle, "torch.tril": triangle, "torch.allclose": comparing, "torch.isclose": comparing, "torch.equal": comparing,
    "Tensor.squeeze": squeezing, "torch.squeeze": squeezing, "Tensor.unsqueeze": unsqueezing, "torch.unsqueeze": unsqueezing,
    "Tensor.flatten": flattening, "torch.flatten": flattening, "Tensor.repeat": repeating, "Tensor.norm": norms, "torch.norm": norms,
    "Tensor.t": unary(), "Tensor.T": unary(), "Tensor.item": unary(), "Tensor.tolist": unary(), "Tensor.numel": unary(),
    "Tensor.size": drawn(Draw.array, lambda r: r.choice([0, -1, 1, 7])), "Tensor.shape": unary(), "Tensor.dim": unary(),
    "Tensor.clone": unary(), "Tensor.contiguous": unary(), "Tensor.detach": unary(), "Tensor.cpu": unary(), "Tensor.numpy": unary(),
    "Tensor.nonzero": unary(), "Tensor.view_as": drawn(Draw.array, Draw.array), "Tensor.fill_": drawn(Draw.array, Draw.number),
    "Tensor.zero_": unary(), "Tensor.copy_": binary, "Tensor.add_": scaled, "Tensor.mul_": binary, "Tensor.sub_": scaled,
    "Tensor.div_": dividing, "Tensor.requires_grad_": unary(), "Tensor.dtype": unary(), "Tensor.is_sparse": unary(),
    "Tensor.unbind": squeezing, "torch.numel": unary(), "torch.is_tensor": unary(), "torch.bitwise_and": drawn(bool_or_int, bool_or_int),
    "F.relu": activation(), "F.gelu": activation(), "F.silu": activation(), "F.leaky_relu": activation([0.2, 1]), "F.elu": activation([0.5]),
    "F.sigmoid": activation(), "F.tanh": activation(), "F.softplus": activation([2.0]), "F.logsigmoid": activation(),
    "F.cross_entropy": smoothed, "F.nll_loss": classes, "F.mse_loss": distance, "F.l1_loss": distance, "F.smooth_l1_loss": distance,
    "F.huber_loss": distance, "F.linear": linear,
    "F.binary_cross_entropy_with_logits": distance,
}  # fmt: skip


def callable_of(framework: Any, name: str) -> Any:
    where, _, short = name.partition(".")
    if where == "operator":
        import operator

        return getattr(operator, short if short not in ("and", "or") else short + "_")
    if where == "Tensor":

        def call(x: Any, *args: Any, **named: Any) -> Any:
            found = getattr(x, short)
            return found(*args, **named) if callable(found) else found

        return call
    return getattr(framework if where == "torch" else framework.nn.functional, short)


def translated(framework: Any, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return framework.from_numpy(value.copy())
    if isinstance(value, Dtype):
        return getattr(framework, value.name)
    if type(value) in (list, tuple):
        return type(value)(translated(framework, v) for v in value)
    if isinstance(value, dict):
        return {k: translated(framework, v) for k, v in value.items()}
    return value


def outcome(framework: Any, name: str, args: Any, named: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            f = callable_of(framework, name)
            result = f(*translated(framework, args), **translated(framework, named))
        except Exception as error:
            return error
    return result


def differences(got: Any, want: Any) -> str | None:
    """What differs, in words."""
    if isinstance(got, Exception) or isinstance(want, Exception):
        if isinstance(got, type(want)) and isinstance(got, Exception):
            return None  # NotImplementedError is a RuntimeError
        if isinstance(got, (IndexError, NotImplementedError)) and isinstance(want, RuntimeError):
            return None  # which of them depends on the dtype and the layout in PyTorch
        if isinstance(got, NotImplementedError) and isinstance(want, reference.Tensor) and want.numel() == 0:
            return None  # PyTorch does not look at the dtype where there is nothing to compute
        return f"{got!r:.150} where PyTorch {'raises' if isinstance(want, Exception) else 'answers'} {want!r:.150}"
    if isinstance(want, reference.Tensor):
        if not isinstance(got, tapegrad.Tensor):
            return f"{got!r:.80}, not a tensor"
        if (
            str(got.dtype) != str(want.dtype)
            or tuple(got.shape) != tuple(want.shape)
            or got.requires_grad != want.requires_grad
        ):
            return f"{got.dtype} {tuple(got.shape)}, PyTorch {want.dtype} {tuple(want.shape)}"
        a, b = got.detach().numpy(), want.detach().numpy()
        if a.dtype.kind != "f":
            return None if (a == b).all() else f"{a.tolist()}, PyTorch {b.tolist()}"[:300]
        rtol = 1e-5 if a.dtype == np.float32 else 1e-12
        return None if np.allclose(a, b, rtol, rtol, equal_nan=True) else f"{a.tolist()}, PyTorch {b.tolist()}"[:300]
    if isinstance(want, (tuple, list)):
        if len(got) != len(want):
            return f"{got!r:.100}, PyTorch {want!r:.100}"
        return next((d for d in map(differences, got, want) if d), None)
    if isinstance(want, np.ndarray):
        return (
            None
            if got.dtype == want.dtype and np.array_equal(got, want, equal_nan=got.dtype.kind == "f")
            else f"{got} {want}"
        )
    if isinstance(want, float) and isinstance(got, float):
        return None if np.isclose(got, want, 1e-5, equal_nan=True) else f"{got}, PyTorch {want}"
    return None if str(got) == str(want) else f"{got!r:.100}, PyTorch {want!r:.100}"


@pytest.mark.parametrize("name", CASES)
def test_same_as_torch(name: str) -> None:
    r = Draw(name)
    found = []
    for _ in range(ROUNDS):
        args, named = CASES[name](r)
        got = outcome(tapegrad, name, args, named)
        want = outcome(reference, name, args, named)
        difference = differences(got, want)
        if difference:
            call = ", ".join(f"{a.dtype}{a.shape}" if isinstance(a, np.ndarray) else repr(a) for a in args)
            found.append(" ".join(f"{name}({call}, {named!r:.200}): {difference}".split()))
    assert not found, "\n".join(found)


EDGES = {
    "int64": [-(2**63), -9, -2, -1, 0, 1, 2, 3, 7, 2**63 - 1],
    "int32": [-(2**31), -9, -2, -1, 0, 1, 2, 7, 2**31 - 1],
    "uint8": [0, 1, 2, 3, 7, 128, 200, 255],
    "bool": [0, 1],
}
OF_INTEGERS = {
    "add": lambda t, a, b: a + b,
    "sub": lambda t, a, b: a - b,
    "mul": lambda t, a, b: a * b,
    "floor_divide": lambda t, a, b: a // b,
    "remainder": lambda t, a, b: a % b,
    "div_trunc": lambda t, a, b: t.div(a, b, rounding_mode="trunc"),
    "div_floor": lambda t, a, b: t.div(a, b, rounding_mode="floor"),
    "pow": lambda t, a, b: a**b,
    "maximum": lambda t, a, b: t.maximum(a, b) if not isinstance(b, int) else a,
    "and": lambda t, a, b: a & b,
    "xor": lambda t, a, b: a ^ b,
    "lt": lambda t, a, b: a < b,
    "of_number": lambda t, a, b: (b - a, b * a) if isinstance(b, int) else -a,
    "square": lambda t, a, b: a.square(),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", list(OF_INTEGERS))
def test_whole_numbers_at_the_ends_of_their_types(name, reference):
    """Every pair of types and edge values: values that wrap, negative powers, division by 0 and across signs."""
    f = OF_INTEGERS[name]
    numbers = [-9, -2, -1, 0, 1, 2, 3, 7, 300]
    for a_type, a_values in EDGES.items():
        for b_type, b_values in [*EDGES.items(), (None, numbers)]:
            for a, b in itertools.product(a_values, b_values):
                if "div" in name or name == "remainder":
                    if b == -1 and a in (-(2**63), -(2**31)):
                        continue  # its quotient has no place in the type: PyTorch's C code is undefined there
                    if a == -1 and b in (-(2**63), -(2**31)):
                        continue
                found = []
                for module in (tapegrad, reference):
                    x = module.tensor([a], dtype=getattr(module, a_type))
                    y = b if b_type is None else module.tensor([b], dtype=getattr(module, b_type))
                    try:
                        z = f(module, x, y)
                        results = z if isinstance(z, tuple) else (z,)
                        found.append([(str(t.dtype).split(".")[-1], t.tolist()) for t in results])
                    except (RuntimeError, NotImplementedError, TypeError, OverflowError, ZeroDivisionError) as error:
                        found.append(type(error))
                assert found[0] == found[1], (a_type, a, b_type, b)
