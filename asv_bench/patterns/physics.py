"""Gradients inside the step, recurrences, inner loops and optimizers of one's own."""

from __future__ import annotations

from . import Loop, batches, gradients_too, loop, mlp, targets


@loop
def physics_informed(torch, compiled):
    model = mlp(torch, 1, 16, 16, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    @compiled
    def step(t):
        t = t.requires_grad_()
        u = model(t)
        (du,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        (ddu,) = torch.autograd.grad(du.sum(), t, create_graph=True)
        start = torch.zeros(1, 1)
        loss = ((ddu + u) ** 2).mean() + ((model(start) - 1) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(torch.rand(32, 1) * 6), gradients_too(model), (step,))


@loop
def poisson_with_boundary(torch, compiled):
    model = mlp(torch, 2, 16, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    torch.manual_seed(5)
    border = torch.rand(16, 2).round()

    @compiled
    def step(p):
        p.requires_grad_()
        u = model(p)
        g = torch.autograd.grad(u.sum(), p, create_graph=True)[0]
        lap = sum(torch.autograd.grad(g[:, k].sum(), p, create_graph=True)[0][:, k] for k in range(2))
        loss = ((lap - 1.0) ** 2).mean() + (model(border) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(torch.rand(24, 2)), gradients_too(model), (step,))


@loop
def ode_by_euler(torch, compiled):
    field, data = mlp(torch, 2, 16, 2), [(targets(torch, 1, 16, 2)[0][0], targets(torch, 1, 16, 2)[0][0])]
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)

    @compiled
    def step(x, end):
        optimizer.zero_grad()
        for _ in range(8):
            x = x + 0.1 * field(x)
        loss = ((x - end) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[0]), gradients_too(field), (step,))


@loop
def ode_by_runge_kutta(torch, compiled):
    field, x0 = mlp(torch, 2, 16, 2), targets(torch, 1, 16, 2)[0][0]
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)

    @compiled
    def step(x, end, h):
        optimizer.zero_grad()
        for _ in range(3):
            k1 = field(x)
            k2 = field(x + h / 2 * k1)
            k3 = field(x + h / 2 * k2)
            k4 = field(x + h * k3)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        loss = ((x - end) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(x0, -x0, 0.1), gradients_too(field), (step,))


@loop
def recurrent_cell(torch, compiled):
    torch.manual_seed(0)
    inputs, hidden, out = torch.nn.Linear(4, 16), torch.nn.Linear(16, 16), torch.nn.Linear(16, 1)
    parameters = [*inputs.parameters(), *hidden.parameters(), *out.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    torch.manual_seed(1)
    data = [(torch.randn(8, 12, 4), torch.randn(8, 1)) for _ in range(4)]

    @compiled
    def step(x, y):
        h = torch.zeros(8, 16)
        for t in range(x.shape[1]):
            h = torch.tanh(inputs(x[:, t]) + hidden(h))
        loss = torch.nn.functional.mse_loss(out(h), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 4]), lambda: [*parameters, *[p.grad for p in parameters]], (step,))


@loop
def carried_state_as_argument(torch, compiled):
    torch.manual_seed(0)
    inputs, hidden = torch.nn.Linear(4, 16), torch.nn.Linear(16, 16)
    parameters = [*inputs.parameters(), *hidden.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=1e-2)
    data = targets(torch, 4, 8, 4)
    state = {"h": torch.zeros(8, 16)}

    @compiled
    def step(x, h):
        h = torch.tanh(inputs(x) + hidden(h))
        loss = (h * h).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, h.detach()

    def iterate(i):
        loss, state["h"] = step(data[i % 4][0], state["h"])
        return loss

    return Loop(iterate, lambda: [*parameters, state["h"]], (step,))


