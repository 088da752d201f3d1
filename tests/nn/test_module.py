"""Module: registration, traversal, calling, hooks and printing, with torch.nn as the reference."""

import copy

import pytest
import tapegrad as torch

reference = pytest.importorskip("torch")


def net(framework):
    nn = framework.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.act = nn.ReLU()
            self.register_buffer("scale", framework.ones(1))
            self.register_buffer("scratch", framework.zeros(1), persistent=False)

        def forward(self, x):
            return self.act(self.fc(x)) * self.scale

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = Block()
            self.rest = nn.ModuleList([Block(), nn.Linear(4, 2, bias=False)])
            self.shared = self.first.fc
            self.gain = nn.Parameter(framework.ones(2))
            self.nothing = None
            self.register_parameter("absent", None)

        def forward(self, x):
            for layer in (self.first, *self.rest):
                x = layer(x)
            return x * self.gain

    return Net()


def names(framework):
    m = net(framework)
    return {
        "parameters": [(k, tuple(v.shape)) for k, v in m.named_parameters()],
        "twice": [k for k, _ in m.named_parameters(remove_duplicate=False)],
        "prefix": [k for k, _ in m.named_parameters(prefix="p", recurse=False)],
        "buffers": [k for k, _ in m.named_buffers()],
        "modules": [k for k, _ in m.named_modules()],
        "all modules": [k for k, _ in m.named_modules(remove_duplicate=False)],
        "children": [k for k, _ in m.named_children()],
        "state": list(m.state_dict()),
        "repr": repr(m),
        "dir": [n for n in dir(m) if n in ("first", "gain", "absent", "scale")],
    }


@pytest.mark.parametrize("what", list(names(reference)))
def test_names_are_those_of_torch(what):
    assert names(torch)[what] == names(reference)[what]


def test_assignment_moves_a_name_between_registries():
    m = torch.nn.Module()
    m.a = 1
    m.a = torch.nn.ReLU()
    assert "a" not in vars(m)
    assert list(m._modules) == ["a"]
    m.a = torch.nn.Parameter(torch.ones(1))
    assert list(m._parameters) == ["a"]
    assert not m._modules
    del m.a
    assert not hasattr(m, "a")


def error_of(action):
    try:
        action()
    except Exception as error:
        return type(error).__name__, str(error).replace("tapegrad.", "torch.")
    return None


def misuse(framework):
    nn, tensor = framework.nn, framework.ones(1)

    class NoInit(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(1, 1)

    class NoInitParameter(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(tensor)

    def assign(name, value, module=None):
        return lambda: setattr(module or net(framework), name, value)

    m = net(framework)
    return {
        "before init, module": NoInit,
        "before init, parameter": NoInitParameter,
        "tensor over a parameter": assign("gain", tensor),
        "number over a module": assign("first", 3),
        "number over a buffer": assign("scale", 3, net(framework).first),
        "buffer taken": lambda: m.register_buffer("gain", tensor),
        "buffer dotted": lambda: m.register_buffer("a.b", tensor),
        "buffer empty": lambda: m.register_buffer("", tensor),
        "buffer type": lambda: m.register_buffer("b", 3),
        "buffer name type": lambda: m.register_buffer(3, tensor),
        "parameter type": lambda: m.register_parameter("p", 3),
        "parameter taken": lambda: m.register_parameter("first", nn.Parameter(tensor)),
        "module type": lambda: m.add_module("m", 3),
        "module dotted": lambda: m.add_module("m.m", nn.ReLU()),
        "module taken": lambda: m.add_module("forward", nn.ReLU()),
        "no forward": lambda: nn.Module()(1),
        "no attribute": lambda: m.missing,
        "init arguments": lambda: nn.Module(3),
        "init keywords": lambda: nn.Module(a=3),
        "train argument": lambda: m.train(3),
        "submodule": lambda: m.get_submodule("first.none"),
        "submodule type": lambda: m.get_submodule("gain"),
        "parameter path": lambda: m.get_parameter("first.act"),
        "integer dtype": lambda: m.to(framework.int64),
        "state dict type": lambda: m.load_state_dict([1]),
    }


@pytest.mark.parametrize("case", list(misuse(reference)))
def test_errors_read_as_in_torch(case):
    ours, theirs = error_of(misuse(torch)[case]), error_of(misuse(reference)[case])
    assert theirs is not None
    # KeyError and the rest carry the same text; object names of local classes differ by module only.
    assert ours == theirs


def test_train_and_eval_reach_every_module():
    m = net(torch).eval()
    assert [x.training for x in m.modules()] == [False] * len(list(m.modules()))
    m.rest.train()
    assert m.rest[0].act.training
    assert not m.first.training


def test_apply_visits_children_first():
    seen = []
    torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU()).apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "ReLU", "Sequential"]


