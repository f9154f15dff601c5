"""Rounding errors on ordinary floats stay inside bounds that are derived, not chosen.

A sum of K products in any order, each product and addition rounded once with unit roundoff u, differs from
the exact sum by at most gamma(K) * corr(|x|, |w|), with gamma(K) = K u / (1 - K u) (fused multiply-adds round
less often). The one rounding to a 16-bit result adds u' |y|. A complex product through real sums is at worst
the three-multiplication form, whose third sum takes operands |re| + |im| with one rounding each and joins the
other two sums by two more additions: 2 gamma(K + 4) * corr(|re| + |im|, |re| + |im|) bounds both parts.
"""

from __future__ import annotations

import problems
import pytest
import torch
from torch import Tensor

from pyconv import _C

FILES = ("tiny", "groups", "depthwise", "planes", "resnet_small", "double_backward")
ROUNDOFF = {
    torch.float32: 2.0**-24,
    torch.float64: 2.0**-53,
    torch.bfloat16: 2.0**-8,
    torch.float16: 2.0**-11,
}
# Below the normal range rounding has an absolute step instead.
SMALLEST = {dtype: torch.finfo(dtype).smallest_normal * 2 * ROUNDOFF[dtype] for dtype in ROUNDOFF}


def randoms(text: str, dtype: torch.dtype) -> problems.Operands:
    p, seed = problems.parse(text, dtype), problems.generator(text)
    sizes = problems.input_size(p), problems.weight_size(p), [p.k], problems.output_size(p)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    return problems.Operands(*(torch.randn(size, generator=seed, dtype=wide).to(dtype) for size in sizes))


def magnitudes(tensor: Tensor) -> Tensor:
    return (
        (tensor.real.abs().double() + tensor.imag.abs().double())
        if tensor.is_complex()
        else tensor.abs().double()
    )


def bound(pass_: str, made: problems.Operands, dtype: torch.dtype, p: _C.Problem, exact: Tensor) -> Tensor:
    accumulator = {torch.float64: torch.float64, torch.complex128: torch.float64}.get(dtype, torch.float32)
    u, terms = ROUNDOFF[accumulator], problems.reduction_lengths(p)[pass_]
    sizes = problems.oracle(pass_, *(magnitudes(tensor) for tensor in problems.pick(pass_, made)), p)
    if dtype.is_complex:
        return 2 * gamma(terms + 4, u) * sizes
    result = gamma(terms, u) * sizes
    if dtype == torch.float64:
        return 2 * result  # the oracle's own sum has the same bound
    if dtype != torch.float32:
        result = result + ROUNDOFF[dtype] * (exact.abs() + result) + SMALLEST[dtype]
    return result


def gamma(terms: int, u: float) -> float:
    return terms * u / (1 - terms * u)


def worst(got: Tensor, exact: Tensor, allowed: Tensor) -> str:
    error = got.to(exact.dtype) - exact
    error = torch.maximum(error.real.abs(), error.imag.abs()) if error.is_complex() else error.abs()
    beyond = error > allowed
    if not beyond.any():
        return "" if torch.isfinite(error).all() else "not finite"
    ratio = (error / allowed)[beyond].max().item()
    return f"{int(beyond.sum())} of {error.numel()} elements beyond the bound, the worst {ratio:.3g} times"


@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize("dtype", [*ROUNDOFF, torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("file", FILES)
def test_error_is_inside_the_derived_bound(file: str, dtype: torch.dtype, pass_: str) -> None:
    results = []
    for text in problems.shapes(file, dtype):
        p, made = problems.parse(text, dtype), randoms(text, dtype)
        a, b = problems.pick(pass_, made)
        exact = problems.oracle(pass_, a, b, p)
        allowed = bound(pass_, made, dtype, p, exact)
        rows = [""] if dtype.is_complex else problems.supported(text, dtype, pass_)
        for name in rows:
            got = problems.run(pass_, a, b, p, name)
            exactly = problems.is_exact(text, dtype, pass_, algorithm=name)
            limit = allowed
            if not exactly:
                limit = problems.winograd_bound(pass_, a, b, p)
                if dtype in (torch.float64, torch.complex128):
                    limit = limit + allowed / 2  # the oracle's own sum
                if dtype in (torch.bfloat16, torch.float16):
                    limit = limit + ROUNDOFF[dtype] * (exact.abs() + limit) + SMALLEST[dtype]
            results.append((f"{p} {dtype} {name}", worst(got, exact, limit)))
    problems.report(results)


@pytest.mark.parametrize("pass_", problems.PASSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("text", problems.shapes("groups") + problems.shapes("resnet_small"))
def test_low_precision_is_within_twice_torchs_error(text: str, dtype: torch.dtype, pass_: str) -> None:
    p, made = problems.parse(text, dtype), randoms(text, dtype)
    a, b = problems.pick(pass_, made)
    exact = problems.oracle(pass_, a, b, p)
    error = (problems.run(pass_, a, b, p).double() - exact).abs().max()
    stride, padding, dilation, groups, _ = problems.parameters(p)
    x, w = made.input.clone().requires_grad_(), made.weight.clone().requires_grad_()
    assert padding[0] == padding[1] and padding[2] == padding[3]
    theirs = torch.nn.functional.conv2d(x, w, None, stride, padding[::2], dilation, groups)
    if pass_ != "forward":
        theirs = torch.autograd.grad(theirs, x if pass_ == "grad_input" else w, made.grad_output)[0]
    assert error <= 2 * (theirs.double() - exact).abs().max()
