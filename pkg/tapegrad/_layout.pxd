"""The words of a frame, a record, an op and a sweep: one definition for Cython, Numba and CUDA.

Everything native is an array of 64-bit words. Cython cimports these names, Python (and through
it the Numba kernels) imports the same names from the compiled module `_layout`.
"""

cpdef enum:
    MAX_DIMS = 8            # dimensions of a tensor
    MAX_DTYPES = 8          # rows of a kernel table, see dtypes.py for the order
    MAX_INPUTS = 3          # inputs of an op that is not variadic

    # A frame is what a kernel sees: int64 kernel(int64 *frame, int64 lo, int64 hi).
    FRAME_OUT = 0           # address of the result; of the incoming gradient in a backward kernel
    FRAME_IN = 1            # addresses of the inputs, three words; in a backward kernel of a structured
                            # op of the saved inputs that it reads, one after the other
    FRAME_N = 4             # elements of the result
    FRAME_PARAMS = 5        # address of the scalar parameters
    FRAME_EXT = 6           # address of the op's own words (its plan: sizes, strides, ...)
    FRAME_STEP = 7          # per input: flat layout: 1 it advances with the result, 0 one element;
                            # general layout: 1 it has the result's size, 0 it is broadcast
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
    FRAME_ACC = 21          # backward of structured ops: 0 writes the gradient, 1 adds to it
    FRAME_GX_N = 22         # backward: elements of that gradient
    FRAME_WORDS = 24

    # A record is one application of an op together with the slot of its one result: three cache lines in
    # three planes of memory, since most records need the first line only. In the others the words are
    # valid where FLAG_NEAR or FLAG_FAR is set: who writes there first calls record_near or record_far.
    # _tape.pxd has functions for all words that are packed or may be absent.
    SEGMENT_SHIFT = 12      # records in a segment: 4096
    SEGMENT_RECORDS = 4096
    MAX_SEGMENTS = 65536
    REC_WORDS = 8           # words from one record to the next, in each plane
    REC_NEAR = 262144       # words from the first plane to the second: 2 MiB
    REC_FAR = 524288        # ... and to the third
    REC_OP = 0              # op | ndim << 16 | dtype << 24 | compute dtype << 32 | layout << 40 | steps << 48
    REC_FLAGS = 1           # flags | references << 32: Tensors and live records that hold the result
    REC_SEQ = 2             # order of creation
    REC_NUMEL = 3
    REC_EDGES = 4           # records of inputs 0 and 1, 32 bits each, -1 where no gradient flows
    REC_SAVED = 5           # storages of saved inputs 0 and 1, or 0; valid where FLAG_SAVES is set
    REC_VERSIONS = 7        # their versions when saved, 32 bits each
    REC_MORE_SAVED = 262144    # storages of saved input 2 and of the saved result, or 0
    REC_MORE_VERSIONS = 262146  # their versions
    REC_EDGE_2 = 262147     # record of input 2, or -1
    REC_PARAM = 262148      # up to eight bytes of parameters, or a Python number among the inputs
    REC_EXT = 262149        # storage of the extension block, if FLAG_EXTENDED
    REC_PTR = 524288        # addresses of their first elements, four words; see FLAG_PTR_SHIFT
    REC_SHAPE = 524292      # the result's shape where it has two or three dimensions
    REC_OBJ = 524295        # Python object: .grad of a leaf, node of hooks; or 0

    # A copy of a record, all words in a row: see record_copy_out of _tape.pxd.
    COPY_OP = 0
    COPY_FLAGS = 1
    COPY_SEQ = 2
    COPY_REFS = 3
    COPY_NUMEL = 4
    COPY_OBJ = 5
    COPY_EXT = 6
    COPY_EDGE = 7           # three words
    COPY_SHAPE = 10         # three words
    COPY_SAVED = 13         # four words: three inputs and the result
    COPY_PTR = 17           # four words
    COPY_VERSIONS = 21      # two words, 32 bits each
    COPY_PARAM = 23
    COPY_WORDS = 24

    FLAG_LEAF = 1
    FLAG_FREED = 2          # the saved values are gone
    FLAG_VISIT = 4          # Python looks at the gradient here: hooks, retain_grad
    FLAG_RETAIN = 8         # keep the gradient of this non-leaf
    FLAG_NEAR = 16          # the second line of the record is in use
    FLAG_SAVES = 32         # something is saved
    FLAG_ALIAS = 64         # a view in logical order: the gradient passes through unchanged
    FLAG_REQUIRES = 128     # a leaf that accumulates
    FLAG_SCALAR_SHIFT = 8   # bits 8..10: input i is a Python number that the derivative reads
    FLAG_FAR = 2048         # the third line of the record is in use
    FLAG_PTR_SHIFT = 12     # bits 12..15: the address of input i is in REC_PTR; else it is that of the storage,
                            # or of REC_PARAM for a number
    FLAG_EXTENDED = 65536   # there is an extension block

    # The extension block of a record, for what does not fit.
    EXT_AUX = 0             # storage of the second result, or 0
    EXT_PARAMS = 1          # bytes of parameters
    EXT_WORDS = 2           # words of the plan
    EXT_EDGES = 3           # edges of a variadic op
    EXT_SHAPE = 4           # the result's shape, MAX_DIMS words
    EXT_META = 12           # per input: dtype | ndim << 8, then shape and strides: 17 words each
    EXT_META_WORDS = 17
    EXT_AUX_META = 63       # of the second result: dtype | ndim << 8 | version << 16, then its shape
    EXT_AUX_VERSION_SHIFT = 16
    EXT_BODY = 72           # parameters, then plan words, then edges

    # An op is a row of numbers.
    MAX_OPS = 1024
    OP_KIND = 0
    OP_INPUTS = 1
    OP_FLAGS = 2
    OP_NEEDS = 3            # per input, what its derivative reads: bits 0..2 inputs, 3 result, 4 aux
    OP_DERIVATIVE = 6       # per input: DERIVATIVE_*
    OP_RESULT = 9           # dtype index of the result, or -1: the compute type
    OP_DTYPES = 10          # bit mask of the compute types
    OP_INPUT_DTYPE = 11     # per input: dtype index, or -1: the compute type
    OP_PROMOTION = 14       # PROMOTE_*
    OP_FORWARD = 16         # + layout * 8 + compute dtype: kernel address
    OP_BACKWARD = 32        # + (input * 2 + layout) * 8 + compute dtype
    OP_WORDS = 80

    KIND_LEAF = 0
    KIND_POINTWISE = 1
    KIND_STRUCTURED = 2
    KIND_VIEW = 3

    OPFLAG_BLAS = 1
    OPFLAG_VARIADIC = 2
    OPFLAG_NO_BOOL = 8                 # refuses bools where other types would make them numbers
    OPFLAG_BOUNDS = 4                  # Python numbers must fit the type; elsewhere integers wrap around

    DERIVATIVE_NONE = 0
    DERIVATIVE_KERNEL = 1
    DERIVATIVE_IDENTITY = 2  # the incoming gradient itself

    PROMOTE_SAME = 0        # the inputs' common type
    PROMOTE_FLOAT = 1       # integers are converted to the default floating type

    LAYOUT_FLAT = 0         # every operand contiguous, or one element
    LAYOUT_GENERAL = 1      # strides in the plan words

    # Plan words of the general layout: dimensions, shape, then MAX_DIMS strides per operand.
    PLAN_NDIM = 0
    PLAN_SHAPE = 1
    PLAN_OUT = 9
    PLAN_IN = 17            # + input * MAX_DIMS
    PLAN_GRAD = 41          # + input * MAX_DIMS: strides of the (contiguous) gradient, 0 where broadcast
    PLAN_WORDS = 65

    # Plan words of a view: dimensions, shape, strides and offset in the gradient of what it shows.
    VIEW_NDIM = 0
    VIEW_SHAPE = 1
    VIEW_STRIDES = 9
    VIEW_OFFSET = 17
    VIEW_WORDS = 18

    # The sweep's own memory.
    SWEEP_SEGMENTS = 0
    SWEEP_OPS = 1
    SWEEP_ALLOC = 2
    SWEEP_RELEASE = 3
    SWEEP_HEAP = 4          # records to visit, as (sequence number, record), a max-heap
    SWEEP_HEAP_LEN = 5
    SWEEP_HEAP_CAP = 6
    SWEEP_TABLE = 7         # gradients in flight: (record + 1, storage, flags), open addressing
    SWEEP_TABLE_CAP = 8
    SWEEP_TABLE_LEN = 9
    SWEEP_KEEP = 10         # keep the saved values
    SWEEP_FILTER = 11       # visit only the records that are marked in the table
    SWEEP_STAGE = 12
    SWEEP_REC = 13
    SWEEP_GRAD = 14
    SWEEP_INPUT = 15
    SWEEP_KERNEL = 16       # the kernel to run or the one that is missing
    SWEEP_ITEMS = 17
    SWEEP_TARGET = 18       # the storage that the kernel fills
    SWEEP_ADD = 19          # the op that adds
    SWEEP_DETAIL = 20
    SWEEP_CALLS = 21        # kernels called
    SWEEP_RECORDS = 22      # records visited
    SWEEP_BLAS = 23
    SWEEP_FRAME = 24
    SWEEP_TRACE = 48        # what to call before each kernel while a capture listens, or 0
    SWEEP_WORDS = 64

    ENTRY_WORDS = 3
    HASH_FACTOR = 0x9E3779B1  # times the record, shifted: its place in the table (2**32 / golden ratio, odd)
    HASH_SHIFT = 12
    ENTRY_CAPTURE = 1       # autograd.grad wants this one
    ENTRY_NEEDED = 2        # it leads to one that is wanted
    ENTRY_SEEN = 4          # the search for the wanted ones came by
    ENTRY_GOES_ON = 8       # a wanted one that leads to another

    STAGE_POP = 0
    STAGE_INPUTS = 1
    STAGE_DELIVER = 2

    SWEEP_DONE = 0
    SWEEP_VISIT = 1
    SWEEP_MISSING = 2
    SWEEP_FREED = 3
    SWEEP_VERSION = 4
    SWEEP_FAILED = 5
    SWEEP_NO_MEMORY = 6
    SWEEP_HEAVY = 7
    SWEEP_GROW = 8

    STORAGE_PTR = 0         # words of a storage that the sweep reads
    STORAGE_REFS = 2
    STORAGE_VERSION = 3

    # Measured on two cores: a parallel region costs about 7 us with OpenMP, on the work queue 60 to 150, and
    # milliseconds when other programs hold the cores. A chunk should be 20 us of work or more.
    HEAVY_ELEMENTS = 32768  # element-wise work beyond this runs without the GIL
    PARALLEL_ELEMENTS = 262144  # ... and beyond this on several threads,
    CHUNK_ELEMENTS = 65536  # in chunks of this size
