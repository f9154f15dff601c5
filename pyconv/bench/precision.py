"""How torch, and with it pyconv, may round float32 on CUDA: ieee, or tf32, with 10 bits after the point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISIONS = ("ieee", "tf32")

# What two rounded operands change a product by, relatively: (1 + u)^2 - 1 with u = 2^-11, half a last place.
TF32_PRODUCT_ERROR = 2 * 2.0**-11 + 2.0**-22


def set_convolution_precision(name: str) -> None:
    """For float32 convolutions in all of the process.

    The older switch is set as well: where the two disagree, torch refuses to say what the older one is.
    """
    torch.backends.cudnn.allow_tf32 = name == "tf32"
    torch.backends.cudnn.conv.fp32_precision = name


@contextmanager
def convolution_precision(name: str) -> Iterator[None]:
    before = "tf32" if torch.backends.cudnn.conv.fp32_precision == "tf32" else "ieee"
    set_convolution_precision(name)
    try:
        yield
    finally:
        set_convolution_precision(before)


@contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """The same for matrix products, by the function that keeps torch's older and newer switches together."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
