"""The functions: conv2d, and the textbook's corr2d and convolve2d.

Each is a few normalised arguments and one operator call. The operators themselves (`torch.ops.pyconv.*`) take
a 4-D input, pairs and four paddings only; everything looser is resolved here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_variadic

from ._arguments import (
    PADDING_MODES,
    as_int,
    check_activation,
    check_padding_mode,
    check_tensors,
    four,
    padding_from_string,
    pair,
)
from ._load import _C
from .decompositions import traced_conv2d as _traceable_conv2d
from .decompositions import traced_conv2d_activated as _traceable_activated

# Two doors to one operator: torch.compile can only trace the first, the second costs a third as much.
_direct_conv2d = _C.conv2d
_direct_activated = _C.conv2d_activated


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
    activation: str | None = None,
    algorithm: str = "",
) -> Tensor:
    """2-D cross-correlation with the contract of `torch.nn.functional.conv2d`.

    output[n, k, p, q] = bias[k] + sum over c, r, s of
    weight[k, c, r, s] * input[n, g * C / groups + c, h, w], with h = p * stride_h + r * dilation_h - top,
    w = q * stride_w + s * dilation_w - left, and g the group of output channel k.

    Args:
        input: (N, C, H, W), or (C, H, W) for one image. float32, float64, bfloat16, float16, complex64,
            complex128, and int64 on the CPU. Any strides.
        weight: (K, C / groups, R, S), of the input's dtype and device.
        bias: (K,) or None.
        stride: step between windows in elements; an int or (height, width).
        padding: rows and columns added around the input; an int, (height, width), (top, bottom, left, right),
            "valid" (none) or "same" (P = H, Q = W; stride 1 only; an odd total puts the extra at the bottom
            and the right).
        dilation: distance between kernel elements in input elements; an int or (height, width).
        groups: C and K are cut into this many independent blocks.
        padding_mode: what the padding holds: "zeros", "reflect", "replicate" or "circular". It is read
            through the index arithmetic of the kernels; the input is never copied with a border.
        activation: "relu", "silu" or "gelu" (the exact one, by erf): what torch's function of that name gives
            of the result, but applied while a near cache has it, without another pass over memory.
            In training relu keeps nothing but the result; silu and gelu, whose gradients need what they were
            applied to, are then calls of torch's functions.
        algorithm: name of a row of the plan table (see `pyconv.plan`) to be used whatever its cost; "" lets
            the plan choose.

    Returns:
        (N, K, P, Q), or (K, P, Q) for unbatched input, where
        P = floor((H + top + bottom - dilation_h * (R - 1) - 1) / stride_h) + 1, and Q likewise; channels_last
        if input or weight is, else contiguous.

    Raises:
        TypeError: an argument of the wrong Python type.
        ValueError: an unknown padding_mode or activation.
        RuntimeError: shapes, dtypes or devices that do not fit together, "same" with a stride, an algorithm
            that is unknown or refuses the problem (the message says why).
    """
    if has_torch_function_variadic(input, weight, bias):
        return handle_torch_function(
            conv2d,
            (input, weight, bias),
            input,
            weight,
            bias,
            stride,
            padding,
            dilation,
            groups,
            padding_mode=padding_mode,
            activation=activation,
            algorithm=algorithm,
        )
    if not (
        isinstance(input, Tensor)
        and isinstance(weight, Tensor)
        and (bias is None or isinstance(bias, Tensor))
    ):
        check_tensors("conv2d", input, weight, bias)

    # Exact types first: the common call pays for nothing more; a bool or a NumPy integer takes the long way.
    if type(stride) is int:
        stride = (stride, stride)
    elif (
        type(stride) is not tuple
        or len(stride) != 2
        or type(stride[0]) is not int
        or type(stride[1]) is not int
    ):
        stride = pair("conv2d", "stride", stride)
    if type(dilation) is int:
        dilation = (dilation, dilation)
    elif (
        type(dilation) is not tuple
        or len(dilation) != 2
        or type(dilation[0]) is not int
        or type(dilation[1]) is not int
    ):
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
    if dimensions == 3:
        input = input.unsqueeze(0)
    elif dimensions != 4:
        _refuse_dimensions(input)
    if activation is None:
        call = _traceable_conv2d if torch.compiler.is_compiling() else _direct_conv2d
        output = call(input, weight, bias, stride, padding, dilation, groups, padding_mode, algorithm)
    else:
        check_activation(activation)
        call = _traceable_activated if torch.compiler.is_compiling() else _direct_activated
        output = call(
            input, weight, bias, stride, padding, dilation, groups, activation, padding_mode, algorithm
        )
    return output if dimensions == 4 else output.squeeze(0)


def _refuse_dimensions(input: Tensor) -> None:
    raise RuntimeError(
        f"Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: {list(input.shape)}"
    )


def corr2d(X: Tensor, K: Tensor) -> Tensor:
    """The textbook's operation: the cross-correlation of two matrices, differentiable in both.

    Y[i, j] = sum over a, b of X[i + a, j + b] * K[a, b].

    Args:
        X: (H, W), the image.
        K: (h, w), the kernel, with h <= H and w <= W.

    Returns:
        (H - h + 1, W - w + 1). Integer and bool matrices give torch's default float type, as the textbook
        prints; two different dtypes are promoted as torch promotes them.

    Raises:
        TypeError: X or K is not a tensor.
        RuntimeError: X or K is not a matrix (batches and channels belong to `pyconv.conv2d`), or K is empty
            or larger than X.

    Source: Zhang et al., Dive into Deep Learning, section 6.2 / 7.2, "Convolutions for Images".
    """
    X, K = _two_matrices("corr2d", X, K)
    return conv2d(X[None, None], K[None, None])[0, 0]


def convolve2d(X: Tensor, K: Tensor) -> Tensor:
    """True convolution of two matrices where the kernel fits: `corr2d` with K flipped both ways.

    Arguments, result and errors are those of `corr2d`. Equal to `scipy.signal.convolve2d(X, K, mode="valid")`
    for a K that is no larger than X.
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
                f"{function}: {name} must be a matrix, got {value.dim()}-D of size {list(value.shape)}; "
                "for batches and channels use pyconv.conv2d, which takes an (N, C, H, W) or (C, H, W) input "
                "and a (K, C, R, S) weight"
            )
    if K.size(0) == 0 or K.size(1) == 0:
        raise RuntimeError(f"{function}: the kernel is empty ({K.size(0)} x {K.size(1)})")
    if K.size(0) > X.size(0) or K.size(1) > X.size(1):
        raise RuntimeError(
            f"{function}: the kernel ({K.size(0)} x {K.size(1)}) is larger than the image "
            f"({X.size(0)} x {X.size(1)}); each of its sides must be at most the image's"
        )
    dtype = torch.promote_types(X.dtype, K.dtype)
    if not (dtype.is_floating_point or dtype.is_complex):
        dtype = torch.get_default_dtype()
    return X.to(dtype), K.to(dtype)
