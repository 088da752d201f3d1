"""The backward sweep: visits records from the newest to the oldest that carry a gradient.

One compiled loop over the words of the tape. Records to visit wait in a heap ordered by sequence
number, gradients in flight in a table keyed by record, so the cost follows the graph at hand and
any number of sweeps can run over shared records. The first contribution to a gradient is written,
later ones are added, and a buffer is changed only if the sweep is its only holder.

The sweep returns to its caller for what needs Python (leaves, hooks, kernels not compiled yet,
errors) and for work that is worth giving up the GIL for; called again it goes on where it was.
"""

from __future__ import annotations

from .._layout import (
    DERIVATIVE_IDENTITY,
    DERIVATIVE_NONE,
    ENTRY_CAPTURE,
    ENTRY_NEEDED,
    ENTRY_WORDS,
    EXT_AUX,
    EXT_AUX_META,
    EXT_AUX_VERSION_SHIFT,
    EXT_BODY,
    EXT_EDGES,
    EXT_PARAMS,
    EXT_WORDS,
    FLAG_ALIAS,
    FLAG_EXTENDED,
    FLAG_FREED,
    FLAG_NEAR,
    FLAG_PTR_SHIFT,
    FLAG_SAVES,
    FLAG_SCALAR_SHIFT,
    FLAG_VISIT,
    FRAME_ACC,
    FRAME_AUX,
    FRAME_BLAS,
    FRAME_EXT,
    FRAME_GRAIN,
    FRAME_GX,
    FRAME_GX_N,
    FRAME_IN,
    FRAME_N,
    FRAME_OUT,
    FRAME_PARAMS,
    FRAME_PHASE,
    FRAME_PHASES,
    FRAME_SCRATCH_BYTES,
    FRAME_STEP,
    FRAME_Y,
    HASH_FACTOR,
    HASH_SHIFT,
    HEAVY_ELEMENTS,
    KIND_POINTWISE,
    KIND_STRUCTURED,
    OP_BACKWARD,
    OP_DERIVATIVE,
    OP_FLAGS,
    OP_FORWARD,
    OP_INPUTS,
    OP_KIND,
    OP_NEEDS,
    OP_WORDS,
    OPFLAG_VARIADIC,
    REC_EDGE_2,
    REC_EDGES,
    REC_EXT,
    REC_FLAGS,
    REC_MORE_SAVED,
    REC_MORE_VERSIONS,
    REC_NUMEL,
    REC_OP,
    REC_PARAM,
    REC_PTR,
    REC_SAVED,
    REC_SEQ,
    REC_VERSIONS,
    REC_WORDS,
    SEGMENT_RECORDS,
    SEGMENT_SHIFT,
    STAGE_DELIVER,
    STAGE_INPUTS,
    STAGE_POP,
    STORAGE_PTR,
    STORAGE_REFS,
    STORAGE_VERSION,
    SWEEP_ADD,
    SWEEP_ALLOC,
    SWEEP_BLAS,
    SWEEP_CALLS,
    SWEEP_DETAIL,
    SWEEP_DONE,
    SWEEP_FAILED,
    SWEEP_FILTER,
    SWEEP_FRAME,
    SWEEP_FREED,
    SWEEP_GRAD,
    SWEEP_GROW,
    SWEEP_HEAP,
    SWEEP_HEAP_LEN,
    SWEEP_HEAVY,
    SWEEP_INPUT,
    SWEEP_ITEMS,
    SWEEP_KEEP,
    SWEEP_KERNEL,
    SWEEP_MISSING,
    SWEEP_NO_MEMORY,
    SWEEP_OPS,
    SWEEP_REC,
    SWEEP_RECORDS,
    SWEEP_RELEASE,
    SWEEP_SEGMENTS,
    SWEEP_STAGE,
    SWEEP_TABLE,
    SWEEP_TABLE_CAP,
    SWEEP_TABLE_LEN,
    SWEEP_TARGET,
    SWEEP_TRACE,
    SWEEP_VERSION,
    SWEEP_VISIT,
)
from ..dtypes import int64
from ..native.symbols import address_of, call_int, call_kernel, pointer

ITEM_SIZES = 4 | 8 << 4 | 8 << 8 | 4 << 12 | 1 << 16 | 1 << 20  # bytes per element, by dtype index


def at(s, i):
    """The words of record i."""
    segment = pointer(s[SWEEP_SEGMENTS], int64)[i >> SEGMENT_SHIFT]
    return pointer(segment + (i & (SEGMENT_RECORDS - 1)) * REC_WORDS * 8, int64)


