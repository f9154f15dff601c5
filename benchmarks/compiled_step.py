"""A ResNet-18-like model, trained and run, eager and compiled, by torch's convolutions and by pyconv's.

    python benchmarks/compiled_step.py                      # 8 images of 128x128, width 64, both layouts
    python benchmarks/compiled_step.py --batch 2 --image 32 --width 8 --samples 3       # whether it runs

The four entrants of a row have the same weights and the same images, and take one step each in turn until
each has its samples, so that a slow second hits all alike; medians are shown. A training step is forward,
cross-entropy, backward and SGD with momentum. Only the model is compiled, as one graph (fullgraph=True).

Each entrant is verified first: its loss and the gradients of all parameters (inference: the logits) in the
timed dtype, as timed, against torch's eager step in float64. The yardstick is the error of torch's own eager
float32 step, which shows how far the model carries a rounding. An entrant may have 16 times as much, in the
norm of each tensor: Winograd transforms and sums in another order round more often than a direct sum, by a
factor of up to ten. What is wrong is off by far more. Compiling must also leave one graph for each model, and
no graph may be compiled again while the steps are taken.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.nn import functional as F

import pyconv

MEMORY_FORMATS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
ALLOWED = 16.0


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation beside a shortcut: He et al., 2016, figure 2."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(filters)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != filters:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """He et al., 2016, table 1, with `blocks` in each stage, of width, 2 width, 4 width, ... filters."""

    def __init__(self, width: int = 64, classes: int = 1000, blocks: tuple[int, ...] = (2, 2, 2, 2)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        stages, channels = [], width
        for stage, count in enumerate(blocks):
            filters = width * 2**stage
            for block in range(count):
                stages.append(Block(channels, filters, 2 if stage > 0 and block == 0 else 1))
                channels = filters
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


@dataclass
class Entrant:
    """One model and what a step of it does; `call` is the model, or its compiled form."""

    model: nn.Module
    call: Callable[[Tensor], Tensor]
    training: bool
    optimizer: torch.optim.Optimizer | None = None
    seconds: list[float] = field(default_factory=list)

    def results(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss and gradients, or logits: what is verified. The weights stay as they are."""
        if not self.training:
            with torch.no_grad():
                return {"logits": self.call(images)}
        self.model.zero_grad()
        loss = F.cross_entropy(self.call(images), labels)
        loss.backward()
        named = {name: parameter.grad.clone() for name, parameter in self.model.named_parameters()}
        return {"loss": loss.detach(), **named}

    def step(self, images: Tensor, labels: Tensor) -> None:
        if not self.training:
            with torch.no_grad():
                self.call(images)
            return
        self.optimizer.zero_grad()
        F.cross_entropy(self.call(images), labels).backward()
        self.optimizer.step()


def entrant(base: nn.Module, layout: str, training: bool, ours: bool, compiled: bool, **compiling) -> Entrant:
    """A copy of `base` in the layout, its convolutions torch's or ours, compiled or not."""
    model = copy.deepcopy(base).to(memory_format=MEMORY_FORMATS[layout]).train(training)
    if ours:
        pyconv.convert(model)
    call = torch.compile(model, fullgraph=True, **compiling) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9) if training else None
    return Entrant(model, call, training, optimizer)


def errors(results: dict[str, Tensor], exact: dict[str, Tensor]) -> dict[str, float]:
    return {name: (results[name].double() - exact[name]).norm().item() for name in exact}


def relative(error: dict[str, float], exact: dict[str, Tensor]) -> float:
    return max(error[name] / max(exact[name].norm().item(), 1e-300) for name in exact)


def measure(options: argparse.Namespace, base: nn.Module, layout: str, training: bool) -> str:
    """Verifies and times the four entrants; a row of the table."""
    torch.manual_seed(1)
    images = torch.randn(options.batch, 3, options.image, options.image)
    images = images.contiguous(memory_format=MEMORY_FORMATS[layout])
    labels = torch.randint(0, options.classes, (options.batch,))
    exact = entrant(base.double(), layout, training, False, False).results(images.double(), labels)
    base.float()

    torch._dynamo.reset()
    counters.clear()
    names = [("torch", False), ("pyconv", False), ("torch", True), ("pyconv", True)]
    entrants = [entrant(base, layout, training, library == "pyconv", compiled) for library, compiled in names]
    found = [one.results(images, labels) for one in entrants]
    yardstick = errors(found[0], exact)
    largest = []
    for (library, compiled), results in zip(names, found, strict=True):
        error = errors(results, exact)
        # float32 cannot be asked for more than one rounding of each element, where torch happens to be exact.
        wrong = [
            name
            for name in exact
            if not error[name] <= ALLOWED * max(yardstick[name], 2.0**-24 * exact[name].norm().item())
        ]
        if wrong:
            raise SystemExit(f"{library}, compiled={compiled}, {layout}: {', '.join(wrong)} beyond the bound")
        largest.append(relative(error, exact))
    graphs = counters["stats"]["unique_graphs"]
    if graphs != 2 or counters["graph_break"]:
        raise SystemExit(f"{graphs} graphs for two models; breaks: {dict(counters['graph_break'])}")

    with torch._dynamo.config.patch(error_on_recompile=True):
        for sample in range(options.warmup + options.samples):
            for one in entrants:
                start = time.perf_counter()
                one.step(images, labels)
                if sample >= options.warmup:
                    one.seconds.append(time.perf_counter() - start)
    medians = [1e3 * statistics.median(one.seconds) for one in entrants]
    cells = [f"{median:.1f}" for median in medians]
    cells += [f"{medians[0] / medians[1]:.2f}", f"{medians[2] / medians[3]:.2f}"]
    cells += [" / ".join(f"{error:.0e}" for error in largest)]
    return f"| {'training' if training else 'inference'} | {layout} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--image", type=int, default=128, help="height and width")
    parser.add_argument("--width", type=int, default=64, help="filters of the first stage")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=2, help="steps of each entrant before the samples")
    parser.add_argument("--layout", choices=MEMORY_FORMATS, nargs="+", default=list(MEMORY_FORMATS))
    parser.add_argument("--step", choices=("training", "inference"), nargs="+", default=None)
    options = parser.parse_args()

    torch.manual_seed(0)
    base = ResNet(options.width, options.classes)
    print(
        f"ResNet-18 of width {options.width}, {options.batch} images of {options.image}x{options.image}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"medians of {options.samples} steps, ms"
    )
    print(
        "| step | layout | torch eager | pyconv eager | torch compiled | pyconv compiled "
        "| x eager | x compiled | relative errors |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|---|")
    for kind in options.step or ("training", "inference"):
        for layout in options.layout:
            print(measure(options, base, layout, kind == "training"), flush=True)


if __name__ == "__main__":
    main()