@loop
def carried_state_in_an_attribute(torch, compiled):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inputs, self.hidden = torch.nn.Linear(4, 16), torch.nn.Linear(16, 16)
            self.h = torch.zeros(8, 16)

        def forward(self, x):
            h = torch.tanh(self.inputs(x) + self.hidden(self.h))
            self.h = h.detach()
            return h

    torch.manual_seed(0)
    model, data = Net(), targets(torch, 4, 8, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)

    @compiled
    def step(x):
        loss = (model(x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(data[i % 4][0]), lambda: [*gradients_too(model)(), model.h], (step,))


@loop
def model_agnostic_meta(torch, compiled):
    torch.manual_seed(0)
    w1, b1 = torch.randn(1, 16).requires_grad_(), torch.zeros(16, requires_grad=True)
    w2, b2 = (0.1 * torch.randn(16, 1)).requires_grad_(), torch.zeros(1, requires_grad=True)
    parameters = [w1, b1, w2, b2]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)

    def net(x, p):
        return torch.tanh(x @ p[0] + p[1]) @ p[2] + p[3]

    @compiled
    def step(x, y, x2, y2):
        inner = ((net(x, parameters) - y) ** 2).mean()
        slopes = torch.autograd.grad(inner, parameters, create_graph=True)
        fast = [p - 0.05 * g for p, g in zip(parameters, slopes)]
        loss = ((net(x2, fast) - y2) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def iterate(i):
        phase = torch.rand(1) * 3
        x, x2 = torch.rand(10, 1) * 4, torch.rand(10, 1) * 4
        return step(x, torch.sin(x + phase), x2, torch.sin(x2 + phase))

    return Loop(iterate, lambda: [*parameters, *[p.grad for p in parameters]], (step,))


@loop
def sharpness_aware(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            size = torch.sqrt(sum((p.grad**2).sum() for p in model.parameters()))
            moves = [0.05 * p.grad / (size + 1e-12) for p in model.parameters()]
            for p, e in zip(model.parameters(), moves):
                p.add_(e)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        with torch.no_grad():
            for p, e in zip(model.parameters(), moves):
                p.sub_(e)
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def own_momentum(torch, compiled):
    model, data = mlp(torch, 8, 16, 3), batches(torch)
    velocity = [torch.zeros_like(p) for p in model.parameters()]

    @compiled
    def step(x, y):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g, v in zip(model.parameters(), grads, velocity):
                v.mul_(0.9).add_(g)
                p.add_(v, alpha=-0.05)
        return loss

    return Loop(lambda i: step(*data[i % 4]), lambda: [*model.parameters(), *velocity], (step,))


@loop
def own_optimizer_class(torch, compiled):
    class SignDescent(torch.optim.Optimizer):
        def __init__(self, params, lr=1e-3):
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        p.add_(p.grad.sign(), alpha=-group["lr"])

    model, data = mlp(torch, 8, 16, 3), batches(torch)
    optimizer = SignDescent(model.parameters(), lr=1e-3)

    @compiled
    def step(x, y):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(*data[i % 4]), gradients_too(model), (step,))


@loop
def weights_as_new_tensors(torch, compiled):
    torch.manual_seed(0)
    now = {"w": torch.zeros(8, 1), "b": torch.zeros(1)}
    data = targets(torch)

    @compiled
    def step(x, y):
        w, b = now["w"].requires_grad_(), now["b"].requires_grad_()
        loss = ((x @ w + b - y) ** 2).mean()
        gw, gb = torch.autograd.grad(loss, [w, b])
        now["w"], now["b"] = (w - 0.05 * gw).detach(), (b - 0.05 * gb).detach()
        return loss

    return Loop(lambda i: step(*data[i % 4]), lambda: list(now.values()), (step,))


@loop
def weights_in_and_out(torch, compiled):
    state = {"w": torch.zeros(8, 1)}
    data = targets(torch)

    @compiled
    def step(w, x, y):
        w = w.detach().requires_grad_()
        loss = ((x @ w - y) ** 2).mean()
        (g,) = torch.autograd.grad(loss, w)
        return loss.detach(), (w - 0.05 * g).detach()

    def iterate(i):
        loss, state["w"] = step(state["w"], *data[i % 4])
        return loss

    return Loop(iterate, lambda: [state["w"]], (step,))


@loop
def data_of_parameters_exchanged(torch, compiled):
    torch.manual_seed(0)
    w = torch.nn.Parameter(torch.zeros(8, 1))
    data = targets(torch)

    @compiled
    def step(x, y):
        w.grad = None
        loss = ((x @ w - y) ** 2).mean()
        loss.backward()
        return loss

    def iterate(i):
        loss = step(*data[i % 4])
        w.data = w.data - 0.05 * w.grad
        return loss

    return Loop(iterate, lambda: [w, w.grad], (step,))


@loop
def two_loop_recursion(torch, compiled):
    """L-BFGS by hand, of a memory of two."""
    torch.manual_seed(0)
    w = torch.zeros(8, requires_grad=True)
    x, y = targets(torch, 1, 64)[0]
    old_w, old_g = torch.zeros(8), torch.zeros(8)
    s, d = torch.ones(8), torch.ones(8)

    @compiled
    def step(x, y):
        loss = ((x @ w - y[:, 0]) ** 2).mean() + 1e-3 * (w * w).sum()
        (g,) = torch.autograd.grad(loss, w)
        with torch.no_grad():
            s.copy_(w - old_w + 1e-6)
            d.copy_(g - old_g + 1e-6)
            rho = 1.0 / (s @ d)
            alpha = rho * (s @ g)
            q = g - alpha * d
            q = q * ((s @ d) / (d @ d))
            q = q + (alpha - rho * (d @ q)) * s
            old_w.copy_(w)
            old_g.copy_(g)
            w.sub_(0.1 * q.clamp(-1.0, 1.0))
        return loss

    return Loop(lambda i: step(x, y), lambda: [w, old_w, old_g, s, d], (step,))


@loop
def kalman_like_filter(torch, compiled):
    torch.manual_seed(0)
    log_noise = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([log_noise], lr=1e-2)
    ys = torch.randn(20)

    @compiled
    def step(ys):
        q, r = log_noise.exp()
        m, p, loss = ys[0] * 0, q * 0 + 1.0, 0.0
        for y in ys:
            p = p + q
            gain = p / (p + r)
            loss = loss + 0.5 * ((y - m) ** 2 / (p + r) + torch.log(p + r))
            m = m + gain * (y - m)
            p = (1 - gain) * p
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Loop(lambda i: step(ys), lambda: [log_noise, log_noise.grad], (step,))
