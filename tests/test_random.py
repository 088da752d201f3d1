"""The random stream: ours against PyTorch's, bit by bit, and against words drawn by NumPy."""

import copy
import ctypes
import doctest
import math
import pickle
import threading

import numpy as np
import pytest
from tapegrad import _generator, dtypes
from tapegrad._generator import Generator
from tapegrad._layout import FRAME_EXT, FRAME_IN, FRAME_N, FRAME_OUT, FRAME_PARAMS, FRAME_WORDS
from tapegrad.ops import random as R
from tapegrad.ops import random_integers

try:
    from tapegrad.native import compile_kernel
except ImportError:  # the compiler is not built here
    from _plain_numba import compile_kernel

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
# Only this build of PyTorch takes the float32 normals that ours follow; the others call the C library.
avx2_normals = pytest.mark.skipif(
    torch is not None and torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="PyTorch computes its float32 normals in another way on this processor",
)
SIZES = (0, 1, 2, 15, 16, 17, 31, 1000, 100003)
SEEDS = (0, 1234, 2**40 + 7, -5)
f32, f64, i64, i32, u8, boolean = dtypes.DTYPES
KERNEL = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_addresses = {}


def fill(draw, generator, p=None):
    """Make a draw into a new array, as the Tensor floor does it."""
    key = draw.kernel, draw.kernel_dtype
    if key not in _addresses:
        _addresses[key] = compile_kernel(
            R.RANDOM_KERNELS[draw.kernel], bindings={"T": key[1]}, name=f"{key[0]}.{key[1].name}"
        )
    out = np.full(draw.shape, 77).astype(draw.dtype.numpy)
    words = np.array(draw.words, np.int64)
    frame = np.zeros(FRAME_WORDS, np.int64)
    frame[FRAME_OUT], frame[FRAME_N], frame[FRAME_EXT] = out.ctypes.data, draw.numel, generator.address
    frame[FRAME_PARAMS] = words.ctypes.data
    if p is not None:
        frame[FRAME_IN] = p.ctypes.data
    status = KERNEL(_addresses[key])(frame.ctypes.data, 0, draw.numel)
    if status:
        raise R.RANDOM_ERRORS[draw.kernel][status](0, 0)
    return out


def state_of(generator):
    """The saved state as an array: a tensor where the Tensor floor is loaded, an array where it is not."""
    return np.asarray(generator.get_state())


def torch_type(dtype):
    return getattr(torch, dtype.name)


class Pair:
    """Our generator and PyTorch's, which must stay equal."""

    def __init__(self, seed):
        self.ours, self.theirs = Generator().manual_seed(seed), torch.Generator().manual_seed(seed)

    def check(self, draw, theirs, p=None):
        ours, theirs = fill(draw, self.ours, p), theirs.numpy()
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert ours.tobytes() == theirs.tobytes(), draw
        assert state_of(self.ours).tobytes() == self.theirs.get_state().numpy().tobytes(), draw

    def empty(self, n, dtype):
        return torch.empty(n, dtype=torch_type(dtype))


@pytest.fixture(params=SEEDS)
def pair(request):
    if torch is None:
        pytest.skip("PyTorch is not installed")
    return Pair(request.param)


@pytest.mark.parametrize("dtype", [f32, f64])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.3, 0.7), (-1e-3, 5e5), (1.0, 1.0 + 2**-22)])
def test_uniform(pair, dtype, low, high):
    for n in SIZES:
        draw = R.plan_uniform_((n,), dtype, low, high)
        pair.check(draw, pair.empty(n, dtype).uniform_(low, high, generator=pair.theirs))


@avx2_normals
@pytest.mark.parametrize("dtype", [f32, f64])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.5, 0.3), (-1e4, 0.0)])
def test_normal(pair, dtype, mean, std):
    for n in SIZES:
        draw = R.plan_normal_((n,), dtype, mean, std)
        pair.check(draw, pair.empty(n, dtype).normal_(mean, std, generator=pair.theirs))


@pytest.mark.parametrize("dtype", [f32, f64])
def test_strided_normal_takes_the_scalar_way(pair, dtype):
    strided = pair.empty((50, 2), dtype)[:, 0].normal_(generator=pair.theirs)
    pair.check(R.plan_normal_((50,), dtype, contiguous=False), strided)


