"""Errors in the middle of training: optimizers, modules, files and loaders are as they were before them."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tapegrad as torch
from unchanged import Unchanged

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p),
    "amsgrad": lambda p: torch.optim.Adam(p, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p),
}
EVERY = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def parameters() -> list[Any]:
    rng = np.random.default_rng(0)
    made = [torch.nn.Parameter(torch.tensor(rng.normal(size=s), dtype=torch.float32)) for s in [(3, 2), (4,), (2, 2)]]
    for p in made:
        p.grad = torch.ones_like(p)
    return made


def frozen(value: Any) -> Any:
    """A state dict as something that compares."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes())
    if isinstance(value, dict):
        return {k: frozen(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [frozen(v) for v in value]
    return value


def check_step_fails(optimizer: Any, params: list[Any], *args: Any) -> BaseException:
    before, state = Unchanged(params, optimizer.state_dict()), frozen(optimizer.state_dict())
    keys = [id(p) for p in optimizer.state]
    with pytest.raises(Exception) as caught:  # noqa: PT011 (what is compared is the state)
        optimizer.step(*args)
    before.check(f"step ({caught.value!r:.100})")
    assert frozen(optimizer.state_dict()) == state
    assert [id(p) for p in optimizer.state] == keys
    return caught.value


def groups(params: list[Any], how: str) -> Any:
    return params if how == "one group" else [{"params": params[:2]}, {"params": params[2:]}]


@EVERY
@pytest.mark.parametrize("how", ["one group", "two groups"])
@pytest.mark.parametrize("steps", [0, 2])
def test_a_step_does_all_or_nothing(make, how, steps):
    """A gradient that does not fit its parameter, in the first or the last place."""
    for place in (0, 2):
        for wrong in ("shape", "as many elements", "dtype", "one element"):
            params = parameters()
            optimizer = make(groups(params, how))
            for _ in range(steps):
                optimizer.step()
            p = params[place]
            if wrong == "dtype":
                p.grad.data = p.data.double()
            else:
                shape = {"shape": (7, 5), "as many elements": (p.numel(), 1), "one element": (1,)}[wrong]
                p.grad.data = torch.ones(*shape)
            error = check_step_fails(optimizer, params)
            assert isinstance(error, RuntimeError), error
            p.grad = torch.ones_like(p)
            optimizer.step()


@EVERY
@pytest.mark.parametrize("how", ["one group", "two groups"])
def test_options_that_are_no_numbers(make, how):
    for bad in ("x", None, [1], object(), torch.ones(2)):
        params = parameters()
        optimizer = make(groups(params, how))
        optimizer.step()
        group = optimizer.param_groups[-1]
        group["lr"] = bad
        kept = group["lr"]
        before = Unchanged(params)
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            optimizer.step()
        before.check(f"lr {bad!r}")
        assert group["lr"] is kept


@EVERY
def test_a_closure_that_raises(make):
    params = parameters()
    optimizer = make(params)
    optimizer.step()

    def closure():
        raise ValueError("no loss")

    assert str(check_step_fails(optimizer, params, closure)) == "no loss"
    assert torch.is_grad_enabled()
    with torch.no_grad():
        check_step_fails(optimizer, params, closure)


@EVERY
def test_broken_state_stops_a_step_before_it_begins(make):
    for bad in (torch.ones(9), torch.ones(1, dtype=torch.float64), "x", None):
        params = parameters()
        optimizer = make(groups(params, "two groups"))
        optimizer.step()
        own = optimizer.state.get(params[2])
        if not own:
            return  # plain SGD keeps none
        key = next(k for k in own if k != "step")
        own[key] = bad
        if bad is None and key == "momentum_buffer":
            continue  # means: no buffer yet
        check_step_fails(optimizer, params)


BAD_STATES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no groups": lambda s: s.pop("param_groups"),
    "no state": lambda s: s.pop("state"),
    "one group too few": lambda s: s["param_groups"].pop(),
    "a parameter too few": lambda s: s["param_groups"][0]["params"].pop(),
    "groups that are none": lambda s: s.update(param_groups=[1, 2]),
    "state that is no dictionary": lambda s: s.update(state=[1]),
    "a step that is no number": lambda s: s["state"][2].update(step="x"),
    "a step of two": lambda s: s["state"][2].update(step=torch.ones(2)),
}


@pytest.mark.parametrize("what", BAD_STATES)
def test_a_bad_state_dict_is_not_half_loaded(what):
    params = parameters()
    optimizer = OPTIMIZERS["adam"](groups(params, "two groups"))
    optimizer.step()
    good = copy.deepcopy(optimizer.state_dict())
    optimizer.step()
    bad = copy.deepcopy(good)
    BAD_STATES[what](bad)
    before, state = Unchanged(params, optimizer.state_dict()), frozen(optimizer.state_dict())
    given = frozen(bad)
    attributes = dict(vars(optimizer))
    with pytest.raises((ValueError, KeyError, TypeError, RuntimeError, AttributeError)):
        optimizer.load_state_dict(bad)
    before.check(what)
    assert frozen(optimizer.state_dict()) == state
    assert all(vars(optimizer)[k] is v for k, v in attributes.items() if k != "defaults")
    assert frozen(bad) == given
    optimizer.load_state_dict(good)
    assert frozen(optimizer.state_dict()) == frozen(good)


@EVERY
def test_a_refused_group_is_not_there(make):
    params = parameters()
    optimizer = make(params)
    state = frozen(optimizer.state_dict())
    computed = torch.ones(2, requires_grad=True) * 1
    for bad in ({"params": [params[0]]}, {"params": [1]}, {"params": [computed]}, {"params": {params[0]}}, {}, 3):
        with pytest.raises((ValueError, TypeError, KeyError)):
            optimizer.add_param_group(bad)
        assert frozen(optimizer.state_dict()) == state
        assert len(optimizer.param_groups) == 1


# ---------------------------------------------------------------- modules


def model() -> Any:
    made = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Sequential(torch.nn.Linear(4, 2)))
    made.register_buffer("count", torch.tensor(3))
    return made


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("place", ["0.weight", "1.0.bias", "count"])
@pytest.mark.parametrize(
    "bad", [torch.ones(9, 9), None, 3.0, "x", np.ones((4, 3)), torch.ones(0)], ids=lambda v: type(v).__name__
)
def test_modules_are_not_half_loaded(assign, place, bad):
    module = model()
    other = copy.deepcopy(module)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1)
    state = other.state_dict()
    state[place] = bad
    before, objects = Unchanged(list(module.parameters()), module.state_dict()), dict(module.named_parameters())
    with pytest.raises(RuntimeError, match=place.replace(".", r"\.")):
        module.load_state_dict(state, assign=assign)
    before.check(place)
    assert all(p is objects[n] for n, p in module.named_parameters())
    assert module.count is not None


