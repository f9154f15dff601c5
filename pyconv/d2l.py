"""The textbook's own names, so that its notebooks run unchanged.

Replace `from d2l import torch as d2l` by `from pyconv import d2l`. Here are the names that the section
"Convolutions for Images" and its exercises take from there, on 2-D inputs, computed by pyconv's kernels.

Source: Zhang et al., Dive into Deep Learning, section 6.2 / 7.2, "Convolutions for Images".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ._arguments import pair
from .functional import _two_matrices, corr2d

__all__ = ["Conv2D", "conv2d", "conv2d_by_mul", "corr2d", "im2col", "ones", "tensor", "transpose", "zeros"]

ones = torch.ones
zeros = torch.zeros
tensor = torch.tensor


def transpose(X: Tensor) -> Tensor:
    """(H, W) -> (W, H)."""
    return X.t()


def conv2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`corr2d` plus a bias of one element: (H, W), (h, w), (1,) -> (H - h + 1, W - w + 1).

    Raises RuntimeError for anything but matrices, as `corr2d` does, and for a bias of more than one element.
    """
    if bias.numel() != 1:
        raise RuntimeError(
            f"conv2d: bias must have one element, got {list(bias.shape)}; pyconv.conv2d has one for each "
            "output channel"
        )
    return corr2d(x, weight) + bias


class Conv2D(nn.Module):
    """The textbook's convolutional layer: one image, one kernel, one bias.

    Args:
        kernel_size: (h, w), or an int for both.

    Attributes:
        weight: (h, w), uniform in [0, 1) at first.
        bias: (1,), zero at first.

    The call takes an (H, W) image to (H - h + 1, W - w + 1). A batch, (N, C, H, W), raises RuntimeError:
    indexing it as a matrix would give an empty or broadcast result and no word about it.
    """

    def __init__(self, kernel_size: int | Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(pair("Conv2D", "kernel_size", kernel_size)))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2:
            raise RuntimeError(
                f"d2l.Conv2D takes one (H, W) image, got {x.dim()}-D of size {list(x.shape)}; reshape to "
                "(H, W), or use pyconv.Conv2D, which takes (N, C, H, W)"
            )
        return conv2d(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"kernel_size={tuple(self.weight.shape)}"


def im2col(X: Tensor, kernel_size: int | Sequence[int]) -> Tensor:
    """Every window of X as a row: (H, W) -> ((H - h + 1) * (W - w + 1), h * w), windows in reading order."""
    h, w = pair("im2col", "kernel_size", kernel_size)
    _two_matrices("im2col", X, X.new_empty(h, w))
    # A window is four-dimensional before it is a row: its place (i, j) and the element (a, b) inside it.
    return X.unfold(0, h, 1).unfold(1, w, 1).reshape(-1, h * w)


def conv2d_by_mul(X: Tensor, K: Tensor) -> Tensor:
    """`corr2d` as one matrix product: `im2col(X)` times K as a column. Same arguments, result and errors."""
    X, K = _two_matrices("conv2d_by_mul", X, K)
    h, w = K.shape
    return (im2col(X, (h, w)) @ K.reshape(-1, 1)).reshape(X.size(0) - h + 1, X.size(1) - w + 1)
