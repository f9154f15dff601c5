"""What a training step of the textbook's example costs where there is next to nothing to compute.

    python benchmarks/textbook_step.py [--rounds 200] [--profile]

One image of 6x8, one kernel of 1x2, a squared loss and gradient descent by hand: Dive into Deep Learning,
"Learning a Kernel". pyconv.Conv2D and torch.nn.Conv2d take turns, a few dozen steps at a time, and the median
of each part is shown. Both start from one weight and must end with one that finds the edges.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import pyconv

STEPS = 40  # in one sample
RATE = 3e-2


def example() -> tuple[Tensor, Tensor]:
    image = torch.ones(6, 8)
    image[:, 2:6] = 0
    return image.reshape(1, 1, 6, 8), pyconv.corr2d(image, torch.tensor([[1.0, -1.0]])).reshape(1, 1, 6, 7)


def step(layer: nn.Conv2d, image: Tensor, edges: Tensor) -> Tensor:
    loss = (layer(image) - edges) ** 2
    layer.zero_grad()
    loss.sum().backward()
    layer.weight.data[:] -= RATE * layer.weight.grad
    return loss


def parts(layer: nn.Conv2d, image: Tensor, edges: Tensor) -> dict[str, Callable[[], object]]:
    """The step, and pieces of it that can run alone."""
    result = layer(image)
    gradient = torch.ones_like(result)
    weight = layer.weight

    def forward_without_gradient() -> Tensor:
        with torch.no_grad():
            return layer(image)

    function = pyconv.conv2d if isinstance(layer, pyconv.Conv2D) else nn.functional.conv2d
    return {
        "training step": lambda: step(layer, image, edges),
        "layer(image)": lambda: layer(image),
        "layer(image), no_grad": forward_without_gradient,
        "conv2d(image, weight)": lambda: function(image, weight),
        "backward of the layer": lambda: torch.autograd.grad(result, weight, gradient, retain_graph=True),
    }


def sample(call: Callable[[], object]) -> float:
    """Microseconds a call."""
    start = time.perf_counter()
    for _ in range(STEPS):
        call()
    return (time.perf_counter() - start) / STEPS * 1e6


def learned(kind: type[nn.Conv2d], start: Tensor, image: Tensor, edges: Tensor) -> Tensor:
    layer = kind(1, 1, kernel_size=[1, 2], bias=False)
    layer.weight.data.copy_(start)
    for _ in range(200):
        step(layer, image, edges)
    return layer.weight.detach()


def profile(call: Callable[[], object]) -> None:
    profiler = cProfile.Profile()
    profiler.runcall(lambda: [call() for _ in range(5000)])
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(14)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--profile", action="store_true", help="then cProfile of 5000 steps of each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    image, edges = example()
    start = torch.randn(1, 1, 1, 2)
    for kind in (pyconv.Conv2D, nn.Conv2d):
        # The squared loss contracts: 200 steps leave nothing but rounding errors.
        torch.testing.assert_close(learned(kind, start, image, edges), torch.tensor([[[[1.0, -1.0]]]]))

    calls = {
        name: parts(kind(1, 1, kernel_size=[1, 2], bias=False), image, edges)
        for name, kind in (("pyconv", pyconv.Conv2D), ("torch", nn.Conv2d))
    }
    samples: dict[tuple[str, str], list[float]] = {}
    gc.collect()
    gc.disable()
    for _ in range(options.rounds):
        for part in calls["torch"]:
            for name in calls:
                samples.setdefault((part, name), []).append(sample(calls[name][part]))
    gc.enable()
    print("| one thread, microseconds, median (fastest tenth) | torch | pyconv | torch / pyconv |")
    print("|---|---:|---:|---:|")
    for part in calls["torch"]:
        theirs, ours = (samples[part, name] for name in ("torch", "pyconv"))
        cells = [
            f"{statistics.median(values):.1f} ({statistics.quantiles(values, n=10)[0]:.1f})"
            for values in (theirs, ours)
        ]
        print(f"| {part} | {' | '.join(cells)} | {statistics.median(theirs) / statistics.median(ours):.2f} |")
    if options.profile:
        for name in calls:
            print(f"\n{name}")
            profile(calls[name]["training step"])


if __name__ == "__main__":
    main()