def home_of(i, mask):
    """Where record i belongs in a table.

    Eight neighbours stay together, which is what the cache likes; the groups are scattered, since in one
    long run of neighbours every removal would walk to its end.
    """
    return (((((i >> 3) * HASH_FACTOR) >> HASH_SHIFT) << 3) | (i & 7)) & mask


def find(s, i):
    """The table place of record i, or the free place where it belongs."""
    table = pointer(s[SWEEP_TABLE], int64)
    mask = s[SWEEP_TABLE_CAP] - 1
    h = home_of(i, mask)
    while table[h * ENTRY_WORDS] != 0 and table[h * ENTRY_WORDS] != i + 1:
        h = (h + 1) & mask
    return h


def remove(s, h):
    """Takes the entry at place h out and closes the gap."""
    table = pointer(s[SWEEP_TABLE], int64)
    mask = s[SWEEP_TABLE_CAP] - 1
    gap = h
    j = (h + 1) & mask
    while table[j * ENTRY_WORDS] != 0:
        home = home_of(table[j * ENTRY_WORDS] - 1, mask)
        if ((j - home) & mask) >= ((j - gap) & mask):
            for k in range(ENTRY_WORDS):
                table[gap * ENTRY_WORDS + k] = table[j * ENTRY_WORDS + k]
            gap = j
        j = (j + 1) & mask
    table[gap * ENTRY_WORDS] = 0
    s[SWEEP_TABLE_LEN] -= 1
    return 0


def push(s, seq, i):
    """Adds a record to visit."""
    heap = pointer(s[SWEEP_HEAP], int64)
    j = s[SWEEP_HEAP_LEN]
    s[SWEEP_HEAP_LEN] = j + 1
    while j > 0:
        parent = (j - 1) >> 1
        if heap[2 * parent] >= seq:
            break
        heap[2 * j] = heap[2 * parent]
        heap[2 * j + 1] = heap[2 * parent + 1]
        j = parent
    heap[2 * j] = seq
    heap[2 * j + 1] = i
    return 0


def pop(s):
    """Takes the newest record to visit."""
    heap = pointer(s[SWEEP_HEAP], int64)
    top = heap[1]
    n = s[SWEEP_HEAP_LEN] - 1
    s[SWEEP_HEAP_LEN] = n
    seq = heap[2 * n]
    i = heap[2 * n + 1]
    j = 0
    while True:
        child = 2 * j + 1
        if child >= n:
            break
        if child + 1 < n and heap[2 * child + 2] > heap[2 * child]:
            child += 1
        if heap[2 * child] <= seq:
            break
        heap[2 * j] = heap[2 * child]
        heap[2 * j + 1] = heap[2 * child + 1]
        j = child
    heap[2 * j] = seq
    heap[2 * j + 1] = i
    return top


def release(s, storage):
    """Drops one reference to a storage."""
    if storage != 0:
        words = pointer(storage, int64)
        if words[STORAGE_REFS] > 1:
            words[STORAGE_REFS] -= 1
        else:
            call_int(s[SWEEP_RELEASE], storage)
    return 0


def gradient_bytes(t):
    """Bytes of a gradient of record t."""
    dt = (t[REC_OP] >> 24) & 0xFF
    return t[REC_NUMEL] * ((ITEM_SIZES >> (4 * dt)) & 0xF)


def take_next(s):
    """Makes the newest record that carries a gradient the current one; returns its table flags."""
    i = pop(s)
    table = pointer(s[SWEEP_TABLE], int64)
    h = find(s, i)
    s[SWEEP_REC] = i
    s[SWEEP_GRAD] = table[h * ENTRY_WORDS + 1]
    flags = table[h * ENTRY_WORDS + 2]
    s[SWEEP_INPUT] = 0
    s[SWEEP_RECORDS] += 1
    remove(s, h)
    return flags


def edge(r, k):
    """The record of input k (of an op that is not variadic), or -1."""
    if k == 0:
        return (r[REC_EDGES] << 32) >> 32
    if k == 1:
        return r[REC_EDGES] >> 32
    return r[REC_EDGE_2] if r[REC_FLAGS] & FLAG_NEAR else -1


