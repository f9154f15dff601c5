"""The same bits for any number of threads, on every run, and whatever else is in the batch."""

from __future__ import annotations

import problems
import pytest
import torch
from torch import Tensor
from variants import VARIANTS

FILES = ("resnet_small", "depthwise", "planes", "groups", "stride_dilation", "large")
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64]


def randoms(
    text: str, dtype: torch.dtype, n: int | None = None
) -> tuple[problems._C.Problem, problems.Operands]:
    """Floats, whose sums round: every change of order shows. `n` replaces the batch size."""
    if n is not None:
        text = "_".join([f"n{n}"] + [token for token in text.split("_") if token[0] != "n"])
    p, seed = problems.parse(text, dtype), problems.generator(text)
    sizes = problems.input_size(p), problems.weight_size(p), [p.k], problems.output_size(p)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    return p, problems.Operands(*(torch.randn(size, generator=seed, dtype=wide).to(dtype) for size in sizes))


# Every dtype in torch's default layout; channels_last once.
CASES = [(dtype, "nchw") for dtype in DTYPES] + [(torch.float32, "nhwc")]


def rows(text: str, dtype: torch.dtype, pass_: str, layout: str, file: str) -> list[str]:
    """Every float32 and float64 row; for the other dtypes and the large problems what the plan chooses."""
    if dtype in (torch.float32, torch.float64) and file != "large":
        return problems.supported(text, dtype, pass_, layout)
    return [""]


def same_bits(first: Tensor, second: Tensor) -> bool:
    first, second = (torch.view_as_real(t) if t.is_complex() else t for t in (first, second))
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[first.element_size()]
    return torch.equal(first.contiguous().view(integer), second.contiguous().view(integer))


@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize(("dtype", "layout"), CASES, ids=str)
@pytest.mark.parametrize("file", FILES)
def test_threads_and_runs(file: str, dtype: torch.dtype, pass_: str, layout: str) -> None:
    results = []
    for text in problems.shapes(file, dtype):
        p, made = randoms(text, dtype)
        a, b = (problems.in_layout(tensor, layout) for tensor in problems.pick(pass_, made))
        for name in rows(text, dtype, pass_, layout, file):
            torch.set_num_threads(1)
            want = problems.run(pass_, a, b, p, name)
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                wrong = (
                    ""
                    if same_bits(problems.run(pass_, a, b, p, name), want)
                    else f"other bits, {threads} threads"
                )
                results.append((f"{p} {dtype} {layout} {name}", wrong))
    problems.report(results)


@pytest.mark.parametrize("pass_", ["forward", "grad_input"])
@pytest.mark.parametrize(("dtype", "layout"), CASES, ids=str)
@pytest.mark.parametrize("file", FILES)
def test_an_image_does_not_depend_on_its_neighbours(
    file: str, dtype: torch.dtype, pass_: str, layout: str
) -> None:
    """What the plan chooses for a batch, and for each of its images alone, adds in one order."""
    results = []
    for text in problems.shapes(file, dtype):
        p, made = randoms(text, dtype, n=3)
        single, _ = randoms(text, dtype, n=1)
        a, b = (problems.in_layout(tensor, layout) for tensor in problems.pick(pass_, made))
        together = problems.run(pass_, a, b, p)
        for image in range(3):
            alone = problems.run(pass_, problems.in_layout(a[image : image + 1], layout), b, single)
            wrong = (
                "" if same_bits(together[image : image + 1], alone) else f"image {image} has other bits alone"
            )
            results.append((f"{p} {dtype} {layout}", wrong))
    problems.report(results)


@pytest.mark.parametrize("pass_", problems.PASSES)
def test_layouts_do_not_change_float_results_of_one_row(pass_: str) -> None:
    """Strides decide where a datum is read, not when it is added: one row, every variant, the same bits."""
    results = []
    for text in problems.shapes("stride_dilation") + problems.shapes("groups"):
        p, made = randoms(text, torch.float32)
        a, b = problems.pick(pass_, made)
        for name in problems.supported(text, torch.float32, pass_):
            want = problems.run(pass_, a, b, p, name)
            for variant in ("transposed", "window", "strided", "offset"):
                view = VARIANTS[variant]
                try:
                    got = problems.run(pass_, view(a), view(b), p, name)
                except RuntimeError as error:
                    assert problems.refuses_strides(error), error
                    continue
                results.append((f"{p} {name}", "" if same_bits(got, want) else f"{variant} differs"))
    problems.report(results)
