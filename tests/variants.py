"""The same values behind other strides, and operands made of views into poisoned buffers.

Every variant returns a tensor of the size it was given. Expanded ones change the values, so oracles are
computed on what a variant returns.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def _strided(x: Tensor) -> Tensor:
    """Every second element along the last two dimensions of a larger buffer, poisoned between them."""
    n, c, h, w = x.shape
    buffer = _poisoned((n, c, 2 * h + 1, 2 * w + 1), x)
    view = buffer[:, :, 1 : 2 * h : 2, 1 : 2 * w : 2]
    view.copy_(x)
    return view


def _window(x: Tensor) -> Tensor:
    """The middle of a larger poisoned image: rows are dense, their pitch and the offset are odd."""
    n, c, h, w = x.shape
    buffer = _poisoned((n + 1, c + 2, h + 3, w + 5), x)
    view = buffer[1:, 1 : c + 1, 2 : h + 2, 3 : w + 3]
    view.copy_(x)
    return view


def _window_channels_last(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    buffer = _poisoned((n + 1, c + 3, h + 3, w + 5), x).contiguous(memory_format=torch.channels_last)
    view = buffer[1:, 2 : c + 2, 2 : h + 2, 3 : w + 3]
    view.copy_(x)
    return view


def _poisoned(size: tuple[int, ...], like: Tensor) -> Tensor:
    floating = like.dtype.is_floating_point or like.dtype.is_complex
    return torch.full(size, float("nan") if floating else 2**40 + 1, dtype=like.dtype, device=like.device)


def _offset(x: Tensor) -> Tensor:
    """Contiguous, but one element off the allocation's alignment."""
    buffer = _poisoned((x.numel() + 2,), x)
    view = buffer[1:-1].view(x.shape)
    view.copy_(x)
    return view


def _negated(x: Tensor) -> Tensor:
    """The lazy negative bit: memory holds -x. What torch has in place of negative strides."""
    return torch._neg_view(-x)


VARIANTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.contiguous(),
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "permuted": lambda x: x.permute(1, 3, 0, 2).contiguous().permute(2, 0, 3, 1),
    "strided": _strided,
    "window": _window,
    "window_channels_last": _window_channels_last,
    "offset": _offset,
    "expanded_batch": lambda x: x[:1].expand_as(x),
    "expanded_width": lambda x: x[..., :1].expand_as(x),
    "expanded_all": lambda x: x[:1, :1, :1, :1].expand_as(x),
    "flipped": lambda x: x.flip(2, 3),
    "negated": _negated,
}
