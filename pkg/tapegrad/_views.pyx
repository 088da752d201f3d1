"""Views: the same memory in another arrangement.

Each function works out the new shape and strides twice, for the data and for a contiguous gradient
of the input, so that one backward kernel serves all views.
"""

from libc.stdint cimport int64_t

from tapegrad._layout cimport *
from tapegrad._tensor cimport Tensor, contiguous_, view_of

from tapegrad import _tensor

cdef struct Arrangement:
    int ndim
    int64_t shape[MAX_DIMS]
    int64_t strides[MAX_DIMS]
    int64_t grad_strides[MAX_DIMS]
    int64_t offset
    int64_t grad_offset


cdef inline void arrange(Tensor x, Arrangement* a) noexcept:
    cdef int64_t step = 1
    cdef int d
    a.ndim = x.ndim_
    a.offset = 0
    a.grad_offset = 0
    for d in range(x.ndim_ - 1, -1, -1):
        a.shape[d] = x.shape_[d]
        a.strides[d] = x.strides_[d]
        a.grad_strides[d] = step
        step *= x.shape_[d]


cdef inline Tensor show(Tensor x, Arrangement* a):
    return view_of(x, a.ndim, a.shape, a.strides, a.offset, a.grad_strides, a.grad_offset, False)


cdef inline int64_t dim_of(object dim, int ndim) except -1:
    cdef int64_t d
    if type(dim) is int:
        d = dim if -64 <= dim <= 64 else 99
        if -ndim <= d < ndim:
            return d + ndim if d < 0 else d
    return _tensor.wrap_dim(dim, ndim)


cdef int sizes_of(tuple args, int64_t* out, str what) except -1:
    """Sizes given as separate ints or as one sequence."""
    cdef int n = 0
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    if len(args) > MAX_DIMS:
        raise RuntimeError(f"tapegrad tensors have at most {MAX_DIMS} dimensions, got {len(args)}")
    for s in args:
        if type(s) is not int:
            if isinstance(s, (float, str, bool)) or not hasattr(s, "__index__"):
                raise TypeError(f"{what}(): argument 'size' must be tuple of ints, but found element of type "
                                f"{type(s).__name__} at pos {n}")
            s = s.__index__()
        out[n] = s
        n += 1
    return n


cdef int infer(Tensor x, int n, int64_t* shape) except -1:
    """Fills in a size of -1 and checks the number of elements."""
    cdef int64_t known = 1
    cdef int d, unknown = -1
    for d in range(n):
        if shape[d] == -1:
            if unknown >= 0:
                raise RuntimeError("only one dimension can be inferred")
            unknown = d
        elif shape[d] < 0:
            raise RuntimeError(f"invalid shape dimension {shape[d]}")
        else:
            if shape[d] > 0 and known > (<int64_t>1 << 60) // shape[d]:
                known = -1
                break
            known *= shape[d]
    if unknown >= 0 and known != -1:
        if known == 0:
            if x.numel_ == 0:
                raise RuntimeError(f"cannot reshape tensor of 0 elements into shape {[shape[k] for k in range(n)]} "
                                   f"because the unspecified dimension size -1 can be any value and is ambiguous")
        elif x.numel_ % known == 0:
            shape[unknown] = x.numel_ // known
            return 0
    elif known == x.numel_:
        return 0
    raise RuntimeError(f"shape '{[shape[k] for k in range(n)]}' is invalid for input of size {x.numel_}")


cdef bint fit_strides(Tensor x, int n, const int64_t* shape, int64_t* strides) noexcept:
    """Strides of x in another shape without moving data, if there are any."""
    cdef int64_t step = 1, chunk = 1, base, got = 1
    cdef int d, v = n - 1
    if x.numel_ == 0 or x.contig:
        for d in range(n - 1, -1, -1):
            strides[d] = step
            step *= shape[d] if shape[d] > 0 else 1
        return True
    # Blocks of x's dimensions that are contiguous among themselves map to blocks of the new ones.
    if x.ndim_ == 0:
        for d in range(n):
            strides[d] = 1
        return True
    base = x.strides_[x.ndim_ - 1]
    for d in range(x.ndim_ - 1, -1, -1):
        chunk *= x.shape_[d]
        if d == 0 or (x.shape_[d - 1] != 1 and x.strides_[d - 1] != chunk * base):
            while v >= 0 and (got < chunk or shape[v] == 1):
                strides[v] = got * base
                got *= shape[v]
                v -= 1
            if got != chunk:
                return False
            if d > 0:
                base = x.strides_[d - 1]
                chunk = 1
                got = 1
    return v == -1


