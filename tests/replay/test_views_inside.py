"""Views of parameters that the compiled function makes: they keep no recording from becoming a program."""

import numpy as np
import pytest
import tapegrad as torch

VIEWS = {
    "mT": lambda w: w.mT,
    "transpose": lambda w: w.transpose(0, 1),
    "permute": lambda w: w.permute(2, 0, 1),
    "slice": lambda w: w[1:, :, ::2],
    "unsqueeze": lambda w: w.unsqueeze(0),
    "view of a view": lambda w: w.mT[0].unsqueeze(-1),
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("keeps_graph", [False, True])
def test_a_view_of_a_parameter_replays(name, keeps_graph):
    view = VIEWS[name]

    def trained(wrap):
        torch.manual_seed(0)
        w = torch.randn(3, 4, 6).requires_grad_()
        optimizer = torch.optim.SGD([w], lr=0.1)

        def step(x):
            y = view(w)
            loss = (y * y * x).sum()
            optimizer.zero_grad()
            if not keeps_graph:
                loss.backward()
                optimizer.step()
            return loss

        run = wrap(step)
        losses = []
        for i in range(6):
            loss = run(torch.full((1,), 0.5 + i))
            if keeps_graph:  # the graph of a replayed forward reaches the parameter through the view
                loss.backward()
                optimizer.step()
            losses.append(loss.item())
        return losses, w.detach().numpy().copy(), run

    losses, weights, _ = trained(lambda f: f)
    replayed, again, run = trained(lambda f: torch.compile(f, fullgraph=True))
    assert run.counters.replayed >= 3
    assert losses == replayed
    np.testing.assert_array_equal(weights, again)


def test_a_view_of_an_argument_is_a_view_of_what_the_argument_is_a_view_of():
    """Not of memory around it as it was at the recording: other arguments have none there."""
    f = torch.compile(lambda x: (x * 2, x.t()))
    for k in range(4):
        whole = torch.full((5, 4), float(k))
        assert f(whole[3:])[1]._base is whole
    alone = torch.ones(2, 4)
    assert f(alone)[1]._base is alone
    other = torch.ones(9, 4)
    assert f(other[2:4])[1]._base is other
    assert f.counters.replayed == 4


def test_a_view_of_a_known_view_has_its_base():
    whole = torch.rand(5, 4)
    part = whole[2:]
    f = torch.compile(lambda: (part * 2, part.t()))
    for _ in range(4):
        assert f()[1]._base is whole
    assert f.counters.replayed == 2


def test_a_detached_parameter_is_a_new_tensor_at_each_replay():
    w = torch.ones(3, requires_grad=True)

    def f(x):
        y = w.detach()
        return (y * x).sum(), y, w.detach()[1:]

    compiled = torch.compile(f, fullgraph=True)
    kept = [compiled(torch.ones(3)) for _ in range(5)]
    assert compiled.counters.replayed == 3
    assert len({id(y) for _, y, _ in kept}) == 5
    kept[-1][1].zero_()
    assert w.tolist() == [0.0, 0.0, 0.0]
    assert kept[-1][1]._version == w._version


def test_views_of_two_arguments_of_one_memory():
    f = torch.compile(lambda x, y: (x.t(), y.t(), x * y.sum()), fullgraph=True)
    for k in range(5):
        whole = torch.full((6, 2), float(k))
        x, y, _ = f(whole[:3], whole[3:])
        y.add_(1)
        assert whole.tolist() == [[float(k)] * 2] * 3 + [[k + 1.0] * 2] * 3
        assert x._base is y._base is whole
    assert f.counters.replayed == 3
