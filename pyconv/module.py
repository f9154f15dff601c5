"""Conv2D: torch.nn.Conv2d whose forward is pyconv's operator; LazyConv2D, which becomes one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ._arguments import as_ints, check_activation, four, pair
from .functional import conv2d


class Conv2D(nn.Conv2d):
    """A `torch.nn.Conv2d` computed by pyconv: same parameters, same initialisation, same `state_dict`.

    Args:
        in_channels, out_channels, kernel_size, stride, dilation, groups, bias, padding_mode, device, dtype:
            as in torch.nn.Conv2d. Sizes may be ints, lists or tuples.
        padding: an int, (height, width), (top, bottom, left, right), "same" or "valid".
        activation: None, "relu", "silu" or "gelu", applied to the output as `pyconv.conv2d` does. It has no
            parameters, and is not in the state_dict.

    Shapes:
        input (N, in_channels, H, W) or (in_channels, H, W); output (N, out_channels, P, Q) or (out_channels,
        P, Q); weight (out_channels, in_channels / groups, R, S); bias (out_channels,). See `pyconv.conv2d`
        for P, Q and the dtypes.

    Raises:
        ValueError, TypeError, RuntimeError: in the constructor for arguments that no input could fit, in the
        call as `pyconv.conv2d` does.

    The padding of every mode is done by the operator's index arithmetic; torch.nn.Conv2d makes a padded copy
    for all modes but zeros.
    """

    activation: str | None = None  # of layers, too, that became one by `convert`

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
        *,
        activation: str | None = None,
    ) -> None:
        check_activation(activation)
        if not isinstance(padding, str):
            # Two ints stay two (what torch stores and prints); four equal in pairs stay four, as they were
            # asked for.
            sides = as_ints("Conv2D", "padding", padding)
            padding = sides if len(sides) == 2 else (sides * 2 if len(sides) == 1 else four("Conv2D", sides))
        super().__init__(
            in_channels,
            out_channels,
            pair("Conv2D", "kernel_size", kernel_size),
            pair("Conv2D", "stride", stride),
            padding,
            pair("Conv2D", "dilation", dilation),
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        if len(self.padding) == 4 and not isinstance(self.padding, str):
            # torch derives this attribute from two paddings only; F.pad's order is left, right, top, bottom.
            top, bottom, left, right = self.padding
            self._reversed_padding_repeated_twice = (left, right, top, bottom)
        if activation is not None:
            self.activation = activation

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", activation={self.activation}" if self.activation else "")

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return conv2d(
            input,
            weight,
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            padding_mode=self.padding_mode,
            activation=self.activation,
        )


class LazyConv2D(nn.LazyConv2d, Conv2D):
    """A `Conv2D` that reads `in_channels` off its first input: `torch.nn.LazyConv2d`'s counterpart.

    Until its first call, or until a state_dict is loaded, weight and bias are
    torch.nn.parameter.UninitializedParameter. The first call initialises them as Conv2D would, unless a
    state_dict has, and makes the layer a Conv2D.

    Args:
        out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype,
            activation: as in Conv2D.

    Raises:
        What Conv2D raises; and in the first call ValueError for channels that the groups do not divide, and
        RuntimeError for an input that is neither (N, C, H, W) nor (C, H, W).

    See torch.nn.modules.lazy.LazyModuleMixin for what lazy modules cannot do.
    """

    cls_to_become = Conv2D

    def __init__(
        self,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
        *,
        activation: str | None = None,
    ) -> None:
        check_activation(activation)
        super().__init__(
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        if activation is not None:
            self.activation = activation
