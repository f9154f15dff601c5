"""A small CNN on scikit-learn's 8x8 digits, once with pyconv.Conv2D and once with torch.nn.Conv2d."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from tqdm import tqdm

import pyconv

TARGET = 0.97
LOGIT_TOLERANCE = 1e-4
BATCH = 64
SEED = 0


@dataclass(frozen=True)
class Digits:
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Trained:
    logits_before: Tensor
    accuracy: float
    seconds: float


def load() -> Digits:
    """1797 images of 8x8 pixels in [0, 1], a quarter held out, every digit as frequent in both parts."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images, labels, test_size=0.25, random_state=SEED, stratify=labels)
    train_images, test_images = (
        torch.tensor(p, dtype=torch.float32).view(-1, 1, 8, 8) / 16 for p in parts[:2]
    )
    train_labels, test_labels = (torch.tensor(p) for p in parts[2:])
    return Digits(train_images, train_labels, test_images, test_labels)


def network(convolution: Callable[..., nn.Module]) -> nn.Sequential:
    """Three convolutions and a linear layer; the same seed gives the same weights whatever the class."""
    torch.manual_seed(SEED)
    return nn.Sequential(
        convolution(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        convolution(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        convolution(32, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(32 * 4 * 4, 10),
    )


def logits(net: nn.Module, images: Tensor) -> Tensor:
    net.eval()
    with torch.no_grad():
        return net(images)


def train(name: str, convolution: Callable[..., nn.Module], digits: Digits, epochs: int) -> Trained:
    net = network(convolution)
    before = logits(net, digits.test_images)
    optimizer = torch.optim.Adam(net.parameters())
    batches = -(-len(digits.train_labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=epochs * batches)
    net.train()
    order = torch.Generator().manual_seed(SEED)
    start = time.perf_counter()
    with tqdm(range(epochs), desc=f"{name:<16}", unit="epoch") as bar:
        for _ in bar:
            for chosen in torch.randperm(len(digits.train_labels), generator=order).split(BATCH):
                loss = F.cross_entropy(net(digits.train_images[chosen]), digits.train_labels[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            bar.set_postfix(loss=f"{loss.item():.4f}")
    seconds = time.perf_counter() - start
    right = logits(net, digits.test_images).argmax(1) == digits.test_labels
    return Trained(before, right.double().mean().item(), seconds)


def run(epochs: int) -> list[str]:
    """Train both and print them side by side; what was missed comes back as sentences."""
    digits = load()
    print(f"{len(digits.train_labels)} digits to learn from, {len(digits.test_labels)} held out", flush=True)
    ours = train("pyconv.Conv2D", pyconv.Conv2D, digits, epochs)
    theirs = train("torch.nn.Conv2d", nn.Conv2d, digits, epochs)
    difference = (ours.logits_before - theirs.logits_before).abs().max().item()
    print(f"{'':<16}  held-out accuracy  seconds of training")
    for name, trained in (("pyconv.Conv2D", ours), ("torch.nn.Conv2d", theirs)):
        print(f"{name:<16}  {trained.accuracy:>17.2%}  {trained.seconds:>19.2f}")
    print(f"Largest difference of logits before training, same weights: {difference:.1e}")
    failures = []
    if not ours.accuracy >= TARGET:
        failures.append(
            f"{ours.accuracy:.2%} of the held-out digits were read right, at least {TARGET:.0%} expected"
        )
    if not difference <= LOGIT_TOLERANCE:
        failures.append(f"the logits before training differ by {difference:.3g} > {LOGIT_TOLERANCE:.0e}")
    return failures
