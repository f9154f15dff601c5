"""<corr(x, w), dy> = <x, grad_input(dy, w)> = <w, grad_weight(dy, x)>, on integers, with no tolerance and no
oracle.
"""

from __future__ import annotations

import problems
import pytest
import torch
from torch import Tensor

import pyconv


def dot(a: Tensor, b: Tensor) -> complex:
    """The bilinear form (nothing conjugated) in 64-bit integers."""
    if a.is_complex():
        real = dot(a.real, b.real).real - dot(a.imag, b.imag).real
        return complex(real, dot(a.real, b.imag).real + dot(a.imag, b.real).real)
    return complex((a.to(torch.int64) * b.to(torch.int64)).sum().item())


def three_products(text: str, dtype: torch.dtype, layout: str, names: tuple[str, str, str]) -> list[complex]:
    # float32's data: their products are small enough for the 64-bit sums, in every dtype that holds them.
    p = problems.parse(text, dtype)
    made = problems.operands(text, torch.complex64 if dtype.is_complex else torch.float32)
    made = problems.Operands(*(problems.in_layout(t.to(dtype), layout) if t.dim() == 4 else t for t in made))
    partners = {"forward": made.grad_output, "grad_input": made.input, "grad_weight": made.weight}
    return [
        dot(problems.run(pass_, *problems.pick(pass_, made), p, name), partners[pass_])
        for pass_, name in zip(problems.PASSES, names, strict=True)
    ]


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.complex64], ids=str)
@pytest.mark.parametrize("file", problems.shape_files())
def test_adjoint(file: str, dtype: torch.dtype, layout: str) -> None:
    results = []
    for text in problems.shapes(file, dtype):
        with pyconv.winograd(False):  # F(4x4) rounds; the row that is exact is below
            first, second, third = three_products(text, dtype, layout, ("", "", ""))
        wrong = "" if first == second == third else f"{first} and {second} and {third}"
        results.append((f"{problems.parse(text, dtype)} {layout}", wrong))
    problems.report(results)


@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_adjoint_of_winograd(layout: str) -> None:
    for text in problems.shapes("winograd"):
        rows = [problems.plan(text, torch.float32, pass_, layout) for pass_ in problems.PASSES]
        exact = [[row["name"] for row in found if row["exact"] and not row["refusal"]] for found in rows]
        names = tuple(next((name for name in found if "winograd2x2" in name), found[0]) for found in exact)
        assert "winograd2x2" in names[0]
        first, second, third = three_products(text, torch.float32, layout, names)
        assert first == second == third, text


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("text", problems.shapes("stride_dilation") + problems.shapes("groups"))
def test_adjoint_of_every_mode(text: str, mode: str) -> None:
    """Strides, dilations and groups under each padding mode, by exact rows: Winograd's maps round."""
    if mode != "zeros":
        text = f"{text}_{mode}"
    with pyconv.winograd(False):
        first, second, third = three_products(text, torch.float32, "nchw", ("", "", ""))
    assert first == second == third
