"""How torch, and with it pyconv, may round float32 on CUDA: ieee, or tf32, with 10 bits after the point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISIONS = ("ieee", "tf32")

# What two rounded operands change a product by, relatively: (1 + u)^2 - 1 with u = 2^-11, half a last place.
TF32_PRODUCT_ERROR = 2 * 2.0**-11 + 2.0**-22


@contextmanager
def cudnn_flags(convolution: str | None = None, **changed: bool) -> Iterator[None]:
    """torch.backends.cudnn.flags, with what is not given left as it is; `convolution` is conv.fp32_precision.

    Not plain assignments: torch refuses those in a process that has imported torch.testing's utilities.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.conv.fp32_precision
    kept = ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32")
    try:
        with cudnn.flags(**{name: getattr(cudnn, name) for name in kept} | changed):
            # After the older switch, allow_tf32, which overwrites it.
            cudnn.conv.fp32_precision = convolution or before
            yield
    finally:
        cudnn.conv.fp32_precision = before


@contextmanager
def convolution_precision(name: str) -> Iterator[None]:
    """For float32 convolutions in all of the process.

    The older switch is set as well: where the two disagree, torch refuses to say what the older one is.
    """
    with cudnn_flags(name, allow_tf32=name == "tf32"):
        yield


@contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """The same for matrix products, by the function that keeps torch's older and newer switches together."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
