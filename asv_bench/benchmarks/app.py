"""Whole programs: the digits learnt to a given accuracy, time and quality side by side."""

from __future__ import annotations

from typing import Any

from . import common

HELD_OUT = 360
EPOCHS = 5


def train(torch: Any, epochs: int = EPOCHS) -> tuple[float, float]:
    """The last loss, and the share of held-out digits that are read correctly."""
    images, labels, _ = common.digits()
    x, y = torch.from_numpy(images.copy()), torch.from_numpy(labels.copy())
    model = common.classifier(torch, 64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    criterion = torch.nn.CrossEntropyLoss()
    data = torch.utils.data.TensorDataset(x[HELD_OUT:], y[HELD_OUT:])
    loader = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)
    loss = None
    for _ in range(epochs):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        right = (model(x[:HELD_OUT]).argmax(1) == y[:HELD_OUT]).sum().item()
    assert loss is not None
    return loss.item(), right / HELD_OUT


class Digits:
    params = (common.LIBRARIES,)
    param_names = ("library",)
    timeout = 120

    def setup(self, library: str) -> None:
        self.torch = common.load(library)
        train(self.torch, epochs=1)

    def time_train(self, library: str) -> None:
        train(self.torch)

    def peakmem_train(self, library: str) -> None:
        train(self.torch)

    def track_last_loss(self, library: str) -> float:
        return train(self.torch)[0]

    def track_held_out_accuracy(self, library: str) -> float:
        return train(self.torch)[1]

    track_last_loss.unit = "loss"  # type: ignore[attr-defined]
    track_held_out_accuracy.unit = "share"  # type: ignore[attr-defined]