@pytest.mark.parametrize("dtype", [f32, f64])
def test_exponential(pair, dtype):
    for n in SIZES:
        pair.check(
            R.plan_exponential_((n,), dtype, 1.7),
            pair.empty(n, dtype).exponential_(1.7, generator=pair.theirs),
        )


BOUNDS = {
    i64: [(), (5,), (49,), (-3, 4), (0, 1), (0, 2**28 - 1), (0, 2**28), (-(2**62), 2**62),
          (-(2**63), 2**63 - 1), (-(2**63) + 5, 2**62), (0, 2**62 + 12345), (7, None),
          (-(2**63), None), (-(2**63) + 1, None)],
    i32: [(), (100,), (-(2**31), 2**31 - 1), (3, None), (-(2**31), None)],
    u8: [(), (10,), (3, 255), (250, None)],
    boolean: [(), (1,), (0, 2), (1, None)],
    f32: [(), (7,), (-5, 2**24), (1000, None), (-(2**63), None), (2**24 - 1, 2**24 + 1)],
    f64: [(), (7,), (-5, 2**53), (1000, None), (-(2**63), None)],
}  # fmt: skip


@pytest.mark.parametrize("dtype", BOUNDS, ids=lambda t: t.name)
def test_integers(pair, dtype):
    for bounds in BOUNDS[dtype]:
        for n in SIZES[:-1]:
            theirs = pair.empty(n, dtype).random_(*bounds, generator=pair.theirs)
            pair.check(R.plan_random_((n,), dtype, *bounds), theirs)


@pytest.mark.parametrize("dtype", [i64, i32, u8, f32, f64], ids=lambda t: t.name)
def test_randperm(pair, dtype):
    for n in (*SIZES, 256):
        if dtype is not u8 or n <= 256:
            theirs = torch.randperm(n, dtype=torch_type(dtype), generator=pair.theirs)
            pair.check(R.plan_randperm(n, dtype), theirs)


