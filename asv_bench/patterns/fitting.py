"""Plain supervised loops: optimizers, losses, clipping, schedulers, accumulation, averages, regularisation."""

from __future__ import annotations

from typing import Any

from . import Decorator, Loop, batches, gradients_too, loop, mlp, targets


def classifier(torch: Any, compiled: Decorator, optimizer: Any, model: Any, extra: Any = None) -> Loop:
    data = batches(torch)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        if extra is not None:
            loss = loss + extra()
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def plain_sgd(torch, compiled):
    model = mlp(torch, 8, 16, 3)
    return classifier(torch, compiled, torch.optim.SGD(model.parameters(), lr=0.1), model)


@loop
def momentum(torch, compiled):
    model = mlp(torch, 8, 16, 3, act="ReLU")
    return classifier(torch, compiled, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True), model)


@loop
def adam(torch, compiled):
    model = mlp(torch, 8, 16, 16, 3, act="ReLU")
    return classifier(torch, compiled, torch.optim.Adam(model.parameters(), lr=0.01), model)


@loop
def adamw_two_groups(torch, compiled):
    model = mlp(torch, 8, 16, 3)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return classifier(torch, compiled, torch.optim.AdamW(groups, lr=0.01), model)


@loop
def l1_penalty(torch, compiled):
    model = mlp(torch, 8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return classifier(
        torch, compiled, optimizer, model, lambda: 1e-3 * sum(p.abs().sum() for p in model.parameters())
    )


@loop
def l2_penalty(torch, compiled):
    model = mlp(torch, 8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return classifier(
        torch, compiled, optimizer, model, lambda: 1e-3 * sum((p * p).sum() for p in model.parameters())
    )


@loop
def clipped_norm(torch, compiled):
    model, data = mlp(torch, 8, 16, 1), targets(torch)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def clipped_values(torch, compiled):
    model, data = mlp(torch, 8, 16, 1), targets(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    @compiled
    def step(x, y):
        optimizer.zero_grad(set_to_none=False)
        loss = torch.nn.functional.smooth_l1_loss(model(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.1)
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def accuracy_beside_the_loss(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        scores = model(x)
        loss = torch.nn.functional.cross_entropy(scores, y)
        loss.backward()
        optimizer.step()
        return loss.detach(), (scores.argmax(1) == y).float().mean()

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def loss_read_outside(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    total = [0.0]

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def iterate(i):
        total[0] += step(*data[i % 4]).item()
        return total[0]

    return Loop(iterate, gradients_too(model), (step,))


@loop
def loss_read_inside(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def dropout(torch, compiled):
    torch.manual_seed(0)
    nn = torch.nn
    model, data = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def noise_in_the_inputs(torch, compiled):
    model, data = mlp(torch, 8, 16, 1), targets(torch)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x + 0.1 * torch.randn_like(x)), y)
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def train_and_validate(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(x, y):
        model.train()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    @compiled
    def validate(x, y):
        model.eval()
        with torch.no_grad():
            return (model(x).argmax(1) == y).float().mean()

    def iterate(i):
        loss = step(*data[i % 3])
        return loss if i % 5 else (loss, validate(*data[3]))

    return Loop(iterate, gradients_too(model), (step, validate))


@loop
def moving_average_of_weights(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    average = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for a, p in zip(average, model.parameters()):
                a.mul_(0.99).add_(p, alpha=0.01)
        return loss

    return Loop(lambda i: step(*data[i % 4]), lambda: [*gradients_too(model)(), *average], (step,))


@loop
def moving_average_in_a_dict(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    shadow = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        for n, p in model.named_parameters():
            shadow[n] = 0.99 * shadow[n] + 0.01 * p.detach()
        return loss

    return Loop(lambda i: step(*data[i % 4]), lambda: [*gradients_too(model)(), *shadow.values()], (step,))


@loop
def label_smoothing(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def mixup(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cross_entropy = torch.nn.functional.cross_entropy

    @compiled
    def step(x, y, lam, order):
        optimizer.zero_grad()
        scores = model(lam * x + (1 - lam) * x[order])
        loss = lam * cross_entropy(scores, y) + (1 - lam) * cross_entropy(scores, y[order])
        loss.backward()
        optimizer.step()
        return loss

    def iterate(i):
        return step(*data[i % 4], 0.1 + 0.8 * (i * 37 % 100) / 100, torch.randperm(32))

    return Loop(iterate, gradients_too(model), (step,))


@loop
def distillation(torch, compiled):
    model, teacher, data = mlp(torch, 8, 16, 3), mlp(torch, 8, 32, 3), batches(torch)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    F = torch.nn.functional

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        with torch.no_grad():
            soft = F.softmax(teacher(x) / 2.0, dim=1)
        scores = model(x)
        loss = F.cross_entropy(scores, y) - (soft * F.log_softmax(scores / 2.0, dim=1)).sum(1).mean() * 4.0
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def frozen_parts(torch, compiled):
    model, data = mlp(torch, 8, 16, 16, 3, act="ReLU"), batches(torch)
    for p in model[:2].parameters():
        p.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def accumulation_of_four(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(pairs):
        optimizer.zero_grad()
        total = 0.0
        for x, y in pairs:
            loss = torch.nn.functional.cross_entropy(model(x), y) / len(pairs)
            loss.backward()
            total = total + loss.detach()
        optimizer.step()
        return total

    return Loop(lambda i: step(data), gradients_too(model), (step,))


@loop
def accumulation_by_a_flag(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(x, y, update):
        loss = torch.nn.functional.cross_entropy(model(x), y) / 4
        loss.backward()
        if update:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    return Loop(lambda i: step(*data[i % 4], i % 4 == 3), gradients_too(model), (step,))


@loop
def zero_grad_outside(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def loss_of(x, y):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    def iterate(i):
        optimizer.zero_grad()
        loss = loss_of(*data[i % 4])
        optimizer.step()
        return loss

    return Loop(iterate, gradients_too(model), (loss_of,))
