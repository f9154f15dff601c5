"""The definitions, in plain Python and plain torch: the oracle of the tests. None of it calls pyconv's
operators.

Three rungs, each checked against the one before:
1. `conv2d`, `conv2d_grad_input`, `conv2d_grad_weight`: the seven loops over Python numbers, in the three
   directions. Right by reading; a few thousand products a millisecond, so for tiny problems.
2. `conv2d_unfold`: patches as the columns of a matrix, then one matrix product: the same sum with the loops
   inside torch. Any size that fits in memory.
3. `conv2d_torch` and `gradients_torch`: torch's own convolution, in float64, on an explicitly padded input.

Arguments of all: `stride`, `dilation` are (height, width); `padding` is (top, bottom, left, right). Sums run
in Python's float / complex / int, or in torch's float64 / complex128 / int64; the result is rounded once, to
the dtype of the first tensor. Gradients are the linear transposes: complex tensors are not conjugated (the
autograd formula does that).
"""

from __future__ import annotations

import torch
from torch import Tensor

Pair = tuple[int, int]
Four = tuple[int, int, int, int]

_WIDE = {torch.complex64: torch.complex128, torch.complex128: torch.complex128, torch.int64: torch.int64}


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype that sums of `dtype` run in here: float64, complex128 or int64."""
    return _WIDE.get(dtype, torch.float64)


def output_length(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """Number of windows along one axis: floor((size + before + after - dilation * (kernel - 1) - 1) / stride)
    + 1.
    """
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def source_index(position: int, size: int, padding_mode: str) -> int | None:
    """Which of `size` elements a padded axis shows at `position`; position 0 is the first real element.

    None stands for a zero. reflect does not repeat the edge (... 2 1 0 1 2 ...), replicate holds it, circular
    starts over from the other end.
    """
    if 0 <= position < size:
        return position
    if padding_mode == "zeros":
        return None
    if padding_mode == "replicate":
        return 0 if position < 0 else size - 1
    if padding_mode == "circular":
        source = position + size if position < 0 else position - size
    elif padding_mode == "reflect":
        source = -position if position < 0 else 2 * (size - 1) - position
    else:
        raise ValueError(f"unknown padding_mode {padding_mode!r}")
    if not 0 <= source < size:
        raise ValueError(f"{padding_mode} padding reaches position {position} of an axis of {size} elements")
    return source


def _products(input_size, weight_size, stride, padding, dilation, groups, padding_mode):
    """The seven loops: every (output index, weight index, input index) whose product is a term of the
    convolution.
    """
    n_size, _, h_size, w_size = input_size
    k_size, c_size, r_size, s_size = weight_size
    p_size = output_length(h_size, r_size, stride[0], padding[0], padding[1], dilation[0])
    q_size = output_length(w_size, s_size, stride[1], padding[2], padding[3], dilation[1])
    for n in range(n_size):
        for k in range(k_size):
            group = k // (k_size // groups)
            for p in range(p_size):
                for q in range(q_size):
                    for c in range(c_size):
                        for r in range(r_size):
                            for s in range(s_size):
                                h = source_index(
                                    p * stride[0] + r * dilation[0] - padding[0], h_size, padding_mode
                                )
                                w = source_index(
                                    q * stride[1] + s * dilation[1] - padding[2], w_size, padding_mode
                                )
                                if h is not None and w is not None:
                                    yield (n, k, p, q), (k, c, r, s), (n, group * c_size + c, h, w)


def _zeros(size: tuple[int, ...], dtype: torch.dtype) -> dict[tuple[int, ...], complex | float | int]:
    zero = {torch.complex128: 0j, torch.int64: 0}.get(wide(dtype), 0.0)
    return {tuple(index): zero for index in torch.cartesian_prod(*map(torch.arange, size)).tolist()}


def _tensor(values: dict, size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.tensor(list(values.values()), dtype=wide(dtype)).reshape(size).to(dtype)


def _numbers(tensor: Tensor) -> dict:
    """Index -> Python number."""
    indices = torch.cartesian_prod(*map(torch.arange, tensor.shape)).tolist()
    return dict(zip(map(tuple, indices), tensor.reshape(-1).tolist(), strict=True))


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Four = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Tensor:
    """(N, C, H, W) with (K, C / groups, R, S) -> (N, K, P, Q), by the seven loops."""
    size = (
        input.size(0),
        weight.size(0),
        output_length(input.size(2), weight.size(2), stride[0], padding[0], padding[1], dilation[0]),
        output_length(input.size(3), weight.size(3), stride[1], padding[2], padding[3], dilation[1]),
    )
    x, w, output = _numbers(input), _numbers(weight), _zeros(size, input.dtype)
    for out, filt, inp in _products(
        input.shape, weight.shape, stride, padding, dilation, groups, padding_mode
    ):
        output[out] += w[filt] * x[inp]
    if bias is not None:
        b = bias.tolist()
        for index in output:
            output[index] += b[index[1]]
    return _tensor(output, size, input.dtype)


def conv2d_grad_input(
    grad_output: Tensor,
    weight: Tensor,
    input_size: tuple[int, ...],
    stride: Pair = (1, 1),
    padding: Four = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Tensor:
    """(N, K, P, Q) with (K, C / groups, R, S) -> `input_size`: each product goes back to the input it came
    from.
    """
    g, w, grad_input = _numbers(grad_output), _numbers(weight), _zeros(input_size, grad_output.dtype)
    for out, filt, inp in _products(
        input_size, weight.shape, stride, padding, dilation, groups, padding_mode
    ):
        grad_input[inp] += g[out] * w[filt]
    return _tensor(grad_input, tuple(input_size), grad_output.dtype)


def conv2d_grad_weight(
    grad_output: Tensor,
    input: Tensor,
    weight_size: tuple[int, ...],
    stride: Pair = (1, 1),
    padding: Four = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Tensor:
    """(N, K, P, Q) with (N, C, H, W) -> `weight_size`: each product goes back to the weight it came from."""
    g, x, grad_weight = _numbers(grad_output), _numbers(input), _zeros(weight_size, grad_output.dtype)
    for out, filt, inp in _products(
        input.shape, weight_size, stride, padding, dilation, groups, padding_mode
    ):
        grad_weight[filt] += g[out] * x[inp]
    return _tensor(grad_weight, tuple(weight_size), grad_output.dtype)


def pad(input: Tensor, padding: Four, padding_mode: str = "zeros") -> Tensor:
    """The input with its border written out, (N, C, top + H + bottom, left + W + right)."""
    top, bottom, left, right = padding
    for dim, before, after in ((2, top, bottom), (3, left, right)):
        size = input.size(dim)
        sources = [source_index(position, size, padding_mode) for position in range(-before, size + after)]
        # One zero slice past the end of the axis is what None points at.
        zero = input.new_zeros([1 if d == dim else length for d, length in enumerate(input.shape)])
        index = torch.tensor(
            [size if source is None else source for source in sources], device=input.device, dtype=torch.int64
        )
        input = torch.cat([input, zero], dim).index_select(dim, index)
    return input


def unfold(
    input: Tensor,
    kernel: Pair,
    stride: Pair = (1, 1),
    padding: Four = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    padding_mode: str = "zeros",
) -> Tensor:
    """im2col: (N, C, H, W) -> (N, C, R, S, P, Q): what lies under each kernel element of each window."""
    padded = pad(input, padding, padding_mode)
    axes = []
    for axis in (0, 1):
        windows = output_length(padded.size(2 + axis), kernel[axis], stride[axis], 0, 0, dilation[axis])
        starts = torch.arange(windows, device=input.device) * stride[axis]
        axes.append(torch.arange(kernel[axis], device=input.device)[:, None] * dilation[axis] + starts)
    rows, columns = axes
    return padded[:, :, rows[:, None, :, None], columns[None, :, None, :]]


def conv2d_unfold(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Four = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Tensor:
    """`conv2d` as one matrix product a group, (K / groups, C R S / groups) times (C R S / groups, P Q)."""
    dtype = wide(input.dtype)
    columns = unfold(
        input.to(dtype), (weight.size(2), weight.size(3)), stride, padding, dilation, padding_mode
    )
    n, c, r, s, p, q = columns.shape
    columns = columns.reshape(n, groups, c // groups * r * s, p * q)
    rows = weight.to(dtype).reshape(groups, weight.size(0) // groups, c // groups * r * s)
    output = (rows @ columns).reshape(n, weight.size(0), p, q)
    if bias is not None:
        output = output + bias.to(dtype)[:, None, None]
    return output.to(input.dtype)


_TORCH_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def conv2d_torch(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Four = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    padding_mode: str = "zeros",
) -> Tensor:
    """`conv2d` by torch on a padded copy; differentiable, and fast enough for problems of real size."""
    dtype = wide(input.dtype)
    top, bottom, left, right = padding
    padded = torch.nn.functional.pad(
        input.to(dtype), (left, right, top, bottom), mode=_TORCH_MODES[padding_mode]
    )
    output = torch.nn.functional.conv2d(
        padded, weight.to(dtype), None if bias is None else bias.to(dtype), stride, 0, dilation, groups
    )
    return output.to(input.dtype)


def gradients_torch(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Pair = (1, 1),
    padding: Four = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    padding_mode: str = "zeros",
) -> tuple[Tensor, Tensor]:
    """(grad_input, grad_weight) by torch's autograd in float64 or complex128, rounded once, not conjugated.

    Integers go through float64, which is exact up to 2**53.
    """
    dtype = torch.complex128 if input.is_complex() else torch.float64
    x = input.detach().to(dtype).requires_grad_()
    w = weight.detach().to(dtype).requires_grad_()
    output = conv2d_torch(x, w, None, stride, padding, dilation, groups, padding_mode)
    # autograd conjugates the other factor; conjugating before and after leaves the plain transpose.
    grads = torch.autograd.grad(output, (x, w), grad_output.to(dtype).conj())
    return grads[0].conj().resolve_conj().to(input.dtype), grads[1].conj().resolve_conj().to(weight.dtype)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Four = (0, 0, 0, 0),
    output_padding: Pair = (0, 0),
    groups: int = 1,
    dilation: Pair = (1, 1),
) -> Tensor:
    """(N, C, H, W) with (C, K / groups, R, S): each input element adds its multiple of the kernel to the
    output.
    """
    n, c, height, width = input.shape
    top, bottom, left, right = padding
    rows = (
        (height - 1) * stride[0] - top - bottom + dilation[0] * (weight.size(2) - 1) + output_padding[0] + 1
    )
    columns = (
        (width - 1) * stride[1] - left - right + dilation[1] * (weight.size(3) - 1) + output_padding[1] + 1
    )
    per_group = weight.size(1)
    output = torch.zeros(n, per_group * groups, rows, columns, dtype=wide(input.dtype))
    x, f = input.to(output.dtype), weight.to(output.dtype)
    for channel in range(c):
        first = channel // (c // groups) * per_group
        for h in range(height):
            for w in range(width):
                for r in range(weight.size(2)):
                    for s in range(weight.size(3)):
                        row, column = (
                            h * stride[0] + r * dilation[0] - top,
                            w * stride[1] + s * dilation[1] - left,
                        )
                        if 0 <= row < rows and 0 <= column < columns:
                            output[:, first : first + per_group, row, column] += (
                                x[:, channel, h, w, None] * f[channel, :, r, s]
                            )
    if bias is not None:
        output += bias.to(output.dtype)[:, None, None]
    return output.to(input.dtype)


def corr2d(X: Tensor, K: Tensor) -> Tensor:
    """The textbook's double loop over windows of a matrix."""
    h, w = K.shape
    Y = torch.zeros(X.size(0) - h + 1, X.size(1) - w + 1, dtype=torch.result_type(X, K))
    for i in range(Y.size(0)):
        for j in range(Y.size(1)):
            Y[i, j] = (X[i : i + h, j : j + w] * K).sum()
    return Y
