"""Ways in which batches come: dicts, dataclasses, named tuples, objects, keywords, other sizes, names beside them."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from . import Loop, batches, gradients_too, loop, mlp


class Pair(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Batch:
    x: Any
    y: Any
    name: str = "train"


class Sample:
    def __init__(self, x: Any, y: Any, number: int) -> None:
        self.x, self.y, self.number = x, y, number


def trained(torch, compiled, split):
    """A step that takes its batch apart with `split`, its model, and the batches."""
    model = mlp(torch, 8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(batch):
        x, y = split(batch)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, model, batches(torch)


@loop
def batch_is_a_dict(torch, compiled):
    step, model, data = trained(torch, compiled, lambda b: (b["x"], b["y"]))
    return Loop(lambda i: step({"x": data[i % 4][0], "y": data[i % 4][1]}), gradients_too(model), (step,))


@loop
def batch_is_a_dict_with_names(torch, compiled):
    step, model, data = trained(torch, compiled, lambda b: (b["x"], b["y"]))

    def iterate(i):
        x, y = data[i % 4]
        return step({"x": x, "y": y, "ids": [f"row-{32 * i + k}" for k in range(32)]})

    return Loop(iterate, gradients_too(model), (step,))


@loop
def batch_is_a_tuple(torch, compiled):
    step, model, data = trained(torch, compiled, lambda b: b)
    return Loop(lambda i: step(data[i % 4]), gradients_too(model), (step,))


@loop
def batch_is_a_list(torch, compiled):
    step, model, data = trained(torch, compiled, lambda b: (b[0], b[1]))
    return Loop(lambda i: step(list(data[i % 4])), gradients_too(model), (step,))


@loop
def batch_is_a_named_tuple(torch, compiled):
    step, model, data = trained(torch, compiled, lambda b: (b.x, b.y))
    return Loop(lambda i: step(Pair(*data[i % 4])), gradients_too(model), (step,))


@loop
def batch_is_a_dataclass(torch, compiled):
    step, model, data = trained(torch, compiled, lambda b: (b.x, b.y))
    return Loop(lambda i: step(Batch(*data[i % 4])), gradients_too(model), (step,))


@loop
def batch_is_an_object(torch, compiled):
    step, model, data = trained(torch, compiled, lambda b: (b.x, b.y))
    return Loop(lambda i: step(Sample(*data[i % 4], i)), gradients_too(model), (step,))


@loop
def keywords(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(*, inputs, labels, weight=None):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), labels, weight=weight)
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    return Loop(lambda i: step(inputs=data[i % 4][0], labels=data[i % 4][1]), gradients_too(model), (step,))


@loop
def index_of_the_batch(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(i, x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(i, *data[i % 4]), gradients_too(model), (step,))


@loop
def last_batch_is_smaller(torch, compiled):
    model = mlp(torch, 8, 16, 3)
    data = [*batches(torch), *batches(torch, 1, rows=10)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 5]), gradients_too(model), (step,))


@loop
def many_batch_sizes(torch, compiled):
    model = mlp(torch, 8, 16, 3)
    data = [batches(torch, 1, rows=4 + k)[0] for k in range(24)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i * 7 % 24]), gradients_too(model), (step,))


@loop
def rows_picked_inside(torch, compiled):
    model = mlp(torch, 8, 16, 3)
    x, y = batches(torch, 1, rows=256)[0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step():
        rows = torch.randint(0, 256, (32,))
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(), gradients_too(model), (step,))


@loop
def data_loader(torch, compiled):
    model = mlp(torch, 8, 16, 3)
    x, y = batches(torch, 1, rows=128)[0]
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=32, shuffle=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rest = []

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def iterate(i):
        if not rest:
            rest.extend(loader)
        return step(*rest.pop())

    return Loop(iterate, gradients_too(model), (step,))
