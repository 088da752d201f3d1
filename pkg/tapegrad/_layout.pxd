"""The words of a record and of a frame: one definition for Cython, Numba and CUDA.

Everything native is an array of 64-bit words. Cython cimports these names, Python (and through
it the Numba kernels) imports the same names from the compiled module `_layout`.
"""

cpdef enum:
    MAX_DIMS = 8            # dimensions of a tensor
    MAX_DTYPES = 8          # rows of a kernel table, see dtypes.py for the order
    MAX_INPUTS = 3          # inputs of an op that is not variadic

    # A frame is what a kernel sees: int64 kernel(int64 *frame, int64 lo, int64 hi).
    FRAME_OUT = 0           # address of the result; of the incoming gradient in a backward kernel
    FRAME_IN = 1            # addresses of the inputs, three words
    FRAME_N = 4             # elements of the result
    FRAME_PARAMS = 5        # address of the scalar parameters (float64 bits or int64)
    FRAME_EXT = 6           # address of the op's own words (its plan: sizes, strides, ...)
    FRAME_STEP = 7          # flat layout: 1 if the input advances with the result, 0 if one element
    FRAME_AUX = 10          # address of the second result, which only the backward reads
    FRAME_GRAIN = 11        # set by a planning call: items in one chunk
    FRAME_SCRATCH_BYTES = 12  # set by a planning call
    FRAME_SCRATCH = 13      # address of that many bytes
    FRAME_PHASE = 14        # the phase now running
    FRAME_PHASES = 15       # set by a planning call: number of phases, run one after the other
    FRAME_ERROR = 16        # detail of an error status, two words
    FRAME_BLAS = 18         # address of the table of BLAS entry points
    FRAME_Y = 19            # backward: address of the saved result
    FRAME_GX = 20           # backward: address of the gradient to produce
    FRAME_ACC = 21          # backward: 0 writes the gradient, 1 adds to it
    FRAME_WORDS = 24
