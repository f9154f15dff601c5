"""Runs every row over the small shapes files where a stray access ends the process; test_layout.py starts it.

    python tests/guarded.py pages after|before
    python tests/guarded.py heap

`pages`: each operand lies against an unreadable page, behind its last byte or in front of its first. `heap`:
operands and results are ordinary allocations of an allocator that checks them (the environment chooses it).
Each line printed names what runs next, so the last one names the culprit.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

import problems
import torch
from torch import Tensor

# float32 has every kind of row; the other dtypes share their index arithmetic and differ in their loads.
FILES = {
    torch.float32: ("tiny", "edges", "padding_modes", "groups", "depthwise", "planes", "stride_dilation"),
    torch.float64: ("tiny", "edges"),
    torch.bfloat16: ("tiny", "edges"),
}


# Rows of pixels that end with the allocation and within a vector, whole vectors from channel to channel.
ROWS = ("n2_c17_k17_i9_f1", "n2_c16_k2_i17x9_f1", "c30_k8_i25x9_f1")


class Fenced:
    """A copy of a tensor between two unreadable pages, touching one of them."""

    def __init__(self, tensor: Tensor, side: str) -> None:
        page = mmap.PAGESIZE
        bytes_ = tensor.numel() * tensor.element_size()
        body = max(-(-bytes_ // page), 1) * page
        self._map = mmap.mmap(-1, body + 2 * page)
        self._keep = ctypes.c_char.from_buffer(self._map)
        start = ctypes.addressof(self._keep)
        libc = ctypes.CDLL(None, use_errno=True)
        for at in (start, start + page + body):
            if libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(page), 0):  # PROT_NONE
                raise OSError(ctypes.get_errno(), "mprotect")
        offset = page if side == "before" else page + body - bytes_
        # Flat first: the elements in memory order, whatever the layout is.
        flat = torch.frombuffer(self._map, dtype=tensor.dtype, count=tensor.numel(), offset=offset)
        self.tensor = flat.as_strided(tensor.shape, tensor.stride())
        self.tensor.copy_(tensor)


def cases() -> list[tuple[str, torch.dtype, str, str]]:
    return [
        (text, dtype, pass_, layout)
        for dtype, files in FILES.items()
        for file in files
        for text in problems.shapes(file, dtype)
        for pass_ in problems.PASSES
        for layout in problems.LAYOUTS
    ]


def main(mode: str, side: str = "") -> None:
    for text, dtype, pass_, layout in cases():
        p, seed = problems.parse(text, dtype), problems.generator(text)
        sizes = problems.input_size(p), problems.weight_size(p), [p.k], problems.output_size(p)
        made = problems.Operands(*(torch.randn(size, generator=seed).to(dtype) for size in sizes))
        a, b = (problems.in_layout(tensor, layout) for tensor in problems.pick(pass_, made))
        if mode == "pages":
            fences = [Fenced(tensor, side) for tensor in (a, b)]
            a, b = (fence.tensor for fence in fences)
        for name in problems.supported(text, dtype, pass_, layout):
            print(p, pass_, layout, name, flush=True)
            problems.run(pass_, a, b, p, name)
    if mode == "pages":
        last_rows(side)


def last_rows(side: str) -> None:
    for text in ROWS:
        for pass_ in ("forward", "grad_input"):
            p, made = problems.parse(text, torch.float32), problems.operands(text, torch.float32)
            a, b = problems.pick(pass_, made)
            fence = Fenced(torch.zeros(*a.shape[:2], 32, a.shape[3]), side)
            a = fence.tensor[:, :, -a.shape[2] :].copy_(a)
            for name in problems.supported(text, torch.float32, pass_):
                print(p, pass_, "last rows", name, flush=True)
                got = problems.run(pass_, a, b, p, name)
                assert not problems.difference(got, problems.oracle(pass_, a, b, p).to(a.dtype))


if __name__ == "__main__":
    main(*sys.argv[1:])
