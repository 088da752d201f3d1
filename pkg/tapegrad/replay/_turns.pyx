"""Turns of threads that come back from a program: one goes for the GIL at a time, and the others look on awake.

A thread that finds the GIL taken is put to sleep, and waking it takes longer than a short step does: two
threads with steps of 10 us each do less together than one alone. What a thread does with the GIL between two
replays is mostly shorter than that, so it pays to stay awake for as long as it lasts. A thread takes its turn
before it takes the GIL and gives it up before it releases the GIL. Whoever waits for longer than `PATIENCE`
looks, because the other thread does something else or waits for something itself, takes its turn away.
"""

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #if defined(__x86_64__) || defined(__i386__)
    #define tg_pause() __builtin_ia32_pause()
    #elif defined(__aarch64__)
    #define tg_pause() __asm__ __volatile__("yield")
    #else
    #define tg_pause() ((void)0)
    #endif
    static __thread char tg_place;
    static void* volatile tg_holder;
    static inline void tg_take_turn(int64_t patience) {
        void* nobody;
        while (patience-- > 0) {
            nobody = 0;
            if (__atomic_load_n(&tg_holder, __ATOMIC_RELAXED) == 0 &&
                __atomic_compare_exchange_n(&tg_holder, &nobody, (void*)&tg_place, 0,
                                            __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
            tg_pause();
        }
        __atomic_store_n(&tg_holder, (void*)&tg_place, __ATOMIC_RELAXED);
    }
    static inline void tg_give_turn(void) {
        if (__atomic_load_n(&tg_holder, __ATOMIC_RELAXED) == (void*)&tg_place)
            __atomic_store_n(&tg_holder, (void*)0, __ATOMIC_RELEASE);
    }
    #else
    static inline void tg_take_turn(int64_t patience) { (void)patience; }
    static inline void tg_give_turn(void) {}
    #endif
    """
    void tg_take_turn(int64_t patience) noexcept nogil
    void tg_give_turn() noexcept nogil

cdef enum:
    PATIENCE = 500          # looks; about 20 us


cdef void take_turn() noexcept nogil:
    tg_take_turn(PATIENCE)


cdef void give_turn() noexcept nogil:
    tg_give_turn()
