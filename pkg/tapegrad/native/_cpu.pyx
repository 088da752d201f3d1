"""What this CPU is, in the processor's own words.

LLVM knows it by name, but asking LLVM means loading it: 30 ms of a warm start that needs nothing else of it. It
reads the same words, so where they are equal its answer is.
"""

cdef extern from *:
    """
    #if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
    #include <cpuid.h>
    #define TG_CPUID 1
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
    #endif
    """
    const int TG_CPUID
    int tg_cpuid(unsigned leaf, unsigned sub, unsigned* r) noexcept
    unsigned tg_xcr0() noexcept

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