def check(s, r):
    """A status if the saved values of r are gone or were changed."""
    if r[REC_FLAGS] & FLAG_SAVES:
        if r[REC_FLAGS] & FLAG_FREED:
            return SWEEP_FREED
        for k in range(4 if r[REC_FLAGS] & FLAG_NEAR else 2):
            saved = r[REC_SAVED + k] if k < 2 else r[REC_MORE_SAVED + k - 2]
            if saved != 0:
                now = pointer(saved, int64)[STORAGE_VERSION] & 0x7FFFFFFF
                versions = r[REC_VERSIONS] if k < 2 else r[REC_MORE_VERSIONS]
                then = (versions >> (32 * (k & 1))) & 0x7FFFFFFF
                if now != then:
                    s[SWEEP_DETAIL] = k
                    return SWEEP_VERSION
        if r[REC_FLAGS] & FLAG_EXTENDED:
            ext = pointer(pointer(r[REC_EXT], int64)[STORAGE_PTR], int64)
            if ext[EXT_AUX] != 0:
                now = pointer(ext[EXT_AUX], int64)[STORAGE_VERSION] & 0x7FFFFFFF
                if now != ext[EXT_AUX_META] >> EXT_AUX_VERSION_SHIFT:
                    s[SWEEP_DETAIL] = 4
                    return SWEEP_VERSION
    return 0


def drop_saved(s, r):
    """Frees the saved values of r."""
    if r[REC_FLAGS] & FLAG_SAVES:
        r[REC_FLAGS] |= FLAG_FREED
        for k in range(4 if r[REC_FLAGS] & FLAG_NEAR else 2):
            word = REC_SAVED + k if k < 2 else REC_MORE_SAVED + k - 2
            saved = r[word]
            if saved != 0:
                r[word] = 0
                release(s, saved)
        if r[REC_FLAGS] & FLAG_EXTENDED:
            ext = pointer(pointer(r[REC_EXT], int64)[STORAGE_PTR], int64)
            saved = ext[EXT_AUX]
            ext[EXT_AUX] = 0
            release(s, saved)
    return 0


def operand(r, k):
    """The address of saved input k (3: of the result) or of a number, 0 if there is neither."""
    flags = r[REC_FLAGS]
    if (flags >> (FLAG_PTR_SHIFT + k)) & 1:
        return r[REC_PTR + k]
    if k < 3 and (flags >> (FLAG_SCALAR_SHIFT + k)) & 1:
        return address_of(r) + REC_PARAM * 8
    saved = 0
    if k < 2:
        if flags & FLAG_SAVES:
            saved = r[REC_SAVED + k]
    elif flags & FLAG_NEAR:
        saved = r[REC_MORE_SAVED + k - 2]
    if saved != 0:
        return pointer(saved, int64)[STORAGE_PTR]
    return 0


def needed(s, e):
    """Whether the sweep goes to record e: everywhere, or where it leads to a wanted one."""
    if s[SWEEP_FILTER] == 0:
        return True
    table = pointer(s[SWEEP_TABLE], int64)
    h = find(s, e)
    return table[h * ENTRY_WORDS] != 0 and (table[h * ENTRY_WORDS + 2] & ENTRY_NEEDED) != 0


def deliver(s, e, t):
    """Adds the contribution in SWEEP_TARGET to the gradient of record e."""
    if 2 * s[SWEEP_TABLE_LEN] + 2 > s[SWEEP_TABLE_CAP]:
        return SWEEP_GROW
    table = pointer(s[SWEEP_TABLE], int64)
    h = find(s, e)
    target = s[SWEEP_TARGET]
    if table[h * ENTRY_WORDS] == 0:
        table[h * ENTRY_WORDS] = e + 1
        table[h * ENTRY_WORDS + 1] = target
        table[h * ENTRY_WORDS + 2] = 0
        s[SWEEP_TABLE_LEN] += 1
        push(s, t[REC_SEQ], e)
    elif table[h * ENTRY_WORDS + 1] == 0:
        table[h * ENTRY_WORDS + 1] = target
        push(s, t[REC_SEQ], e)
    else:
        dt = (t[REC_OP] >> 24) & 0xFF
        add = pointer(s[SWEEP_OPS] + (s[SWEEP_ADD] * OP_WORDS + OP_FORWARD + dt) * 8, int64)[0]
        if add == 0:
            s[SWEEP_DETAIL] = s[SWEEP_ADD]
            s[SWEEP_KERNEL] = OP_FORWARD + dt
            return SWEEP_MISSING
        there = table[h * ENTRY_WORDS + 1]
        place = there
        if pointer(there, int64)[STORAGE_REFS] != 1:
            place = call_int(s[SWEEP_ALLOC], gradient_bytes(t))
            if place == 0:
                return SWEEP_NO_MEMORY
        f = pointer(address_of(s) + SWEEP_FRAME * 8, int64)
        f[FRAME_OUT] = pointer(place, int64)[STORAGE_PTR]
        f[FRAME_IN] = pointer(there, int64)[STORAGE_PTR]
        f[FRAME_IN + 1] = pointer(target, int64)[STORAGE_PTR]
        f[FRAME_STEP] = 1
        f[FRAME_STEP + 1] = 1
        f[FRAME_N] = t[REC_NUMEL]
        if s[SWEEP_TRACE] != 0:
            s[SWEEP_DETAIL] = dt
            call_kernel(s[SWEEP_TRACE], address_of(s), 1, 0)
        call_kernel(add, address_of(f), 0, t[REC_NUMEL])
        s[SWEEP_CALLS] += 1
        if place != there:
            table[h * ENTRY_WORDS + 1] = place
            release(s, there)
        release(s, target)
    s[SWEEP_TARGET] = 0
    return 0


