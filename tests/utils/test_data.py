"""Datasets, samplers and the DataLoader: batches and random streams against PyTorch."""

from collections import namedtuple

import numpy as np
import pytest
import tapegrad as torch

reference = pytest.importorskip("torch")


def plain(value):
    """Batches of either library as comparable Python values, with element types."""
    if hasattr(value, "requires_grad"):
        return str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value).__name__, [plain(v) for v in value]
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(v) for v in value]
    return value


def dataset_of(framework, n=10):
    data = framework.utils.data
    x = framework.arange(2 * n).reshape(n, 2).float()
    y = framework.arange(n)

    class Squares(data.Dataset):
        def __len__(self):
            return n

        def __getitem__(self, i):
            return {"i": i, "square": float(i * i), "row": x[i]}

    class Counting(data.IterableDataset):
        def __iter__(self):
            return iter(range(n))

        def __len__(self):
            return n

    tensors = data.TensorDataset(x, y)
    return {
        "tensors": tensors,
        "objects": Squares(),
        "iterable": Counting(),
        "subset": data.Subset(tensors, [5, 1, 7, 2]),
        "concat": data.ConcatDataset([tensors, data.Subset(tensors, [0, 1])]),
        "chain": Counting() + Counting(),
        "list": [np.float32(i) for i in range(n)],
    }


def epochs(framework, which, options, generator=False):
    """Two passes and then a draw that shows where the default stream and the own generator are."""
    framework.manual_seed(11)
    if generator:
        options = {**options, "generator": framework.Generator()}
        options["generator"].manual_seed(5)
    loader = framework.utils.data.DataLoader(dataset_of(framework)[which], **options)
    batches = [plain(list(loader)) for _ in range(2)]
    after = framework.rand(2).tolist()
    if generator:
        after += framework.rand(2, generator=options["generator"]).tolist()
    return len(loader), batches, after


OPTIONS = {
    "plain": {"batch_size": 4},
    "shuffled": {"batch_size": 3, "shuffle": True},
    "dropping": {"batch_size": 4, "shuffle": True, "drop_last": True},
    "whole": {"batch_size": 5, "shuffle": True},
    "single": {"batch_size": None},
    "single shuffled": {"batch_size": None, "shuffle": True},
    "collate": {"batch_size": 4, "shuffle": True, "collate_fn": len},
}


@pytest.mark.parametrize("generator", [False, True])
@pytest.mark.parametrize("options", list(OPTIONS))
@pytest.mark.parametrize("which", ["tensors", "objects", "subset", "concat", "list"])
def test_batches_and_random_stream(which, options, generator):
    if options == "single" and which == "list":
        pytest.skip("a bare NumPy number is converted by PyTorch only inside batches")
    ours = epochs(torch, which, OPTIONS[options], generator)
    assert ours == epochs(reference, which, OPTIONS[options], generator)


@pytest.mark.parametrize("which", ["iterable", "chain"])
@pytest.mark.parametrize("options", ["plain", "single"])
def test_iterable_datasets(which, options):
    assert epochs(torch, which, OPTIONS[options]) == epochs(reference, which, OPTIONS[options])
    drop = {"batch_size": 4, "drop_last": True}
    assert epochs(torch, which, drop) == epochs(reference, which, drop)


def test_leaving_a_pass_early_leaves_the_stream_where_torch_leaves_it():
    def early(framework):
        framework.manual_seed(3)
        loader = framework.utils.data.DataLoader(dataset_of(framework)["tensors"], batch_size=4, shuffle=True)
        first = [plain(next(iter(loader))) for _ in range(3)]
        return first, framework.rand(1).tolist()

    assert early(torch) == early(reference)


def test_batches_do_not_share_memory_with_the_data():
    x = torch.zeros(4, 2)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=4)
    (batch,) = next(iter(loader))
    batch += 1
    assert x.sum().item() == 0


def samplers(framework, name):
    data = framework.utils.data
    framework.manual_seed(2)
    g = framework.Generator()
    g.manual_seed(9)
    made = {
        "random": lambda: data.RandomSampler(range(7)),
        "own generator": lambda: data.RandomSampler(range(7), generator=g),
        "replacement": lambda: data.RandomSampler(range(7), replacement=True, num_samples=70),
        "more": lambda: data.RandomSampler(range(7), num_samples=17, generator=g),
        "subset": lambda: data.SubsetRandomSampler([3, 1, 4, 1, 5], generator=g),
        "sequential": lambda: data.SequentialSampler(range(5)),
        "batch": lambda: data.BatchSampler(data.RandomSampler(range(7)), 3, True),
        "batch keep": lambda: data.BatchSampler(range(7), 3, False),
    }
    if name is None:
        return list(made)
    sampler = made[name]()
    return len(sampler), list(sampler), list(sampler), g.get_state().tolist(), framework.rand(1).item()


@pytest.mark.parametrize("name", samplers(reference, None))
def test_samplers(name):
    ours, theirs = samplers(torch, name), samplers(reference, name)
    assert ours[:3] == theirs[:3]
    assert ours[3:] == theirs[3:]


