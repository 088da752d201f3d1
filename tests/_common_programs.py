"""Small programs of the kinds that people train, for the list of kernels that `python -m tapegrad warm` compiles."""

from __future__ import annotations

import math

import tapegrad as torch

F = torch.nn.functional


def classify(make_optimizer, activation):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        *(torch.nn.Linear(6, 16), activation(), torch.nn.Dropout(0.1), torch.nn.Linear(16, 3))
    )
    optimizer = make_optimizer(model.parameters())
    x, y = torch.randn(20, 6), torch.randint(0, 3, (20,))
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.CrossEntropyLoss()(model(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        scores = model(x)
        (scores.argmax(dim=1) == y).float().mean().item()
        (scores.argmax(1) == y).sum().item()
        F.softmax(scores, dim=1).max(dim=1)


def fit_a_curve():
    torch.manual_seed(0)
    x = torch.linspace(-3, 3, 50).unsqueeze(1)
    y = torch.sin(x) + 0.1 * torch.randn(x.shape)
    model = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for loss in (lambda a, b: ((a - b) ** 2).mean(), torch.nn.MSELoss(), torch.nn.L1Loss()):
        for _ in range(2):
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()


def descend_by_hand():
    x = torch.rand(50, 1)
    y = 2 * x + 1
    w, b = torch.randn(1, 1, requires_grad=True), torch.zeros(1, requires_grad=True)
    for _ in range(3):
        ((x @ w + b - y) ** 2).mean().backward()
        with torch.no_grad():
            w -= 0.1 * w.grad
            b -= 0.1 * b.grad
            w.grad.zero_()
            b.grad.zero_()
    a = torch.tensor(2.0, requires_grad=True)
    (a**3 + 2 * a).backward()
    (a * a / (a + 1)).backward()


def logistic_regression():
    x = torch.randn(30, 4)
    y = (x.sum(1) > 0).float()
    w, b = torch.zeros(4, requires_grad=True), torch.zeros((), requires_grad=True)
    p = torch.sigmoid(x @ w + b)
    (-(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()).backward()
    with torch.no_grad():
        w.sub_(w.grad * 0.1)
        b.sub_(b.grad * 0.1)
    ((p > 0.5).float() == y).float().mean()


def recur():
    inwards, onwards = torch.nn.Linear(5, 8), torch.nn.Linear(8, 8)
    x, h, states = torch.randn(4, 7, 5), torch.zeros(4, 8), []
    for t in range(7):
        h = torch.tanh(inwards(x[:, t]) + onwards(h))
        states.append(h)
    out = torch.stack(states, 1)
    (out[:, -1].pow(2).mean() + torch.cat(states, 1).mean()).backward()


def attend():
    q, k = torch.randn(2, 5, 8, requires_grad=True), torch.randn(2, 5, 8, requires_grad=True)
    weights = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(8), -1)
    (weights @ k).sum().backward()


def prepare():
    x = torch.randn(10, 4)
    x = (x - x.mean(0)) / (x.std(0) + 1e-8)
    x[torch.randperm(10)]
    x[x > 0]
    return x.min(), x.max(), torch.arange(5), torch.full((2,), 1.0), torch.eye(3)


def differentiate_twice():
    x = torch.linspace(0, 1, 20).reshape(-1, 1).requires_grad_()
    model = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    u = model(x)
    (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (du**2 + torch.exp(-x) * u).mean().backward()


def look_up():
    table = torch.randn(7, 3, requires_grad=True)
    F.relu(table[torch.tensor([0, 1, 2])]).sum().backward()
    F.one_hot(torch.tensor([0, 2]), 3).float()


OPTIMIZERS = (
    lambda p: torch.optim.SGD(p, lr=0.1),
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-4),
    torch.optim.Adam,
    torch.optim.AdamW,
)
ACTIVATIONS = (*("ReLU", "Tanh", "Sigmoid", "GELU", "SiLU", "LeakyReLU"),)


def run_all():
    for make in OPTIMIZERS:
        classify(make, torch.nn.ReLU)
    for name in ACTIVATIONS:
        classify(OPTIMIZERS[0], getattr(torch.nn, name))
    for program in (
        *(fit_a_curve, descend_by_hand, logistic_regression, recur, attend, prepare, differentiate_twice, look_up),
    ):
        program()