def prepare(s, r, row, k, e, t):
    """Fills the frame of the backward kernel for input k of r; 0, or a status."""
    kind = row[OP_KIND]
    dt = (r[REC_OP] >> 32) & 0xFF
    layout = (r[REC_OP] >> 40) & 0xFF
    word = OP_BACKWARD + (k * 2 + layout) * 8 + dt
    if row[OP_FLAGS] & OPFLAG_VARIADIC:
        word = OP_BACKWARD + dt
    if row[word] == 0:
        s[SWEEP_DETAIL] = r[REC_OP] & 0xFFFF
        s[SWEEP_KERNEL] = word
        return SWEEP_MISSING
    s[SWEEP_KERNEL] = row[word]
    f = pointer(address_of(s) + SWEEP_FRAME * 8, int64)
    f[FRAME_ACC] = 0
    target = 0
    if kind == KIND_STRUCTURED:
        # These kernels can add to what is there, which saves a pass.
        table = pointer(s[SWEEP_TABLE], int64)
        h = find(s, e)
        if table[h * ENTRY_WORDS] != 0:
            there = table[h * ENTRY_WORDS + 1]
            if there != 0 and pointer(there, int64)[STORAGE_REFS] == 1:
                target = there
                f[FRAME_ACC] = 1
    if target == 0:
        target = call_int(s[SWEEP_ALLOC], gradient_bytes(t))
        if target == 0:
            return SWEEP_NO_MEMORY
    s[SWEEP_TARGET] = target
    f[FRAME_OUT] = pointer(s[SWEEP_GRAD], int64)[STORAGE_PTR]
    f[FRAME_GX] = pointer(target, int64)[STORAGE_PTR]
    f[FRAME_GX_N] = t[REC_NUMEL]
    f[FRAME_N] = r[REC_NUMEL]
    place = 0
    for j in range(3):
        f[FRAME_STEP + j] = (r[REC_OP] >> (48 + j)) & 1
        if kind == KIND_POINTWISE:
            f[FRAME_IN + j] = operand(r, j)
        elif (row[OP_NEEDS + k] >> j) & 1:
            f[FRAME_IN + place] = operand(r, j)  # just the inputs that this kernel reads
            place += 1
    f[FRAME_Y] = operand(r, 3)
    f[FRAME_AUX] = 0
    f[FRAME_BLAS] = s[SWEEP_BLAS]
    if row[OP_FLAGS] & OPFLAG_VARIADIC:
        f[FRAME_IN] = k
    if r[REC_FLAGS] & FLAG_EXTENDED:
        words = pointer(r[REC_EXT], int64)[STORAGE_PTR]
        ext = pointer(words, int64)
        f[FRAME_PARAMS] = words + EXT_BODY * 8
        f[FRAME_EXT] = words + (EXT_BODY + ((ext[EXT_PARAMS] + 7) >> 3)) * 8
        if ext[EXT_AUX] != 0:
            f[FRAME_AUX] = pointer(ext[EXT_AUX], int64)[STORAGE_PTR]
    else:
        f[FRAME_PARAMS] = address_of(r) + REC_PARAM * 8
    return 0


