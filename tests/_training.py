"""Training runs whose every bit is compared: between threads, layers and processes.

    python tests/_training.py alone|threads|shared|fork|busy ...     prints what the tests compare

All numbers come from NumPy generators of their own, since threads share torch's.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

# (batch, hidden): all under the GIL; past the size at which loops and products leave it.
SMALL, LARGE = (16, 24), (600, 256)
THREADS = 8
LAYERS = ["workqueue", *([] if sys.platform == "darwin" else ["omp"])]


def run(*args: str, **environment: str) -> list[str]:
    """The digests that a run prints, and the layer it ended on in the last line's place."""
    env = {**os.environ, **environment}
    env["PYTHONPATH"] = os.pathsep.join(sys.path)
    env.pop("OMP_NUM_THREADS", None)
    env.pop("TAPEGRAD_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, __file__, *args], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    *lines, layer = done.stdout.splitlines()
    return [*" ".join(lines).split(), layer]


def model_of(torch: Any, seed: int, hidden: int) -> Any:
    random = np.random.default_rng(seed)
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 10)
    )
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.from_numpy((random.random(tuple(p.shape), np.float32) - 0.5) * 0.2))
    return model


def train(seed: int, size: tuple[int, int] = SMALL, steps: int = 20, optimizer: str = "Adam") -> str:
    """Digest of all losses and final parameters of one run."""
    import tapegrad as torch

    random = np.random.default_rng(1000 + seed)
    batch, hidden = size
    model = model_of(torch, seed, hidden)
    made = (
        torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        if optimizer == "SGD"
        else torch.optim.Adam(model.parameters(), lr=0.01)
    )
    digest = hashlib.sha256()
    for _ in range(steps):
        x = torch.from_numpy(random.random((batch, 64), np.float32))
        y = torch.from_numpy(random.integers(0, 10, batch))
        made.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        made.step()
        digest.update(loss.detach().numpy().tobytes())
    assert np.isfinite(loss.item())
    for p in model.parameters():
        digest.update(p.detach().numpy().tobytes())
    return digest.hexdigest()[:16]


def together(work: Callable[[int], Any], count: int = THREADS) -> list[Any]:
    """work(0), ..., work(count - 1), each in a thread, all started at once."""
    results: list[Any] = [None] * count
    gate = threading.Barrier(count)

    def run(k: int) -> None:
        gate.wait()
        try:
            results[k] = work(k)
        except BaseException as error:  # shown by the comparison that follows
            results[k] = repr(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def shared_gradients(size: tuple[int, int], threaded: bool, rounds: int = 3) -> str:
    """Digest of the gradients that THREADS backward passes leave in shared parameters.

    The numbers are small integers, whose sums are exact: the order of the threads cannot show.
    """
    import tapegrad as torch

    batch, hidden = size
    random = np.random.default_rng(7)

    def whole(*shape: int) -> Any:
        return torch.from_numpy(random.integers(-2, 3, shape).astype(np.float32))

    w, v, b = whole(64, hidden), whole(hidden, 8), whole(hidden)
    wide = whole(1 << 21 if hidden > 100 else 40_000)  # its gradient is added to without the GIL
    for leaf in (w, v, b, wide):
        leaf.requires_grad_(True)
    inputs = [whole(batch, 64) for _ in range(THREADS)]
    scales = [float(k % 3 + 1) for k in range(THREADS)]

    def one(k: int) -> str:
        for _ in range(rounds):
            ((torch.relu(inputs[k] @ w + b) @ v).sum() + (wide * scales[k]).sum()).backward()
        return "done"

    done = together(one) if threaded else [one(k) for k in range(THREADS)]
    assert done == ["done"] * THREADS, done
    digest = hashlib.sha256()
    for leaf in (w, v, b, wide):
        digest.update(leaf.grad.numpy().tobytes())
    return digest.hexdigest()[:16]


def shared_trunk(rounds: int) -> str:
    """Threads run backward through one trunk, some of which free it: an error or a gradient, no crash."""
    import tapegrad as torch

    x = torch.ones(200_000, requires_grad=True)
    for _ in range(rounds):
        trunk = (x * 2.0).exp().tanh()
        heads = [(trunk * float(k + 1)).sum() for k in range(THREADS)]

        def one(k: int, heads: list[Any] = heads) -> str:
            try:
                heads[k].backward(retain_graph=k % 2 == 0)
            except RuntimeError as error:
                return "freed" if "a second time" in str(error) else repr(error)
            return "done"

        answers = together(one)
        assert set(answers) <= {"done", "freed"}, answers
        assert "done" in answers
        del trunk, heads
    return "fine"


def in_fork(work: Callable[[], str]) -> str:
    """What work() returns in a forked child."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(write, work().encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    return text if status == 0 else f"the child ended with status {status}"


def main(what: str, *args: str) -> None:
    import tapegrad as torch

    size = LARGE if "large" in args else SMALL
    steps = 4 if "large" in args else 20
    if "one" in args:
        torch.set_num_threads(1)
    if what == "alone":
        print(*(train(k, size, steps, ("SGD", "Adam")[k % 2]) for k in range(THREADS)))
    elif what == "threads":
        print(*together(lambda k: train(k, size, steps, ("SGD", "Adam")[k % 2])))
    elif what == "shared":
        print(shared_gradients(size, False), shared_gradients(size, True), shared_gradients(size, True))
    elif what == "trunk":
        print(shared_trunk(20))
    elif what == "fork":
        before = in_fork(lambda: train(0, size, steps))
        print(before, train(0, size, steps), in_fork(lambda: train(0, size, steps)), train(0, size, steps))
    elif what == "busy":  # the number of threads changes while others compute
        stop = threading.Event()

        def change() -> None:
            n = 0
            while not stop.is_set():
                n += 1
                torch.set_num_threads(1 + n % 2)

        changer = threading.Thread(target=change)
        changer.start()
        try:
            print(*together(lambda k: train(k, size, steps, ("SGD", "Adam")[k % 2])))
        finally:
            stop.set()
            changer.join()
    from tapegrad import native

    layer = [line.split()[-1] for line in native.show_config().splitlines() if "layer" in line]
    print("layer", *layer)


if __name__ == "__main__":
    main(*sys.argv[1:])
