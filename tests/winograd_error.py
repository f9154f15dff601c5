"""How far a result of Winograd's F(4x4, 3x3) may lie from the exact one.

It computes A'((G g G') * (B' d B))A, each map a short sum of products with constants. Whatever rounds,
each of at most L roundings on the way to an output changes it by at most u times the same expression of
magnitudes, so the error is at most gamma(L) * |A'|((|G||g||G'|) * (|B'||d||B|))|A| with gamma(L) = L u /
(1 - L u). L is the length of the sum over channels and, for each of source, output and filter, two maps
of at most 4, 4 and 5 roundings (the filter's constants are rounded too).

The filter's gradient is G'((A y A') * (B' d B))G, summed over tiles: the same, its maps being transposes of
these. Added up in whatever runs, no product meets more roundings than there are tiles.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)


def maps() -> tuple[Tensor, Tensor, Tensor]:
    """|A'|, |B'|, |G| of the points and infinity, from the definition: values and products of (x - p)."""
    output, source, filters = torch.zeros(4, 6), torch.zeros(6, 6), torch.zeros(6, 3)
    for i, point in enumerate((*POINTS, None)):
        product = torch.tensor([1.0])
        for other in POINTS:
            if other != point:
                product = F.pad(product, (1, 0)) - other * F.pad(product, (0, 1))
        source[i, : len(product)] = product
        scale = 1.0 if point is None else math.prod(point - other for other in POINTS if other != point)
        for power in range(4):
            output[power, i] = float(power == 3) if point is None else point**power
        for power in range(3):
            filters[i, power] = float(power == 2) if point is None else point**power / scale
    return output.abs().double(), source.abs().double(), filters.abs().double()


def bound(x: Tensor, w: Tensor, groups: int, unit: float) -> Tensor:
    """For each output, in arithmetic of that roundoff.

    x (N, C, H, W), already padded, and w (K, C / groups, 3, 3) are float64 magnitudes.
    """
    rows, columns = x.shape[2] - 2, x.shape[3] - 2
    x = F.pad(x, (0, -columns % 4, 0, -rows % 4))
    output, source, filters = maps()
    tiles = (source @ x.unfold(2, 6, 4).unfold(3, 6, 4) @ source.T).unflatten(1, (groups, -1))
    w = (filters @ w @ filters.T).unflatten(0, (groups, -1))
    sums = torch.einsum("ngctuij,gkcij->ngktuij", tiles, w).flatten(1, 2)
    result = (output @ sums @ output.T).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    terms = w.shape[2] + 2 * (4 + 4 + 5)
    return terms * unit / (1 - terms * unit) * result[:, :, :rows, :columns]


def weight_bound(x: Tensor, y: Tensor, groups: int, unit: float) -> Tensor:
    """For each weight; x, already padded, and the output gradient y (N, K, P, Q) are float64 magnitudes."""
    rows, columns = -y.shape[2] % 4, -y.shape[3] % 4
    output, source, filters = maps()
    tiles = F.pad(x, (0, columns, 0, rows)).unfold(2, 6, 4).unfold(3, 6, 4)
    tiles = (source @ tiles @ source.T).unflatten(1, (groups, -1))
    values = F.pad(y, (0, columns, 0, rows)).unfold(2, 4, 4).unfold(3, 4, 4)
    values = (output.T @ values @ output).unflatten(1, (groups, -1))
    sums = torch.einsum("ngctuij,ngktuij->gkcij", tiles, values).flatten(0, 1)
    terms = y.shape[0] * tiles.shape[3] * tiles.shape[4] + 2 * (4 + 4 + 5)
    return terms * unit / (1 - terms * unit) * (filters.T @ sums @ filters)
