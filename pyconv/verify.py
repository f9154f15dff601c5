"""One algorithm on one problem against the float64 oracle, with a bound that is derived, not tuned.

For a sum of T products in arithmetic of machine epsilon e, in any order, |error| <= T * e * sum of
|products|; storing the result in a dtype of epsilon e' adds e' * |result|. Inputs of every dtype are exact in
the oracle's float64. Integers have no error at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import _load as _load  # registers the operators
from . import reference
from ._load import _C

_ops = torch.ops.pyconv
_DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int64": torch.int64,
}


@dataclass(frozen=True)
class Verdict:
    """error: largest |result - oracle|; share: largest |result - oracle| / bound, fine up to 1 (0 / 0 counts
    as 0).
    """

    error: float
    share: float

    @property
    def passed(self) -> bool:
        return self.share <= 1.0  # False for nan too


@dataclass(frozen=True)
class Case:
    """Random tensors of a problem, and its attributes as the operators take them."""

    problem: object
    input: Tensor
    weight: Tensor
    grad_output: Tensor

    @property
    def geometry(self) -> tuple:
        p = self.problem
        return (
            (p.stride_h, p.stride_w),
            (p.pad_top, p.pad_bottom, p.pad_left, p.pad_right),
            (p.dilation_h, p.dilation_w),
            p.groups,
            p.padding_mode,
        )


def make_case(problem: str | object, layout: str = "nchw", device: str = "cpu", seed: int = 0) -> Case:
    """Tensors for a problem (a string or a pyconv._C.Problem): normal, or integers in [-4, 4] for int64."""
    p = _C.Problem.parse(problem) if isinstance(problem, str) else problem
    p.validate()
    dtype = _DTYPES[p.dtype]
    generator = torch.Generator().manual_seed(seed)
    tensors = []
    for size in ((p.n, p.c, p.h, p.w), (p.k, p.c // p.groups, p.r, p.s), (p.n, p.k, p.p, p.q)):
        if dtype == torch.int64:
            values = torch.randint(-4, 5, size, generator=generator)
        else:
            values = torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)
        memory = torch.channels_last if layout == "nhwc" else torch.contiguous_format
        tensors.append(values.to(device).contiguous(memory_format=memory))
    return Case(p, *tensors)


def run(case: Case, pass_: str, algorithm: str = "") -> Tensor:
    """The operator of `pass_` on the case, by the named algorithm or by the plan's choice."""
    if pass_ == "forward":
        return _ops.conv2d(case.input, case.weight, None, *case.geometry, algorithm)
    if pass_ == "grad_input":
        return _ops.conv2d_grad_input(
            case.grad_output, case.weight, case.input.shape, *case.geometry, algorithm
        )
    return _ops.conv2d_grad_weight(case.grad_output, case.input, case.weight.shape, *case.geometry, algorithm)


def terms(case: Case, pass_: str) -> int:
    """The longest sum behind one element of the result."""
    p = case.problem
    return {
        "forward": p.c // p.groups * p.r * p.s,
        "grad_input": p.k // p.groups * p.r * p.s,
        "grad_weight": p.n * p.p * p.q,
    }[pass_]


def oracle(case: Case, pass_: str, absolute: bool = False) -> Tensor:
    """The pass in float64 (int64 for integers, through float64, exact to 2**53); `absolute`: of the
    magnitudes.
    """
    x, w, g = (
        tensor.cpu().contiguous().to(torch.float64) for tensor in (case.input, case.weight, case.grad_output)
    )
    if absolute:
        x, w, g = x.abs(), w.abs(), g.abs()
    if pass_ == "forward":
        return reference.conv2d_torch(x, w, None, *case.geometry)
    return reference.gradients_torch(g, x, w, *case.geometry)[0 if pass_ == "grad_input" else 1]


def compare(case: Case, pass_: str, result: Tensor) -> Verdict:
    """`result` of a pass against the oracle and the bound of the module's head."""
    exact = oracle(case, pass_)
    error = (result.detach().cpu().to(torch.float64) - exact).abs()
    dtype = case.input.dtype
    if dtype == torch.int64:
        bound = torch.zeros_like(exact)
    else:
        arithmetic = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)
        storage = torch.finfo(dtype)
        # Smallest subnormal: a product or a result below it rounds by up to this much.
        floor = (
            terms(case, pass_) * arithmetic.smallest_normal * arithmetic.eps
            + storage.smallest_normal * storage.eps
        )
        bound = (
            terms(case, pass_) * arithmetic.eps * oracle(case, pass_, absolute=True)
            + storage.eps * exact.abs()
            + floor
        )
    if error.numel() == 0:
        return Verdict(0.0, 0.0)
    share = torch.where(error == 0, 0.0, error / bound)
    return Verdict(error.max().item(), share.max().item())
