"""What the operators do under vmap, and what they count as FLOPs.

The operators, their shape functions, their derivatives and their autocast rule are C++. These two are only
ever run while torch transforms a call, so Python costs the plain call nothing.

vmap adds a batch dimension B to some of an operator's two tensors. Where one of them has it, B is folded into
the images (N) or into the channels that only that tensor has. Where both have it there are B problems of one
shape, which the operators take as 5-D tensors. On CUDA each would be a launch: there B is folded into groups.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from . import _load as _load  # registers the operators
from .decompositions import TORCHS

_ops = torch.ops.pyconv


def _front(tensor: Tensor, dim: int | None) -> Tensor:
    return tensor if dim is None else tensor.movedim(dim, 0)


def _fold(tensor: Tensor, dim: int, groups: int) -> Tensor:
    """Batch dimension 0 folded into dimension `dim` of the rest, inside each of its `groups` blocks.

    (B, ..., groups * c, ...) -> (..., groups * B * c, ...): the order in which a grouped convolution has one
    block for every group and, in the block, one part for every batch element.
    """
    tensor = tensor.unflatten(dim + 1, (groups, tensor.size(dim + 1) // groups)).movedim(0, dim + 1)
    return tensor.flatten(dim, dim + 2)


def _unfold(tensor: Tensor, dim: int, groups: int, batch: int) -> Tensor:
    """The inverse of `_fold`: (..., groups * B * c, ...) -> (B, ..., groups * c, ...)."""
    tensor = tensor.unflatten(dim, (groups, batch, tensor.size(dim) // (groups * batch))).movedim(dim + 1, 0)
    return tensor.flatten(dim + 1, dim + 2)


def _problems(info, dims, *tensors: Tensor) -> list[Tensor]:
    """Two 5-D tensors, a batch of problems, of which vmap makes B batches: one of all their problems."""
    batch = info.batch_size
    fronts = [
        tensor.expand(batch, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, dims, strict=False)
    ]
    return [front.flatten(0, 1) for front in fronts]


def _by_groups(tensor: Tensor) -> bool:
    return tensor.device.type == "cuda"


def _vmap_conv2d(
    info, dims, input, weight, bias, stride, padding, dilation, groups, padding_mode="zeros", algorithm=""
):
    batch = info.batch_size
    input_dim, weight_dim, bias_dim = dims[:3]
    rest = (stride, padding, dilation)
    if input.dim() - (input_dim is not None) == 5:
        input, weight = _problems(info, dims, input, weight)
        output = _ops.conv2d(input, weight, None, *rest, groups, padding_mode, algorithm)
        return output.unflatten(0, (batch, -1)), 0
    input, weight = _front(input, input_dim), _front(weight, weight_dim)
    shared_bias = bias if bias_dim is None and weight_dim is None else None
    if weight_dim is None and input_dim is None:
        output = _ops.conv2d(input, weight, None, *rest, groups, padding_mode, algorithm).unsqueeze(0)
    elif weight_dim is None:
        output = _ops.conv2d(input.flatten(0, 1), weight, shared_bias, *rest, groups, padding_mode, algorithm)
        output = output.unflatten(0, (batch, input.size(1)))
    elif input_dim is None:
        output = _ops.conv2d(input, _fold(weight, 0, groups), None, *rest, groups, padding_mode, algorithm)
        output = _unfold(output, 1, groups, batch)
    elif not _by_groups(input):
        output = _ops.conv2d(input, weight, None, *rest, groups, padding_mode, algorithm)
    else:
        output = _ops.conv2d(
            _fold(input, 1, 1), _fold(weight, 0, 1), None, *rest, groups * batch, padding_mode, algorithm
        )
        output = _unfold(output, 1, 1, batch)
    if bias is not None and shared_bias is None:
        output = output + _front(bias, bias_dim)[..., None, :, None, None]
    return output, 0


torch.library.register_vmap("pyconv::conv2d", _vmap_conv2d)


@torch.library.register_vmap("pyconv::conv2d_activated")
def _vmap_activated(info, dims, input, weight, bias, stride, padding, dilation, groups, activation, *options):
    if dims[1] is None and dims[2] is None:  # more images of the same layer
        images = _front(input, dims[0]).flatten(0, 1)
        output = _ops.conv2d_activated(
            images, weight, bias, stride, padding, dilation, groups, activation, *options
        )
        return output.unflatten(0, (info.batch_size, -1)), 0
    output, dim = _vmap_conv2d(info, dims, input, weight, bias, stride, padding, dilation, groups, *options)
    return TORCHS[activation](output), dim


@torch.library.register_vmap("pyconv::conv2d_grad_input")
def _vmap_grad_input(
    info,
    dims,
    grad_output,
    weight,
    input_size,
    stride,
    padding,
    dilation,
    groups,
    padding_mode="zeros",
    algorithm="",
):
    batch = info.batch_size
    rest = (stride, padding, dilation)
    if len(input_size) == 5:
        grad_output, weight = _problems(info, dims, grad_output, weight)
        size = (batch * input_size[0], *input_size[1:])
        result = _ops.conv2d_grad_input(grad_output, weight, size, *rest, groups, padding_mode, algorithm)
        return result.unflatten(0, (batch, -1)), 0
    n, c, h, w = input_size
    grad_output, weight = _front(grad_output, dims[0]), _front(weight, dims[1])
    if dims[1] is None:
        result = _ops.conv2d_grad_input(
            grad_output.flatten(0, 1), weight, (batch * n, c, h, w), *rest, groups, padding_mode, algorithm
        )
        return result.unflatten(0, (batch, n)), 0
    if dims[0] is None:
        # Dimension 1 of the weight is C / groups, a part of each group's own output channels: one block.
        result = _ops.conv2d_grad_input(
            grad_output, _fold(weight, 1, 1), (n, batch * c, h, w), *rest, groups, padding_mode, algorithm
        )
        return _unfold(result, 1, groups, batch), 0
    if not _by_groups(weight):
        size = (batch, n, c, h, w)
        return _ops.conv2d_grad_input(grad_output, weight, size, *rest, groups, padding_mode, algorithm), 0
    result = _ops.conv2d_grad_input(
        _fold(grad_output, 1, 1),
        _fold(weight, 0, 1),
        (n, batch * c, h, w),
        *rest,
        groups * batch,
        padding_mode,
        algorithm,
    )
    return _unfold(result, 1, 1, batch), 0


@torch.library.register_vmap("pyconv::conv2d_grad_weight")
def _vmap_grad_weight(
    info,
    dims,
    grad_output,
    input,
    weight_size,
    stride,
    padding,
    dilation,
    groups,
    padding_mode="zeros",
    algorithm="",
    channels_last=None,
):
    batch = info.batch_size
    rest, options = (stride, padding, dilation), (padding_mode, algorithm, channels_last)
    if len(weight_size) == 5:
        grad_output, input = _problems(info, dims, grad_output, input)
        size = (batch * weight_size[0], *weight_size[1:])
        result = _ops.conv2d_grad_weight(grad_output, input, size, *rest, groups, *options)
        return result.unflatten(0, (batch, -1)), 0
    k, c, r, s = weight_size
    grad_output, input = _front(grad_output, dims[0]), _front(input, dims[1])
    if dims[1] is None:
        result = _ops.conv2d_grad_weight(
            _fold(grad_output, 1, groups), input, (batch * k, c, r, s), *rest, groups, *options
        )
        if not channels_last:
            return _unfold(result, 0, groups, batch), 0
        # Groups are copied apart: in the order of memory, which is what was asked for.
        return _unfold(result.permute(0, 2, 3, 1), 0, groups, batch).permute(0, 1, 4, 2, 3), 0
    if dims[0] is None:
        result = _ops.conv2d_grad_weight(
            grad_output, _fold(input, 1, groups), (k, batch * c, r, s), *rest, groups, *options
        )
        return _unfold(result, 1, 1, batch), 0
    if not _by_groups(input):
        size = (batch, k, c, r, s)
        return _ops.conv2d_grad_weight(grad_output, input, size, *rest, groups, *options), 0
    result = _ops.conv2d_grad_weight(
        _fold(grad_output, 1, 1),
        _fold(input, 1, 1),
        (batch * k, c, r, s),
        *rest,
        groups * batch,
        *options,
    )
    return _unfold(result, 0, 1, batch), 0


# One multiply and one add for each product of the direct sum, padded zeros included, as torch counts its own
# convolutions: 2 * N * K * P * Q * (C / groups) * R * S in each of the three passes, for each problem.
def _flops(output_size, weight_size) -> int:
    return 2 * math.prod(output_size) * math.prod(weight_size[-3:])


@register_flop_formula([_ops.conv2d, _ops.conv2d_activated])
def _flops_conv2d(input, weight, bias=None, *args, out_shape=None, **kwargs) -> int:
    return _flops(out_shape, weight)


@register_flop_formula(_ops.conv2d_grad_input)
def _flops_grad_input(grad_output, weight, *args, out_shape=None, **kwargs) -> int:
    return _flops(grad_output, weight)


@register_flop_formula(_ops.conv2d_grad_weight)
def _flops_grad_weight(grad_output, input, weight_size, *args, out_shape=None, **kwargs) -> int:
    return _flops(grad_output, weight_size)
