"""The same steps by other means: jitted JAX with optax, and one function written by hand for Numba.

Both start from the parameters of the PyTorch model, so that losses can be compared. Neither has
autograd's freedom: JAX needs a pure function, and the Numba one is a derivative written out by hand.
"""

from __future__ import annotations

import os
from typing import Any

# Read when JAX starts its CPU client: one thread, as for everybody else.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import numpy as np
from benchmarks import common, compiled


def parameters(model: Any) -> list[np.ndarray]:
    return [p.detach().numpy().copy() for p in model.parameters()]


# ---- JAX -----------------------------------------------------------------------------------------


class JaxStep(common.Work):
    """A jitted step whose parameters and optimizer state are donated: (parameters, state, batch)."""

    def __init__(self, loss: Any, start: list[np.ndarray], optimizer: str, data: Any) -> None:
        import jax
        import optax

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_cpu_enable_async_dispatch", False)  # measured: faster for small steps
        updates = optax.sgd(0.01, momentum=0.9) if optimizer == "SGD" else optax.adam(0.001)

        def step(values: Any, state: Any, x: Any, y: Any) -> Any:
            value, gradients = jax.value_and_grad(loss)(values, x, y)
            change, state = updates.update(gradients, state, values)
            return optax.apply_updates(values, change), state, value

        self.step = jax.jit(step, donate_argnums=(0, 1))
        self.restart = lambda: [jax.numpy.array(p) for p in start]  # copies: what a step takes is donated
        self.updates = updates
        self.refresh()
        self.batches = [tuple(jax.device_put(a) for a in batch) for batch in data]
        self.done = 0

    def refresh(self) -> None:
        self.values = self.restart()
        self.state = self.updates.init(self.values)

    def run(self, n: int) -> None:
        step, batches, values, state = self.step, self.batches, self.values, self.state
        m, start = len(batches), self.done
        for i in range(start, start + n):
            x, y = batches[i % m]
            values, state, value = step(values, state, x, y)
        value.block_until_ready()
        self.values, self.state, self.done = values, state, start + n

    def losses(self, n: int) -> list[float]:
        seen = []
        for _ in range(n):
            x, y = self.batches[self.done % len(self.batches)]
            self.values, self.state, value = self.step(self.values, self.state, x, y)
            seen.append(float(value))
            self.done += 1
        return seen


def cross_entropy(scores: Any, y: Any) -> Any:
    import optax

    return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()


