"""conv_transpose2d: the input gradient of conv2d, under torch's name and contract."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_variadic

from . import _load as _load  # registers the operator that is bound below
from ._arguments import as_int, check_tensors, four, pair
from .decompositions import traced_conv2d_grad_input as _traceable_grad_input

_conv2d_grad_input = torch.ops.pyconv.conv2d_grad_input.default


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
    *,
    algorithm: str = "",
) -> Tensor:
    """Transposed convolution with the contract of `torch.nn.functional.conv_transpose2d`.

    It is the input gradient of `conv2d` under another name: the input here plays the output gradient there.

    Args:
        input: (N, C, H, W) or (C, H, W).
        weight: (C, K / groups, R, S).
        bias: (K,) or None.
        stride, dilation: as in `conv2d`, of the convolution that this one transposes.
        padding: of that convolution too, so it makes the output smaller; an int, (height, width) or (top,
            bottom, left, right).
        output_padding: rows and columns added to the bottom and the right of the output size; smaller than
            stride or dilation in each direction.
        groups: C and K are cut into this many independent blocks.
        algorithm: name of a row of the plan table for the pass grad_input.

    Returns:
        (N, K, (H - 1) * stride_h - top - bottom + dilation_h * (R - 1) + output_padding_h + 1, likewise the
        width).

    Raises:
        TypeError, RuntimeError: as torch's function does for the same arguments.
    """
    if has_torch_function_variadic(input, weight, bias):
        return handle_torch_function(
            conv_transpose2d,
            (input, weight, bias),
            input,
            weight,
            bias,
            stride,
            padding,
            output_padding,
            groups,
            dilation,
            algorithm=algorithm,
        )
    check_tensors("conv_transpose2d", input, weight, bias)
    name = "conv_transpose2d"
    stride_h, stride_w = stride = pair(name, "stride", stride)
    dilation_h, dilation_w = dilation = pair(name, "dilation", dilation)
    extra_h, extra_w = output_padding = pair(name, "output_padding", output_padding)
    top, bottom, left, right = padding = four(name, padding)
    groups = as_int(name, "groups", groups)
    if input.dim() == 3:
        image = conv_transpose2d(
            input.unsqueeze(0),
            weight,
            bias,
            stride,
            padding,
            output_padding,
            groups,
            dilation,
            algorithm=algorithm,
        )
        return image.squeeze(0)
    if not input.is_meta and torch.is_autocast_enabled(input.device.type):  # which knows no meta device
        input, weight, bias = _autocast(input, weight, bias)
    _check_transposed(input, weight, bias, stride, padding, output_padding, groups, dilation)

    batch, _, height, width = input.shape
    size = (
        batch,
        weight.size(1) * groups,
        (height - 1) * stride_h - top - bottom + dilation_h * (weight.size(2) - 1) + extra_h + 1,
        (width - 1) * stride_w - left - right + dilation_w * (weight.size(3) - 1) + extra_w + 1,
    )
    if size[2] < 1 or size[3] < 1:
        raise RuntimeError(
            f"Given input size per channel: ({height} x {width}). Calculated output size per channel: "
            f"({size[2]} x {size[3]}). Output size is too small"
        )
    # conv2d of the result must give back exactly H x W, which an output padding of a whole stride or more
    # (legal where the dilation is larger) would break. A row of zeros below the input stands for one stride.
    if extra_h >= stride_h or extra_w >= stride_w:
        input = torch.nn.functional.pad(input, (0, extra_w // stride_w, 0, extra_h // stride_h))
    dtype = input.dtype
    # The operator has no bias to add before it rounds, so sums that a bias follows stay in float32 until
    # then. A forced algorithm is one of the given dtype's, and rounds twice.
    if bias is not None and dtype in (torch.bfloat16, torch.float16) and not algorithm:
        input, weight, bias = input.float(), weight.float(), bias.float()
    call = _traceable_grad_input if torch.compiler.is_compiling() else _conv2d_grad_input
    output = call(input, weight, size, stride, padding, dilation, groups, "zeros", algorithm)
    return output if bias is None else (output + bias.reshape(-1, 1, 1)).to(dtype)


def _check_transposed(input, weight, bias, stride, padding, output_padding, groups, dilation) -> None:
    """What only the transposed reading of the operator knows, in the words of torch's conv_transpose2d."""
    if input.dim() != 4:
        raise RuntimeError(
            "Expected 3D (unbatched) or 4D (batched) input to conv_transpose2d, but got input of size: "
            f"{list(input.shape)}"
        )
    if weight.dim() != 4:
        raise RuntimeError(
            "Expected 4-dimensional weight of size (C, K / groups, R, S) for conv_transpose2d, but got "
            f"weight of size: {list(weight.shape)}"
        )
    for name, values, smallest, what in (
        ("stride", stride, 1, "non-positive"),
        ("dilation", dilation, 1, "non-positive"),
        ("padding", padding, 0, "negative"),
        ("output_padding", output_padding, 0, "negative"),
        ("groups", (groups,), 1, "non-positive"),
    ):
        if min(values) < smallest:
            raise RuntimeError(f"{what} {name} is not supported")
    size = list(weight.shape)
    if size[0] < groups or size[0] % groups != 0:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but "
            f"got weight of size [{size}] instead"
        )
    if input.size(1) != size[0]:
        raise RuntimeError(
            f"Given transposed=1, weight of size {size}, expected input{list(input.shape)} to have "
            f"{size[0]} channels, but got {input.size(1)} channels instead"
        )
    if bias is not None and (bias.dim() != 1 or bias.size(0) != size[1] * groups):
        raise RuntimeError(
            f"Given transposed=1, weight of size {size}, expected bias to be 1-dimensional with "
            f"{size[1] * groups} elements, but got bias of size {list(bias.shape)} instead"
        )
    for name, other in (("weight", weight), ("bias", bias)):
        if other is not None and other.dtype != input.dtype:
            raise RuntimeError(
                f"Input type ({input.type()}) and {name} type ({other.type()}) should be the same"
            )
    if any(
        extra >= max(step, spread)
        for extra, step, spread in zip(output_padding, stride, dilation, strict=True)
    ):
        raise RuntimeError(
            "output padding must be smaller than either stride or dilation, but got "
            f"output_padding_height: {output_padding[0]} output_padding_width: {output_padding[1]} "
            f"stride_height: {stride[0]} stride_width: {stride[1]} dilation_height: {dilation[0]} "
            f"dilation_width: {dilation[1]}"
        )


def _autocast(*tensors: Tensor | None) -> list[Tensor | None]:
    """torch's rule: floating tensors but float64 in autocast's dtype, everything else as it is.

    The operator has no rule of its own, because in a backward pass it must take its tensors as they come.
    """
    return [
        tensor.to(torch.get_autocast_dtype(tensor.device.type))
        if tensor is not None and tensor.is_floating_point() and tensor.dtype != torch.float64
        else tensor
        for tensor in tensors
    ]