cdef Tensor in_order(Tensor x, int n, const int64_t* shape, const int64_t* strides):
    return view_of(x, n, shape, strides, 0, strides, 0, True)


def view(Tensor self not None, *size, dtype=None):
    """The same elements in another shape, sharing memory; one size may be -1.

    RuntimeError if the number of elements differs, or if the strides do not allow it (`reshape`
    copies then).

    >>> import tapegrad as torch
    >>> torch.arange(6).view(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    cdef int64_t shape[MAX_DIMS]
    cdef int64_t strides[MAX_DIMS]
    cdef int n
    if dtype is not None or (len(size) == 1 and hasattr(size[0], "itemsize") and hasattr(size[0], "category")):
        raise NotImplementedError("view(dtype) is not supported; use .to(dtype) to convert the values")
    n = sizes_of(size, shape, "view")
    infer(self, n, shape)
    if not fit_strides(self, n, shape, strides):
        raise RuntimeError("view size is not compatible with input tensor's size and stride (at least one dimension "
                           "spans across two contiguous subspaces). Use .reshape(...) instead.")
    return in_order(self, n, shape, strides)


def reshape(Tensor self not None, *shape):
    """The same elements in another shape: a view where the strides allow it, else a copy."""
    cdef int64_t sizes[MAX_DIMS]
    cdef int64_t strides[MAX_DIMS]
    cdef int n = sizes_of(shape, sizes, "reshape")
    infer(self, n, sizes)
    if fit_strides(self, n, sizes, strides):
        return in_order(self, n, sizes, strides)
    self = contiguous_(self)
    fit_strides(self, n, sizes, strides)
    return in_order(self, n, sizes, strides)


def flatten(Tensor self not None, start_dim=0, end_dim=-1):
    """Merges the dimensions from `start_dim` to `end_dim` into one; a view where it can be."""
    cdef int a, b, d
    cdef int64_t merged = 1
    a = dim_of(start_dim, self.ndim_)
    b = dim_of(end_dim, self.ndim_)
    if a > b:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if self.ndim_ == 0:
        return reshape(self, 1)
    if a == b:
        return self
    sizes = [self.shape_[d] for d in range(a)]
    for d in range(a, b + 1):
        merged *= self.shape_[d]
    sizes.append(merged)
    sizes.extend([self.shape_[d] for d in range(b + 1, self.ndim_)])
    return reshape(self, *sizes)


def permute(Tensor self not None, *dims):
    """The dimensions in another order, as a view."""
    cdef Arrangement a, b
    cdef int k, n = self.ndim_
    cdef int64_t d, seen = 0
    if len(dims) == 1 and isinstance(dims[0], (tuple, list)):
        dims = tuple(dims[0])
    if len(dims) != n:
        raise RuntimeError(f"permute(sparse_coo): number of dimensions in the tensor input does not match the length "
                           f"of the desired ordering of dimensions i.e. input.dim() = {n} is not equal to "
                           f"len(dims) = {len(dims)}")
    arrange(self, &a)
    b = a
    for k in range(n):
        d = dim_of(dims[k], n)
        if (seen >> d) & 1:
            raise RuntimeError("permute(): duplicate dims are not allowed.")
        seen |= <int64_t>1 << d
        b.shape[k] = a.shape[d]
        b.strides[k] = a.strides[d]
        b.grad_strides[k] = a.grad_strides[d]
    return show(self, &b)


def transpose(Tensor self not None, dim0, dim1):
    """Two dimensions exchanged, as a view."""
    cdef Arrangement a, b
    cdef int64_t p = dim_of(dim0, self.ndim_), q = dim_of(dim1, self.ndim_)
    arrange(self, &a)
    if self.ndim_ > 0:
        b = a
        a.shape[p] = b.shape[q]
        a.strides[p] = b.strides[q]
        a.grad_strides[p] = b.grad_strides[q]
        a.shape[q] = b.shape[p]
        a.strides[q] = b.strides[p]
        a.grad_strides[q] = b.grad_strides[p]
    return show(self, &a)


def t(Tensor self not None):
    """A matrix transposed, as a view; tensors of fewer dimensions as they are."""
    if self.ndim_ > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {self.ndim_}D")
    return transpose(self, 0, 1) if self.ndim_ == 2 else self


def unsqueeze(Tensor self not None, dim):
    """A dimension of size 1 inserted at `dim`, as a view."""
    cdef Arrangement a
    cdef int64_t d = dim_of(dim, self.ndim_ + 1)
    cdef int k
    if self.ndim_ == MAX_DIMS:
        raise RuntimeError(f"tapegrad tensors have at most {MAX_DIMS} dimensions")
    arrange(self, &a)
    for k in range(self.ndim_, d, -1):
        a.shape[k] = a.shape[k - 1]
        a.strides[k] = a.strides[k - 1]
        a.grad_strides[k] = a.grad_strides[k - 1]
    a.strides[d] = self.shape_[d] * self.strides_[d] if d < self.ndim_ else 1
    a.grad_strides[d] = 1
    a.shape[d] = 1
    a.ndim += 1
    return view_of(self, a.ndim, a.shape, a.strides, 0, a.grad_strides, 0, True)


def squeeze(Tensor self not None, dim=None):
    """Dimensions of size 1 removed (all, or those named), as a view."""
    cdef Arrangement a
    cdef int64_t drop = 0
    cdef int k, n = 0
    arrange(self, &a)
    if dim is None:
        drop = -1
    elif isinstance(dim, (tuple, list)):
        for one in dim:
            drop |= <int64_t>1 << dim_of(one, self.ndim_)
    else:
        drop = <int64_t>1 << dim_of(dim, self.ndim_)
    for k in range(self.ndim_):
        if a.shape[k] == 1 and (drop >> k) & 1:
            continue
        a.shape[n] = a.shape[k]
        a.strides[n] = a.strides[k]
        a.grad_strides[n] = a.grad_strides[k]
        n += 1
    a.ndim = n
    return view_of(self, n, a.shape, a.strides, 0, a.grad_strides, 0, True)


def expand(Tensor self not None, *size):
    """Dimensions of size 1 repeated without copying; -1 keeps a size; new dimensions go in front."""
    cdef Arrangement a, b
    cdef int64_t shape[MAX_DIMS]
    cdef int n = sizes_of(size, shape, "expand"), k, j
    arrange(self, &a)
    if n < self.ndim_:
        raise RuntimeError(f"expand({self.dtype}{list(self.shape)}, size={[shape[k] for k in range(n)]}): the number "
                           f"of sizes provided ({n}) must be greater or equal to the number of dimensions in the "
                           f"tensor ({self.ndim_})")
    b = a
    b.ndim = n
    for k in range(n):
        j = k - (n - self.ndim_)
        if j < 0:
            if shape[k] < 0:
                raise RuntimeError(f"The expanded size of the tensor ({shape[k]}) isn't allowed in a leading, "
                                   f"non-existing dimension {k}")
            b.shape[k] = shape[k]
            b.strides[k] = 0
            b.grad_strides[k] = 0
            continue
        b.shape[k] = a.shape[j]
        b.strides[k] = a.strides[j]
        b.grad_strides[k] = a.grad_strides[j]
        if shape[k] == -1 or shape[k] == a.shape[j]:
            continue
        if a.shape[j] != 1 or shape[k] < 0:
            raise RuntimeError(f"The expanded size of the tensor ({shape[k]}) must match the existing size "
                               f"({a.shape[j]}) at non-singleton dimension {k}.  Target sizes: "
                               f"{[shape[i] for i in range(n)]}.  Tensor sizes: {list(self.shape)}")
        b.shape[k] = shape[k]
        b.strides[k] = 0
        b.grad_strides[k] = 0
    return show(self, &b)


cpdef Tensor select(Tensor self, dim, index):
    """One index of a dimension, which disappears; a view. IndexError out of range."""
    cdef Arrangement a
    cdef int64_t d, i, n
    cdef int k
    if self is None:                    # what is public in C as well takes it
        raise TypeError("select(): argument 'input' (position 1) must be Tensor, not NoneType")
    if self.ndim_ == 0:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = dim_of(dim, self.ndim_)
    n = self.shape_[d]
    if not -n <= index < n:
        raise IndexError(f"index {index} is out of bounds for dimension {d} with size {n}")
    i = index
    if i < 0:
        i += n
    arrange(self, &a)
    a.offset = i * a.strides[d]
    a.grad_offset = i * a.grad_strides[d]
    for k in range(d, self.ndim_ - 1):
        a.shape[k] = a.shape[k + 1]
        a.strides[k] = a.strides[k + 1]
        a.grad_strides[k] = a.grad_strides[k + 1]
    a.ndim -= 1
    return show(self, &a)


cpdef Tensor slice_(Tensor self, dim, start, stop, step):
    """A range of a dimension with Python's slice rules, as a view; ValueError unless step is positive."""
    cdef Arrangement a
    cdef int64_t d, n, lo, hi, st
    if self is None:
        raise TypeError("slice(): argument 'input' (position 1) must be Tensor, not NoneType")
    d = dim_of(dim, self.ndim_)
    n = self.shape_[d]
    st = 1 if step is None else step.__index__()
    if st <= 0:
        raise ValueError("step must be greater than zero")
    s = slice(start, stop, st).indices(n)
    lo = s[0]
    hi = s[1]
    arrange(self, &a)
    a.shape[d] = (hi - lo + st - 1) // st if hi > lo else 0
    a.offset = lo * a.strides[d] if a.shape[d] > 0 else 0
    a.grad_offset = lo * a.grad_strides[d] if a.shape[d] > 0 else 0
    a.strides[d] *= st
    a.grad_strides[d] *= st
    return show(self, &a)


