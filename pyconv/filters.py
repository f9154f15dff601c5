"""Hand-made kernels for `pyconv.corr2d`, each an (h, w) matrix.

One sign convention throughout, the textbook's: a first derivative is the earlier element minus the later one,
(1, -1), so the step from white (1) to black (0) in reading direction gives +1. It is the negative of the
forward difference, and of the Sobel operator as image libraries print it.

All take `dtype` (default: torch's default) and `device`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ._arguments import pair


def _along(values: Tensor, axis: int, function: str) -> Tensor:
    """A vector as a row (axis 1: acts along the width) or as a column (axis 0: along the height)."""
    if axis not in (0, 1):
        raise ValueError(
            f"{function}: axis must be 0 (along the height) or 1 (along the width), got {axis!r}"
        )
    return values[None, :] if axis == 1 else values[:, None]


def derivative(order: int = 1, axis: int = 1, *, dtype: torch.dtype | None = None, device=None) -> Tensor:
    """The smallest kernel of the `order`-th derivative: order + 1 elements.

    Its elements are (-1)^i * binomial(order, i): (1, -1), then (1, -2, 1), (1, -3, 3, -1), ... On samples one
    apart it gives (-1)^order times the forward difference of that order, which is the derivative of a
    polynomial of degree at most `order`.

    Args:
        order: 0 (the identity) or more.
        axis: 1 along the width, (1, order + 1); 0 along the height, (order + 1, 1).

    Raises:
        ValueError: a negative order, another axis.

    Source: Zhang et al., Dive into Deep Learning, 6.2.3 for order 1, and the exercise on d-th derivatives.
    """
    if order < 0:
        raise ValueError(f"derivative: order must be 0 or more, got {order}")
    values = [(-1) ** i * math.comb(order, i) for i in range(order + 1)]
    return _along(
        torch.tensor(values, dtype=dtype or torch.get_default_dtype(), device=device), axis, "derivative"
    )


def laplacian(diagonals: bool = False, *, dtype: torch.dtype | None = None, device=None) -> Tensor:
    """The sum of the second derivatives along both axes, (3, 3), with -4 in the middle; or, with `diagonals`,
    along all four lines through the middle, with -8 there.

    Source: the five-point and nine-point stencils of any numerical analysis text; the first is the exercise's
    answer.
    """
    corner = 1 if diagonals else 0
    values = [[corner, 1, corner], [1, -8 if diagonals else -4, 1], [corner, 1, corner]]
    return torch.tensor(values, dtype=dtype or torch.get_default_dtype(), device=device)


def sobel(axis: int = 1, *, dtype: torch.dtype | None = None, device=None) -> Tensor:
    """A first derivative over two pixels, smoothed across with (1, 2, 1): (3, 3).

    axis 1: [[1, 0, -1], [2, 0, -2], [1, 0, -1]], which answers to vertical edges; axis 0: its transpose. The
    response to a ramp of slope -1 is 8.

    Raises:
        ValueError: another axis.

    Source: I. Sobel and G. Feldman, 1968, a talk at the Stanford Artificial Intelligence Project.
    """
    step = torch.tensor([1, 0, -1], dtype=dtype or torch.get_default_dtype(), device=device)
    smooth = torch.tensor([1, 2, 1], dtype=step.dtype, device=device)
    return _along(step, axis, "sobel") * _along(smooth, 1 - axis, "sobel")


def box(
    size: int | Sequence[int], normalize: bool = True, *, dtype: torch.dtype | None = None, device=None
) -> Tensor:
    """The mean over an (h, w) window; with `normalize=False` the sum, which is the textbook's integral
    kernel.

    Args:
        size: an int or (h, w), each at least 1.
    """
    h, w = _positive_pair("box", "size", size)
    value = 1.0 / (h * w) if normalize else 1.0
    return torch.full((h, w), value, dtype=dtype or torch.get_default_dtype(), device=device)


def gaussian(
    size: int | Sequence[int],
    sigma: float | Sequence[float],
    *,
    dtype: torch.dtype | None = None,
    device=None,
) -> Tensor:
    """The normal density at the centres of an (h, w) window, scaled to sum 1.

    Args:
        size: an int or (h, w), each at least 1; 2 * ceil(3 * sigma) + 1 holds all but 0.3 % of an axis.
        sigma: standard deviation in pixels, a number or (vertical, horizontal), each positive.

    Raises:
        ValueError: a size below 1, a sigma that is not positive.
    """
    h, w = _positive_pair("gaussian", "size", size)
    sigma_h, sigma_w = sigma if isinstance(sigma, Sequence) else (sigma, sigma)
    axes = []
    for length, deviation in ((h, sigma_h), (w, sigma_w)):
        if not deviation > 0:
            raise ValueError(f"gaussian: sigma must be positive, got {sigma}")
        distance = torch.arange(length, dtype=torch.float64) - (length - 1) / 2
        density = torch.exp(-0.5 * (distance / deviation) ** 2)
        axes.append(density / density.sum())
    return torch.outer(*axes).to(dtype=dtype or torch.get_default_dtype(), device=device)


def _positive_pair(function: str, name: str, value: int | Sequence[int]) -> tuple[int, int]:
    h, w = pair(function, name, value)
    if h < 1 or w < 1:
        raise ValueError(f"{function}: {name} must be at least 1 in each direction, got {value}")
    return h, w