@pytest.mark.parametrize("p_dtype", [f32, f64], ids=lambda t: t.name)
@pytest.mark.parametrize("dtype", dtypes.DTYPES, ids=lambda t: t.name)
def test_bernoulli_of_a_tensor(pair, dtype, p_dtype):
    for n in SIZES[:-1]:
        p = np.random.RandomState(n).rand(n).astype(p_dtype.numpy)
        p[: n // 4] = 0
        p[n - n // 4 :] = 1
        theirs = pair.empty(n, dtype).bernoulli_(torch.from_numpy(p), generator=pair.theirs)
        pair.check(R.plan_bernoulli((n,), dtype, p_dtype=p_dtype), theirs, p)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bernoulli_draws_nothing_where_a_probability_is_bad(dtype):
    """PyTorch has drawn for the elements before it."""
    ours = Generator().manual_seed(0)
    before = state_of(ours).tobytes()
    for bad in (1.5, -0.1, math.nan):
        p = np.array([0.5, 0.5, bad, 0.5], dtype)
        with pytest.raises(RuntimeError, match="Expected p_in >= 0 && p_in <= 1 to be true, but got false"):
            fill(R.plan_bernoulli((4,), f32, p_dtype=f64 if dtype is np.float64 else None), ours, p)
        assert state_of(ours).tobytes() == before


def words64(seed, n):
    """n unsigned 64-bit draws from the raw words of NumPy's Mersenne Twister, high half first."""
    raw = np.random.RandomState(seed).randint(0, 2**32, 2 * n, np.uint32).astype(np.uint64)
    return raw[0::2] << np.uint64(32) | raw[1::2]


@pytest.mark.parametrize("dtype", dtypes.DTYPES, ids=lambda t: t.name)
@pytest.mark.parametrize("p", [0.0, 2**-60, 0.1, 0.5, 1 - 2**-53, 1.0])
def test_bernoulli_of_a_number_draws_a_float64_per_element(dtype, p):
    """PyTorch's default kernel, in NumPy. Its wheels take another way on Intel processors."""
    generator = Generator().manual_seed(11)
    uniform = (words64(11, 5001) & np.uint64(2**53 - 1)).astype(np.float64) * 2**-53
    got = [fill(R.plan_bernoulli_((n,), dtype, p), generator) for n in (1, 4000, 1000)]
    assert np.array_equal(np.concatenate(got), (uniform < p).astype(dtype.numpy))


@needs_torch
def test_bernoulli_of_a_number_like_torch(pair):
    try:
        with open("/proc/cpuinfo") as info:
            if "GenuineIntel" in info.read():
                pytest.skip("PyTorch draws from an MKL stream on this processor")
    except OSError:
        pytest.skip("the processor's vendor is not known")
    for n in SIZES:
        theirs = pair.empty(n, f32).bernoulli_(0.3, generator=pair.theirs)
        pair.check(R.plan_bernoulli_((n,), f32, 0.3), theirs)


def test_uniform_from_numpy_words():
    raw = np.random.RandomState(3).randint(0, 2**32, 2000, np.uint32)
    got = fill(R.plan_rand(2000), Generator().manual_seed(3))
    assert np.array_equal(got, (raw & 0xFFFFFF).astype(np.float32) * np.float32(2**-24))
    got = fill(R.plan_rand(1000, dtype=f64), Generator().manual_seed(3))
    assert np.array_equal(got, (words64(3, 1000) & np.uint64(2**53 - 1)).astype(np.float64) * 2**-53)


def test_permutation_is_one():
    assert np.array_equal(np.sort(fill(R.plan_randperm(5000), Generator())), np.arange(5000))


@needs_torch
@avx2_normals
@pytest.mark.parametrize("seed", range(20))
def test_calls_in_any_order(seed):
    """Odd numbers of words and of scalar normals between the others, around refills."""
    pair, choose = Pair(seed), np.random.RandomState(seed)
    for _ in range(60):
        n = int(choose.choice([1, 2, 3, 7, 15, 16, 40, 311, 625]))
        dtype = (f32, f64)[choose.randint(2)]
        kind = choose.randint(5)
        t = pair.empty(n, dtype)
        if kind == 0:
            pair.check(R.plan_rand(n, dtype=dtype), t.uniform_(generator=pair.theirs))
        elif kind == 1:
            pair.check(R.plan_randn(n, dtype=dtype), t.normal_(generator=pair.theirs))
        elif kind == 2:
            theirs = torch.randint(-9, 10, (n,), generator=pair.theirs)
            pair.check(R.plan_randint(-9, 10, (n,)), theirs)
        elif kind == 3:
            pair.check(R.plan_randperm(n), torch.randperm(n, generator=pair.theirs))
        else:
            pair.check(R.plan_random_((n,), i64), pair.empty(n, i64).random_(generator=pair.theirs))


@needs_torch
@avx2_normals
def test_state_passes_between_the_two_libraries():
    pair = Pair(9)
    for n in (1, 3, 700):  # a cached normal is part of it
        pair.check(R.plan_randn(n), torch.randn(n, generator=pair.theirs))
        ours, theirs = Generator(), torch.Generator()
        ours.set_state(pair.theirs.get_state())
        theirs.set_state(torch.from_numpy(state_of(pair.ours)))
        swapped = Pair(0)
        swapped.ours, swapped.theirs = ours, theirs
        swapped.check(R.plan_randn(5), torch.randn(5, generator=theirs))


@needs_torch
def test_unused_bits_of_a_state_are_dropped_as_torch_drops_them():
    rng = np.random.RandomState(1)
    for valid in (0, 1, 7):
        for float_valid in (0, 1):
            state = rng.randint(0, 256, 5056).astype(np.uint8)
            halves = state.view(np.int32)
            halves[2], halves[3], halves[4] = 300, 12, 325
            halves[2 * 630], state[8 * 631 + 4] = valid, float_valid
            ours, theirs = Generator().set_state(state), torch.Generator()
            theirs.set_state(torch.from_numpy(state))
            assert state_of(ours).tobytes() == theirs.get_state().numpy().tobytes()
            assert np.array_equal(fill(R.plan_rand(400), ours), torch.rand(400, generator=theirs).numpy())


def test_manual_seed_forgets_the_cached_normal():
    generator = Generator()
    first = fill(R.plan_randn(3), generator.manual_seed(1))
    assert generator.get_state()[8 * 630] == 1
    assert np.array_equal(first, fill(R.plan_randn(3), generator.manual_seed(1)))
    assert not np.array_equal(first, fill(R.plan_randn(3), generator))


def test_seeds():
    generator = Generator()
    assert generator.initial_seed() == 67280421310721
    assert generator.manual_seed(-1).initial_seed() == 2**64 - 1
    assert generator.manual_seed(np.int64(5)).initial_seed() == 5
    assert generator.seed() == generator.initial_seed()
    assert generator.seed() != generator.seed()
    for bad in (1.5, "a", True, None):
        with pytest.raises(RuntimeError, match=f"manual_seed expected a long, but got {type(bad).__name__}"):
            generator.manual_seed(bad)
    for bad in (2**64, -(2**63) - 1):
        with pytest.raises(ValueError, match="Overflow when unpacking long long"):
            generator.manual_seed(bad)
    with pytest.raises(RuntimeError, match="cpu only"):
        Generator("cuda")
    with pytest.raises(RuntimeError, match="does not use offset"):
        generator.get_offset()


def test_bad_states_change_nothing():
    generator = Generator().manual_seed(4)
    before = state_of(generator)
    beyond = before.copy()
    beyond.view(np.int32)[2], beyond.view(np.int64)[2] = 600, 600  # would read past the words
    bad = [
        (np.zeros(5056, np.uint8), RuntimeError, "Invalid mt19937 state"),
        (beyond, RuntimeError, "Invalid mt19937 state"),
        (before[:-1], RuntimeError, "Expected a CPUGeneratorImplState of size 5056 but found .* 5055"),
        (before.astype(np.int64), TypeError, r"RNG state must be a torch\.ByteTensor"),
        ([1], TypeError, r"expected a torch\.ByteTensor, but got list"),
    ]
    for state, error, message in bad:
        with pytest.raises(error, match=message):
            generator.set_state(state)
        assert np.array_equal(before, state_of(generator))
    rng = np.random.RandomState(0)
    for _ in range(200):  # any state that is let in must be safe to draw from
        state = rng.randint(0, 256, 5056).astype(np.uint8)
        state.view(np.int32)[2:5] = rng.randint(-2, 640), 1, rng.randint(-2, 640)
        state.view(np.int32)[5] = 0
        try:
            generator.set_state(state)
        except RuntimeError:
            continue
        values = fill(R.plan_rand(1000), generator)
        assert values.min() >= 0
        assert values.max() < 1


def test_copies_continue_the_same_stream():
    generator = Generator().manual_seed(8)
    fill(R.plan_randn(5), generator)
    copies = [generator.clone_state(), copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))]
    expected = fill(R.plan_randn(7), generator)
    for other in copies:
        assert np.array_equal(expected, fill(R.plan_randn(7), other))


