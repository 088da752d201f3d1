"""What programs set at their beginning: seeds and switches of devices, precision, determinism, autocast."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

# Run here and in PyTorch on a machine without a GPU; the value or the type of the error is the same.
SAME = """
torch.cuda.manual_seed(1)
torch.cuda.manual_seed_all(1)
torch.cuda.manual_seed("a")
torch.cuda.seed()
torch.cuda.seed_all()
torch.cuda.is_available()
torch.cuda.device_count()
torch.cuda.is_initialized()
torch.cuda.is_bf16_supported()
torch.cuda.empty_cache()
torch.cuda.memory_allocated()
torch.cuda.max_memory_allocated()
torch.cuda.memory_reserved()
torch.cuda.max_memory_reserved()
torch.cuda.memory_stats()
torch.cuda.current_device()
torch.cuda.get_device_name(0)
torch.cuda.get_device_properties(0)
torch.cuda.get_device_capability()
torch.cuda.synchronize()
torch.backends.cudnn.benchmark
torch.backends.cudnn.deterministic
torch.backends.cudnn.enabled
torch.backends.cudnn.allow_tf32
torch.backends.cudnn.benchmark_limit
torch.backends.cudnn.version()
torch.backends.cudnn.is_available()
torch.backends.mps.is_available()
torch.backends.mps.is_built()
torch.backends.cuda.is_built()
torch.backends.cuda.matmul.allow_tf32
torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
torch.backends.mkldnn.enabled
torch.mps.is_available()
torch.xpu.is_available()
torch.accelerator.is_available()
torch.accelerator.device_count()
torch.accelerator.current_accelerator()
torch.use_deterministic_algorithms("a")
torch.set_deterministic_debug_mode("x")
torch.set_deterministic_debug_mode(3)
torch.get_float32_matmul_precision()
torch.get_deterministic_debug_mode()
torch.set_warn_always(False)
torch.is_warn_always_enabled()
torch.newaxis
torch.version.cuda
torch.version.hip
torch.finfo(torch.float32)
torch.finfo(torch.float64)
torch.finfo()
torch.finfo(torch.int32)
torch.finfo(3)
torch.iinfo(torch.int64)
torch.iinfo(torch.int32)
torch.iinfo(torch.uint8)
torch.iinfo(torch.bool)
torch.iinfo(torch.float32)
torch.iinfo()
torch.finfo(torch.float32) == torch.finfo(torch.float32)
torch.finfo(torch.float32) == torch.finfo(torch.float64)
[getattr(torch.finfo(torch.float32), n) for n in "bits eps max min tiny smallest_normal resolution dtype".split()]
[getattr(torch.finfo(torch.float64), n) for n in "bits eps max min tiny smallest_normal resolution dtype".split()]
[getattr(torch.iinfo(torch.uint8), n) for n in "bits max min dtype".split()]
torch.autocast()
torch.autocast(3)
torch.autocast("xyz")
torch.is_autocast_enabled()
torch.amp.GradScaler("cpu").get_scale()
torch.amp.GradScaler("cpu").state_dict()
torch.amp.GradScaler("cpu", growth_factor=1.0)
torch.amp.GradScaler(enabled=False).state_dict()
torch.amp.GradScaler(enabled=False).get_scale()
torch.amp.GradScaler(enabled=False).scale(torch.ones(2))
torch.amp.GradScaler("cpu").scale([torch.ones(2), (torch.ones(1),)])
torch.amp.GradScaler("cpu").load_state_dict({})
torch.amp.GradScaler("cpu").update()
torch.cuda.amp.GradScaler().is_enabled()
"""


def outcome(torch, call):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return repr(eval(call, {"torch": torch}))
    except Exception as error:
        return next(k for k in (AssertionError, TypeError, ValueError, RuntimeError, Exception) if isinstance(error, k))


@pytest.mark.parametrize("call", SAME.split("\n")[1:-1])
def test_calls(torch, reference, call):
    assert outcome(torch, call) == outcome(reference, call)


def test_switches_are_given_back(torch):
    torch.use_deterministic_algorithms(True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.get_deterministic_debug_mode() == 1
    torch.set_deterministic_debug_mode("default")
    assert not torch.are_deterministic_algorithms_enabled()
    torch.set_float32_matmul_precision("high")
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        torch.set_float32_matmul_precision("xx")
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = True
    with torch.backends.cudnn.flags(enabled=False, deterministic=True):
        assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (False, True)
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (True, False)
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = True
    assert torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False


def test_modules_are_imported_by_name():
    import tapegrad.backends.cudnn as cudnn
    from tapegrad.amp import GradScaler, autocast
    from tapegrad.cuda import amp

    assert issubclass(amp.autocast, autocast)
    assert issubclass(amp.GradScaler, GradScaler)
    assert cudnn.enabled


def test_autocast_that_is_off(torch):
    @torch.autocast("cpu", enabled=False)
    def double(x):
        return x * 2

    with torch.autocast(device_type="cpu", enabled=False):
        assert double(torch.ones(2)).dtype is torch.float32
    with pytest.warns(UserWarning, match="CUDA is not available"), torch.autocast("cuda"):
        assert (torch.ones(2) @ torch.ones(2)).dtype is torch.float32
    with pytest.warns(UserWarning, match="target dtype is not supported. Disabling autocast"):
        torch.autocast("cpu", dtype=torch.float32)
    with pytest.warns(FutureWarning, match=r"Please use `torch.amp.autocast\('cuda', args...\)` instead"):
        torch.cuda.amp.autocast(enabled=False)


def test_autocast_that_would_compute_in_half_precision_is_refused():
    import tapegrad as torch

    for use in (lambda: torch.autocast("cpu"), lambda: torch.amp.autocast("cpu", enabled=True)):
        with pytest.raises(RuntimeError, match="half precision, which tapegrad does not have"):
            use()


def train(torch, device, **options):
    """Losses, parameters and scales of a loop with a scaler; the gradient of the third step is infinite."""
    torch.manual_seed(0)
    x, y = torch.rand(8, 3), torch.rand(8, 1)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaler = torch.amp.GradScaler(device, growth_interval=2, **options)
    seen = []
    for step in range(6):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean() * (float("inf") if step == 2 else 1.0)
        scaler.scale(loss).backward()
        if step % 2:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        scaler.step(optimizer)
        scaler.update()
        seen.append((scaler.get_scale(), [p.detach().numpy().copy() for p in model.parameters()]))
    return seen, scaler.state_dict()


def test_a_loop_with_a_scaler(torch, reference):
    for options in ({}, {"init_scale": 8.0, "backoff_factor": 0.25}):
        (mine, state), (theirs, other) = train(torch, "cpu", **options), train(reference, "cpu", **options)
        assert state == other
        for (scale, arrays), (expected, others) in zip(mine, theirs, strict=True):
            assert scale == expected
            for a, b in zip(arrays, others, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_a_scaler_for_gpus_is_off(torch):
    seen, state = train(torch, "cuda")
    assert [scale for scale, _ in seen] == [1.0] * 6
    assert state == {}


def test_calls_of_a_scaler_out_of_order(torch):
    p = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([p], lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(1))
    with pytest.raises(AssertionError, match="No inf checks were recorded for this optimizer"):
        scaler.step(optimizer)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale((p * p).sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called on this optimizer since the last update"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    for call in (scaler.step, scaler.unscale_):
        with pytest.raises(RuntimeError, match=r"already been called|called after step"):
            call(optimizer)


def test_fork_rng_puts_the_stream_back(torch):
    torch.random.manual_seed(4)
    with torch.random.fork_rng():
        inside = torch.rand(2)
        torch.manual_seed(1)
    assert torch.rand(2).tolist() == inside.tolist()
    with torch.random.fork_rng(enabled=False):
        torch.manual_seed(4)
    assert torch.rand(2).tolist() == inside.tolist()
