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
