"""save and load: what comes back, what is refused, and that a failed save harms nothing."""

import argparse
import io
import json
import os
import random
from collections import Counter, OrderedDict, deque
from pathlib import Path

import numpy as np
import pytest
import tapegrad as torch
from hypothesis import given, settings
from hypothesis import strategies as st


def same(a, b):
    """Equal in value and in type, tensors by dtype, shape and bits."""
    if isinstance(a, torch.Tensor):
        return (
            isinstance(b, torch.Tensor)
            and (a.dtype, a.shape, a.requires_grad) == (b.dtype, b.shape, b.requires_grad)
            and a.detach().numpy().tobytes() == b.detach().numpy().tobytes()
        )
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return (
            list(a) == list(b)
            and all(type(x) is type(y) for x, y in zip(a, b, strict=True))
            and all(same(a[k], b[k]) for k in a)
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def round_trip(obj):
    buffer = io.BytesIO()
    torch.save(obj, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()))


VALUES = {
    "float32": lambda: torch.tensor([[1.5, -0.0], [float("inf"), float("nan")]]),
    "float64": lambda: torch.tensor([1e300], dtype=torch.float64),
    "int64": lambda: torch.tensor([-(2**62), 3]),
    "int32": lambda: torch.tensor([1, 2], dtype=torch.int32),
    "uint8": lambda: torch.tensor([0, 255], dtype=torch.uint8),
    "bool": lambda: torch.tensor([True, False]),
    "scalar": lambda: torch.tensor(3.0),
    "empty": lambda: torch.zeros(0, 3),
    "transposed": lambda: torch.arange(6).reshape(2, 3).t(),
    "leaf": lambda: torch.ones(2, requires_grad=True),
    "keys": lambda: {0: "a", "0": "b", None: 1, True: 2, (1, "x"): 3, 1.5: 4},
    "numbers": lambda: [1, 1.0, True, None, 10**30, float("inf"), -0.0, "text é", float("nan")],
    "nested": lambda: {"a": [(1, {"b": torch.ones(1)}), []], "c": OrderedDict(z=1, y=2), "d": ()},
    "sets": lambda: [{1, 2}, frozenset({"a"}), Counter({3: 2})],
    "dtype and size": lambda: [torch.float32, torch.int64, torch.Size([2, 3])],
    "clashing names": lambda: {
        "a.b": torch.ones(1),
        "a": {"b": torch.zeros(2)},
        "__metadata__": torch.ones(3),
    },
}


@pytest.mark.parametrize("case", list(VALUES))
def test_round_trip(case):
    value = VALUES[case]()
    assert same(value, round_trip(value))


def test_what_checkpoints_hold_besides_tensors():
    """NumPy's numbers keep their type, as with PyTorch's files."""
    numbers = (np.float64(0.1), np.float32(0.1), np.float16(0.1), np.int64(-3), np.int8(3), np.uint64(2**63))
    numbers = (*numbers, np.bool_(True), np.float64("nan"), np.float32("inf"), 1 - 2j, complex("nan"))
    others = (b"\x00ab", bytearray(b"ab"), np.str_("s"), np.dtype("float32"), Path("a") / "b", torch.device("cpu"))
    others = (*others, range(1, 9, 2), slice(None, 3), deque([1, [2]], 5))
    others = (*others, argparse.Namespace(lr=np.float32(0.1), a=[1]))
    checkpoint = {
        "best": numbers[0],
        "history": [{"loss": numbers[1], "epoch": numbers[3]}],
        "random": [random.getstate(), np.random.get_state(), np.random.default_rng(0).bit_generator.state],
        "others": others,
        "numbers": numbers,
        np.int64(3): {np.str_("k"): 1},
        "arrays": [np.arange(3, dtype=kind) for kind in ("float16", "int8", "uint16", "uint32", "uint64")],
    }
    back = round_trip(checkpoint)
    assert repr(back) == repr(checkpoint)
    for old, new in zip((*numbers, *others), (*back["numbers"], *back["others"]), strict=True):
        assert type(old) is type(new)
    assert {type(k) for k in back} == {str, np.int64}


plain_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(plain_data)
def test_plain_data_round_trips(value):
    assert same(value, round_trip(value))


def test_state_dicts(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    for make in (
        lambda p: torch.optim.Adam(p, amsgrad=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    ):
        optimizer = make(model.parameters())
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 4])
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
        scheduler.step()
        checkpoint = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "epoch": 3,
        }
        torch.save(checkpoint, tmp_path / "checkpoint.pt")
        back = torch.load(tmp_path / "checkpoint.pt", map_location="cpu", weights_only=True)
        assert same(checkpoint, back)
        assert all(type(k) is int for k in back["optimizer"]["state"])
        twin = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        twin.load_state_dict(back["model"])
        make(twin.parameters()).load_state_dict(back["optimizer"])
        assert [p.tolist() for p in twin.parameters()] == [p.tolist() for p in model.parameters()]


