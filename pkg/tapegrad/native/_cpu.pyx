"""What this CPU is, in the processor's own words, and what it does with the smallest numbers.

LLVM knows it by name, but asking LLVM means loading it: 30 ms of a warm start that needs nothing else of it. It
reads the same words, so where they are equal its answer is.
"""

from libc.stdint cimport int64_t, uintptr_t

cdef extern from *:
    """
    #if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
    #include <cpuid.h>
    #include <xmmintrin.h>
    #define TG_CPUID 1
    #define TG_FLUSH 0x8040   /* results below the normal numbers are 0, and so are operands */
    static int64_t tg_flush(int64_t bits) {   /* of the calling thread; returns what was set before */
        unsigned before = _mm_getcsr();
        _mm_setcsr((before & ~TG_FLUSH) | ((unsigned)bits & TG_FLUSH));
        return before & TG_FLUSH;
    }
    static int64_t tg_flushes(void) { return _mm_getcsr() & TG_FLUSH; }
    static int tg_cpuid(unsigned leaf, unsigned sub, unsigned *r) {
        return __get_cpuid_count(leaf, sub, r, r + 1, r + 2, r + 3);
    }
    static unsigned tg_xcr0(void) {   /* which registers the system saves; only where OSXSAVE is set */
        unsigned a, d;
        __asm__ volatile ("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
        return a;
    }
    #else
    #define TG_CPUID 0
    static int tg_cpuid(unsigned leaf, unsigned sub, unsigned *r) { return 0; }
    static unsigned tg_xcr0(void) { return 0; }
    #define TG_FLUSH 0
    static int64_t tg_flush(int64_t bits) { return 0; }
    static int64_t tg_flushes(void) { return 0; }
    #endif
    """
    const int TG_CPUID
    int tg_cpuid(unsigned leaf, unsigned sub, unsigned* r) noexcept
    unsigned tg_xcr0() noexcept
    const int TG_FLUSH
    int64_t tg_flush(int64_t bits) noexcept
    int64_t tg_flushes() noexcept

# Leaf, sub-leaf, and which of EAX, EBX, ECX, EDX say what the CPU can do (EBX of leaf 1 says which core answers).
cdef tuple LEAVES = (
    (0x0, 0, "abcd"), (0x1, 0, "acd"), (0x7, 0, "abcd"), (0x7, 1, "abcd"), (0x7, 2, "abcd"), (0xD, 1, "a"),
    (0x14, 0, "b"), (0x19, 0, "b"), (0x1E, 1, "abcd"), (0x24, 0, "abcd"), (0x80000000, 0, "a"), (0x80000001, 0, "cd"),
    (0x80000007, 0, "d"), (0x80000008, 0, "b"), (0x80000021, 0, "abcd"),
)
# name: register of leaf 7 (1: EBX), bit; all of them need the vector registers saved
cdef dict OF_LEAF_7 = {"avx2": 5, "avx512f": 16, "avx512dq": 17, "avx512cd": 28, "avx512bw": 30, "avx512vl": 31}

cdef enum:
    FMA = 1 << 12
    OSXSAVE = 1 << 27
    AVX = 1 << 28
    SAVES_AVX = 0x6
    SAVES_AVX512 = 0xE6


def words():
    """The words as text; None where they cannot be read."""
    cdef unsigned[4] r
    cdef list found = []
    if not TG_CPUID:
        return None
    for leaf, sub, registers in LEAVES:
        if tg_cpuid(leaf, sub, r):
            found += [f"{r['abcd'.index(c)]:x}" for c in registers]
        else:
            found.append("-")
    if tg_cpuid(1, 0, r) and r[2] & OSXSAVE:
        found.append(f"{tg_xcr0():x}")
    return " ".join(found)


def features():
    """Which of the features that decide something here are there, by LLVM's names; None if that cannot be read."""
    cdef unsigned[4] r
    cdef unsigned saved
    cdef set found = set()
    if not TG_CPUID:
        return None
    if not tg_cpuid(1, 0, r) or not r[2] & OSXSAVE or not r[2] & AVX:
        return frozenset()
    saved = tg_xcr0()
    if saved & SAVES_AVX == SAVES_AVX:
        if r[2] & FMA:
            found.add("fma")
        if tg_cpuid(7, 0, r):
            for name, bit in OF_LEAF_7.items():
                if r[1] >> <int>bit & 1 and (name == "avx2" or saved & SAVES_AVX512 == SAVES_AVX512):
                    found.add(name)
    return frozenset(found)


def set_flush_denormal(bint on):
    """Lets the calling thread take numbers below the normal ones for 0; False where that is not known how."""
    tg_flush(TG_FLUSH if on else 0)
    return TG_FLUSH != 0


def flush_word():
    """What `flush_function` has to be given so that another thread does with such numbers what this one does."""
    return tg_flushes()


def flush_function():
    """The address of a C function of one word: sets this for its thread, and returns what was set before; or 0."""
    return <int64_t><uintptr_t>&tg_flush if TG_FLUSH else 0
