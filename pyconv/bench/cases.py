"""The tensors of a problem: made once from a fixed seed, laid out as asked, rotated to keep caches cold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from pyconv import _C

PASSES = ("forward", "grad_input", "grad_weight")
LAYOUTS = ("nchw", "nhwc")
OPERANDS = {"forward": ("x", "w"), "grad_input": ("dy", "w"), "grad_weight": ("dy", "x")}

MIB = 1 << 20


@dataclass(frozen=True)
class Tensors:
    """Input, weight and output gradient of one problem; a pass reads two and makes the third's shape."""

    x: torch.Tensor
    w: torch.Tensor
    dy: torch.Tensor

    def map(self, function) -> Tensors:
        return Tensors(function(self.x), function(self.w), function(self.dy))


def dtype_of(problem: _C.Problem) -> torch.dtype:
    return getattr(torch, problem.dtype)


def make(problem: _C.Problem, device: str = "cpu") -> Tensors:
    """Uniform values in [-1, 1), the same for a problem on every run; drawn where they will be used."""
    generator = torch.Generator(device=device).manual_seed(20)

    def values(*shape: int) -> torch.Tensor:
        drawn = torch.rand(shape, generator=generator, device=device) * 2 - 1
        return drawn.to(dtype=dtype_of(problem))

    return Tensors(
        x=values(problem.n, problem.c, problem.h, problem.w),
        w=values(problem.k, problem.c // problem.groups, problem.r, problem.s),
        dy=values(problem.n, problem.k, problem.p, problem.q),
    )


def in_layout(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """A copy with the strides of `layout`, spelled out even where size-one dimensions make both the same."""
    memory_format = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device, memory_format=memory_format)
    return copy.copy_(tensor)


def tensor_bytes(problem: _C.Problem) -> int:
    """Bytes of input, weight and output, each counted once."""
    elements = (
        problem.n * problem.c * problem.h * problem.w
        + problem.k * (problem.c // problem.groups) * problem.r * problem.s
        + problem.n * problem.k * problem.p * problem.q
    )
    return elements * dtype_of(problem).itemsize


def last_level_cache() -> int:
    """Bytes of the largest cache of CPU 0, or 32 MiB where the system does not say."""
    sizes = [0]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        unit = {"K": 1 << 10, "M": MIB}.get(text[-1:], 1)
        digits = text.rstrip("KM")
        sizes.append(int(digits) * unit if digits.isdigit() else 0)
    return max(sizes) or 32 * MIB


def set_count(size: int, device: torch.device) -> int:
    """How many sets of `size` bytes are rotated, at least 2.

    On the CPU together twice the last level cache (at most 512 MiB), at most 16 sets: operands that small
    stay in a near cache in real use too. On CUDA three times the L2 cache, which a kernel's writes share, at
    most 64 sets.
    """
    if device.type == "cuda":
        wanted, most = 3 * torch.cuda.get_device_properties(device).L2_cache_size, 64
    else:
        wanted, most = min(2 * last_level_cache(), 512 * MIB), 16
    return min(most, max(2, math.ceil(wanted / max(size, 1))))


class Rotation:
    """Equal sets of operands taken in turn, so that no call finds its operands where the last one left them.

    All peers of a layout share one rotation, each call taking the next set, so no peer warms a buffer for the
    one after it.
    """

    def __init__(self, tensors: Tensors, layout: str, pass_: str):
        first = tensors.map(lambda tensor: in_layout(tensor, layout))
        operands = OPERANDS[pass_]
        size = sum(getattr(first, name).nbytes for name in operands)
        self.sets = [first]
        for _ in range(set_count(size, first.x.device) - 1):
            # Only what the pass reads is copied: the third tensor lends its shape.
            fresh = {name: in_layout(getattr(first, name), layout) for name in operands}
            self.sets.append(Tensors(**{"x": first.x, "w": first.w, "dy": first.dy, **fresh}))
        self.position = 0

    def take(self, count: int) -> list[Tensors]:
        taken = [self.sets[(self.position + i) % len(self.sets)] for i in range(count)]
        self.position = (self.position + count) % len(self.sets)
        return taken
