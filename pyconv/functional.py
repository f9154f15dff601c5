"""The functions: conv2d, conv_transpose2d, and the textbook's corr2d and convolve2d.

Each is a few normalised arguments and one operator call. The operators themselves (`torch.ops.pyconv.*`) take a 4-D
input, pairs and four paddings only; everything looser is resolved here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_variadic

from . import _load  # noqa: F401  registers the operators that are bound below
from ._arguments import PADDING_MODES, as_int, check_padding_mode, four, pair, padding_from_string
from .transforms import autocast_tensors

# Bound once: `torch.ops.pyconv.conv2d` costs three attribute look-ups and an overload search a call.
_conv2d = torch.ops.pyconv.conv2d.default
_conv2d_grad_input = torch.ops.pyconv.conv2d_grad_input.default


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    algorithm: str = "",
) -> Tensor:
    """2-D cross-correlation with the contract of `torch.nn.functional.conv2d`.

    output[n, k, p, q] = bias[k] + sum over c, r, s of
    weight[k, c, r, s] * input[n, g * C/groups + c, p * stride_h + r * dilation_h - top, q * stride_w + s * dilation_w
    - left], with g the group of output channel k.

    Args:
        input: (N, C, H, W), or (C, H, W) for one image. float32, float64, bfloat16, float16, complex64, complex128,
            and int64 on the CPU. Any strides.
        weight: (K, C / groups, R, S), of the input's dtype and device.
        bias: (K,) or None.
        stride: step between windows in elements; an int or (height, width).
        padding: rows and columns added around the input; an int, (height, width), (top, bottom, left, right),
            "valid" (none) or "same" (P = H, Q = W; stride 1 only; an odd total puts the extra at the bottom and
            the right).
        dilation: distance between kernel elements in input elements; an int or (height, width).
        groups: C and K are cut into this many independent blocks.
        padding_mode: what the padding holds: "zeros", "reflect", "replicate" or "circular". It is read through the
            index arithmetic of the kernels; the input is never copied with a border.
        algorithm: name of a row of the plan table (see `pyconv.plan`) to be used whatever its cost; "" lets the plan
            choose.

    Returns:
        (N, K, P, Q), or (K, P, Q) for unbatched input, with P = floor((H + top + bottom - dilation_h * (R - 1) - 1) /
        stride_h) + 1. channels_last if input or weight is, else contiguous.

    Raises:
        TypeError: an argument of the wrong Python type.
        ValueError: an unknown padding_mode.
        RuntimeError: shapes, dtypes or devices that do not fit together, "same" with a stride, an algorithm that is
            unknown or refuses the problem (the message says why).
    """
    if has_torch_function_variadic(input, weight, bias):
        return handle_torch_function(
            conv2d, (input, weight, bias), input, weight, bias, stride, padding, dilation, groups,
            padding_mode=padding_mode, algorithm=algorithm)
    if not (isinstance(input, Tensor) and isinstance(weight, Tensor)) or \
            not (bias is None or isinstance(bias, Tensor)):
        _refuse_types("conv2d", input, weight, bias)

    # The tests on exact types spare the common call everything below; a bool or a NumPy integer takes the long way.
    if type(stride) is int:
        stride = (stride, stride)
    elif type(stride) is not tuple or len(stride) != 2 or type(stride[0]) is not int or type(stride[1]) is not int:
        stride = pair("conv2d", "stride", stride)
    if type(dilation) is int:
        dilation = (dilation, dilation)
    elif type(dilation) is not tuple or len(dilation) != 2 or type(dilation[0]) is not int \
            or type(dilation[1]) is not int:
        dilation = pair("conv2d", "dilation", dilation)
    if type(padding) is int:
        padding = (padding, padding, padding, padding)
    elif type(padding) is tuple and len(padding) == 2 and type(padding[0]) is int and type(padding[1]) is int:
        padding = (padding[0], padding[0], padding[1], padding[1])
    elif isinstance(padding, str):
        # A weight that is not 4-D has no kernel size; the operator refuses it with torch's sentence.
        kernel = (weight.size(2), weight.size(3)) if weight.dim() == 4 else (1, 1)
        padding = padding_from_string(padding, kernel, stride, dilation)
    else:
        padding = four("conv2d", padding)
    if type(groups) is not int:
        groups = as_int("conv2d", "groups", groups)
    if padding_mode not in PADDING_MODES:
        check_padding_mode(padding_mode)

    dimensions = input.dim()
    if dimensions == 4:
        return _conv2d(input, weight, bias, stride, padding, dilation, groups, padding_mode, algorithm)
    if dimensions == 3:
        return _conv2d(input.unsqueeze(0), weight, bias, stride, padding, dilation, groups, padding_mode,
                       algorithm).squeeze(0)
    raise RuntimeError("Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: "
                       f"{list(input.shape)}")


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
        padding: of that convolution too, so it makes the output smaller; an int, (height, width) or (top, bottom,
            left, right).
        output_padding: rows and columns added to the bottom and the right of the output size; smaller than stride or
            dilation in each direction.
        groups: C and K are cut into this many independent blocks.
        algorithm: name of a row of the plan table for the pass grad_input.

    Returns:
        (N, K, (H - 1) * stride_h - top - bottom + dilation_h * (R - 1) + output_padding_h + 1, likewise the width).

    Raises:
        TypeError, RuntimeError: as torch's function does for the same arguments.
    """
    if has_torch_function_variadic(input, weight, bias):
        return handle_torch_function(
            conv_transpose2d, (input, weight, bias), input, weight, bias, stride, padding, output_padding, groups,
            dilation, algorithm=algorithm)
    if not (isinstance(input, Tensor) and isinstance(weight, Tensor)) or \
            not (bias is None or isinstance(bias, Tensor)):
        _refuse_types("conv_transpose2d", input, weight, bias)
    name = "conv_transpose2d"
    stride_h, stride_w = stride = pair(name, "stride", stride)
    dilation_h, dilation_w = dilation = pair(name, "dilation", dilation)
    extra_h, extra_w = output_padding = pair(name, "output_padding", output_padding)
    top, bottom, left, right = padding = four(name, padding)
    groups = as_int(name, "groups", groups)
    if input.dim() == 3:
        image = conv_transpose2d(input.unsqueeze(0), weight, bias, stride, padding, output_padding, groups, dilation,
                                 algorithm=algorithm)
        return image.squeeze(0)
    _check_transposed(input, weight, bias, stride, padding, output_padding, groups, dilation)

    if torch.is_autocast_enabled(input.device.type):
        input, weight, bias = autocast_tensors(input, weight, bias)
    # conv2d of the result must give back exactly H x W, which an output padding of a whole stride or more (legal
    # where the dilation is larger) would break; a row of zeros below the input stands for one stride of it.
    if extra_h >= stride_h or extra_w >= stride_w:
        input = torch.nn.functional.pad(input, (0, extra_w // stride_w, 0, extra_h // stride_h))
        extra_h, extra_w = extra_h % stride_h, extra_w % stride_w
    batch, _, height, width = input.shape
    size = (
        batch,
        weight.size(1) * groups,
        (height - 1) * stride_h - top - bottom + dilation_h * (weight.size(2) - 1) + extra_h + 1,
        (width - 1) * stride_w - left - right + dilation_w * (weight.size(3) - 1) + extra_w + 1,
    )
    if size[2] < 1 or size[3] < 1:
        raise RuntimeError(f"Given input size per channel: ({height} x {width}). Calculated output size per channel: "
                           f"({size[2]} x {size[3]}). Output size is too small")
    output = _conv2d_grad_input(input, weight, size, stride, padding, dilation, groups, "zeros", algorithm)
    return output if bias is None else output + bias.reshape(-1, 1, 1)


def corr2d(X: Tensor, K: Tensor) -> Tensor:
    """The textbook's operation: the cross-correlation of two matrices, differentiable in both.

    Y[i, j] = sum over a, b of X[i + a, j + b] * K[a, b].

    Args:
        X: (H, W), the image.
        K: (h, w), the kernel, with h <= H and w <= W.

    Returns:
        (H - h + 1, W - w + 1). Integer and bool matrices give torch's default float type, as the textbook prints;
        two different dtypes are promoted as torch promotes them.

    Raises:
        TypeError: X or K is not a tensor.
        RuntimeError: X or K is not a matrix (batches and channels belong to `pyconv.conv2d`), or K is empty or larger
            than X.

    Source: Zhang et al., Dive into Deep Learning, section 6.2 / 7.2, "Convolutions for Images".
    """
    X, K = _two_matrices("corr2d", X, K)
    return conv2d(X[None, None], K[None, None])[0, 0]


def convolve2d(X: Tensor, K: Tensor) -> Tensor:
    """True convolution of two matrices where the kernel fits: `corr2d` with K flipped both ways.

    Arguments, result and errors are those of `corr2d`. Equal to `scipy.signal.convolve2d(X, K, mode="valid")` for
    a K that is no larger than X.
    """
    X, K = _two_matrices("convolve2d", X, K)
    return conv2d(X[None, None], K.flip(0, 1)[None, None])[0, 0]


def _two_matrices(function: str, X: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """X and K checked to be an image and a kernel that fits in it, and brought to one floating dtype."""
    for name, value in (("X", X), ("K", K)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{function}(): {name} must be a Tensor, got {type(value).__name__}")
        if value.dim() != 2:
            raise RuntimeError(
                f"{function}: {name} must be a matrix, got {value.dim()}-D of size {list(value.shape)}; for batches "
                "and channels use pyconv.conv2d, which takes (N, C, H, W) or (C, H, W) and a (K, C, R, S) weight")
    if K.size(0) == 0 or K.size(1) == 0:
        raise RuntimeError(f"{function}: the kernel is empty ({K.size(0)} x {K.size(1)})")
    if K.size(0) > X.size(0) or K.size(1) > X.size(1):
        raise RuntimeError(f"{function}: the kernel ({K.size(0)} x {K.size(1)}) is larger than the image "
                           f"({X.size(0)} x {X.size(1)}); each of its sides must be at most the image's")
    dtype = torch.result_type(X, K)
    if not (dtype.is_floating_point or dtype.is_complex):
        dtype = torch.get_default_dtype()
    return X.to(dtype), K.to(dtype)


def _refuse_types(function: str, input: object, weight: object, bias: object) -> None:
    """TypeError naming the first of the three that is not a tensor."""
    for name, value, what in (("input", input, "a Tensor"), ("weight", weight, "a Tensor"),
                              ("bias", bias, "a Tensor or None")):
        if not isinstance(value, Tensor) and not (name == "bias" and value is None):
            raise TypeError(f"{function}(): argument '{name}' must be {what}, not {type(value).__name__}")


def _check_transposed(input, weight, bias, stride, padding, output_padding, groups, dilation) -> None:
    """What only the transposed reading of the operator knows, in the words of torch's conv_transpose2d."""
    if input.dim() != 4:
        raise RuntimeError("Expected 3D (unbatched) or 4D (batched) input to conv_transpose2d, but got input of size: "
                           f"{list(input.shape)}")
    if weight.dim() != 4:
        raise RuntimeError("Expected 4-dimensional weight of size (C, K / groups, R, S) for conv_transpose2d, but got "
                           f"weight of size: {list(weight.shape)}")
    for name, values, smallest, what in (("stride", stride, 1, "non-positive"), ("dilation", dilation, 1, "non-positive"),
                                         ("padding", padding, 0, "negative"),
                                         ("output_padding", output_padding, 0, "negative"),
                                         ("groups", (groups,), 1, "non-positive")):
        if min(values) < smallest:
            raise RuntimeError(f"{what} {name} is not supported")
    size = list(weight.shape)
    if size[0] < groups or size[0] % groups != 0:
        raise RuntimeError(f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but "
                           f"got weight of size [{size}] instead")
    if input.size(1) != size[0]:
        raise RuntimeError(f"Given transposed=1, weight of size {size}, expected input{list(input.shape)} to have "
                           f"{size[0]} channels, but got {input.size(1)} channels instead")
    if bias is not None and (bias.dim() != 1 or bias.size(0) != size[1] * groups):
        raise RuntimeError(f"Given transposed=1, weight of size {size}, expected bias to be 1-dimensional with "
                           f"{size[1] * groups} elements, but got bias of size {list(bias.shape)} instead")
    if bias is not None and bias.dtype != input.dtype and not torch.is_autocast_enabled(input.device.type):
        raise RuntimeError(f"Input type ({input.dtype}) and bias type ({bias.dtype}) should be the same")
    if any(extra >= max(step, spread) for extra, step, spread in zip(output_padding, stride, dilation, strict=True)):
        raise RuntimeError(
            "output padding must be smaller than either stride or dilation, but got "
            f"output_padding_height: {output_padding[0]} output_padding_width: {output_padding[1]} "
            f"stride_height: {stride[0]} stride_width: {stride[1]} dilation_height: {dilation[0]} "
            f"dilation_width: {dilation[1]}")
