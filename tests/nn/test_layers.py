"""Layers and containers: printing, shapes, initial values and containers' list operations."""

from collections import OrderedDict

import numpy as np
import pytest
import tapegrad as torch

reference = pytest.importorskip("torch")


def layers(framework):
    nn = framework.nn
    return [
        nn.Linear(3, 4),
        nn.Linear(3, 4, bias=False),
        nn.Identity(1, a=2),
        nn.Flatten(),
        nn.Dropout(0.25, inplace=True),
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.Tanh(),
        nn.Sigmoid(),
        nn.LogSigmoid(),
        nn.LeakyReLU(0.2, inplace=True),
        nn.ELU(2.0),
        nn.SiLU(),
        nn.GELU("tanh"),
        nn.Softplus(2, 10),
        nn.Softmax(dim=1),
        nn.LogSoftmax(dim=-1),
        nn.CrossEntropyLoss(),
        nn.MSELoss(),
        nn.BCEWithLogitsLoss(),
        nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU(), nn.Sequential())),
        nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU(), nn.Sequential(nn.ReLU())]),
        nn.ModuleList(),
        nn.ModuleDict({"x": nn.ReLU()}),
        nn.ParameterList([framework.ones(2, 3), framework.ones(())]),
    ]


@pytest.mark.parametrize("i", range(len(layers(reference))))
def test_repr_is_torchs(i):
    assert repr(layers(torch)[i]) == repr(layers(reference)[i])


def test_all_names_exist_in_torch():
    for name in torch.nn.modules.__all__:
        assert hasattr(reference.nn, name)
    for name in torch.nn.functional.__all__:
        assert hasattr(reference.nn.functional, name)


@pytest.mark.parametrize(("m", "n", "bias"), [(3, 4, True), (64, 10, True), (1, 1, True), (20, 30, False)])
def test_linear_draws_torchs_numbers(m, n, bias):
    torch.manual_seed(7)
    ours = torch.nn.Linear(m, n, bias=bias).state_dict()
    reference.manual_seed(7)
    theirs = reference.nn.Linear(m, n, bias=bias).state_dict()
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key].numpy(), value.numpy())


def initialisers(framework):
    init, empty = framework.nn.init, framework.empty
    return {
        "uniform": lambda: init.uniform_(empty(5, 3), -2.0, 3.0),
        "normal": lambda: init.normal_(empty(7), 1.0, 2.0),
        "constant": lambda: init.constant_(empty(2), 0.5),
        "ones": lambda: init.ones_(empty(2)),
        "zeros": lambda: init.zeros_(empty(2)),
        "eye": lambda: init.eye_(empty(2, 3)),
        "xavier uniform": lambda: init.xavier_uniform_(empty(4, 6), gain=2.0),
        "xavier normal": lambda: init.xavier_normal_(empty(4, 2)),
        "kaiming uniform": lambda: init.kaiming_uniform_(empty(4, 6), nonlinearity="relu"),
        "kaiming conv": lambda: init.kaiming_uniform_(empty(4, 3, 2, 2), a=0.3, mode="fan_out"),
        "kaiming normal": lambda: init.kaiming_normal_(empty(3, 4), mode="fan_out"),
    }


@pytest.mark.parametrize("case", list(initialisers(reference)))
def test_initialisers_draw_torchs_numbers(case):
    torch.manual_seed(3)
    ours = initialisers(torch)[case]()
    reference.manual_seed(3)
    np.testing.assert_array_equal(ours.numpy(), initialisers(reference)[case]().numpy())


def test_initialisers_are_not_recorded():
    w = torch.nn.Parameter(torch.empty(3, 3))
    assert torch.nn.init.xavier_uniform_(w) is w
    assert w.is_leaf


def test_gains_and_their_errors():
    for args in [("linear",), ("tanh",), ("relu",), ("leaky_relu",), ("leaky_relu", 0.2), ("selu",)]:
        assert torch.nn.init.calculate_gain(*args) == reference.nn.init.calculate_gain(*args)
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        torch.nn.init.calculate_gain("none")
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        torch.nn.init.xavier_uniform_(torch.empty(3))
    with pytest.raises(ValueError, match="not supported"):
        torch.nn.init.kaiming_uniform_(torch.empty(3, 3), mode="fan")
    with pytest.warns(UserWarning, match="no-op"):
        torch.nn.init.kaiming_normal_(torch.empty(0, 3))


@pytest.mark.parametrize("bias", [(1,), (), None])
def test_linear_with_one_output(bias):
    results = []
    for framework in (torch, reference):
        x = framework.arange(6.0).reshape(2, 3).requires_grad_()
        w = framework.full((1, 3), 0.5, requires_grad=True)
        b = None if bias is None else framework.full(bias, 0.25, requires_grad=True)
        y = framework.nn.functional.linear(x, w, b)
        y.square().sum().backward()
        results.append([t.tolist() for t in (y, x.grad, w.grad, *(() if b is None else (b.grad,)))])
    assert results[0] == results[1]


def test_linear_with_one_output_is_one_product():
    step = torch.compile(torch.nn.Linear(3, 1), fullgraph=True)
    for _ in range(3):
        step(torch.ones(2, 3))
    assert [line.strip() for line in str(step.table(torch.ones(2, 3))).splitlines() if "linear" in line]


