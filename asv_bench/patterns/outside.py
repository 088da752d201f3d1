"""Loops in which something moves on around the step: schedulers, rates, counters, coefficients, models in turn."""

from __future__ import annotations

import math

from . import Loop, batches, gradients_too, loop, mlp, targets


@loop
def scheduler_outside(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=500)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def iterate(i):
        loss = step(*data[i % 4])
        scheduler.step()
        return loss

    return Loop(iterate, gradients_too(model), (step,))


@loop
def scheduler_inside(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.999)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def learning_rate_by_hand(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def iterate(i):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * min(1.0, (i + 1) / 50)
        return step(*data[i % 4])

    return Loop(iterate, gradients_too(model), (step,))


@loop
def annealed_coefficient(torch, compiled):
    model, data = mlp(torch, 8, 16, 1), targets(torch)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    @compiled
    def step(x, y, beta):
        optimizer.zero_grad()
        out = model(x)
        loss = torch.nn.functional.mse_loss(out, y) + beta * (out * out).mean()
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 4], min(1.0, i / 100)), gradients_too(model), (step,))


@loop
def decaying_step_size(torch, compiled):
    torch.manual_seed(0)
    w = torch.zeros(8, 1, requires_grad=True)
    data = targets(torch)

    @compiled
    def step(x, y, rate):
        loss = ((x @ w - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w.sub_(rate * w.grad)
            w.grad.zero_()
        return loss

    return Loop(lambda i: step(*data[i % 4], 1 / (i + 10)), lambda: [w, w.grad], (step,))


@loop
def coefficient_in_an_attribute(torch, compiled):
    class Weights:
        kl = 0.0

    weights, model, data = Weights(), mlp(torch, 8, 16, 1), targets(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        out = model(x)
        loss = torch.nn.functional.mse_loss(out, y) + weights.kl * out.abs().mean()
        loss.backward()
        optimizer.step()
        return loss

    def iterate(i):
        weights.kl = min(1.0, i / 200)
        return step(*data[i % 4])

    return Loop(iterate, gradients_too(model), (step,))


@loop
def temperature_as_a_tensor(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    temperature = torch.ones(())

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x) / temperature, y)
        loss.backward()
        optimizer.step()
        return loss

    def iterate(i):
        temperature.fill_(1.0 + math.exp(-i / 100))
        return step(*data[i % 4])

    return Loop(iterate, gradients_too(model), (step,))


@loop
def global_counter(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state = {"step": 0}

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        state["step"] += 1
        return loss

    def iterate(i):
        loss = step(*data[i % 4])
        return loss, state["step"]

    return Loop(iterate, gradients_too(model), (step,))


@loop
def list_of_losses(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    history = []

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        history.append(loss.detach())
        return loss

    def iterate(i):
        loss = step(*data[i % 4])
        if len(history) >= 100:
            history.clear()
        return loss

    return Loop(iterate, lambda: [*gradients_too(model)(), *history], (step,))


@loop
def log_every_ten(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    lines = []

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def iterate(i):
        loss = step(*data[i % 4])
        if i % 10 == 0:
            lines.append(f"{i} {loss.item():.6f}")
            del lines[:-5]
        return loss

    return Loop(iterate, gradients_too(model), (step,))


@loop
def early_stopping(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    best = [math.inf, None]

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def iterate(i):
        loss = step(*data[i % 4])
        if i % 20 == 0 and loss.item() < best[0]:
            best[0] = loss.item()
            best[1] = {n: p.detach().clone() for n, p in model.state_dict().items()}
        return loss, best[0]

    return Loop(iterate, gradients_too(model), (step,))


@loop
def two_models_in_turn(torch, compiled):
    models, data = [mlp(torch, 8, 16, 3), mlp(torch, 8, 16, 3)], batches(torch)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in models]

    @compiled
    def step(model, optimizer, x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def iterate(i):
        return step(models[i % 2], optimizers[i % 2], *data[i % 4])

    return Loop(iterate, lambda: [t for m in models for t in gradients_too(m)()], (step,))


@loop
def a_model_per_fold(torch, compiled):
    data = batches(torch)
    now = {}

    def begin():
        now["model"] = model = mlp(torch, 8, 16, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def step(x, y):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        now["step"] = compiled(step)

    begin()

    def iterate(i):
        if i % 400 == 399:
            begin()
        return now["step"](*data[i % 4])

    return Loop(iterate, lambda: gradients_too(now["model"])(), ())


@loop
def weights_loaded_again(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = {n: p.detach().clone() for n, p in model.state_dict().items()}

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def iterate(i):
        if i % 50 == 49:
            model.load_state_dict(first)
        return step(*data[i % 4])

    return Loop(iterate, gradients_too(model), (step,))