def test_what_cannot_be_a_parameter_stops_the_loading_before_it_begins():
    module = model()
    state = {k: v.to(torch.int64) if k == "1.0.bias" else v + 1 for k, v in module.state_dict().items()}
    objects = dict(module.named_parameters())
    before = Unchanged(list(module.parameters()), module.state_dict())
    with pytest.raises(RuntimeError, match=r"1\.0\.bias"):
        module.load_state_dict(state, assign=True)
    before.check("assigning an integer parameter")
    assert all(p is objects[n] for n, p in module.named_parameters())
    with torch.inference_mode():
        module.count = torch.tensor(5)
    state = {k: v + 1 for k, v in module.state_dict().items()}
    before = Unchanged(list(module.parameters()))
    with pytest.raises(RuntimeError, match="count"):
        module.load_state_dict(state)
    before.check("copying into an inference tensor")


# ---------------------------------------------------------------- files


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """The limit on the size of files stands for the disk: the write itself fails in the middle."""
    pytest.importorskip("resource")
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.arange(10)}, path)
    old = path.read_bytes()
    program = f"""
        import resource, signal, sys
        import tapegrad as torch
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
        try:
            torch.save({{"weight": torch.ones(1000000)}}, {str(path)!r})
        except OSError as error:
            sys.exit(3)
    """
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], check=False, capture_output=True, text=True
    )
    assert child.returncode == 3, child.stderr
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["model.pt"]
    if os.path.exists("/dev/full"):
        with pytest.raises(OSError, match="No space"):
            torch.save(torch.ones(100000), "/dev/full")