def narrow(Tensor self not None, dim, start, length):
    """`length` indices of a dimension from `start` on, as a view."""
    cdef int64_t d, n, s
    if self.ndim_ == 0:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    d = dim_of(dim, self.ndim_)
    n = self.shape_[d]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    s = start + n if start < 0 else start
    if length > n - s:
        raise RuntimeError(f"start ({s}) + length ({length}) exceeds dimension size ({n}).")
    return slice_(self, d, s, s + length, 1)


def arrangement(Tensor self not None, tuple shape, tuple strides, int64_t offset):
    """A contiguous tensor shown with these strides and offset, in elements; ValueError if that leaves its memory."""
    cdef int64_t sizes[MAX_DIMS]
    cdef int64_t steps[MAX_DIMS]
    cdef int64_t last = offset, n = 1
    cdef int k, nd = <int>len(shape)
    if not self.contig:
        raise ValueError("the tensor must be contiguous")
    if nd > MAX_DIMS or len(strides) != nd:
        raise ValueError("shape and strides must have the same length, at most eight")
    for k in range(nd):
        sizes[k] = shape[k]
        steps[k] = strides[k]
        n *= sizes[k]
        if sizes[k] < 0 or steps[k] < 0:
            raise ValueError("negative size or stride")
        last += (sizes[k] - 1) * steps[k]
    if n > 0 and (offset < 0 or last >= self.numel_):
        raise ValueError("the arrangement leaves the tensor's memory")
    return view_of(self, nd, sizes, steps, offset, steps, offset, False)


