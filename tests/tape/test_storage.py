"""The storage cache: size classes, alignment, large blocks, its limit, what goes back, absurd sizes."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from tapegrad.tape import _storage

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _settled(torch):
    gc.collect()
    torch.empty_cache()
    yield
    torch.empty_cache()


def grown(torch: Any, nbytes: int) -> tuple[int, Any]:
    before = torch.memory_stats()["live_bytes"]
    t = torch.empty(nbytes, dtype=torch.uint8)
    return torch.memory_stats()["live_bytes"] - before, t


@pytest.mark.parametrize(
    ("asked", "given"),
    [(0, 16), (1, 16), (16, 16), (17, 64), (64, 64), (65, 128), (1000, 1024), (1024, 1024), (1025, 1280), (1280, 1280),
     (1281, 1536), (1793, 2048), (2048, 2048), (2049, 2560), (65536, 65536), (65537, 81920),
     (5 * MIB, 5 * MIB), (5 * MIB + 1, 6 * MIB)],
)  # fmt: skip
def test_size_classes(torch, asked, given):
    assert grown(torch, asked)[0] == given


def test_at_most_a_quarter_is_wasted_above_a_kilobyte(torch):
    for asked in range(1025, 300_000, 1013):
        given, _ = grown(torch, asked)
        assert asked <= given <= asked * 1.25


@pytest.mark.parametrize("nbytes", [1, 16, 17, 64, 1000, 1025, 70_000, 4 * MIB, 9 * MIB])
def test_memory_is_aligned_to_cache_lines(torch, nbytes):
    """Up to 16 bytes, which lie in the header, to 16."""
    kept = [torch.empty(nbytes, dtype=torch.uint8) for _ in range(5)]
    addresses = [t.data_ptr() for t in kept]
    assert all(a % (64 if nbytes > 16 else 16) == 0 for a in addresses)
    assert len(set(addresses)) == 5
    for k, t in enumerate(kept):
        t.fill_(k)
    assert [t[0].item() for t in kept] == [t[-1].item() for t in kept] == [0, 1, 2, 3, 4]


def test_blocks_of_a_slab_do_not_overlap(torch):
    """More blocks of every small class than one slab holds, each filled with its own number."""
    for size in (16, 64, 512, 1024):
        count = 2 * (2 * MIB) // (size + 64) + 10
        kept = [torch.full((size // 8,), k, dtype=torch.int64) for k in range(count)]
        assert all(t[0].item() == k == t[-1].item() for k, t in enumerate(kept))
        before = torch.memory_stats()["live_blocks"]
        del kept[::2]
        assert torch.memory_stats()["live_blocks"] == before - (count + 1) // 2
        kept += [torch.full((size // 8,), -k, dtype=torch.int64) for k in range(count // 2)]
        assert kept[0][0].item() == 1
        assert kept[count // 2 - 1][-1].item() == 2 * (count // 2) - 1


@pytest.mark.parametrize("nbytes", [64, 900, 5000, 100_000, 8 * MIB])
def test_a_released_block_is_handed_out_again(torch, nbytes):
    t = torch.empty(nbytes, dtype=torch.uint8)
    address, before = t.data_ptr(), torch.memory_stats()["system_allocations"]
    del t
    for _ in range(3):
        t = torch.empty(nbytes - 1, dtype=torch.uint8)
        assert t.data_ptr() == address
        del t
    assert torch.memory_stats()["system_allocations"] == before


def test_counts(torch):
    start = torch.memory_stats()
    t = torch.empty(100_000, dtype=torch.uint8)
    held = torch.memory_stats()
    assert held["live_blocks"] - start["live_blocks"] == 1
    assert held["peak_bytes"] >= held["live_bytes"]
    view = t[10:]
    assert torch.memory_stats()["live_blocks"] == held["live_blocks"]
    del t
    assert torch.memory_stats()["live_blocks"] == held["live_blocks"]
    del view
    after = torch.memory_stats()
    assert after["live_bytes"] == start["live_bytes"]
    assert after["cached_bytes"] - start["cached_bytes"] == 114688


def test_empty_cache_gives_free_blocks_back(torch):
    gc.collect()
    torch.empty_cache()
    base = torch.memory_stats()["cached_bytes"]  # free places in slabs that something else still uses
    kept = [torch.empty(n, dtype=torch.uint8) for n in (64, 5000, 100_000, 8 * MIB) for _ in range(9)]
    survivor = torch.arange(1000)
    del kept
    assert torch.memory_stats()["cached_bytes"] >= 72 * MIB
    torch.empty_cache()
    assert torch.memory_stats()["cached_bytes"] <= base + 4096
    assert survivor.sum().item() == 499_500
    before = torch.memory_stats()["system_allocations"]
    torch.empty(8 * MIB, dtype=torch.uint8)
    assert torch.memory_stats()["system_allocations"] == before + 1


def test_no_more_than_the_limit_is_kept(torch):
    base = torch.memory_stats()["cached_bytes"]
    before = _storage.set_cache_limit(base + 1_000_000)
    try:
        kept = [torch.empty(300_000, dtype=torch.uint8) for _ in range(8)]
        del kept
        assert torch.memory_stats()["cached_bytes"] <= base + 1_000_000
        assert torch.memory_stats()["cached_bytes"] >= base + 600_000
        t = torch.ones(3) + 1.0
        assert t.tolist() == [2.0, 2.0, 2.0]
    finally:
        assert _storage.set_cache_limit(before) == base + 1_000_000
    assert before == 4 << 30
    with pytest.raises(ValueError, match="negative"):
        _storage.set_cache_limit(-1)


def test_many_small_blocks_go_back(torch):
    kept = [torch.empty(1) for _ in range(1_000_000)]
    kept += [torch.empty(16) for _ in range(400_000)]
    high = torch.memory_stats()["live_bytes"]
    assert high >= 1_000_000 * 16 + 400_000 * 64
    del kept
    assert torch.memory_stats()["cached_bytes"] <= 16 * MIB


def test_data_within_the_header_is_not_taken_for_a_link(torch):
    """.data of a few numbers shares a storage whose words hold numbers where others have pointers."""
    x = torch.tensor([1.5, -2.5, 3.5, -4.5])
    y = x.data
    z = y.data
    z[3] = 9.0
    del x, y
    assert z.tolist() == [1.5, -2.5, 3.5, 9.0]
    assert z.detach().numpy().tolist() == [1.5, -2.5, 3.5, 9.0]


def test_empty_slabs_serve_other_sizes(torch):
    """A slab that one size has left is taken by the next; nothing new comes from the system."""
    del [torch.empty(16) for _ in range(60_000)][:]
    before = torch.memory_stats()["system_allocations"]
    kept = [torch.full((200,), 7, dtype=torch.uint8) for _ in range(7_000)]
    assert torch.memory_stats()["system_allocations"] <= before + 1
    assert all(t[199].item() == 7 for t in kept[::500])


@pytest.mark.parametrize("size", [1 << 47, 1 << 55, (1 << 60) - 64])
def test_sizes_that_no_machine_has(torch, size):
    before = torch.memory_stats()
    with pytest.raises(RuntimeError, match=rf"DefaultCPUAllocator: can't allocate memory.* {size} bytes"):
        torch.empty(size, dtype=torch.uint8)
    after = torch.memory_stats()
    assert after["live_bytes"] == before["live_bytes"]
    assert after["live_blocks"] == before["live_blocks"]


@pytest.mark.parametrize("shape", [(1 << 62, 4), (1 << 31, 1 << 31, 2), (1 << 40, 1 << 40)])
def test_sizes_that_overflow(torch, shape):
    with pytest.raises(RuntimeError, match="Storage size calculation overflowed"):
        torch.empty(shape)
    assert torch.empty((0, *shape)).numel() == 0


def test_negative_sizes(torch):
    with pytest.raises(RuntimeError, match="negative dimension -3"):
        torch.empty(2, -3)


def test_an_op_without_room_for_its_result_leaves_all_as_it_was(torch):
    a = torch.ones(1 << 24, 1).expand(1 << 24, 1 << 24)  # one number per row, shown 2**24 times
    before = torch.memory_stats()["live_blocks"], torch.tape_stats()["records"]
    with pytest.raises(RuntimeError, match="allocate memory"):
        a + 1.0
    assert (torch.memory_stats()["live_blocks"], torch.tape_stats()["records"]) == before
    assert a[5, 7].item() == 1.0