def test_folders_that_take_no_file(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(torch.ones(2), path)
    for bad in (tmp_path / "absent" / "x.pt", path / "x.pt", tmp_path):
        with pytest.raises(OSError):  # noqa: PT011 (which one depends on the system)
            torch.save(torch.ones(3), bad)
        assert os.listdir(tmp_path) == ["model.pt"]
    assert torch.load(path).tolist() == [1, 1]
    folder = tmp_path / "fixed"
    folder.mkdir()
    torch.save(torch.ones(2), folder / "a.pt")
    folder.chmod(0o500)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(PermissionError):
            torch.save(torch.ones(3), folder / "a.pt")
    finally:
        folder.chmod(0o700)
    assert torch.load(folder / "a.pt").tolist() == [1, 1]
    assert os.listdir(folder) == ["a.pt"]


def whole_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(3), "b": [torch.ones(2, 2), 1.5, None]}, buffer)
    return buffer.getvalue()


def test_every_truncation_and_every_changed_byte_of_the_header():
    """Loaded or refused with RuntimeError: nothing else, and nothing of the process changes."""
    data = whole_file()
    before = Unchanged()
    for n in range(len(data)):
        with pytest.raises(RuntimeError):
            torch.load(io.BytesIO(data[:n]))
    length = 8 + int.from_bytes(data[:8], "little")
    for place in range(length):
        for value in (0, 0x22, 0x7B, 0xFF, data[place] ^ 1):
            with contextlib.suppress(RuntimeError):
                torch.load(io.BytesIO(data[:place] + bytes([value]) + data[place + 1 :]))
    before.check("loading damaged files")


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**31, 2**40, 2**62, 2**63, 2**64 - 1])
def test_headers_that_lie_about_their_size(size):
    with pytest.raises(RuntimeError, match="damaged"):
        torch.load(io.BytesIO(size.to_bytes(8, "little") + whole_file()[8:]))


@pytest.mark.parametrize("shape", [[2**62, 4], [10**9, 10**9], [2**64], [-1], [3, 3], "x", None])
def test_shapes_that_the_file_does_not_hold(shape):
    data = whole_file()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["a"]["shape"] = shape
    text = json.dumps(header).encode()
    with pytest.raises(RuntimeError, match="damaged"):
        torch.load(io.BytesIO(len(text).to_bytes(8, "little") + text + data[8 + length :]))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04zip", b"\x80\x02pickle", b"{}", b"\x89PNG\r\n", bytes(1000)])
def test_foreign_files(content, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(RuntimeError):
        torch.load(path)
    assert path.read_bytes() == content


def test_nesting_without_end_is_refused():
    from safetensors.numpy import save

    for depth in (900, 5000, 100000):
        text = '{"format": 1, "tree": ' + '["list", [' * depth + "1" + "]]" * depth + "}"
        data = save({"x": np.ones(1, np.float32)}, {"tapegrad": text})
        try:
            torch.load(io.BytesIO(data))
        except RuntimeError:
            continue
        assert depth < 1000


# ---------------------------------------------------------------- loaders


class Failing(torch.utils.data.Dataset):
    def __init__(self, at: int) -> None:
        self.at = at

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> Any:
        if i == self.at:
            raise ValueError(f"no sample {i}")
        return torch.tensor(i), torch.ones(2)


@pytest.mark.parametrize("where", ["data", "collate", "ragged"])
def test_a_pass_that_fails_leaves_a_loader_that_works(where, reference):
    """The order of the pass after the error, and the generator, are PyTorch's."""

    def orders(framework):
        data = Failing(3 if where == "data" else -1)
        calls = [0]

        def collate(batch):
            calls[0] += 1
            if where == "collate" and calls[0] == 2:
                raise ValueError("no batch")
            if where == "ragged" and calls[0] == 2:
                return framework.stack([framework.ones(2), framework.ones(3)])
            return [int(i) for i, _ in batch]

        framework.manual_seed(5)
        loader = framework.utils.data.DataLoader(data, batch_size=3, shuffle=True, collate_fn=collate)
        seen = []
        for _ in range(3):
            try:
                seen += list(loader)
            except (ValueError, RuntimeError) as error:
                seen.append(type(error).__name__)
                data.at = -1
        return seen, framework.get_rng_state().numpy().tobytes()

    ours, theirs = orders(torch), orders(reference)
    assert ours == theirs
    assert "ValueError" in ours[0] or "RuntimeError" in ours[0]
