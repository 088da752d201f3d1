"""Trainers as classes: methods that are decorated, counters, histories, callbacks, modules that are compiled."""

from __future__ import annotations

from . import Loop, batches, gradients_too, loop, mlp


def trainer_class(torch, compiled):
    class Trainer:
        def __init__(self, model, lr=0.1):
            self.model = model
            self.optimizer = torch.optim.SGD(model.parameters(), lr=lr)
            self.criterion = torch.nn.CrossEntropyLoss()
            self.steps = 0
            self.history = []

        @compiled
        def train_step(self, x, y):
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            return loss

        def fit_one(self, x, y):
            loss = self.train_step(x, y)
            self.steps += 1
            self.history = [*self.history[-9:], loss.detach()]
            return loss

    return Trainer


@loop
def trainer_with_a_decorated_method(torch, compiled):
    trainer, data = trainer_class(torch, compiled)(mlp(torch, 8, 16, 3)), batches(torch)
    return Loop(
        lambda i: trainer.fit_one(*data[i % 4]), gradients_too(trainer.model), (type(trainer).__dict__["train_step"],)
    )


@loop
def two_trainers_of_one_class(torch, compiled):
    kind, data = trainer_class(torch, compiled), batches(torch)
    trainers = [kind(mlp(torch, 8, 16, 3)), kind(mlp(torch, 8, 16, 3), lr=0.05)]
    return Loop(
        lambda i: trainers[i % 2].fit_one(*data[i % 4]),
        lambda: [t for trainer in trainers for t in gradients_too(trainer.model)()],
        (kind.__dict__["train_step"],),
    )


@loop
def trainer_that_counts_inside(torch, compiled):
    class Trainer:
        def __init__(self):
            self.model = mlp(torch, 8, 16, 3)
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
            self.step = 0

        def train_step(self, x, y):
            self.optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            self.step += 1
            return loss

    trainer, data = Trainer(), batches(torch)
    step = compiled(trainer.train_step)

    def iterate(i):
        loss = step(*data[i % 4])
        return loss, trainer.step

    return Loop(iterate, gradients_too(trainer.model), (step,))


@loop
def trainer_that_keeps_the_last_loss(torch, compiled):
    class Trainer:
        last = None

    trainer, model, data = Trainer(), mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        trainer.last = loss.detach()

    def iterate(i):
        step(*data[i % 4])
        return trainer.last

    return Loop(iterate, gradients_too(model), (step,))


@loop
def compiled_module(torch, compiled):
    inner, data = mlp(torch, 8, 16, 3), batches(torch)
    model = compiled(inner)
    optimizer = torch.optim.SGD(inner.parameters(), lr=0.1)

    def iterate(i):
        x, y = data[i % 4]
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Loop(iterate, gradients_too(inner), (model,))


@loop
def module_with_its_own_loss(torch, compiled):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(8, 16), torch.nn.Linear(16, 3)

        def forward(self, x, y=None):
            scores = self.b(torch.relu(self.a(x)))
            if y is None:
                return scores
            return scores, torch.nn.functional.cross_entropy(scores, y)

    torch.manual_seed(0)
    model, data = Net(), batches(torch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    @compiled
    def step(x, y):
        scores, loss = model(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def callbacks(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    calls = []

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def on_step(i, loss):
        if i % 7 == 0:
            calls.append(loss.item())
            del calls[:-3]

    def iterate(i):
        loss = step(*data[i % 4])
        on_step(i, loss)
        return loss

    return Loop(iterate, gradients_too(model), (step,))
