"""In-place operations: versions, leaves, views with history, what is refused."""

from __future__ import annotations

import pytest

MODIFIED = "one of the variables needed for gradient computation has been modified by an inplace operation"


def leaf(torch, values=(1.0, 2.0, 3.0)):
    return torch.tensor(list(values), requires_grad=True)


def test_versions_count_changes(torch):
    x = torch.ones(3)
    assert x._version == 0
    x.add_(1)
    x[0] = 5
    x *= 2
    x.zero_()
    assert x._version == 4
    v = x[1:]
    assert v._version == 4
    v.add_(1)
    assert x._version == 5
    assert x.detach()._version == 5
    assert x.clone()._version == 0


def test_a_needed_input_changed(torch):
    x = leaf(torch)
    y = x * 1
    z = (y * y).sum()
    y.add_(1)
    with pytest.raises(RuntimeError, match=MODIFIED):
        z.backward()
    assert x.grad is None


def test_a_needed_result_changed(torch):
    x = leaf(torch)
    y = x.exp()
    y.mul_(2)
    with pytest.raises(RuntimeError, match=MODIFIED):
        y.sum().backward()


def test_a_change_of_what_is_not_needed_is_harmless(torch):
    x = leaf(torch)
    y = x + 1
    y.mul_(3)
    y += 2
    y.sum().backward()
    assert x.grad.tolist() == [3.0] * 3
    x = leaf(torch)
    y = x.exp()
    z = y + 1  # needs nothing of y; exp needs y, which stays
    z.mul_(2)
    z.sum().backward()
    assert x.grad.tolist() == pytest.approx([2 * v for v in x.exp().tolist()], rel=1e-6)


def test_the_result_of_an_inplace_op_is_its_self(torch):
    x = leaf(torch)
    y = x * 1
    assert y.mul_(2) is y
    before = y
    y += 1
    assert y is before
    assert y.grad_fn is not None


def test_derivatives_of_inplace_ops(torch):
    x = leaf(torch)
    y = x * 1
    y.mul_(y)  # saved as the other factor, then changed
    with pytest.raises(RuntimeError, match=MODIFIED):
        y.sum().backward()
    x = leaf(torch)
    y = x * 1
    y.mul_(y.clone())
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 4.0, 6.0]
    x = leaf(torch)
    y = x * 1
    y.div_(2).exp_()
    (y + x).sum().backward()
    assert x.grad.tolist() == pytest.approx([0.5 * v + 1 for v in (x / 2).exp().tolist()], rel=1e-6)


def test_leaves_are_not_changed_in_place(torch):
    message = "a leaf Variable that requires grad is being used in an in-place operation"
    x = leaf(torch)
    for change in (
        lambda: x.add_(1),
        lambda: x.mul_(x),
        lambda: x.zero_(),
        lambda: x.fill_(2),
        lambda: x.copy_(torch.ones(3)),
        lambda: x.__iadd__(1),
        lambda: x.uniform_(),
        lambda: x.normal_(),
    ):
        with pytest.raises(RuntimeError, match=message):
            change()
    assert x.tolist() == [1.0, 2.0, 3.0]
    assert x._version == 0
    with torch.no_grad():
        x.add_(1)
    assert x.tolist() == [2.0, 3.0, 4.0]
    assert x.requires_grad
    assert x.is_leaf


def test_views_of_leaves_are_not_changed_in_place(torch):
    x = leaf(torch)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x[0] = 1.0
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x[:2].add_(1)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x.view(3, 1).mul_(2)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x[torch.tensor([0, 1])] = 0.0
    assert x.tolist() == [1.0, 2.0, 3.0]
    with torch.no_grad():
        x[0] = 7.0
    assert x.tolist() == [7.0, 2.0, 3.0]


def test_a_refused_change_leaves_rng_and_data_alone(torch):
    x = leaf(torch)
    torch.manual_seed(3)
    expected = torch.rand(2).tolist()
    torch.manual_seed(3)
    with pytest.raises(RuntimeError):
        x.uniform_()
    assert torch.rand(2).tolist() == expected


# ---------------------------------------------------------------- views with history


def test_writing_a_recorded_value_into_a_plain_tensor(torch):
    x = torch.tensor(3.0, requires_grad=True)
    w = torch.zeros(3)
    w[0] = x * x
    w[2] = x
    assert w.requires_grad
    assert not w.is_leaf
    (w * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.item() == 6.0 + 100.0


def test_what_was_overwritten_gets_no_gradient(torch):
    x = leaf(torch)
    y = x * 2
    y[1] = 0.0
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 0.0, 2.0]