def jax_digits(torch: Any, batch: int, hidden: int, optimizer: str) -> JaxStep:
    import jax

    def loss(values: Any, x: Any, y: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = values
        h = jax.nn.relu(x @ w1.T + b1)
        h = jax.nn.relu(h @ w2.T + b2)
        return cross_entropy(h @ w3.T + b3, y)

    return JaxStep(loss, parameters(common.classifier(torch, hidden)), optimizer, arrays(torch, batch))


def arrays(torch: Any, batch: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(x.numpy(), y.numpy()) for x, y in common.batches(torch, batch)]


def jax_rnn(torch: Any) -> JaxStep:
    import jax

    def loss(values: Any, x: Any, y: Any) -> Any:
        wx, bx, wh, wo, bo = values

        def cell(h: Any, row: Any) -> Any:
            return jax.numpy.tanh(row @ wx.T + bx + h @ wh.T), None

        start = jax.numpy.zeros((x.shape[1], wh.shape[0]), "float32")
        h, _ = jax.lax.scan(cell, start, x)
        return cross_entropy(h @ wo.T + bo, y)

    return JaxStep(loss, parameters(compiled.rnn_model(torch)), "SGD", compiled.rnn_batches())


def jax_chain(size: int = compiled.CHAIN_SIZE) -> compiled.Stepping:
    import jax

    def chain(x: Any) -> Any:
        y = x * 1.1 + 0.3
        y = (jax.nn.relu(y) * x - 0.2) * (x + 2)
        return abs(y).sum()

    both = jax.jit(jax.value_and_grad(chain))

    def step(x: Any) -> Any:
        value, gradient = both(x)
        gradient.block_until_ready()
        return value

    return compiled.Stepping(step, [(jax.device_put(compiled.chain_array(size)),)])


# ---- by hand, for Numba --------------------------------------------------------------------------


def numba_update(optimizer: str) -> Any:
    """The update of all parameters at once: `update(values, gradients, first, second, count)`."""
    from numba import njit

    if optimizer == "SGD":

        @njit(fastmath=True, nogil=True)
        def update(p, g, v, _, count):
            rate, momentum = np.float32(0.01), np.float32(0.9)
            if count == 1:
                for i in range(p.size):
                    v[i] = g[i]
                    p[i] -= rate * v[i]
            else:
                for i in range(p.size):
                    v[i] = momentum * v[i] + g[i]
                    p[i] -= rate * v[i]

        return update

    @njit(fastmath=True, nogil=True)
    def update(p, g, m, v, count):
        b1, b2, eps = np.float32(0.9), np.float32(0.999), np.float32(1e-8)
        rate = np.float32(0.001 / (1 - 0.9**count))
        root = np.float32(1 / np.sqrt(1 - 0.999**count))
        for i in range(p.size):
            m[i] = b1 * m[i] + (np.float32(1) - b1) * g[i]
            v[i] = b2 * v[i] + (np.float32(1) - b2) * g[i] * g[i]
            p[i] -= rate * m[i] / (np.sqrt(v[i]) * root + eps)

    return update


def numba_pieces() -> Any:
    """Loss and bias gradients, as one writes them once and uses them in every model."""
    from numba import njit

    @njit(fastmath=True, nogil=True)
    def softmax_loss(scores, y, g):
        """The mean cross-entropy; g becomes its gradient."""
        rows, classes = scores.shape
        total = np.float32(0)
        scale = np.float32(1) / np.float32(rows)
        for i in range(rows):
            top = scores[i, 0]
            for j in range(1, classes):
                top = max(top, scores[i, j])
            s = np.float32(0)
            for j in range(classes):
                g[i, j] = np.exp(scores[i, j] - top)
                s += g[i, j]
            total += np.log(s) + top - scores[i, y[i]]
            for j in range(classes):
                g[i, j] *= scale / s
            g[i, y[i]] -= scale
        return total * scale

    @njit(fastmath=True, nogil=True)
    def column_sums(g, total):
        total[:] = 0
        for i in range(g.shape[0]):
            for j in range(g.shape[1]):
                total[j] += g[i, j]

    return softmax_loss, column_sums


def flat(start: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    values = np.concatenate([p.ravel() for p in start])
    return values, np.zeros_like(values), np.zeros_like(values), np.zeros_like(values)


def restoring(values: tuple[np.ndarray, ...], count: np.ndarray) -> Any:
    """A function that puts parameters, optimizer state and the count of steps back."""
    start = [v.copy() for v in values]

    def restore() -> None:
        for v, first in zip(values, start, strict=True):
            v[:] = first
        count[0] = 0

    return restore


def numba_digits(torch: Any, batch: int, hidden: int, optimizer: str) -> compiled.Stepping:
    from numba import njit

    update = numba_update(optimizer)
    softmax_loss, column_sums = numba_pieces()
    inputs, classes = 64, 10
    cuts = tuple(int(c) for c in np.cumsum([hidden * inputs, hidden, hidden * hidden, hidden, classes * hidden]))

    @njit(fastmath=True, nogil=True)
    def split(p):
        c1, c2, c3, c4, c5 = cuts
        return (
            p[:c1].reshape(hidden, inputs),
            p[c1:c2],
            p[c2:c3].reshape(hidden, hidden),
            p[c3:c4],
            p[c4:c5].reshape(classes, hidden),
            p[c5:],
        )

    @njit(fastmath=True, nogil=True)
    def layer(x, w, b, y):
        np.dot(x, w.T, y)
        for i in range(y.shape[0]):
            for j in range(y.shape[1]):
                y[i, j] = max(y[i, j] + b[j], np.float32(0))

    @njit(fastmath=True, nogil=True)
    def through(g, w, y, gx):
        np.dot(g, w, gx)
        for i in range(y.shape[0]):
            for j in range(y.shape[1]):
                gx[i, j] = gx[i, j] if y[i, j] > 0 else np.float32(0)

    @njit(fastmath=True, nogil=True)
    def one(x, y, p, g, m, v, count, h, gh, scores, gs):
        w1, b1, w2, b2, w3, b3 = split(p)
        gw1, gb1, gw2, gb2, gw3, gb3 = split(g)
        layer(x, w1, b1, h[0])
        layer(h[0], w2, b2, h[1])
        np.dot(h[1], w3.T, scores)
        for i in range(scores.shape[0]):
            for j in range(scores.shape[1]):
                scores[i, j] += b3[j]
        loss = softmax_loss(scores, y, gs)
        np.dot(gs.T, h[1], gw3)
        column_sums(gs, gb3)
        through(gs, w3, h[1], gh[1])
        np.dot(gh[1].T, h[0], gw2)
        column_sums(gh[1], gb2)
        through(gh[1], w2, h[0], gh[0])
        np.dot(gh[0].T, x, gw1)
        column_sums(gh[0], gb1)
        count[0] += 1
        update(p, g, m, v, count[0])
        return loss

    values = flat(parameters(common.classifier(torch, hidden)))
    count = np.zeros(1, np.int64)
    wide = [np.zeros((2, batch, hidden), np.float32) for _ in range(2)]
    narrow = [np.zeros((batch, classes), np.float32) for _ in range(2)]

    def step(x: Any, y: Any) -> Any:
        return one(x, y, *values, count, *wide, *narrow)

    return compiled.Stepping(step, arrays(torch, batch), restoring(values, count))


def numba_rnn(torch: Any) -> compiled.Stepping:
    from numba import njit

    update = numba_update("SGD")
    softmax_loss, column_sums = numba_pieces()
    steps, batch, inputs, hidden, classes = (int(n) for n in compiled.RNN.values())
    sizes = [hidden * inputs, hidden, hidden * hidden, classes * hidden]
    cuts = tuple(int(c) for c in np.cumsum(sizes))

    @njit(fastmath=True, nogil=True)
    def split(p):
        c1, c2, c3, c4 = cuts
        return (
            p[:c1].reshape(hidden, inputs),
            p[c1:c2],
            p[c2:c3].reshape(hidden, hidden),
            p[c3:c4].reshape(classes, hidden),
            p[c4:],
        )

    @njit(fastmath=True, nogil=True)
    def one(x, y, p, g, v, count, h, gh, back, scores, gs):
        wx, bx, wh, wo, bo = split(p)
        gwx, gbx, gwh, gwo, gbo = split(g)
        rows = steps * batch
        entered = gh.reshape(rows, hidden)  # all inputs in one product; the gradients go here later
        np.dot(x.reshape(rows, inputs), wx.T, entered)
        for t in range(steps):
            np.dot(h[t], wh.T, back)
            for i in range(batch):
                for j in range(hidden):
                    h[t + 1, i, j] = np.tanh(gh[t, i, j] + bx[j] + back[i, j])
        np.dot(h[steps], wo.T, scores)
        for i in range(batch):
            for j in range(classes):
                scores[i, j] += bo[j]
        loss = softmax_loss(scores, y, gs)
        np.dot(gs.T, h[steps], gwo)
        column_sums(gs, gbo)
        np.dot(gs, wo, back)
        for t in range(steps - 1, -1, -1):
            for i in range(batch):
                for j in range(hidden):
                    gh[t, i, j] = back[i, j] * (np.float32(1) - h[t + 1, i, j] * h[t + 1, i, j])
            if t > 0:
                np.dot(gh[t], wh, back)
        np.dot(entered.T, h[:steps].reshape(rows, hidden), gwh)
        np.dot(entered.T, x.reshape(rows, inputs), gwx)
        column_sums(entered, gbx)
        count[0] += 1
        update(p, g, v, v, count[0])
        return loss

    values = flat(parameters(compiled.rnn_model(torch)))[:3]
    count = np.zeros(1, np.int64)
    h = np.zeros((steps + 1, batch, hidden), np.float32)
    gh = np.zeros((steps, batch, hidden), np.float32)
    back = np.zeros((batch, hidden), np.float32)
    narrow = [np.zeros((batch, classes), np.float32) for _ in range(2)]

    def step(x: Any, y: Any) -> Any:
        return one(x, y, *values, count, h, gh, back, *narrow)

    return compiled.Stepping(step, compiled.rnn_batches(), restoring(values, count))


def numba_chain(size: int = compiled.CHAIN_SIZE) -> compiled.Stepping:
    from numba import njit

    @njit(fastmath=True, nogil=True)
    def one(x, gx):
        total = 0.0
        a, b, c, d = np.float32(1.1), np.float32(0.3), np.float32(0.2), np.float32(2)
        zero, unit = np.float32(0), np.float32(1)
        for block in range(0, x.size, 4096):
            s = zero
            for i in range(block, min(block + 4096, x.size)):
                z = x[i] * a + b
                r = max(z, zero)
                u = r * x[i] - c
                w = x[i] + d
                y = u * w
                s += abs(y)
                sign = unit if y > zero else -unit
                gx[i] = sign * (w * (r + (a * x[i] if z > zero else zero)) + u)
            total += s
        return total

    gradient = np.zeros(size, np.float32)
    return compiled.Stepping(lambda x: one(x, gradient), [(compiled.chain_array(size),)])
