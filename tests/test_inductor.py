"""torch.compile's own backend: one graph, no recompilation, eager's results."""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import problems
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pyconv


def benchmark() -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "benchmarks" / "compiled_step.py"
    spec = importlib.util.spec_from_file_location("compiled_step", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


compiled_step = benchmark()


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def integers(*size: int) -> Tensor:
    return torch.randint(-3, 4, size, generator=problems.generator(str(size))).double()


def train(model: nn.Module, call, layout: str, sizes: list[tuple[int, int]], dtype: torch.dtype) -> dict:
    """Some steps of SGD on images of these sizes; everything the last one leaves behind."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    for batch, size in sizes:
        images = torch.randn(batch, 3, size, size, generator=generator, dtype=torch.float64).to(dtype)
        labels = torch.randint(0, 5, (batch,), generator=generator)
        optimizer.zero_grad()
        loss = F.cross_entropy(call(problems.in_layout(images, layout)), labels)
        loss.backward()
        optimizer.step()
    found = {f"gradient of {name}": parameter.grad for name, parameter in model.named_parameters()}
    return {"loss": loss.detach(), **found, **model.state_dict()}


@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_training_of_a_residual_network(layout: str) -> None:
    """No graph break, one graph, no recompilation from step to step, eager's results.

    Rounding enters the results linearly, and float64 rounds 2^29 times finer than float32. So what float32
    differs by, in eager, shows what to allow the compiled float64 model: 2^-29 of it, times 2^9 for sums that
    the compiler orders otherwise. Where float32 happens to be exact, one rounding of the result stands in.
    """
    torch.manual_seed(0)
    base = compiled_step.ResNet(width=4, classes=5, blocks=(1, 1))
    base = base.to(memory_format=compiled_step.MEMORY_FORMATS[layout])
    assert len(pyconv.convert(base).replaced) == 6
    sizes = [(4, 32)] * 3
    results = {}
    for name, dtype in (("single", torch.float32), ("double", torch.float64), ("compiled", torch.float64)):
        model = copy.deepcopy(base).to(dtype)
        call = model
        if name == "compiled":
            call = torch.compile(model, fullgraph=True)
        with torch._dynamo.config.patch(error_on_recompile=True):
            results[name] = train(model, call, layout, sizes, dtype)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    for name, exact in results["double"].items():
        if not exact.is_floating_point():
            assert torch.equal(results["compiled"][name], exact)
            continue
        rounding = 2.0**-24 * exact.abs().max()
        allowed = 2.0**-20 * torch.maximum((results["single"][name] - exact).abs().max(), rounding)
        error = (results["compiled"][name] - exact).abs().max()
        assert error <= allowed, f"{name}: {error / allowed:.3g} times what is allowed"


class Mixed(nn.Module):
    """Layers whose integers stay integers, with F.conv2d and a transposed convolution among them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="circular"),
            nn.Conv2d(4, 6, 1),
        )
        self.up = nn.Parameter(torch.empty(6, 2, 3, 3))
        for parameter in self.parameters():
            parameter.data = integers(*parameter.shape)

    def forward(self, x: Tensor) -> Tensor:
        with pyconv.use():
            y = F.conv2d(self.layers(x), self.layers[3].weight.transpose(0, 1))
        return pyconv.conv_transpose2d(F.pad(y, (0, 0, 0, 0, 0, 2)), self.up, stride=2).square()


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_integers_are_eagers(layout: str, training: bool) -> None:
    """A converted model with use() inside of the compiled code, compiled once for sizes that change."""
    model = Mixed().to(memory_format=compiled_step.MEMORY_FORMATS[layout]).requires_grad_(training)
    pyconv.convert(model)
    fast = torch.compile(model, fullgraph=True, dynamic=True)
    images = [problems.in_layout(integers(*size), layout) for size in ((2, 3, 7, 8), (3, 3, 9, 6))]
    found: list[list[Tensor]] = [[], []]
    with torch._dynamo.config.patch(error_on_recompile=True), torch.set_grad_enabled(training):
        for results, call in zip(found, (model, fast), strict=True):
            for x in images:
                y = call(x)
                results.append(y.detach())
                if training:
                    model.zero_grad()
                    y.sum().backward()
                    results += [parameter.grad for parameter in model.parameters()]
    for mine, yours in zip(*found, strict=True):
        assert torch.equal(mine, yours) and mine.stride() == yours.stride()
