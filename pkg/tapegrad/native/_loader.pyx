"""Puts a kernel's object code into memory and makes it runnable, without LLVM.

A kernel is an ELF object of a few KB in LLVM's large code model: one function, its constants, and relocations of one
kind, the absolute address of a section or of a C function. Loading it is copying, adding addresses and one mprotect;
20 us where LLVM's linker takes 100 and more, and 30 ms to be there at all. Whatever is not as plain as that is left to
LLVM (`engine.py`): another format, another relocation, sections that are written to, another processor.

Pages are written first and made executable then, never both. A kernel never raises, so its tables for unwinding stay
out. Memory is never given back: addresses stay in op tables and records.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memchr, memcmp, memcpy, strcmp

cdef extern from *:
    """
    #if defined(__linux__) && defined(__x86_64__)
    #include <sys/mman.h>
    #include <dlfcn.h>
    #include <unistd.h>
    #define TG_LOADER 1
    static uint64_t tg_page(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }
    static char *tg_map(uint64_t n) {
        void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return p == MAP_FAILED ? NULL : (char *)p;
    }
    static int tg_make_executable(char *p, uint64_t n) { return mprotect(p, n, PROT_READ | PROT_EXEC); }
    static void tg_unmap(char *p, uint64_t n) { munmap(p, n); }
    static uint64_t tg_find(const char *name) { return (uint64_t)(uintptr_t)dlsym(RTLD_DEFAULT, name); }
    #else
    #define TG_LOADER 0
    static uint64_t tg_page(void) { return 4096; }
    static char *tg_map(uint64_t n) { return NULL; }
    static int tg_make_executable(char *p, uint64_t n) { return -1; }
    static void tg_unmap(char *p, uint64_t n) {}
    static uint64_t tg_find(const char *name) { return 0; }
    #endif
    """
    const int TG_LOADER
    uint64_t tg_page() noexcept
    char* tg_map(uint64_t n) noexcept
    int tg_make_executable(char* p, uint64_t n) noexcept
    void tg_unmap(char* p, uint64_t n) noexcept
    uint64_t tg_find(const char* name) noexcept

# ELF-64, as its specification names things.
cdef struct Header:
    uint8_t[16] ident
    uint16_t type
    uint16_t machine
    uint32_t version
    uint64_t entry
    uint64_t phoff
    uint64_t shoff
    uint32_t flags
    uint16_t ehsize
    uint16_t phentsize
    uint16_t phnum
    uint16_t shentsize
    uint16_t shnum
    uint16_t shstrndx

cdef struct Section:
    uint32_t name
    uint32_t type
    uint64_t flags
    uint64_t addr
    uint64_t offset
    uint64_t size
    uint32_t link
    uint32_t info
    uint64_t addralign
    uint64_t entsize

cdef struct Symbol:
    uint32_t name
    uint8_t info
    uint8_t other
    uint16_t shndx
    uint64_t value
    uint64_t size

cdef struct Relocation:
    uint64_t offset
    uint64_t info
    int64_t addend

cdef enum:
    RELOCATABLE = 1
    X86_64 = 62
    PROGBITS = 1
    SYMTAB = 2
    RELA = 4
    UNWIND = 0x70000001
    WRITE = 1
    ALLOC = 2
    TLS = 0x400
    ABSOLUTE_64 = 1         # R_X86_64_64
    MANY = 64               # more sections than any kernel has


available = bool(TG_LOADER)


cdef class Object:
    """An object file and where its sections have been put; every offset in it is checked before it is used."""

    cdef const char* data
    cdef uint64_t n
    cdef int count
    cdef const Section* sections
    cdef const Symbol* symbols
    cdef uint64_t n_symbols
    cdef const char* names
    cdef uint64_t n_names
    cdef uint64_t[MANY] place       # offset of each section in memory
    cdef bint[MANY] there
    cdef uint64_t room
    cdef char* memory

    cdef bint within(self, uint64_t offset, uint64_t size, uint64_t align) noexcept:
        return offset <= self.n and size <= self.n - offset and (<uintptr_t>self.data + offset) % align == 0

    cdef bint read(self) noexcept:
        """Whether this is an object of the plain kind."""
        cdef const Header* h = <const Header*>self.data
        cdef const Section* s
        cdef int k
        if not self.within(0, sizeof(Header), 8) or memcmp(h.ident, b"\x7fELF\x02\x01\x01", 7) != 0:
            return False
        if h.type != RELOCATABLE or h.machine != X86_64 or h.shentsize != sizeof(Section) or h.shnum > MANY:
            return False
        self.count = h.shnum
        if not self.within(h.shoff, self.count * sizeof(Section), 8):
            return False
        self.sections = <const Section*>(self.data + h.shoff)
        for k in range(self.count):
            s = &self.sections[k]
            if s.type == SYMTAB and not self.read_symbols(s):
                return False
            if not s.flags & ALLOC or s.type == UNWIND or s.size == 0:
                continue
            # A section of zeros has no bytes in the file; no kernel has one.
            if s.type != PROGBITS or s.flags & (WRITE | TLS) or not self.within(s.offset, s.size, 1):
                return False
            if s.addralign > 4096 or s.addralign & (s.addralign - 1) != 0:
                return False
            if s.addralign > 1:
                self.room = (self.room + s.addralign - 1) & ~(s.addralign - 1)
            self.place[k] = self.room
            self.there[k] = True
            self.room += s.size
        return self.n_symbols > 0 and self.room > 0

    cdef bint read_symbols(self, const Section* s) noexcept:
        cdef const Section* names
        if self.n_symbols > 0 or s.link >= <uint32_t>self.count or not self.within(s.offset, s.size, 8):
            return False
        names = &self.sections[s.link]
        if not self.within(names.offset, names.size, 1):
            return False
        self.symbols = <const Symbol*>(self.data + s.offset)
        self.n_symbols = s.size // sizeof(Symbol)
        self.names = self.data + names.offset
        self.n_names = names.size
        return True

    cdef const char* name(self, const Symbol* y) noexcept:
        """The name, which ends inside its table; NULL if it does not."""
        if y.name >= self.n_names or memchr(self.names + y.name, 0, self.n_names - y.name) == NULL:
            return NULL
        return self.names + y.name

    cdef uint64_t address(self, const Symbol* y) noexcept:
        """Where a symbol is in memory; 0 if it is nowhere."""
        cdef const char* name
        if y.shndx == 0:
            name = self.name(y)
            return 0 if name == NULL or name[0] == 0 else tg_find(name)
        if y.shndx >= self.count or not self.there[y.shndx] or y.value > self.sections[y.shndx].size:
            return 0
        return <uint64_t><uintptr_t>self.memory + self.place[y.shndx] + y.value

    cdef bint relocate(self) noexcept:
        cdef const Section* s
        cdef const Relocation* r
        cdef uint64_t k, target
        cdef int i
        for i in range(self.count):
            s = &self.sections[i]
            if s.type != RELA or s.info >= <uint32_t>self.count or not self.there[s.info]:
                continue                        # of what is not loaded
            if not self.within(s.offset, s.size, 8):
                return False
            for k in range(s.size // sizeof(Relocation)):
                r = &(<const Relocation*>(self.data + s.offset))[k]
                if r.info & 0xffffffff != ABSOLUTE_64 or r.info >> 32 >= self.n_symbols:
                    return False
                if self.sections[s.info].size < 8 or r.offset > self.sections[s.info].size - 8:
                    return False
                target = self.address(&self.symbols[r.info >> 32])
                if target == 0:
                    return False
                target += <uint64_t>r.addend
                memcpy(self.memory + self.place[s.info] + r.offset, &target, 8)
        return True

    cdef uint64_t put(self, const char* symbol) noexcept:
        """Makes the code runnable; the address of the symbol, 0 if this code is for LLVM.

        Each object has pages of its own. (Beginning in a page where the one before ended in its last, so that small
        kernels do not want the same lines of the cache, gained nothing in a round of 27 kernels.)
        """
        cdef uint64_t page = tg_page(), size = (self.room + page - 1) & ~(page - 1), found = 0
        cdef const char* name
        cdef uint64_t k
        cdef int i
        self.memory = tg_map(size)
        if self.memory == NULL:
            return 0
        for i in range(self.count):
            if self.there[i]:
                memcpy(self.memory + self.place[i], self.data + self.sections[i].offset, self.sections[i].size)
        for k in range(1, self.n_symbols):
            name = self.name(&self.symbols[k])
            if name != NULL and self.symbols[k].shndx != 0 and strcmp(name, symbol) == 0:
                found = self.address(&self.symbols[k])
        if found == 0 or not self.relocate() or tg_make_executable(self.memory, size) != 0:
            tg_unmap(self.memory, size)
            return 0
        return found


def load(bytes code, str symbol):
    """The address of a function in object code; 0 where only LLVM can load it."""
    cdef Object o = Object()
    cdef bytes wanted = symbol.encode()
    o.data = code
    o.n = len(code)
    if not TG_LOADER or not o.read():
        return 0
    return o.put(wanted)