def test_default_generator_is_seeded_at_first_use():
    first, second = _generator._unseeded(), _generator._unseeded()
    assert not first._seeded
    assert first.initial_seed() != second.initial_seed()
    assert fill(R.plan_rand(4), first).tobytes() != fill(R.plan_rand(4), second).tobytes()
    state = _generator.get_rng_state()
    assert _generator.manual_seed(5.7) is _generator.default_generator
    assert _generator.initial_seed() == 5
    _generator.set_rng_state(state)
    assert np.array_equal(state, _generator.get_rng_state())


def test_threads_that_hold_the_lock_share_a_stream():
    generator, parts = Generator().manual_seed(2), []

    def work():
        for _ in range(50):
            with generator.lock:
                parts.append(fill(R.plan_rand(97), generator))

    fill(R.plan_rand(1), Generator())  # compiled before the threads start
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = fill(R.plan_rand(200 * 97), Generator().manual_seed(2))
    assert np.array_equal(np.concatenate(parts), expected)


SAME_ERRORS = [
    (lambda: R.plan_randint(5, 5, (3,)), "randint(5, 5, (3,))"),
    (lambda: R.plan_randint(0, 300, (3,), dtype=u8), "randint(0, 300, (3,), dtype=uint8)"),
    (lambda: R.plan_randint(-1, 300, (3,), dtype=u8), "randint(-1, 300, (3,), dtype=uint8)"),
    (lambda: R.plan_randint(2**33, (3,), dtype=i32), "randint(2**33, (3,), dtype=int32)"),
    (lambda: R.plan_randint(5, (3,), dtype=boolean), "randint(5, (3,), dtype=bool)"),
    (lambda: R.plan_randint(2**63, (3,)), "randint(2**63, (3,))"),
    (lambda: R.plan_random_((3,), i64, -5), "empty(3, dtype=int64).random_(-5)"),
    (lambda: R.plan_random_((3,), f32, 2**30 + 1, 2**30 + 2), "empty(3).random_(2**30 + 1, 2**30 + 2)"),
    (lambda: R.plan_random_((3,), f32, 2**24 + 1, None), "empty(3).random_(2**24 + 1, None)"),
    (lambda: R.plan_random_((3,), u8, 300, None), "empty(3, dtype=uint8).random_(300, None)"),
    (lambda: R.plan_random_((3,), i32, -(2**63), None), "empty(3, dtype=int32).random_(-2**63, None)"),
    (lambda: R.plan_random_((3,), boolean, -(2**63), None), "empty(3, dtype=bool).random_(-2**63, None)"),
    (lambda: R.plan_randperm(-1), "randperm(-1)"),
    (lambda: R.plan_randperm(2.5), "randperm(2.5)"),
    (lambda: R.plan_randint(True, (2,)), "randint(True, (2,))"),
    (lambda: R.plan_randperm(257, u8), "randperm(257, dtype=uint8)"),
    (lambda: R.plan_randperm(2, boolean), "randperm(2, dtype=bool)"),
    (lambda: R.plan_randperm(2**24 + 2, f32), "randperm(2**24 + 2, dtype=float32)"),
    (lambda: R.plan_rand(3, dtype=i64), "rand(3, dtype=int64)"),
    (lambda: R.plan_randn(3, dtype=i32), "randn(3, dtype=int32)"),
    (lambda: R.plan_rand(2, -3), "rand(2, -3)"),
    (lambda: R.plan_rand(2.5), "rand(2.5)"),
    (lambda: R.plan_rand(True), "rand(True)"),
    (lambda: R.plan_normal(0.0, -1.23456789, (3,)), "normal(0.0, -1.23456789, (3,))"),
    (lambda: R.plan_normal_((3,), f32, 0.0, math.nan), "empty(3).normal_(0, float('nan'))"),
    (lambda: R.plan_uniform_((3,), f32, 2, 1), "empty(3).uniform_(2, 1)"),
    (lambda: R.plan_uniform_((3,), f32, -1e39, 1), "empty(3).uniform_(-1e39, 1)"),
    (lambda: R.plan_uniform_((3,), f32, 0, math.nan), "empty(3).uniform_(0, float('nan'))"),
    (lambda: R.plan_uniform_((3,), f32, -3e38, 3e38), "empty(3).uniform_(-3e38, 3e38)"),
    (lambda: R.plan_bernoulli_((3,), f32, 1.5), "empty(3).bernoulli_(1.5)"),
    (lambda: R.plan_bernoulli((3,), i64), "bernoulli(ones(3, dtype=int64))"),
    (lambda: R.plan_exponential_((3,), f32, 0), "empty(3).exponential_(0)"),
    (lambda: R.plan_exponential_((3,), i64, 1), "empty(3, dtype=int64).exponential_(1)"),
]