@pytest.mark.parametrize("lengths", [[7, 3], [0.5, 0.3, 0.2], [0.75, 0.25], [1 / 3, 1 / 3, 1 / 3]])
def test_random_split(lengths):
    def split(framework, generator):
        framework.manual_seed(4)
        g = framework.Generator()
        g.manual_seed(6)
        parts = framework.utils.data.random_split(
            range(10), lengths, **({"generator": g} if generator else {})
        )
        return [list(p.indices) for p in parts], framework.rand(1).item()

    for generator in (False, True):
        assert split(torch, generator) == split(reference, generator)


def test_split_errors():
    with pytest.raises(ValueError, match="does not equal the length"):
        torch.utils.data.random_split(range(10), [3, 3])
    with pytest.raises(ValueError, match="Fraction at index"):
        torch.utils.data.random_split(range(10), [1.5, -0.5])
    with pytest.warns(UserWarning, match="might result in an empty dataset"):
        torch.utils.data.random_split(range(3), [0.99, 0.01])


Point = namedtuple("Point", "x y")
SAMPLES = {
    "ints": lambda f: [1, 2],
    "bools": lambda f: [True, False],
    "floats": lambda f: [0.5, 1.5],
    "strings": lambda f: ["a", "b"],
    "tensors": lambda f: [f.ones(2), f.zeros(2)],
    "arrays": lambda f: [np.ones(2, np.float32), np.zeros(2, np.float32)],
    "numpy numbers": lambda f: [np.int64(3), np.int64(4)],
    "numpy float": lambda f: [np.float32(3), np.float32(4)],
    "tuples": lambda f: [(1, 0.5, "a"), (2, 1.5, "b")],
    "lists": lambda f: [[1, 2], [3, 4]],
    "dicts": lambda f: [{"a": 1, "b": [f.ones(1)]}, {"a": 2, "b": [f.zeros(1)]}],
    "named": lambda f: [Point(1, 2.0), Point(3, 4.0)],
}


@pytest.mark.parametrize("case", list(SAMPLES))
def test_collate(case):
    ours = torch.utils.data.default_collate(SAMPLES[case](torch))
    theirs = reference.utils.data.default_collate(SAMPLES[case](reference))
    assert plain(ours) == plain(theirs)


def test_collate_errors():
    collate = torch.utils.data.default_collate
    with pytest.raises(TypeError, match="found <class 'object'>"):
        collate([object()])
    with pytest.raises(TypeError, match="batch must contain"):
        collate([np.array(["a"])])
    with pytest.raises(RuntimeError, match="equal size"):
        collate([[1, 2], [1]])


def misuse(framework):
    data = framework.utils.data
    sets = dataset_of(framework)
    t = sets["tensors"]
    loader = data.DataLoader(t)
    return {
        "negative workers": lambda: data.DataLoader(t, num_workers=-1),
        "timeout": lambda: data.DataLoader(t, timeout=-1),
        "prefetch": lambda: data.DataLoader(t, prefetch_factor=2),
        "persistent": lambda: data.DataLoader(t, persistent_workers=True),
        "context": lambda: data.DataLoader(t, multiprocessing_context="spawn"),
        "sampler and shuffle": lambda: data.DataLoader(t, sampler=range(3), shuffle=True),
        "batch sampler": lambda: data.DataLoader(t, batch_sampler=[[0]], batch_size=2),
        "no batch, drop": lambda: data.DataLoader(t, batch_size=None, drop_last=True),
        "batch size": lambda: data.DataLoader(t, batch_size=0),
        "iterable shuffle": lambda: data.DataLoader(sets["iterable"], shuffle=True),
        "iterable sampler": lambda: data.DataLoader(sets["iterable"], sampler=range(3)),
        "empty shuffle": lambda: data.DataLoader([], shuffle=True),
        "changed": lambda: setattr(loader, "batch_size", 3),
        "replacement": lambda: data.RandomSampler(t, replacement=3),
        "samples": lambda: data.RandomSampler(t, num_samples=0),
        "sizes": lambda: data.TensorDataset(framework.ones(2), framework.ones(3)),
        "concat": lambda: data.ConcatDataset([]),
        "concat iterable": lambda: data.ConcatDataset([sets["iterable"]]),
        "concat index": lambda: sets["concat"][-100],
    }


@pytest.mark.parametrize("case", list(misuse(reference)))
def test_errors_read_as_in_torch(case):
    messages = []
    for framework in (torch, reference):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            misuse(framework)[case]()
        messages.append((caught.type.__name__, str(caught.value)))
    assert messages[0] == messages[1]


def test_workers_are_refused_with_the_alternative():
    with pytest.raises(NotImplementedError, match="num_workers=0"):
        torch.utils.data.DataLoader([1], num_workers=2)


def test_pinning_warns_as_torch_without_a_device_does():
    with pytest.warns(UserWarning, match="no accelerator is found"):
        assert len(list(torch.utils.data.DataLoader([1, 2], pin_memory=True))) == 2


def test_batch_sampler_and_own_sampler():
    data = dataset_of(torch)["tensors"]
    loader = torch.utils.data.DataLoader(data, batch_sampler=[[0, 2], [5]])
    assert [y.tolist() for _, y in loader] == [[0, 2], [5]]
    loader = torch.utils.data.DataLoader(data, sampler=[3, 1, 2], batch_size=2)
    assert [y.tolist() for _, y in loader] == [[3, 1], [2]]