def test_parameters_and_repeated_objects():
    p = torch.nn.Parameter(torch.ones(2))
    a, b, other = round_trip([p, p, p.detach()])
    assert isinstance(a, torch.nn.Parameter)
    assert a is b
    assert not isinstance(other, torch.nn.Parameter)


def test_numpy_arrays():
    back = round_trip({"x": np.arange(3.0), "y": np.zeros((0, 2), np.int32)})
    assert isinstance(back["x"], np.ndarray)
    assert back["x"].tolist() == [0.0, 1.0, 2.0]
    assert back["y"].shape == (0, 2)
    with pytest.raises(TypeError, match=r"\['z'\].*complex128"):
        round_trip({"z": np.zeros(1, complex)})


def test_loaded_tensors_are_writable():
    t = round_trip(torch.ones(2))
    t += 1
    assert t.tolist() == [2.0, 2.0]


def test_other_programs_read_and_write_the_files(tmp_path):
    from safetensors.numpy import load_file, save_file

    path = str(tmp_path / "model.safetensors")
    torch.save(torch.nn.Linear(2, 1).state_dict(), path)
    assert sorted(load_file(path)) == ["bias", "weight"]
    save_file({"w": np.ones((2, 2), np.float32)}, path)
    assert same(torch.load(path), {"w": torch.ones(2, 2)})
    save_file({"w": np.ones(2, np.float16)}, path)
    with pytest.raises(RuntimeError, match="unsupported element type float16"):
        torch.load(path)


def cyclic():
    x = []
    x.append(x)
    return x


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (lambda: {"m": [torch.nn.Linear(1, 1)]}, TypeError, r"\['m'\]\['0'\].*Linear.*state_dict"),
        (object, TypeError, "the object: an object of type object"),
        (lambda: {"f": len}, TypeError, r"\['f'\]"),
        (lambda: {object(): 1}, TypeError, "key is of type object"),
        (lambda: {"t": np.datetime64("2020-01-01")}, TypeError, r"\['t'\]: an object of type datetime64"),
        (lambda: {"a": np.array(["x"])}, TypeError, "element type <U1"),
        (cyclic, ValueError, "contains itself"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_leaves_the_old_file(tmp_path, value, error, message):
    path = tmp_path / "x.pt"
    torch.save({"old": 1}, path)
    with pytest.raises(error, match=message):
        torch.save(value(), path)
    assert torch.load(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["x.pt"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.pt"
    torch.save({"old": 1}, path)

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        torch.save({"new": 2}, path)
    monkeypatch.undo()
    assert torch.load(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["x.pt"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")
def test_replacing_keeps_mode_and_follows_links(tmp_path):
    path, link = tmp_path / "x.pt", tmp_path / "link.pt"
    torch.save(1, path)
    os.chmod(path, 0o640)
    link.symlink_to(path)
    torch.save(2, link)
    assert link.is_symlink()
    assert torch.load(path) == 2
    assert path.stat().st_mode & 0o777 == 0o640


def test_damaged_files(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"w": torch.ones(100), "n": [1, 2]}, path)
    data = path.read_bytes()
    for cut in (0, 4, 8, 30, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(RuntimeError, match="damaged"):
            torch.load(path)
    path.write_bytes(b"PK\x03\x04 zip")
    with pytest.raises(RuntimeError, match="PyTorch pickle file"):
        torch.load(path)
    # Well-formed files whose description of the structure makes no sense.
    for old, new in [
        (b'\\"dict\\"', b'\\"dixt\\"'),
        (b'\\"tensor\\", \\"w', b'\\"tensor\\", \\"v'),
        (b"1, 2", b"1; 2"),
    ]:
        assert old in data
        path.write_bytes(data.replace(old, new))
        with pytest.raises(RuntimeError, match="structure is wrong"):
            torch.load(path)
    with pytest.raises(FileNotFoundError):
        torch.load(tmp_path / "none.pt")
    with pytest.raises(IsADirectoryError):
        torch.save(1, tmp_path)


def test_file_of_a_newer_format():
    from safetensors.numpy import save

    data = save({}, {"tapegrad": json.dumps({"format": 99, "tree": None})})
    with pytest.raises(RuntimeError, match="newer"):
        torch.load(io.BytesIO(data))


def test_locations():
    buffer = io.BytesIO()
    torch.save(torch.ones(1), buffer)
    for where in (None, "cpu", torch.device("cpu"), {"cuda:0": "cpu"}):
        buffer.seek(0)
        assert torch.load(buffer, map_location=where).tolist() == [1.0]
    with pytest.raises(RuntimeError, match="CPU only"):
        torch.load(buffer, map_location="cuda")
