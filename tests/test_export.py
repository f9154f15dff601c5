"""Exported programs: saved, loaded, and compiled ahead of time into a package that runs without the model."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import problems
import pytest
import torch
from torch import Tensor, nn

import pyconv


class Net(nn.Module):
    """Every kind of argument that the operators' schemas have, on integers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = pyconv.Conv2D(3, 4, 3, padding=(0, 1, 2, 1), stride=(2, 1))
        self.middle = pyconv.Conv2D(4, 4, 1, activation="relu")
        self.last = pyconv.Conv2D(4, 4, 3, padding="same", padding_mode="reflect", groups=2, bias=False)
        self.up = nn.Parameter(torch.empty(4, 2, 3, 3))
        for name, parameter in self.named_parameters():
            generator = problems.generator(name)
            parameter.data = torch.randint(-3, 4, parameter.shape, generator=generator).float()

    def forward(self, x: Tensor) -> Tensor:
        return pyconv.conv_transpose2d(self.last(self.middle(self.first(x).relu())), self.up, stride=2)


def image(*size: int) -> Tensor:
    return torch.randint(-3, 4, size, generator=problems.generator(str(size))).float()


@pytest.fixture(scope="module")
def exported() -> tuple[nn.Module, torch.export.ExportedProgram]:
    dim = torch.export.Dim
    sizes = {0: dim("batch", min=1, max=16), 2: dim("height", min=6, max=64), 3: dim("width", min=6, max=64)}
    model = Net().eval()
    return model, torch.export.export(model, (image(2, 3, 8, 9),), dynamic_shapes=(sizes,))


SIZES = [(2, 3, 8, 9), (1, 3, 6, 7), (5, 3, 11, 10)]


def test_saved_and_loaded(exported) -> None:
    model, program = exported
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file)
    called = {str(node.target) for node in loaded.graph.nodes if node.op == "call_function"}
    assert {"pyconv.conv2d.default", "pyconv.conv2d_grad_input.default"} <= called
    for size in SIZES:
        assert torch.equal(loaded.module()(image(*size)), model(image(*size)))


def test_decomposed_into_torchs_operators(exported) -> None:
    model, program = exported
    program = program.run_decompositions(pyconv.decompositions())
    assert "pyconv" not in str(program.graph)
    for size in SIZES:
        assert torch.equal(program.module()(image(*size)), model(image(*size)))


def compiled(program: torch.export.ExportedProgram, folder: Path) -> Callable[[Tensor], Tensor]:
    # What the C++ compiler spends on headers is most of the time; nothing here is to be fast.
    quick = {"aot_inductor.compile_wrapper_opt_level": "O0", "aot_inductor.precompile_headers": False}
    package = torch._inductor.aoti_compile_and_package(
        program, package_path=str(folder / "net.pt2"), inductor_configs=quick
    )
    return torch._inductor.aoti_load_package(package)


def test_compiled_ahead_of_time(exported, tmp_path: Path) -> None:
    """AOTInductor's runtime reaches the operators through the dispatcher, by their names in the package."""
    model, program = exported
    loaded = compiled(program, tmp_path)
    for size in SIZES:
        with torch.no_grad():
            assert torch.equal(loaded(image(*size)), model(image(*size)))


class Cut(nn.Module):
    """Some images of a batch, and some of their rows: how many, only the data say."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = pyconv.Conv2D(3, 4, 3, stride=2)

    def forward(self, x: Tensor, chosen: Tensor, rows: Tensor) -> Tensor:
        height = rows.item()
        torch._check(height >= 3)
        torch._check(height <= 8)
        return self.layer(x[chosen][:, :, :height].clone())


def test_sizes_that_data_decide() -> None:
    model, x = Cut(), image(4, 3, 8, 9)
    chosen = torch.tensor([[True, False, True, True], [True] * 4])
    program = torch.export.export(model, (x, chosen[0], torch.tensor(6)))
    for which, rows in ((0, 6), (1, 3), (1, 8)):
        arguments = (x, chosen[which], torch.tensor(rows))
        assert torch.equal(program.module()(*arguments), model(*arguments))


def test_channels_last_ahead_of_time(tmp_path: Path) -> None:
    """Without a gradient to take, silu stays in the operator, so its bits are eager's."""
    model = nn.Sequential(
        pyconv.Conv2D(3, 4, 3, padding="same", activation="silu"),
        pyconv.Conv2D(4, 5, 3, stride=2, padding=(1, 0, 2, 1), padding_mode="circular", activation="gelu"),
    )
    model = model.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    first = problems.in_layout(image(2, 3, 8, 9), "nhwc")
    program = torch.export.export(model, (first,), dynamic_shapes=({0: torch.export.Dim("batch", max=16)},))
    assert str(program.graph).count("pyconv.conv2d_activated") == 2
    loaded = compiled(program, tmp_path)
    for size in ((2, 3, 8, 9), (5, 3, 8, 9)):
        x = problems.in_layout(image(*size), "nhwc")
        got, want = loaded(x), model(x)
        assert torch.equal(got, want) and got.stride() == want.stride()
        assert want.is_contiguous(memory_format=torch.channels_last)
