"""Version counts of memory that several tensors share: as in eager code, also when they part."""

from __future__ import annotations

import numpy as np
import pytest
import tapegrad as torch

eager_is_allowed = pytest.mark.filterwarnings("ignore:.*runs eagerly")


def both(run):
    expected, found = run(lambda f: f), run(torch.compile)
    assert found == expected


def outcome(backward, *tensors):
    try:
        backward()
    except RuntimeError as error:
        return str(error)[:60]
    return [None if t.grad is None else t.grad.tolist() for t in tensors]


@eager_is_allowed
@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("knows", [False, True], ids=["views", "views and the whole"])
def test_gradients_in_one_buffer_part(which, knows):
    def run(wrap):
        torch.manual_seed(0)
        parameters = [torch.nn.Parameter(torch.ones(3)) for _ in range(3)]
        optimizer = torch.optim.SGD(parameters, 0.1)
        flat = torch.zeros(9)
        for k, p in enumerate(parameters):
            p.grad = flat[3 * k : 3 * k + 3]

        def step():
            optimizer.zero_grad(set_to_none=False)
            sum((p * p).sum() for p in parameters).backward()

        def step_with_the_whole():
            flat.add_(1)
            step()

        f = wrap(step_with_the_whole if knows else step)
        for _ in range(4):
            f()
        found = [[p.grad._version for p in parameters], flat._version]
        parameters[which].grad = torch.full((3,), 2.0)
        w = torch.ones(3, requires_grad=True)
        y = (w * parameters[which].grad).sum()
        z = (w * flat[:3]).sum()
        for _ in range(4):
            f()
        found += [outcome(y.backward, w), outcome(z.backward, w)]
        return found, [p.grad._version for p in parameters], flat._version, [p.grad.tolist() for p in parameters]

    both(run)


@eager_is_allowed
@pytest.mark.parametrize("joined", [False, True], ids=["apart", "joined"])
def test_an_argument_in_the_buffer_of_a_gradient(joined):
    def run(wrap):
        w = torch.nn.Parameter(torch.ones(3))
        flat = torch.zeros(6)
        w.grad = flat[:3]

        def step(x):
            x.add_(1)
            w.grad.add_(1)

        f = wrap(step)
        other = torch.zeros(3)
        first, then = (other, flat[3:]) if joined else (flat[3:], other)
        for _ in range(4):
            f(first)
        for _ in range(4):
            f(then)
        return flat._version, other._version, flat.tolist(), other.tolist()

    both(run)


@eager_is_allowed
@pytest.mark.parametrize("result", ["whole", "part"])
@pytest.mark.parametrize("row", [0, 1])
def test_a_result_over_memory_that_two_parameters_have(result, row):
    def run(wrap):
        a = torch.nn.Parameter(torch.ones(2, 3))
        b = torch.nn.Parameter(a.data[row])
        optimizer = torch.optim.SGD([a, b], 0.1)

        def step(x):
            ((a * x).sum() + (b * x).sum()).backward()
            optimizer.step()
            optimizer.zero_grad()
            return a.detach() if result == "whole" else b.detach()

        f = wrap(step)
        for _ in range(6):
            d = f(torch.ones(3))
        y, z = (a * a).sum(), (b * b).sum()
        d.fill_(5.0)
        return outcome(y.backward, a), outcome(z.backward, b), a._version, b._version, d._version

    both(run)


@eager_is_allowed
@pytest.mark.parametrize("swapped", [False, True])
def test_a_result_over_memory_that_numpy_gave_twice(swapped):
    def run(wrap):
        data = np.ones(3, np.float32)
        a, b = torch.from_numpy(data), torch.from_numpy(data)
        f = wrap((lambda x: (b * x + a, b.detach())) if swapped else (lambda x: (a * x + b, b.detach())))
        for _ in range(5):
            _, d = f(torch.ones(3))
        w = torch.ones(3, requires_grad=True)
        y, z = (w * a).sum(), (w * b).sum()
        d.fill_(5.0)
        return outcome(y.backward, w), outcome(z.backward, w), a._version, b._version

    both(run)


def test_parameters_in_one_buffer():
    def run(wrap):
        flat = torch.arange(6.0)
        parameters = [torch.nn.Parameter(torch.zeros(3)) for _ in range(2)]
        for k, p in enumerate(parameters):
            p.data = flat[3 * k : 3 * k + 3]
        optimizer = torch.optim.SGD(parameters, 0.1)

        def step(x):
            optimizer.zero_grad()
            sum((p * x).sum() for p in parameters).backward()
            optimizer.step()

        f = wrap(step)
        found = []
        for k in range(9):
            if k == 5:
                parameters[0].data = torch.ones(3)
            f(torch.ones(3))
            found.append(([p._version for p in parameters], flat._version, flat.tolist()))
        return found

    both(run)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_only_one_of_two_gradients_in_one_buffer_is_added_to(order):
    def run(wrap):
        parameters = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
        flat = torch.zeros(6)
        for k, p in enumerate(parameters):
            p.grad = flat[3 * k : 3 * k + 3]

        def step(x):
            (parameters[order[0]] * x).sum().backward()
            return [p.grad for p in parameters]

        f = wrap(step)
        found = []
        for _ in range(5):
            f(torch.ones(3))
            found.append((flat._version, flat.tolist()))
        return found

    both(run)
