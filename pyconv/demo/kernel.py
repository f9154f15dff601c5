"""The textbook's experiment: learn the kernel (1, -1) from a 6x8 image and its edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils import data
from tqdm import tqdm

import pyconv

TRUE_KERNEL = torch.tensor([[1.0, -1.0]])
WITHIN = 0.1  # the distance from the true kernel that the textbook's ten steps reach
LEARNING_RATE = 3e-2


def image_and_edges() -> tuple[Tensor, Tensor]:
    """A 6x8 image, white with four black columns in the middle, and its vertical edges."""
    image = torch.ones((6, 8))
    image[:, 2:6] = 0
    return image, pyconv.corr2d(image, TRUE_KERNEL)


def learn_by_hand(layer: nn.Module, image: Tensor, edges: Tensor) -> None:
    """Ten steps of gradient descent written out, the loss printed every second step."""
    X, Y = image.reshape(1, 1, 6, 8), edges.reshape(1, 1, 6, 7)
    for i in tqdm(range(10), desc="by hand", unit="epoch"):
        loss = ((layer(X) - Y) ** 2).sum()
        layer.zero_grad()
        loss.backward()
        with torch.no_grad():
            layer.weight -= LEARNING_RATE * layer.weight.grad
        if (i + 1) % 2 == 0:
            tqdm.write(f"epoch {i + 1}, loss {loss:.3f}")


def learn_by_optimizer(layer: nn.Module, image: Tensor, edges: Tensor, epochs: int = 16) -> None:
    """The same rows in batches of two through DataLoader and SGD, from the kernel learned by hand on."""
    net = nn.Sequential(layer)
    trainer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE)
    loss = nn.MSELoss()
    rows = data.TensorDataset(image.reshape(6, 1, 1, 8), edges.reshape(6, 1, 1, 7))
    loader = data.DataLoader(rows, batch_size=2, shuffle=False)
    for epoch in tqdm(range(epochs), desc="SGD", unit="epoch"):
        for batch, labels in loader:
            trainer.zero_grad()
            value = loss(net(batch), labels)
            value.backward()
            trainer.step()
        if (epoch + 1) % 4 == 0:
            tqdm.write(f"epoch {epoch + 1}, loss {loss(net(batch), labels):f}")


def missed(layer: nn.Module, how: str) -> list[str]:
    learned = layer.weight.detach().reshape(1, 2)
    print(f"{learned}\n", flush=True)
    if bool(((learned - TRUE_KERNEL).abs() <= WITHIN).all()):
        return []
    return [f"the kernel learned {how} is {learned.flatten().tolist()}, not within {WITHIN} of (1, -1)"]


def run() -> list[str]:
    image, edges = image_and_edges()
    print(f"The image:\n{image}\nits edges, corr2d(X, K) with K = (1, -1):\n{edges}")
    torch.manual_seed(0)
    layer = pyconv.Conv2D(1, 1, kernel_size=(1, 2), bias=False)
    learn_by_hand(layer, image, edges)
    failures = missed(layer, "by hand")
    learn_by_optimizer(layer, image, edges)
    return failures + missed(layer, "by SGD")
