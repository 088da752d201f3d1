"""Matplotlib draws tensors: it tries `float(t)` of everything and goes on where that is a ValueError or TypeError."""

from __future__ import annotations

import pytest


@pytest.fixture
def axes():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    yield axes
    figure.canvas.draw()
    pyplot.close(figure)


PLOTS = {
    "contourf": lambda a, x, y, z: a.contourf(x, y, z),
    "pcolormesh": lambda a, x, y, z: a.pcolormesh(x, y, z),
    "scatter": lambda a, x, y, z: a.scatter(x, y, c=z, s=z),
    "plot": lambda a, x, y, z: a.plot(x[0], z),
    "imshow": lambda a, x, y, z: a.imshow(z),
    "hist": lambda a, x, y, z: a.hist(z.flatten(), bins=5),
    "bar": lambda a, x, y, z: a.bar(x[0], z[0]),
    "numbers": lambda a, x, y, z: a.plot([x[0, 0], x[0, 1]], [z[0, 0], z[0, 1]]),
    "fill_between": lambda a, x, y, z: a.fill_between(x[0], z[0] - 1, z[0] + 1),
}


@pytest.mark.parametrize("name", PLOTS)
def test_plots(torch, axes, name):
    x = torch.linspace(0, 1, 6).view(1, -1).expand(6, 6)
    PLOTS[name](axes, x, x.t(), x * x + x.t())


@pytest.mark.parametrize("number", [float, int, complex])
def test_several_elements_are_no_number(torch, number):
    for t in (torch.zeros(3), torch.zeros(0), torch.zeros(2, 2, dtype=torch.int64)):
        with pytest.raises(ValueError, match="only one element tensors can be converted to Python scalars"):
            number(t)
    with pytest.raises(RuntimeError, match="a Tensor with 3 elements cannot be converted to Scalar"):
        torch.zeros(3).item()
    assert number(torch.ones(1, 1)) == 1