def get_basic(Tensor self not None, key):
    """self[key] for an int, a slice, None, Ellipsis, or a tuple of these; None if the key holds anything else."""
    cdef Tensor x = self
    cdef int dim = 0, used = 0
    if type(key) is int:
        return select(self, 0, key) if self.ndim_ else bad_scalar_index()
    if type(key) is slice:
        if self.ndim_ == 0:
            raise IndexError("slice() cannot be applied to a 0-dim tensor.")
        return slice_(self, 0, key.start, key.stop, key.step)
    if type(key) is not tuple:
        if key is None:
            return unsqueeze(self, 0)
        if key is Ellipsis:
            return view_of(self, self.ndim_, self.shape_, self.strides_, 0, self.strides_, 0, True)
        return None
    for k in key:
        if type(k) is int or type(k) is slice:
            used += 1
        elif k is not None and k is not Ellipsis:
            return None
    if used > self.ndim_:
        raise IndexError(f"too many indices for tensor of dimension {self.ndim_}")
    if key.count(Ellipsis) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    for k in key:
        if type(k) is int:
            x = select(x, dim, k)
        elif type(k) is slice:
            if k.start is not None or k.stop is not None or k.step is not None:
                x = slice_(x, dim, k.start, k.stop, k.step)
            dim += 1
        elif k is None:
            x = unsqueeze(x, dim)
            dim += 1
        else:
            dim += self.ndim_ - used
    if x is self:
        return view_of(self, self.ndim_, self.shape_, self.strides_, 0, self.strides_, 0, True)
    return x


cdef object bad_scalar_index():
    raise IndexError("invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ "
                     "to convert a 0-dim tensor to a number")