def test_an_inplace_op_on_a_view_reaches_the_base(torch):
    x = leaf(torch, [1.0, 2.0, 3.0, 4.0])
    y = x * 1
    v = y[1:3]
    v.mul_(10)
    assert y.tolist() == [1.0, 20.0, 30.0, 4.0]
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 10.0, 10.0, 1.0]


def test_a_view_taken_before_the_base_changed(torch):
    x = leaf(torch, [1.0, 2.0, 3.0, 4.0])
    y = x * 1
    v = y[1:3]
    y.mul_(10)
    v.sum().backward()
    assert x.grad.tolist() == [0.0, 10.0, 10.0, 0.0]


def test_a_view_taken_before_its_base_had_a_history(torch):
    x = leaf(torch)
    base = torch.zeros(4)
    v = base[:3]
    other = torch.ones(3, requires_grad=True)
    base[:3] = x
    assert v.requires_grad
    (other * v).sum().backward()
    assert x.grad.tolist() == [1.0] * 3
    assert other.grad.tolist() == [1.0, 2.0, 3.0]


def test_two_views_of_one_base(torch):
    x = leaf(torch, [1.0, 2.0, 3.0, 4.0])
    y = x * 1
    a, b = y.view(2, 2), y[::2]
    a.mul_(2)
    b.add_(1)
    (a * a).sum().backward()
    # y = 2 x, then + 1 at 0 and 2
    assert x.grad.tolist() == [2 * 2 * (2 * 1 + 1), 2 * 2 * 4, 2 * 2 * (2 * 3 + 1), 2 * 2 * 8]


def test_views_of_views(torch):
    x = torch.arange(8.0).requires_grad_()
    y = x * 1
    v = y.view(2, 4)[1][1:]
    v.mul_(3)
    y.sum().backward()
    assert x.grad.tolist() == [1.0] * 5 + [3.0] * 3


def test_a_transposed_view_changed_in_place(torch):
    x = torch.arange(6.0).view(2, 3).requires_grad_()
    y = x * 1
    y.t()[0].mul_(5)
    y.t().add_(1)
    y.sum().backward()
    assert x.grad.tolist() == [[5.0, 1.0, 1.0], [5.0, 1.0, 1.0]]


def test_a_needed_base_changed_through_a_view(torch):
    x = leaf(torch)
    y = x * 1
    z = (y * y).sum()
    y[0] = 9.0
    with pytest.raises(RuntimeError, match=MODIFIED):
        z.backward()


def test_second_derivatives_through_views_changed_in_place(torch):
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)

    def f(a):
        y = a * a
        y[1:].mul_(a[1:])
        y[0] = a[2] ** 3
        return y * 1.0

    assert torch.autograd.gradcheck(f, (x,))
    assert torch.autograd.gradgradcheck(f, (x,))


