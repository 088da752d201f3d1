"""state_dict and load_state_dict: names, errors, and that an error changes nothing."""

from collections import OrderedDict

import pytest
import tapegrad as torch

reference = pytest.importorskip("torch")


def model(framework, hidden=3):
    nn = framework.nn
    m = nn.Sequential(OrderedDict(a=nn.Linear(2, hidden), act=nn.ReLU(), b=nn.Linear(hidden, 1)))
    m.register_buffer("mean", framework.zeros(()))
    return m


def values(m):
    return {k: v.tolist() for k, v in m.state_dict().items()}


def test_round_trip_and_sharing():
    first, second = model(torch), model(torch)
    result = second.load_state_dict(first.state_dict())
    assert values(first) == values(second)
    assert repr(result) == "<All keys matched successfully>"
    assert result.missing_keys == []
    state = first.state_dict()
    assert not state["a.weight"].requires_grad
    with torch.no_grad():
        first.a.bias.fill_(9.0)
    assert state["a.bias"].tolist() == [9.0] * 3  # shares memory
    assert first.state_dict(keep_vars=True)["a.bias"] is first.a.bias
    assert next(iter(first.state_dict(prefix="net."))) == "net.mean"
    assert state._metadata["a"] == {"version": 1}


def broken(framework):
    def drop(s):
        del s["a.weight"], s["mean"]

    def extra(s):
        s["c.weight"] = framework.ones(1)
        s["unknown"] = framework.ones(1)

    def shape(s):
        s["a.weight"] = framework.ones(5, 2)
        s["b.bias"] = framework.ones(2)

    def everything(s):
        drop(s)
        extra(s)
        s["b.weight"] = framework.ones(4)

    return {"missing": drop, "unexpected": extra, "shape": shape, "everything": everything}


def attempt(framework, case, strict=True):
    m = model(framework)
    before = values(m)
    state = {k: v + 1.0 for k, v in model(framework).state_dict().items()}
    broken(framework)[case](state)
    try:
        result = m.load_state_dict(state, strict=strict)
    except RuntimeError as error:
        return str(error), values(m) == before
    return result.missing_keys, result.unexpected_keys


@pytest.mark.parametrize("case", list(broken(reference)))
def test_message_is_torchs_and_nothing_changed(case):
    message, unchanged = attempt(torch, case)
    assert message == attempt(reference, case)[0]
    assert unchanged


@pytest.mark.parametrize("case", ["missing", "unexpected"])
def test_not_strict_reports(case):
    assert attempt(torch, case, strict=False) == attempt(reference, case, strict=False)


def test_not_a_tensor():
    with pytest.raises(RuntimeError, match=r"expected torch\.Tensor or Tensor-like object"):
        model(torch).load_state_dict({**model(torch).state_dict(), "mean": 3})


def test_assign_replaces_and_keeps_requires_grad():
    m = model(torch)
    m.a.weight.requires_grad_(False)
    state = {k: v.double() for k, v in model(torch).state_dict().items()}
    m.load_state_dict(state, assign=True)
    assert m.a.weight.dtype is torch.float64
    assert isinstance(m.a.weight, torch.nn.Parameter)
    assert not m.a.weight.requires_grad
    assert m.b.weight.requires_grad
    assert m.mean.dtype is torch.float64


def test_extra_state_and_overridden_loading():
    class Counter(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.count = 0
            self.w = torch.nn.Parameter(torch.ones(1))

        def get_extra_state(self):
            return {"count": self.count}

        def set_extra_state(self, state):
            self.count = state["count"]

        def _load_from_state_dict(self, state_dict, prefix, *rest):
            if prefix + "old" in state_dict:
                state_dict[prefix + "w"] = state_dict.pop(prefix + "old")
            super()._load_from_state_dict(state_dict, prefix, *rest)

    source = torch.nn.Sequential(Counter())
    source[0].count = 5
    state = source.state_dict()
    assert "0._extra_state" in state
    state["0.old"] = state.pop("0.w") + 1.0
    target = torch.nn.Sequential(Counter())
    target.load_state_dict(state)
    assert target[0].count == 5
    assert target[0].w.tolist() == [2.0]


def test_scalar_saved_as_one_element():
    m = model(torch)
    m.load_state_dict({**m.state_dict(), "mean": torch.ones(1)})
    assert m.mean.tolist() == 1.0