def test_zero_grad_and_freezing():
    m = torch.nn.Linear(2, 1)
    m(torch.ones(1, 2)).sum().backward()
    m.zero_grad(set_to_none=False)
    assert m.weight.grad.tolist() == [[0.0, 0.0]]
    m.zero_grad()
    assert m.weight.grad is None
    m.requires_grad_(False)
    assert not any(p.requires_grad for p in m.parameters())


def test_conversion_keeps_the_objects_and_converts_gradients():
    m = torch.nn.Linear(2, 1)
    m.register_buffer("count", torch.zeros(1, dtype=torch.int64))
    m(torch.ones(1, 2)).sum().backward()
    weight = m.weight
    assert m.double() is m
    assert m.weight is weight
    assert weight.dtype is torch.float64
    assert weight.grad.dtype is torch.float64
    assert weight.grad.tolist() == [[1.0, 1.0]]
    assert m.count.dtype is torch.int64
    assert m.to("cpu", torch.float32).weight.dtype is torch.float32
    assert m.to(torch.zeros(1, dtype=torch.float64)).bias.dtype is torch.float64
    with pytest.raises(RuntimeError, match="CPU"):
        m.cuda()
    with pytest.raises(RuntimeError, match="CPU"):
        m.to("cuda:0")


def test_forward_hooks_change_arguments_and_results():
    m = torch.nn.Identity()
    log = []
    first = m.register_forward_pre_hook(lambda mod, args: (args[0] + 1,))
    m.register_forward_hook(lambda mod, args, out: log.append((args, out)))
    m.register_forward_hook(lambda mod, args, kwargs, out: out * 2, with_kwargs=True)
    m.register_forward_hook(lambda mod, args, out: log.append("early"), prepend=True)
    assert m(1) == 4
    assert log == ["early", ((2,), 2)]
    first.remove()
    assert m(1) == 2


def test_hooks_run_inside_sequential():
    seq = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity())
    with seq[0].register_forward_hook(lambda mod, args, out: out + 10):
        assert seq(1) == 11
    assert seq(1) == 1


def test_overridden_call_runs_inside_sequential():
    class Loud(torch.nn.Identity):
        def __call__(self, x):
            return x + 5

    assert torch.nn.Sequential(Loud(), torch.nn.Identity())(1) == 6


def test_deepcopy_and_pickle_are_independent():
    import pickle

    m = net(torch)
    m.extra = {"plain": 1}
    twin = copy.deepcopy(m)
    assert twin.shared is twin.first.fc  # sharing is kept
    with torch.no_grad():
        twin.gain.fill_(7.0)
    assert m.gain.tolist() == [1.0, 1.0]
    linear = torch.nn.Linear(3, 2)
    back = pickle.loads(pickle.dumps(linear))
    assert back.weight.tolist() == linear.weight.tolist()
    assert isinstance(back.weight, torch.nn.Parameter)
    assert back.weight.requires_grad


def test_parameter():
    p = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    assert not p.requires_grad
    assert repr(torch.nn.Parameter(torch.ones(2))).startswith(
        "Parameter containing:\ntensor([1., 1.], requires_grad=True)"
    )
    with torch.no_grad():
        assert torch.nn.Parameter(torch.ones(2)).requires_grad
    data = torch.zeros(2)
    with torch.no_grad():
        torch.nn.Parameter(data).fill_(3.0)
    assert data.tolist() == [3.0, 3.0]  # shared, not copied
    with pytest.raises(TypeError):
        torch.nn.Parameter([1.0])
