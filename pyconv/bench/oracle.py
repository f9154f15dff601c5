"""The float64 answer to a problem, and how far from it a correct result may lie.

    bound = (L * eps_acc + tf32) * corr(|a|, |b|) + eps_out * |y| + oracle

a and b are the operands of the pass, L the length of its sum (C/G*R*S forward, K/G*R*S for the input
gradient, N*P*Q for the weight gradient), eps_acc the epsilon of the type that accumulates, eps_out that of
the result (one rounding), and `oracle` the error of the FFT oracle where it is used. Summing L products in
any order errs by at most about L * eps/2 * corr(|a|, |b|): a result outside the bound is wrong.

`tf32` is 0 unless float32 may be rounded to tf32. Then each operand of a product may be off by u = 2^-11 of
itself (tf32 has 10 bits after the point; rounding to nearest errs by half of the last): the product is
a (1 + d) b (1 + e) with |d|, |e| <= u, off by at most (2 u + u^2) |a| |b|, and a sum of them by that times
corr(|a|, |b|). That the sum itself errs by a share of the rounded products, not of the exact ones, is within
the factor of two between L * eps and L * eps/2.

On a GPU all of it is computed there, in float64 by cuDNN's default algorithms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from pyconv import _C

from .cases import Tensors, dtype_of
from .peers import pad, torch_call
from .precision import TF32_PRODUCT_ERROR

# From this many taps the im2col of torch's float64 kernels costs more, in time and memory, than an FFT.
FFT_TAPS = 16


@dataclass(frozen=True)
class Check:
    """How a result compares: largest error over its bound, and over the largest magnitude of the answer."""

    error_over_bound: float
    error_over_max: float

    @property
    def passed(self) -> bool:
        return self.error_over_bound <= 1.0


class Oracle:
    """Answer and bound of one pass of a problem on given tensors; `tf32` as the module says."""

    def __init__(self, problem: _C.Problem, pass_: str, tensors: Tensors, tf32: bool = False):
        dtype = dtype_of(problem)
        accumulator = torch.float64 if dtype == torch.float64 else torch.float32
        exact = tensors.map(lambda t: t.double())
        magnitudes = exact.map(torch.abs)
        by_fft = problem.groups == problem.c and problem.r * problem.s >= FFT_TAPS
        if by_fft:
            self.answer = fft_pass(problem, pass_, exact)
            spread = fft_pass(problem, pass_, magnitudes).clamp_min_(0)
        else:
            self.answer = torch_call(problem, pass_)(exact)
            # A sum of magnitudes has no cancellation: float32 gives it to a few digits, much sooner.
            spread = torch_call(problem, pass_)(magnitudes.map(lambda t: t.float())).double()
        info = torch.finfo(dtype)
        rounding = TF32_PRODUCT_ERROR if tf32 and dtype == torch.float32 else 0.0
        self.bound = spread.mul_(sum_length(problem, pass_) * torch.finfo(accumulator).eps + rounding)
        self.bound.add_(self.answer.abs(), alpha=info.eps).add_(info.tiny)
        if by_fft:
            self.bound.add_(fft_error(problem, pass_, exact))
        self.largest = float(self.answer.abs().max()) if self.answer.numel() else 0.0

    def check(self, result: torch.Tensor) -> Check:
        if result.shape != self.answer.shape:
            raise ValueError(f"the result has shape {list(result.shape)}, expected {list(self.answer.shape)}")
        if not result.numel():
            return Check(0.0, 0.0)
        error = result.double().sub_(self.answer).abs_()
        largest = float(error.max())
        share = float(error.div_(self.bound).max())
        if not math.isfinite(share):  # NaN compares as neither above nor below: it must not pass
            return Check(math.inf, math.inf)
        return Check(share, largest / self.largest if self.largest else largest)


def sum_length(problem: _C.Problem, pass_: str) -> int:
    if pass_ == "grad_weight":
        return problem.n * problem.p * problem.q
    channels = problem.c if pass_ == "forward" else problem.k
    return channels // problem.groups * problem.r * problem.s


def fft_forward(problem: _C.Problem, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Depthwise correlation as a product of spectra, differentiable in both tensors."""
    x = pad(x, problem)
    height = (problem.r - 1) * problem.dilation_h + 1
    width = (problem.s - 1) * problem.dilation_w + 1
    dilated = w.new_zeros(problem.c, problem.k // problem.c, height, width)
    dilated[..., :: problem.dilation_h, :: problem.dilation_w] = w.view(problem.c, -1, problem.r, problem.s)
    # A correlation of period at least the padded image: the positions kept below never wrap.
    size = [math.ceil(length / 32) * 32 for length in x.shape[-2:]]
    spectrum = torch.fft.rfft2(x, size).unsqueeze(2) * torch.fft.rfft2(dilated, size).conj()
    y = torch.fft.irfft2(spectrum, size).flatten(1, 2)
    rows = (problem.p - 1) * problem.stride_h + 1
    columns = (problem.q - 1) * problem.stride_w + 1
    return y[..., : rows : problem.stride_h, : columns : problem.stride_w]


def fft_pass(problem: _C.Problem, pass_: str, t: Tensors) -> torch.Tensor:
    if pass_ == "forward":
        return fft_forward(problem, t.x, t.w).contiguous()
    # Correlation is linear in each tensor, so its gradients at any point are the two other passes.
    with torch.enable_grad():
        of_input = pass_ == "grad_input"
        x = t.x.detach().requires_grad_(of_input)
        w = t.w.detach().requires_grad_(not of_input)
        y = fft_forward(problem, x, w)
    return torch.autograd.grad(y, x if of_input else w, t.dy)[0]


def fft_error(problem: _C.Problem, pass_: str, t: Tensors) -> float:
    """c * log2(size) * eps * |a| * |b|, norms over a plane: the standard bound for a product of spectra."""

    def norm(tensor: torch.Tensor) -> float:
        return float(tensor.flatten(2).norm(dim=2).max())

    size = (problem.h + problem.r) * (problem.w + problem.s)
    first, second, images = {
        "forward": (t.x, t.w, 1),
        "grad_input": (t.dy, t.w, problem.k // problem.c),
        "grad_weight": (t.dy, t.x, problem.n),
    }[pass_]
    return 4 * math.log2(size) * torch.finfo(torch.float64).eps * norm(first) * norm(second) * images