def test_masked_and_indexed_assignment(torch):
    x = leaf(torch)
    y = x * 1
    y[y > 1.5] = 0.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 0.0]
    x, v = leaf(torch), leaf(torch, [5.0, 6.0])
    y = x * 1
    y[torch.tensor([2, 0])] = v * 2
    assert y.tolist() == [12.0, 2.0, 10.0]
    (y * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [0.0, 10.0, 0.0]
    assert v.grad.tolist() == [200.0, 2.0]


def test_copy_and_fill_cut_the_history(torch):
    x, w = leaf(torch), leaf(torch)
    y = x * 1
    y.copy_(w)
    y.sum().backward()
    assert w.grad.tolist() == [1.0] * 3
    assert x.grad is None or x.grad.tolist() == [0.0] * 3
    y = x * 1
    y.zero_()
    y.sum().backward()
    assert x.grad is None or x.grad.tolist() == [0.0] * 3


def test_copy_converts_and_broadcasts(torch):
    x = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    y = torch.zeros(2, 3)
    y.copy_(x)
    y.sum().backward()
    assert x.grad.item() == 6.0
    assert x.grad.dtype is torch.float64


# ---------------------------------------------------------------- what is refused


def test_expanded_tensors_are_not_written(torch):
    x = torch.ones(1).expand(3)
    for change in (lambda: x.add_(1), lambda: x.copy_(torch.ones(3)), lambda: x.mul_(torch.ones(3))):
        with pytest.raises(RuntimeError, match="more than one element of the written-to tensor refers to a single"):
            change()
    assert x.tolist() == [1.0] * 3


def test_self_is_never_broadcast(torch):
    x = torch.ones(3)
    with pytest.raises(RuntimeError, match=r"output with shape \[3\] doesn't match the broadcast shape \[2, 3\]"):
        x.add_(torch.ones(2, 3))
    with pytest.raises(RuntimeError, match=r"output with shape \[1\] doesn't match the broadcast shape \[3\]"):
        torch.ones(1).mul_(x)
    with pytest.raises(RuntimeError):
        x.copy_(torch.ones(4))
    assert x.tolist() == [1.0] * 3
    assert x._version == 0


def test_the_result_must_fit_the_type(torch):
    k = torch.tensor([1, 2])
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output type Long"):
        k.add_(1.5)
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output type"):
        k /= 2
    with pytest.raises(RuntimeError, match="result type Long can't be cast to the desired output type Bool"):
        torch.tensor([True]).add_(torch.tensor([1]))
    assert k.tolist() == [1, 2]
    assert k._version == 0
    f = torch.ones(2)
    f.add_(torch.ones(2, dtype=torch.float64))
    assert f.dtype is torch.float32


def test_outputs_of_unbind_and_split_are_not_written(torch):
    x = leaf(torch)
    for make in (lambda y: y.unbind(0)[0], lambda y: y.split(1)[0], lambda y: y.chunk(3)[0]):
        y = x * 1
        piece = make(y)
        with pytest.raises(RuntimeError, match="view"):
            piece.mul_(2)
        with torch.no_grad():
            piece.mul_(2)
    plain = torch.ones(3)
    plain.unbind(0)[0].mul_(2)
    assert plain.tolist() == [2.0, 1.0, 1.0]


def test_overlapping_memory_reads_as_if_copied_first(torch):
    x = torch.arange(6.0)
    x.view(2, 3).add_(x.view(3, 2).t().contiguous())
    assert x.tolist() == [0.0, 3.0, 6.0, 4.0, 7.0, 10.0]


def test_exchanged_memory_does_not_confuse_views(torch):
    """.data can take the memory away under a view: then the view stands alone, or says so."""
    x = leaf(torch)
    base = torch.zeros(6)
    v = base[2:5]
    base.data = torch.zeros(2)
    try:
        v.add_(x)
        v.sum().backward()
    except RuntimeError:
        pass
    base, w = torch.zeros(2), torch.zeros(100)
    v = base[:1]
    v.data = w
    try:
        v[50:53].add_(x)
        base.sum()
        v.sum().backward()
    except RuntimeError:
        pass


def test_a_gradient_whose_memory_was_exchanged(torch):
    x = leaf(torch)
    x.sum().backward()
    x.grad.data = torch.ones(1000)
    with pytest.raises(RuntimeError):
        x.sum().backward()
    assert x.grad.shape == (1000,)


def test_indices_changed_in_place_are_noticed(torch):
    """What max(dim) returns beside the values is read by the derivative."""
    for change in (lambda i: i.zero_(), lambda i: i[:1].fill_(1), lambda i: i.view(-1).mul_(0)):
        x = torch.tensor([[1.0, 3.0], [4.0, 2.0]], requires_grad=True)
        values, indices = x.max(1)
        change(indices)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            values.sum().backward()
        values, indices = x.min(1)
        change(indices)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(values.sum(), x, create_graph=True)
    values, indices = x.max(1)
    indices.clone().zero_()
    values.sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_rows_of_an_iteration_are_not_written(torch):
    """They are what unbind gives; a plain tensor's rows may be written, with plain values."""
    y = torch.ones(2, 3, requires_grad=True) * 1
    for change in (lambda: [row.mul_(2) for row in y], lambda: [row[:1].mul_(2) for row in y]):
        with pytest.raises(RuntimeError, match="output of a function that returns multiple views"):
            change()
    assert y.tolist() == [[1.0] * 3] * 2
    plain = torch.zeros(2, 3)
    for row in plain:
        row.add_(2)
    assert plain.tolist() == [[2.0] * 3] * 2
    for row in (next(iter(plain)), plain.unbind()[0], plain.split(1)[0]):
        with pytest.raises(RuntimeError, match="output of a function that returns multiple views"):
            row.mul_(torch.ones(3, requires_grad=True))
    assert not plain.requires_grad
    assert plain.tolist() == [[2.0] * 3] * 2
    with torch.no_grad():
        next(iter(y)).mul_(2)
    assert y.tolist() == [[2.0] * 3, [1.0] * 3]


def of_leaf_that_is_a_view(torch):
    return torch.zeros(4).view(2, 2).requires_grad_()


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.add_(1),
        lambda x: x[0].add_(1),
        lambda x: x.view(-1)[1:].mul_(2),
        lambda x: x.__setitem__((0, 0), 1.0),
    ],
)
def test_leaf_that_is_a_view_is_protected(torch, change):
    x = of_leaf_that_is_a_view(torch)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        change(x)
    assert x.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    with torch.no_grad():
        x.add_(1)
    (x * 3).sum().backward()
    assert x.grad.tolist() == [[3.0, 3.0], [3.0, 3.0]]


