"""How loosely typed arguments become the exact tuples that the operators take.

torch accepts an int, a list, a tuple, a NumPy integer or a 0-d integer tensor wherever a stride is asked for.
The functions here are the slow, general way from those to tuples of ints; `functional.conv2d` has the common
cases (ints and tuples of ints) inline and comes here for everything else. What Python alone can see is
refused here, in torch's words and with torch's exception types; shapes, dtypes and devices are checked once,
in the operators.
"""

from __future__ import annotations

import operator
from typing import Any

import torch

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
ACTIVATIONS = ("relu", "silu", "gelu")

IntPair = tuple[int, int]
IntFour = tuple[int, int, int, int]


def as_int(function: str, name: str, value: Any) -> int:
    """`value` as an int; TypeError if it is a bool, a float, or anything else that is not an integer."""
    if isinstance(value, torch.SymInt):
        return value  # type: ignore[return-value]
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(
        f"{function}(): {name} must be an int or a sequence of ints, got {value!r} of type "
        f"{type(value).__name__}"
    )


def as_ints(function: str, name: str, value: Any) -> tuple[int, ...]:
    """`value` as a tuple of ints: one element if it is a single number, else as many as the sequence has."""
    if isinstance(value, (tuple, list)):
        return tuple([as_int(function, name, element) for element in value])
    return (as_int(function, name, value),)


def pair(function: str, name: str, value: Any) -> IntPair:
    """(height, width) from an int, a sequence of one int or a sequence of two ints.

    Raises RuntimeError, worded as torch words it, for any other length.
    """
    ints = as_ints(function, name, value)
    if len(ints) == 1:
        return ints[0], ints[0]
    if len(ints) != 2:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of 2 values to match the "
            f"convolution dimensions, but got {name}={list(ints)}"
        )
    return ints[0], ints[1]


def four(function: str, padding: Any) -> IntFour:
    """(top, bottom, left, right) from an int or a sequence of one, two (height, width) or four ints."""
    ints = as_ints(function, "padding", padding)
    if len(ints) == 4:
        return ints[0], ints[1], ints[2], ints[3]
    if len(ints) == 2:
        return ints[0], ints[0], ints[1], ints[1]
    if len(ints) == 1:
        return ints[0], ints[0], ints[0], ints[0]
    raise RuntimeError(
        "expected padding to be a single integer value or a list of 2 values to match the "
        "convolution dimensions, or a list of 4 values (top, bottom, left, right), but got "
        f"padding={list(ints)}"
    )


def padding_from_string(name: str, kernel: IntPair, stride: IntPair, dilation: IntPair) -> IntFour:
    """(top, bottom, left, right) for "valid" and "same".

    "same" keeps P = H and Q = W; where dilation * (kernel - 1) is odd, the extra row goes to the bottom and
    the extra column to the right, as in torch.
    """
    if name == "valid":
        return 0, 0, 0, 0
    if name != "same":
        raise RuntimeError(f"Invalid padding string: '{name}'")
    if stride[0] != 1 or stride[1] != 1:
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    rows = dilation[0] * (kernel[0] - 1)
    columns = dilation[1] * (kernel[1] - 1)
    top, left = rows // 2, columns // 2
    return top, rows - top, left, columns - left


def check_padding_mode(padding_mode: Any) -> None:
    """ValueError, as from torch.nn.Conv2d, unless `padding_mode` is one of the four."""
    if padding_mode not in PADDING_MODES:
        raise ValueError(
            f"padding_mode must be one of {list(PADDING_MODES)}, but got padding_mode={padding_mode!r}"
        )


def check_activation(activation: Any) -> None:
    """ValueError unless `activation` is None or one of the three."""
    if activation is not None and activation not in ACTIVATIONS:
        raise ValueError(
            f"activation must be None or one of {list(ACTIVATIONS)}, but got activation={activation!r}"
        )


def check_tensors(function: str, input: object, weight: object, bias: object) -> None:
    """TypeError naming the first of the three that is not a tensor."""
    for name, value, what in (
        ("input", input, "a Tensor"),
        ("weight", weight, "a Tensor"),
        ("bias", bias, "a Tensor or None"),
    ):
        if not isinstance(value, torch.Tensor) and not (name == "bias" and value is None):
            raise TypeError(f"{function}(): argument '{name}' must be {what}, not {type(value).__name__}")