def test_linear_with_a_replaced_weight():
    layer = torch.nn.Linear(2, 1, bias=False)
    del layer.weight
    layer.weight = torch.full((1, 2), 2.0)  # a plain tensor, as weight normalisation leaves it
    assert layer(torch.ones(1, 2)).tolist() == [[4.0]]


def test_sequential_as_a_list():
    nn = torch.nn
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    seq = nn.Sequential(OrderedDict(first=a, second=b))
    assert (seq[0], seq[-1], len(seq)) == (a, b, 2)
    assert seq.first is a
    assert list(seq[:1]._modules) == ["first"]
    seq = nn.Sequential(a, b).append(c)
    del seq[0]
    assert list(seq._modules) == ["0", "1"]
    assert list(seq) == [b, c]
    seq.insert(0, a)
    assert list(seq) == [a, b, c]
    seq[1] = nn.Identity()
    assert isinstance(seq[1], nn.Identity)
    assert seq.pop(-1) is c
    assert len(seq + nn.Sequential(c)) == 3
    with pytest.raises(IndexError, match="index 5 is out of range"):
        seq[5]
    with pytest.raises(TypeError, match="int is not a Module subclass"):
        nn.Sequential(3)


def test_module_list_and_dict():
    nn = torch.nn
    layers = nn.ModuleList([nn.ReLU()])
    layers += [nn.Tanh(), nn.Sigmoid()]
    layers.insert(0, nn.Identity())
    assert [type(m).__name__ for m in layers] == ["Identity", "ReLU", "Tanh", "Sigmoid"]
    del layers[1:3]
    assert list(layers._modules) == ["0", "1"]
    assert isinstance(layers[-1], nn.Sigmoid)
    assert len(layers[:1]) == 1
    with pytest.raises(IndexError):
        layers[2]
    with pytest.raises(NotImplementedError, match="forward"):
        layers(1)
    table = nn.ModuleDict([("a", nn.ReLU())])
    table["b"] = nn.Linear(1, 1)
    assert "b" in table
    assert table.pop("a") is not None
    assert list(table.keys()) == ["b"]
    assert len(list(table.parameters())) == 2


def test_parameter_list():
    plist = torch.nn.ParameterList([torch.ones(1)])
    plist.append(torch.nn.Parameter(torch.zeros(2)))
    plist[0] = torch.full((1,), 5.0)
    assert [p.tolist() for p in plist] == [[5.0], [0.0, 0.0]]
    assert list(plist.state_dict()) == ["0", "1"]


def test_dropout():
    x = torch.ones(1000)
    drop = torch.nn.Dropout(0.25)
    torch.manual_seed(0)
    y = drop(x)
    kept = (y != 0).sum().item()
    assert 680 < kept < 820
    assert set(y.tolist()) == {0.0, float(np.float32(1) / np.float32(0.75))}
    assert drop.eval()(x) is x
    assert torch.nn.functional.dropout(x, 1.0).sum().item() == 0
    w = torch.nn.Parameter(torch.ones(8))
    torch.nn.functional.dropout(w, 0.5).sum().backward()
    assert set(w.grad.tolist()) <= {0.0, 2.0}
    with pytest.raises(ValueError, match="between 0 and 1"):
        torch.nn.Dropout(1.5)


def test_clipping_matches_torch():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s).astype(np.float32) * 3 for s in [(4, 3), (5,), ()]]

    def clipped(framework, clip):
        params = [framework.nn.Parameter(framework.zeros(a.shape)) for a in arrays]
        for p, a in zip(params, arrays, strict=True):
            p.grad = framework.tensor(a.tolist())
        params.append(framework.nn.Parameter(framework.zeros(1)))  # has no gradient
        result = clip(framework, params)
        return [p.grad.numpy() for p in params[:3]], result

    for norm in (2.0, 1.0, float("inf"), 3.0):
        for limit in (0.5, 1e6):
            ours, n = clipped(torch, lambda f, p, k=norm, m=limit: f.nn.utils.clip_grad_norm_(p, m, k))
            theirs, m = clipped(reference, lambda f, p, k=norm, m=limit: f.nn.utils.clip_grad_norm_(p, m, k))
            assert n.item() == pytest.approx(m.item(), rel=1e-5)
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(a, b, rtol=2e-6)
    ours, _ = clipped(torch, lambda f, p: f.nn.utils.clip_grad_value_(p, 1.0))
    theirs, _ = clipped(reference, lambda f, p: f.nn.utils.clip_grad_value_(p, 1.0))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    p = torch.nn.Parameter(torch.zeros(1))
    p.grad = torch.full((1,), float("inf"))
    with pytest.raises(RuntimeError, match="non-finite"):
        torch.nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    with pytest.warns(UserWarning, match="empty generator"):
        torch.nn.utils.clip_grad_norm_((q for q in []), 1.0)


def test_parameters_as_a_vector():
    m = torch.nn.Linear(2, 3)
    v = torch.nn.utils.parameters_to_vector(m.parameters())
    torch.nn.utils.vector_to_parameters(v.detach() * 2, m.parameters())
    again = torch.nn.utils.parameters_to_vector(m.parameters())
    assert again.tolist() == (v * 2).tolist()