@needs_torch
@pytest.mark.parametrize(("ours", "theirs"), SAME_ERRORS, ids=[text for _, text in SAME_ERRORS])
def test_errors_are_torchs(ours, theirs):
    with pytest.raises(Exception) as expected:  # noqa: PT011
        eval(theirs, {**vars(torch), "float": float})
    with pytest.raises(type(expected.value)) as got:
        ours()
    assert str(got.value) == str(expected.value)


def test_argument_forms():
    for draw in (R.plan_rand(2, 3), R.plan_rand((2, 3)), R.plan_rand([2, 3]), R.plan_normal(0, 1, (2, 3))):
        assert draw.shape == (2, 3)
    assert R.plan_randn(()).shape == ()
    expected = R.plan_randint(0, 7, (2,))
    for other in (R.plan_randint(7, (2,)), R.plan_randint(high=7, size=(2,)), R.plan_randint(0, 7, size=[2])):
        assert other == expected
    for bad in ((0, 5, 3), (5,), (), (1, 2, 3, (4,))):
        with pytest.raises(TypeError, match="invalid combination of arguments"):
            R.plan_randint(*bad)
    with pytest.raises(TypeError, match="invalid combination of arguments"):
        R.plan_rand()
    with pytest.warns(UserWarning, match=r"to - 1 is out of bounds \[-\(2\^24\), 2\^24\]"):
        R.plan_randint(0, 2**40, (3,), dtype=f32)


@pytest.mark.parametrize("module", [R, random_integers], ids=lambda m: m.__name__)
def test_examples(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed
