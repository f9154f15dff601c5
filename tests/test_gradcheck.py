"""Derivatives against finite differences: backward, double backward, forward mode, vmap over them.

The tiny problems compare whole Jacobians. The others, and the shapes files, compare their projections onto
random vectors (gradcheck's fast mode), which costs two calls instead of two for each element; a wrong
Jacobian passes with probability zero.
"""

from __future__ import annotations

from collections.abc import Callable

import problems
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import pyconv

CASES = [
    "c1_k1_i3x4_f2",
    "c2_k2_i3_f3_p1",
    "n2_c2_k1_i4x3_f3x2_s2x1_p1x0x1x0_d1x2",
    "c2_k4_i3_f2_g2",
    "c2_k2_i3x4_f2_s2_p1_g2",
    "c1_k2_i3_f3_p1_reflect",
    "c1_k2_i2x3_f3_p2x1_replicate",
    "c2_k2_i3x2_f2x3_s1x2_p1_g2_circular",
]
TINY = ["c1_k1_i2_f2_p1", "c2_k2_i2_f2_p1_g2", "c1_k1_i2_f2_s2x1_p1_circular"]
BOTH = [torch.float64, torch.complex128]

# Of these shapes files the problems with fewer elements than this in every tensor, in the two layouts by
# turns. A complex check costs ten real ones: there every third problem, in turns the other way round.
FILES = ("tiny", "groups", "depthwise", "padding_modes", "stride_dilation", "double_backward")
LARGEST = 2000


def randoms(text: str, dtype: torch.dtype, layout: str = "nchw") -> problems.Operands:
    p, seed = problems.parse(text, dtype), problems.generator(text)
    sizes = problems.input_size(p), problems.weight_size(p), [p.k], problems.output_size(p)
    made = [torch.randn(size, generator=seed, dtype=dtype) for size in sizes]
    if layout == "nhwc":
        made = [problems.in_layout(tensor, layout) if tensor.dim() == 4 else tensor for tensor in made]
    return problems.Operands(*(tensor.requires_grad_() for tensor in made))


def function(
    pass_: str, text: str, dtype: torch.dtype, layout: str = "nchw"
) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    p, made = problems.parse(text, dtype), randoms(text, dtype, layout)
    if pass_ == "forward":
        return lambda x, w, b: problems.run(pass_, x, w, p, bias=b), (made.input, made.weight, made.bias)
    return lambda a, b: problems.run(pass_, a, b, p), problems.pick(pass_, made)


@pytest.mark.parametrize("text", CASES + TINY)
@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize("dtype", BOTH, ids=str)
def test_first_derivative(dtype: torch.dtype, pass_: str, text: str) -> None:
    assert gradcheck(*function(pass_, text, dtype), check_forward_ad=True, fast_mode=text not in TINY)


@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize("text", CASES + TINY)
@pytest.mark.parametrize("dtype", BOTH, ids=str)
def test_second_derivative(dtype: torch.dtype, text: str, pass_: str) -> None:
    called, inputs = function(pass_, text, dtype)
    whole = text in TINY and dtype == torch.float64
    assert gradgradcheck(
        called, inputs, check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=not whole
    )


def small(file: str, dtype: torch.dtype) -> list[tuple[str, str]]:
    """The problems of a shapes file that are checked in the dtype, each with its layout."""
    found = []
    for text in problems.shapes(file, torch.float64):
        p = problems.parse(text, torch.float64)
        sizes = problems.input_size(p), problems.weight_size(p), problems.output_size(p)
        if max(torch.Size(size).numel() for size in sizes) < LARGEST:
            found.append((text, problems.LAYOUTS[(len(found) + dtype.is_complex) % 2]))
    return found[::3] if dtype.is_complex else found


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize("dtype", BOTH, ids=str)
def test_derivatives_over_shapes(dtype: torch.dtype, pass_: str, file: str) -> None:
    """The first in both modes, and vmap over each; the second by backward and by tangents over backward."""
    checked = small(file, dtype)
    assert len({layout for _, layout in checked}) == 2
    results = []
    for text, layout in checked:
        called, inputs = function(pass_, text, dtype, layout)
        try:
            gradcheck(
                called,
                inputs,
                check_forward_ad=True,
                check_batched_grad=True,
                check_batched_forward_grad=True,
                fast_mode=True,
            )
            gradgradcheck(called, inputs, check_fwd_over_rev=True, fast_mode=True)
            why = ""
        except (RuntimeError, AssertionError) as error:
            why = str(error)
        results.append((f"{text} {pass_} {layout}", why))
    problems.report(results)


@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize("dtype", BOTH, ids=str)
def test_batched_derivatives(dtype: torch.dtype, pass_: str) -> None:
    """vmap over the backward and over the tangents, as torch.func.jacrev and jacfwd do it."""
    for text in CASES + TINY:
        called, inputs = function(pass_, text, dtype)
        assert gradcheck(
            called,
            inputs,
            check_batched_grad=True,
            check_forward_ad=True,
            check_batched_forward_grad=True,
            fast_mode=text not in TINY,
        )


@pytest.mark.parametrize("layout", problems.LAYOUTS)
@pytest.mark.parametrize("activation", ["relu", "silu", "gelu"])
def test_derivatives_of_activations(activation: str, layout: str) -> None:
    """Of sums that are sixteenths of odd integers, so none is within finite differences of relu's kink."""
    for text in CASES + TINY:
        p, seed = problems.parse(text, torch.float64), problems.generator(text)
        x, w, b = (
            torch.randint(-2, 3, size, generator=seed).double()
            for size in (problems.input_size(p), problems.weight_size(p), [p.k])
        )
        leaves = [problems.in_layout(x, layout), problems.in_layout(w / 8, layout), (2 * b + 1) / 16]
        inputs = tuple(tensor.requires_grad_() for tensor in leaves)

        def called(x: Tensor, w: Tensor, b: Tensor, p=p, activation=activation) -> Tensor:
            *geometry, mode = problems.parameters(p)
            return pyconv.conv2d(x, w, b, *geometry, padding_mode=mode, activation=activation)

        assert called(*inputs, activation=None).abs().min() >= 1 / 16
        assert gradcheck(
            called,
            inputs,
            check_forward_ad=True,
            check_batched_grad=True,
            check_batched_forward_grad=True,
            fast_mode=text not in TINY,
        )
        assert gradgradcheck(called, inputs, check_fwd_over_rev=True, fast_mode=text not in TINY)


def test_third_derivative() -> None:
    """The operators close under differentiation, so there is no last order."""
    called, inputs = function("forward", TINY[0], torch.float64)

    def gradient(x: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(called(x, w, b).sin().sum(), (x, w), create_graph=True)

    assert gradgradcheck(gradient, inputs)


@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize("which", [0, 1])
def test_only_the_gradient_asked_for(pass_: str, which: int) -> None:
    """One operand needs a gradient, the other none: the other pass must not run."""
    from pyconv import _C

    p, made = problems.parse("c2_k3_i5_f3_p1", torch.float64), randoms("c2_k3_i5_f3_p1", torch.float64)
    operands = [tensor.detach() for tensor in problems.pick(pass_, made)]
    operands[which].requires_grad_()
    result = problems.run(pass_, *operands, p)
    before = _C.executed()
    result.sum().backward()
    ran = {row[1] for row, count in _C.executed().items() if count > before.get(row, 0)}
    # Each operator's gradients are the other two: (gradient for the first operand, for the second).
    partners = {
        "forward": ("grad_input", "grad_weight"),
        "grad_input": ("forward", "grad_weight"),
        "grad_weight": ("forward", "grad_input"),
    }
    assert ran == {partners[pass_][which]}
    assert operands[which].grad is not None and operands[1 - which].grad is None


@pytest.mark.parametrize("layout", problems.LAYOUTS)
def test_second_derivative_of_channels_last(layout: str) -> None:
    p, made = problems.parse(CASES[1], torch.float64), randoms(CASES[1], torch.float64)
    x, w = (problems.in_layout(t.detach(), layout).requires_grad_() for t in (made.input, made.weight))
    assert gradgradcheck(lambda x, w: problems.run("forward", x, w, p), (x, w))
