"""Who is timed: pyconv, and the libraries beside it. A new peer is a class here and a line in PEERS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F

import pyconv
from pyconv import _C

from .cases import Tensors

Call = Callable[[Tensors], torch.Tensor]


class Peer(Protocol):
    name: str

    def refusal(self, problem: _C.Problem, pass_: str) -> str:
        """Why this peer cannot run the pass, or an empty string."""

    def prepare(self, problem: _C.Problem, pass_: str) -> Call:
        """A function of the operands that does the pass and nothing else that can be done before it."""


def pyconv_call(problem: _C.Problem, pass_: str, algorithm: str = "") -> Call:
    """The public function for a plain forward, which is what a user calls; the operators for the rest."""
    stride = (problem.stride_h, problem.stride_w)
    padding = (problem.pad_top, problem.pad_bottom, problem.pad_left, problem.pad_right)
    dilation = (problem.dilation_h, problem.dilation_w)
    rest = (stride, padding, dilation, problem.groups, problem.padding_mode, algorithm)
    if pass_ == "grad_input":
        operator = torch.ops.pyconv.conv2d_grad_input.default
        size = (problem.n, problem.c, problem.h, problem.w)
        return lambda t: operator(t.dy, t.w, size, *rest)
    if pass_ == "grad_weight":
        operator = torch.ops.pyconv.conv2d_grad_weight.default
        size = (problem.k, problem.c // problem.groups, problem.r, problem.s)
        return lambda t: operator(t.dy, t.x, size, *rest)
    if algorithm or problem.padding_mode != "zeros":
        operator = torch.ops.pyconv.conv2d.default
        return lambda t: operator(t.x, t.w, None, *rest)
    sides = symmetric_padding(problem) or padding
    groups = problem.groups
    return lambda t: pyconv.conv2d(t.x, t.w, None, stride, sides, dilation, groups)


def symmetric_padding(problem: _C.Problem) -> tuple[int, int] | None:
    """(vertical, horizontal) where torch's own convolution can pad this problem, else None."""
    same = problem.pad_top == problem.pad_bottom and problem.pad_left == problem.pad_right
    return (problem.pad_top, problem.pad_left) if same and problem.padding_mode == "zeros" else None


def pad(x: torch.Tensor, problem: _C.Problem) -> torch.Tensor:
    mode = "constant" if problem.padding_mode == "zeros" else problem.padding_mode
    sides = [problem.pad_left, problem.pad_right, problem.pad_top, problem.pad_bottom]
    return F.pad(x, sides, mode=mode)


def torch_call(problem: _C.Problem, pass_: str) -> Call:
    """torch's convolution for one pass; padding it has no argument for is a padded copy, as in nn.Conv2d."""
    stride = (problem.stride_h, problem.stride_w)
    dilation = (problem.dilation_h, problem.dilation_w)
    groups = problem.groups
    symmetric = symmetric_padding(problem)
    padding = symmetric or (0, 0)
    prepare = (lambda x: x) if symmetric else (lambda x: pad(x, problem))
    if pass_ == "forward":
        return lambda t: F.conv2d(prepare(t.x), t.w, None, stride, padding, dilation, groups)
    mask = [pass_ == "grad_input", pass_ == "grad_weight", False]
    operator = torch.ops.aten.convolution_backward.default

    def backward(dy: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        gradients = operator(dy, x, w, None, stride, padding, dilation, False, (0, 0), groups, mask)
        return gradients[0] if mask[0] else gradients[1]

    if pass_ == "grad_weight":
        return lambda t: backward(t.dy, prepare(t.x), t.w)
    if symmetric:
        return lambda t: backward(t.dy, t.x, t.w)

    def through_padding(t: Tensors) -> torch.Tensor:
        with torch.enable_grad():
            x = t.x.detach().requires_grad_()
            padded = pad(x, problem)
        return torch.autograd.grad(padded, x, backward(t.dy, padded.detach(), t.w))[0]

    return through_padding


class Torch:
    """PyTorch's own convolution (oneDNN, MKL and native kernels on the CPU; cuDNN on CUDA)."""

    name = "torch"

    def refusal(self, problem: _C.Problem, pass_: str) -> str:
        return ""

    def prepare(self, problem: _C.Problem, pass_: str) -> Call:
        return torch_call(problem, pass_)


PEERS: dict[str, Peer] = {peer.name: peer for peer in (Torch(),)}