def launch(s, r, row, k):
    """Runs the prepared kernel, or leaves it to the caller (SWEEP_HEAVY)."""
    f = pointer(address_of(s) + SWEEP_FRAME * 8, int64)
    frame = address_of(f)
    s[SWEEP_CALLS] += 1
    items = r[REC_NUMEL]
    if s[SWEEP_TRACE] != 0:
        call_kernel(s[SWEEP_TRACE], address_of(s), 0, items)
    if row[OP_KIND] != KIND_POINTWISE:
        f[FRAME_GRAIN] = 1
        f[FRAME_SCRATCH_BYTES] = 0
        f[FRAME_PHASES] = 1
        f[FRAME_PHASE] = 0
        items = call_kernel(s[SWEEP_KERNEL], frame, -1, 0)
        if items > f[FRAME_GRAIN] or f[FRAME_PHASES] > 1 or f[FRAME_SCRATCH_BYTES] > 0:
            s[SWEEP_ITEMS] = 0
            return SWEEP_HEAVY
    elif items > HEAVY_ELEMENTS:
        # A broadcast input's gradient is one sum: it is not cut into chunks.
        s[SWEEP_ITEMS] = items if f[FRAME_STEP + k] == 1 else -items
        return SWEEP_HEAVY
    if call_kernel(s[SWEEP_KERNEL], frame, 0, items) != 0:
        return SWEEP_FAILED
    return 0


def sweep(s, _lo, _hi):
    """Goes on with the sweep whose words are s until done or until the caller is needed."""
    while True:
        if s[SWEEP_STAGE] == STAGE_POP:
            if s[SWEEP_HEAP_LEN] == 0:
                return SWEEP_DONE
            flags = take_next(s)
            s[SWEEP_STAGE] = STAGE_INPUTS
            if flags & ENTRY_CAPTURE or at(s, s[SWEEP_REC])[REC_FLAGS] & FLAG_VISIT:
                s[SWEEP_DETAIL] = flags
                return SWEEP_VISIT
        r = at(s, s[SWEEP_REC])
        row = pointer(s[SWEEP_OPS] + (r[REC_OP] & 0xFFFF) * OP_WORDS * 8, int64)
        n = row[OP_INPUTS]
        edges = 0
        variadic = row[OP_FLAGS] & OPFLAG_VARIADIC
        if variadic:
            ext = pointer(pointer(r[REC_EXT], int64)[STORAGE_PTR], int64)
            n = ext[EXT_EDGES]
            edges = address_of(ext) + (EXT_BODY + ((ext[EXT_PARAMS] + 7) >> 3) + ext[EXT_WORDS]) * 8
        if s[SWEEP_STAGE] == STAGE_INPUTS and s[SWEEP_INPUT] == 0:
            status = check(s, r)
            if status != 0:
                return status
        while s[SWEEP_INPUT] < n:
            k = s[SWEEP_INPUT]
            e = pointer(edges, int64)[k] if variadic else edge(r, k)
            if e >= 0:
                t = at(s, e)
                derivative = row[OP_DERIVATIVE + (0 if variadic else k)]
                if derivative != DERIVATIVE_NONE and needed(s, e):
                    if s[SWEEP_STAGE] == STAGE_INPUTS:
                        if r[REC_FLAGS] & FLAG_ALIAS or (
                            derivative == DERIVATIVE_IDENTITY and (r[REC_OP] >> (48 + k)) & 1
                        ):
                            pointer(s[SWEEP_GRAD], int64)[STORAGE_REFS] += 1
                            s[SWEEP_TARGET] = s[SWEEP_GRAD]
                        else:
                            status = prepare(s, r, row, k, e, t)
                            if status != 0:
                                return status
                            s[SWEEP_STAGE] = STAGE_DELIVER
                            status = launch(s, r, row, k)
                            if status != 0:
                                return status
                    s[SWEEP_STAGE] = STAGE_DELIVER
                    f = pointer(address_of(s) + SWEEP_FRAME * 8, int64)
                    if s[SWEEP_TARGET] != 0:
                        if f[FRAME_ACC] == 1:
                            s[SWEEP_TARGET] = 0
                        else:
                            status = deliver(s, e, t)
                            if status != 0:
                                return status
                    f[FRAME_ACC] = 0
            s[SWEEP_STAGE] = STAGE_INPUTS
            s[SWEEP_INPUT] = k + 1
        if s[SWEEP_KEEP] == 0:
            drop_saved(s, r)
        release(s, s[SWEEP_GRAD])
        s[SWEEP_GRAD] = 0
        s[SWEEP_STAGE] = STAGE_POP
