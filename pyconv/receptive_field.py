"""How much of the input one output element depends on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ._arguments import IntFour, IntPair, four, padding_from_string, pair

# Layers whose output at a place depends on the input at that place only (batch norm: in evaluation mode).
_POINTWISE = (
    _BatchNorm,
    _DropoutNd,
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Hardtanh,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.Softsign,
    nn.Threshold,
)


class ReceptiveField(NamedTuple):
    """Output element (p, q) sees input rows [offset[0] + p * jump[0], the same + size[0]), and likewise
    columns.

    size: height and width of the patch, in input elements.
    jump: distance between the patches of neighbouring output elements.
    offset: first row and column that element (0, 0) sees; negative where it begins in the padding.
    """

    size: IntPair
    jump: IntPair
    offset: IntPair


def receptive_field(layers: nn.Module | Iterable) -> ReceptiveField:
    """The input patch behind one output element of a chain of layers.

    Args:
        layers: a torch.nn.Sequential, one layer, or an iterable of layers. A layer is a Conv2d (pyconv's
            too), a MaxPool2d, AvgPool2d or LPPool2d, a module that works element by element, or a tuple
            (kernel, stride, dilation) or (kernel, stride, dilation, padding), each an int, a pair, or
            (padding) four ints (top, bottom, left, right).

    Returns:
        ReceptiveField(size, jump, offset), each (vertical, horizontal). With k, s, d, p of one layer:
        size += (k - 1) * d * jump, offset -= p * jump, then jump *= s.

    Raises:
        TypeError: a layer whose field is not a rectangle of fixed size (linear, adaptive pooling, flatten,
        ...). ValueError: a tuple of another length, a size below 1. RuntimeError: a size that is neither an
        int nor a pair.

    Source: Zhang et al., Dive into Deep Learning, 6.2.6; A. Araujo, W. Norris, J. Sim, "Computing Receptive
    Fields of Convolutional Neural Networks", Distill, 2019.
    """
    size, jump, offset = [1, 1], [1, 1], [0, 0]
    for kernel, stride, dilation, padding in _windows(layers):
        for axis in (0, 1):
            size[axis] += (kernel[axis] - 1) * dilation[axis] * jump[axis]
            offset[axis] -= padding[2 * axis] * jump[axis]
            jump[axis] *= stride[axis]
    return ReceptiveField((size[0], size[1]), (jump[0], jump[1]), (offset[0], offset[1]))


def _windows(layers):
    """(kernel, stride, dilation, padding) of every layer that is not pointwise, in order."""
    if isinstance(layers, nn.Module) and not isinstance(layers, nn.Sequential):
        layers = [layers]
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            yield from _windows(layer)
        elif isinstance(layer, (tuple, list)):
            if len(layer) not in (3, 4):
                raise ValueError(
                    "receptive_field: a layer is (kernel, stride, dilation) or (kernel, stride, dilation, "
                    f"padding), got {layer!r}"
                )
            yield _window(*layer)
        elif isinstance(layer, (nn.Conv2d, nn.MaxPool2d)):
            yield _window(layer.kernel_size, layer.stride, layer.dilation, layer.padding)
        elif isinstance(layer, nn.AvgPool2d):
            yield _window(layer.kernel_size, layer.stride, 1, layer.padding)
        elif isinstance(layer, nn.LPPool2d):
            yield _window(layer.kernel_size, layer.kernel_size if layer.stride is None else layer.stride, 1)
        elif not isinstance(layer, _POINTWISE):
            raise TypeError(
                f"receptive_field: {type(layer).__name__} has no receptive field of fixed size known here; "
                "give the layer as a tuple (kernel, stride, dilation, padding), or leave it out"
            )


def _window(kernel, stride, dilation, padding=0) -> tuple[IntPair, IntPair, IntPair, IntFour]:
    name = "receptive_field"
    kernel, stride, dilation = (
        pair(name, "kernel", kernel),
        pair(name, "stride", stride),
        pair(name, "dilation", dilation),
    )
    if min(kernel + stride + dilation) < 1:
        raise ValueError(
            f"receptive_field: kernel, stride and dilation must be at least 1, got {kernel}, {stride}, "
            f"{dilation}"
        )
    if isinstance(padding, str):
        return kernel, stride, dilation, padding_from_string(padding, kernel, stride, dilation)
    return kernel, stride, dilation, four(name, padding)