def test_view_made_without_gradients_is_not_changed_with_them(torch):
    x = torch.ones(4, requires_grad=True)
    y = x * 2
    w = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        views = [y[:2], y.view(2, 2)[0], *y.split(2)]
        plain = torch.ones(2)[:2]
        y[2:].mul_(1.0)
    for v in views:
        with pytest.raises(RuntimeError, match="A view was created in no_grad mode"):
            v.mul_(w)
        with pytest.raises(RuntimeError, match="A view was created in no_grad mode"):
            v[0] = w[0]
    with pytest.raises(RuntimeError, match="A view was created in no_grad mode"):
        plain.mul_(w)
    assert y.tolist() == [2.0] * 4
    plain.mul_(3.0)
    assert plain.tolist() == [3.0, 3.0]
    with torch.no_grad():
        views[0].zero_()
    assert y.tolist() == [0.0, 0.0, 2.0, 2.0]


def test_retained_gradient_is_that_of_the_newest_value(torch):
    for change in (lambda y: y.mul_(3), lambda y: y[:2].mul_(3), lambda y: y.exp_()):
        x = torch.ones(3, requires_grad=True)
        y = x * 2
        y.retain_grad()
        change(y)
        assert y.retains_grad
        (y * y).sum().backward()
        assert torch.equal(y.grad, 2 * y.detach())


def test_overwritten_value_has_gradient_zero(torch):
    ones = torch.ones(3)
    for overwrite in (lambda y: y.zero_(), lambda y: y.fill_(2.0), lambda y: y.copy_(ones), lambda y: y.mul_(1)):
        x = torch.ones(3, requires_grad=True)
        y = x * 1
        overwrite(y)
        (y * 2).sum().backward()
        assert x.grad is not None
        assert len(set(x.grad.tolist())) == 1
    x = torch.ones(2, 2, 1, 1, 3, requires_grad=True)
    y = x * 1
    y.view(4, 3)[1].zero_()
    y.sum().backward()
    assert x.grad.sum().item() == 9.0


@pytest.mark.parametrize(
    "name", ["sin_", "cos_", "exp_", "tanh_", "sigmoid_", "sqrt_", "square_", "abs_", "relu_", "clamp_", "pow_", "log_"]
)
def test_in_place_on_what_the_derivative_needs(torch, name):
    """The derivative reads a copy of what was overwritten; first and second order are those of the plain form."""
    args = {"clamp_": (0.2, 0.8), "pow_": (3.5,)}.get(name, ())
    found = []
    for form in (name, name.removesuffix("_")):
        x = torch.tensor([0.3, 0.6, 0.9], dtype=torch.float64, requires_grad=True)
        y = getattr(x * 1, form)(*args)
        g = torch.autograd.grad((y * y).sum(), x, create_graph=True)[0]
        found.append((y.tolist(), g.tolist(), torch.autograd.grad((g * g).sum(), x)[0].tolist()))
    assert found[0] == found[1]


def test_activations_in_place(torch):
    F = torch.nn.functional
    for function in (F.relu, F.leaky_relu, F.elu, F.silu):
        found = []
        for inplace in (True, False):
            x = torch.tensor([0.3, -0.6, 0.9], requires_grad=True)
            z = x * 1
            y = function(z, inplace=inplace)
            assert (y is z) == inplace
            y.sum().backward()
            found.append((y.tolist(), x.grad.tolist()))
        assert found[0] == found[1]
