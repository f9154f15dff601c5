"""The operators in terms of torch's own, for what has torch's operators and not pyconv's: ONNX above all.

While torch.onnx.export traces them, `pyconv.conv2d` and `pyconv.conv_transpose2d` are torch's functions, so
that a model becomes ONNX's Conv and ConvTranspose without anything to set. A program that torch.export has
made before has pyconv's operators in it; `decompositions()` is what replaces them there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from . import _load as _load  # registers the operators

# What an activation's name stands for.
TORCHS = {"relu": F.relu, "silu": F.silu, "gelu": F.gelu}


def decompositions() -> dict[Callable[..., Tensor], Callable[..., Tensor]]:
    """pyconv's operators -> functions that compute them by torch's convolutions, of a model's forward pass.

        program = torch.export.export(model, args)
        program = program.run_decompositions(pyconv.decompositions())

    The program is then one of torch's operators alone. It can be given to torch.onnx.export, or run where
    pyconv is not installed.

    Returns:
        A new dict, with `conv2d`, `conv2d_activated` and `conv2d_grad_input` (what `conv_transpose2d` calls)
        in it; a table for ExportedProgram.run_decompositions or torch.fx.experimental.proxy_tensor.make_fx.
    """
    return {
        torch.ops.pyconv.conv2d.default: conv2d,
        torch.ops.pyconv.conv2d_activated.default: conv2d_activated,
        torch.ops.pyconv.conv2d_grad_input.default: conv2d_grad_input,
    }


def conv2d(
    input, weight, bias, stride, padding, dilation, groups, padding_mode="zeros", algorithm=""
) -> Tensor:
    """torch.ops.pyconv.conv2d; `algorithm` names a kernel of pyconv's, and says nothing here."""
    if input.dim() == 5:  # vmap's batch of problems
        batch = input.size(0)
        input, weight = _side_by_side(input), weight.flatten(0, 1)
        output = conv2d(input, weight, None, stride, padding, dilation, groups * batch, padding_mode)
        return _apart(output, batch)
    top, bottom, left, right = padding
    if padding_mode == "zeros" and top == bottom and left == right:
        return F.conv2d(input, weight, bias, stride, (top, left), dilation, groups)
    padded = _pad(input, padding, padding_mode)
    return F.conv2d(padded, weight, bias, stride, 0, dilation, groups)


def conv2d_activated(
    input, weight, bias, stride, padding, dilation, groups, activation, padding_mode="zeros", algorithm=""
) -> Tensor:
    """torch.ops.pyconv.conv2d_activated: the convolution, then torch's function of that name."""
    output = conv2d(input, weight, bias, stride, padding, dilation, groups, padding_mode)
    return TORCHS[activation](output)


def conv2d_grad_input(
    grad_output,
    weight,
    input_size,
    stride,
    padding,
    dilation,
    groups,
    padding_mode="zeros",
    algorithm="",
) -> Tensor:
    """torch.ops.pyconv.conv2d_grad_input under padding by zeros: a transposed convolution.

    Raises:
        NotImplementedError: another padding mode, whose gradient no convolution gives.
    """
    if padding_mode != "zeros":
        raise NotImplementedError(f"conv2d_grad_input: no decomposition for padding_mode={padding_mode!r}")
    if grad_output.dim() == 5:  # vmap's batch of problems
        batch, n, c, h, w = input_size
        result = conv2d_grad_input(
            _side_by_side(grad_output),
            weight.flatten(0, 1),
            (n, batch * c, h, w),
            stride,
            padding,
            dilation,
            groups * batch,
        )
        return _apart(result, batch)
    trims, extras = [], []
    for axis in (0, 1):
        before, after = padding[2 * axis : 2 * axis + 2]
        reach = (grad_output.size(2 + axis) - 1) * stride[axis] + dilation[axis] * (weight.size(2 + axis) - 1)
        # Rows of the input that the last window does not reach. torch's layer takes one padding for both
        # sides, the smaller here; what the larger one takes off beyond it is cut off afterwards.
        unread = input_size[2 + axis] - (reach + 1 - before - after)
        common = min(before, after)
        extras.append(max(0, int(unread - (after - common))))
        trims.append((common, before - common))
    output = F.conv_transpose2d(
        grad_output, weight, None, stride, [common for common, _ in trims], extras, groups, dilation
    )
    for axis, (_, skipped) in enumerate(trims):
        before, after = padding[2 * axis : 2 * axis + 2]
        if before != after:
            output = output.narrow(2 + axis, skipped, input_size[2 + axis])
    return output


def traced_conv2d(*arguments) -> Tensor:
    """The operator as a tracer is to see it."""
    if torch.onnx.is_in_onnx_export():
        return conv2d(*arguments)
    return torch.ops.pyconv.conv2d.default(*arguments)


def traced_conv2d_activated(*arguments) -> Tensor:
    """The operator as a tracer is to see it."""
    if torch.onnx.is_in_onnx_export():
        return conv2d_activated(*arguments)
    return torch.ops.pyconv.conv2d_activated.default(*arguments)


def traced_conv2d_grad_input(*arguments) -> Tensor:
    """The operator as a tracer is to see it."""
    if torch.onnx.is_in_onnx_export():
        return conv2d_grad_input(*arguments)
    return torch.ops.pyconv.conv2d_grad_input.default(*arguments)


def _side_by_side(images: Tensor) -> Tensor:
    """(B, N, C, H, W) -> (N, B * C, H, W): the problems as groups of one."""
    return images.transpose(0, 1).flatten(1, 2)


def _apart(images: Tensor, batch: int) -> Tensor:
    return images.unflatten(1, (batch, images.size(1) // batch)).transpose(0, 1)


def _pad(input: Tensor, padding, padding_mode: str) -> Tensor:
    top, bottom, left, right = padding
    if padding_mode != "circular":
        mode = "constant" if padding_mode == "zeros" else padding_mode
        return F.pad(input, (left, right, top, bottom), mode)
    # F.pad would fill an empty tensor piece by piece, which ONNX has only scatters for.
    for dim, before, after in ((2, top, bottom), (3, left, right)):
        size = input.size(dim)
        ends = [input.narrow(dim, size - before, before), input, input.narrow(dim, 0, after)]
        input = torch.cat(
            [part for part, length in zip(ends, (before, 1, after), strict=True) if length], dim
        )
    return input
