"""The oracle of these tests against two others: the definition written out here, and pyconv.reference."""

from __future__ import annotations

from itertools import product

import problems
import pytest
import torch
from torch import Tensor

from pyconv import _C, reference

FILES = ("tiny", "padding_modes", "stride_dilation", "groups")


def definition(made: problems.Operands, p: _C.Problem) -> tuple[Tensor, Tensor, Tensor]:
    """The three passes straight from the sum, in Python integers: every product goes to three places."""
    stride, (top, _, left, _), dilation, groups, mode = problems.parameters(p)
    x, w, dy = (t.to(torch.int64).tolist() for t in (made.input, made.weight, made.grad_output))
    y = torch.zeros(problems.output_size(p), dtype=torch.int64).tolist()
    dx = torch.zeros(problems.input_size(p), dtype=torch.int64).tolist()
    dw = torch.zeros(problems.weight_size(p), dtype=torch.int64).tolist()
    per_group, filters = p.c // groups, p.k // groups
    for i, j, r, s in product(range(p.p), range(p.q), range(p.r), range(p.s)):
        row = source(i * stride[0] + r * dilation[0] - top, p.h, mode)
        column = source(j * stride[1] + s * dilation[1] - left, p.w, mode)
        if row is None or column is None:
            continue
        for n, k, c in product(range(p.n), range(p.k), range(per_group)):
            channel = k // filters * per_group + c
            y[n][k][i][j] += x[n][channel][row][column] * w[k][c][r][s]
            dx[n][channel][row][column] += dy[n][k][i][j] * w[k][c][r][s]
            dw[k][c][r][s] += dy[n][k][i][j] * x[n][channel][row][column]
    return torch.tensor(y), torch.tensor(dx), torch.tensor(dw)


def source(at: int, size: int, mode: str) -> int | None:
    """The image coordinate behind a padded one, None where the padding is zero."""
    if mode == "zeros":
        return at if 0 <= at < size else None
    if mode == "replicate":
        return min(max(at, 0), size - 1)
    if mode == "circular":
        return at % size
    while not 0 <= at < size:  # reflect: walk back and forth between the two ends
        at = -at if at < 0 else 2 * (size - 1) - at
    return at


def small(text: str) -> bool:
    return problems.parse(text).flops < 100_000


@pytest.mark.parametrize("text", [text for file in FILES for text in problems.shapes(file) if small(text)])
def test_definition(text: str) -> None:
    p, made = problems.parse(text, torch.int64), problems.operands(text, torch.int64)
    for pass_, want in zip(problems.PASSES, definition(made, p), strict=True):
        assert not problems.difference(problems.expected(text, torch.int64, pass_), want), pass_


@pytest.mark.parametrize("text", problems.all_shapes(without=("large",)))
def test_reference_unfold(text: str) -> None:
    p, made = problems.parse(text), problems.operands(text, torch.float32)
    got = reference.conv2d_unfold(made.input, made.weight, made.bias, *problems.parameters(p))
    assert not problems.difference(got, problems.expected(text, torch.float32, "forward", with_bias=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.complex64], ids=str)
@pytest.mark.parametrize("text", [text for text in problems.shapes("padding_modes") if small(text)][:8])
def test_reference_loops(text: str, dtype: torch.dtype) -> None:
    p, made = problems.parse(text, dtype), problems.operands(text, dtype)
    options = problems.parameters(p)
    results = {
        "forward": reference.conv2d(made.input, made.weight, None, *options),
        "grad_input": reference.conv2d_grad_input(
            made.grad_output, made.weight, problems.input_size(p), *options
        ),
        "grad_weight": reference.conv2d_grad_weight(
            made.grad_output, made.input, problems.weight_size(p), *options
        ),
    }
    for pass_, got in results.items():
        assert not problems.difference(got, problems.expected(text, dtype, pass_)), pass_
