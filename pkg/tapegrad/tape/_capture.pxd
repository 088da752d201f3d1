from libc.stdint cimport int64_t

from tapegrad.tape._storage cimport Storage

cdef int active                 # a capture is going on in some thread

cdef bint capturing() noexcept  # ... in the calling one; see `listening`
cdef int log_kernel(int64_t op, int role, int layout, int dt, int64_t address, int64_t items, const int64_t* f,
                    int64_t reads, int64_t writes, const void* words, int64_t n_words, const void* params,
                    int64_t n_params, const void* table, int64_t n_table) except -1
cdef int log_copy(const char* out, const char* source, int64_t nbytes) except -1
cdef int log_constant(const char* out, int64_t nbytes) except -1
cdef int note_outside(object tensor, Storage* st) except -1
cdef int note_shared(Storage* st) except -1
cdef int note_no_gradient(object tensor, Storage* st, bint read) except -1
cdef int note_leaf(object tensor, int64_t rec) except -1
cdef int note_gradient(int64_t rec, object held, bint read, Storage* now, const char* first) except -1
cdef int note_required(object tensor, bint required) except -1
cdef int note_refusal(str why) except -1
cdef int note_view(object tensor) except -1
cdef int note_failure() except -1
cdef bint note_reached(int64_t rec) except -1
cdef int note_fresh(Storage* st) except -1
cdef int note_node(int64_t rec) except -1
cdef int note_change(Storage* st) except -1
cdef int note_context() except -1

cdef inline bint listening() noexcept:
    """Whether the calling thread is being captured: one load and a branch where nothing is."""
    return active != 0 and capturing()


cdef inline int changed(Storage* st) except -1:
    """Counts a change in place."""
    st.version += 1
    if listening():
        note_change(st)
    return 0
