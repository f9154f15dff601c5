"""Problem strings, exact data and oracles shared by the operator tests.

Data are small integers. Every partial sum of every order is then exact in the accumulator of the dtype, so
any right algorithm must give bits equal to the oracle's, which adds in float64 (complex128) and rounds once.
`operands` proves that for each problem it makes: the same correlation of absolute values stays below the
accumulator's last exact integer, with a margin for transforms that widen their operands.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
import winograd_error
from torch import Tensor

from pyconv import _C

SHAPES = Path(__file__).parent / "shapes"
PASSES = ("forward", "grad_input", "grad_weight")
LAYOUTS = ("nchw", "nhwc")
TOKENS = {
    "f32": torch.float32,
    "f64": torch.float64,
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "i64": torch.int64,
}
REAL_DTYPES = tuple(TOKENS.values())
COMPLEX_DTYPES = (torch.complex64, torch.complex128)
DTYPE_NAMES = {dtype: token for token, dtype in TOKENS.items()} | {
    torch.complex64: "c64",
    torch.complex128: "c128",
}

# (largest magnitude of a datum, largest sum of magnitudes). The magnitude is exact in the dtype itself. The
# sum stays 2^6 below what the accumulator (fp32 for the 16-bit types) holds exactly; for float16 it stays
# below infinity instead. float64 and int64 data have more than 24 bits in their sums, so a path through fp32
# would show.
_RANGE = {
    torch.float32: (255, 2**18),
    torch.float64: (2**20, 2**46),
    torch.bfloat16: (127, 2**18),
    torch.float16: (127, 2**15),
    torch.int64: (2**20, 2**50),
    torch.complex64: (127, 2**17),
    torch.complex128: (2**19, 2**45),
}


class Operands(NamedTuple):
    input: Tensor
    weight: Tensor
    bias: Tensor
    grad_output: Tensor


def child_environment(**changes: str) -> dict[str, str]:
    """For a Python process that imports what this one does, however pyconv got on the path."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | changes


def shape_files() -> list[str]:
    return sorted(path.stem for path in SHAPES.glob("*.txt"))


@functools.cache
def shapes(name: str, dtype: torch.dtype = torch.float32) -> tuple[str, ...]:
    """The problem strings of one shapes file that apply to `dtype`, without their dtype token."""
    token = DTYPE_NAMES[dtype]
    found = []
    for number, line in enumerate((SHAPES / f"{name}.txt").read_text().splitlines(), 1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        head, _, last = text.rpartition("_")
        if last in DTYPE_NAMES.values():
            if last != token:
                continue
            text = head
        try:
            _C.Problem.parse(text)
        except ValueError as error:
            raise ValueError(f"tests/shapes/{name}.txt:{number}: {error}") from error
        found.append(text)
    return tuple(found)


def all_shapes(dtype: torch.dtype = torch.float32, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    names = [name for name in shape_files() if name not in without]
    return tuple(dict.fromkeys(text for name in names for text in shapes(name, dtype)))


@functools.cache
def parse(text: str, dtype: torch.dtype = torch.float32) -> _C.Problem:
    """The problem in `dtype`; a complex problem is asked for as its real part's."""
    real = {torch.complex64: torch.float32, torch.complex128: torch.float64}.get(dtype, dtype)
    return _C.Problem.parse(f"{text}_{DTYPE_NAMES[real]}")


def input_size(p: _C.Problem) -> list[int]:
    return [p.n, p.c, p.h, p.w]


def weight_size(p: _C.Problem) -> list[int]:
    return [p.k, p.c // p.groups, p.r, p.s]


def output_size(p: _C.Problem) -> list[int]:
    return [p.n, p.k, p.p, p.q]


def parameters(p: _C.Problem) -> tuple[list[int], list[int], list[int], int, str]:
    """The trailing arguments of the three operators."""
    padding = [p.pad_top, p.pad_bottom, p.pad_left, p.pad_right]
    return [p.stride_h, p.stride_w], padding, [p.dilation_h, p.dilation_w], p.groups, p.padding_mode


def generator(text: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(text.encode()))


def integers(size: list[int], dtype: torch.dtype, terms: int, seed: torch.Generator) -> Tensor:
    """Random integers of which any `terms` products sum exactly; thinned where even -3..3 is too much."""
    if dtype.is_complex:
        real = torch.float32 if dtype == torch.complex64 else torch.float64
        return torch.complex(*(_integers(size, _RANGE[dtype], 4 * terms, seed).to(real) for _ in range(2)))
    return _integers(size, _RANGE[dtype], terms, seed).to(dtype)


def _integers(size: list[int], limits: tuple[int, int], terms: int, seed: torch.Generator) -> Tensor:
    largest, total = limits
    amplitude = max(3, min(largest, int((total / max(terms, 1)) ** 0.5)))
    values = torch.randint(-amplitude, amplitude + 1, size, generator=seed)
    # Both operands are thinned alike, so a product survives with the square of this density.
    density = (total / (max(terms, 1) * amplitude**2)) ** 0.5
    if density < 1:
        values *= torch.rand(size, generator=seed) < density / 2
    return values


def reduction_lengths(p: _C.Problem) -> dict[str, int]:
    """The most products behind one element of each pass's result."""
    fold = 1
    if p.padding_mode != "zeros":  # the padding repeats pixels: that many padded pixels end in one gradient
        rows = _sources(p.h, p.pad_top, p.pad_bottom, p.padding_mode).bincount().max()
        columns = _sources(p.w, p.pad_left, p.pad_right, p.padding_mode).bincount().max()
        fold = int(rows * columns)
    return {
        "forward": p.c // p.groups * p.r * p.s,
        "grad_input": p.k // p.groups * p.r * p.s * fold,
        "grad_weight": p.n * p.p * p.q,
    }


@functools.lru_cache(maxsize=2048)
def operands(text: str, dtype: torch.dtype) -> Operands:
    p = parse(text, dtype)
    seed = generator(text)
    terms = max(reduction_lengths(p).values())
    made = Operands(
        integers(input_size(p), dtype, terms, seed),
        integers(weight_size(p), dtype, terms, seed),
        integers([p.k], dtype, terms, seed),
        integers(output_size(p), dtype, terms, seed),
    )
    _prove_exact(text, dtype, made)
    return made


def _prove_exact(text: str, dtype: torch.dtype, made: Operands) -> None:
    mantissa = {torch.float64: 53, torch.int64: 53, torch.complex128: 53}.get(dtype, 24)
    p = parse(text, dtype)
    sizes = Operands(*(_magnitude(tensor) for tensor in made))
    for pass_ in PASSES:
        total = oracle(pass_, *pick(pass_, sizes), p).max().item()
        assert total < 2.0 ** (mantissa - 2), (
            f"{text} {pass_}: the test's data sum to {total}, not exact in {dtype}"
        )
        assert dtype != torch.float16 or total < 65504, f"{text} {pass_}: the test's data overflow float16"


def _magnitude(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        return tensor.real.abs().double() + tensor.imag.abs().double()
    return tensor.double().abs()


def pick(pass_: str, made: Operands) -> tuple[Tensor, Tensor]:
    """The two tensors that a pass takes, in the operator's order."""
    if pass_ == "forward":
        return made.input, made.weight
    if pass_ == "grad_input":
        return made.grad_output, made.weight
    return made.grad_output, made.input


# ------------------------------------------------------------------------------------------------------------
# The oracle: index maps for padding, torch's float64 correlation, torch's autograd for the other two passes.
# ------------------------------------------------------------------------------------------------------------


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _sources(size: int, before: int, after: int, mode: str) -> Tensor:
    """For each padded coordinate the image coordinate it repeats."""
    at = torch.arange(-before, size + after)
    if mode == "replicate":
        return at.clamp(0, size - 1)
    if mode == "circular":
        return at % size
    assert mode == "reflect"
    period = max(2 * (size - 1), 1)
    at = at % period
    return torch.where(at < size, at, period - at)


def pad64(x: Tensor, padding: list[int], mode: str) -> Tensor:
    top, bottom, left, right = padding
    if mode == "zeros":
        return F.pad(x, (left, right, top, bottom))
    rows = _sources(x.shape[2], top, bottom, mode).to(x.device)
    columns = _sources(x.shape[3], left, right, mode).to(x.device)
    return x[:, :, rows][:, :, :, columns]


def forward64(x: Tensor, w: Tensor, p: _C.Problem) -> Tensor:
    stride, padding, dilation, groups, mode = parameters(p)
    return F.conv2d(pad64(_wide(x), padding, mode), _wide(w), None, stride, 0, dilation, groups)


def oracle(pass_: str, a: Tensor, b: Tensor, p: _C.Problem) -> Tensor:
    """One pass in float64 (complex128). The gradients are linear in both operands: nothing is conjugated."""
    if pass_ == "forward":
        return forward64(a, b, p)
    size = input_size(p) if pass_ == "grad_input" else weight_size(p)
    grad_output, other = _wide(a), _wide(b)
    variable = torch.zeros(size, dtype=other.dtype, device=other.device, requires_grad=True)
    # autograd conjugates the other operand of a product; conjugating it first leaves the linear form.
    with torch.enable_grad():
        pair = (variable, other.conj()) if pass_ == "grad_input" else (other.conj(), variable)
        return torch.autograd.grad(forward64(*pair, p), variable, grad_output)[0]


def winograd_bound(pass_: str, a: Tensor, b: Tensor, p: _C.Problem) -> Tensor:
    """How far Winograd may be from the exact result, for every element."""
    unit = 2.0**-53 if a.dtype in (torch.float64, torch.complex128) else 2.0**-24
    _, (top, bottom, left, right), _, groups, mode = parameters(p)
    x, w = _magnitude(a), _magnitude(b)
    if pass_ == "grad_weight":
        return winograd_error.weight_bound(pad64(w, [top, bottom, left, right], mode), x, groups, unit)
    if pass_ == "grad_input":  # a forward of flipped, transposed filters
        assert mode == "zeros"
        w = w.view(groups, p.k // groups, p.c // groups, 3, 3).transpose(1, 2).flip(3, 4).flatten(0, 1)
        top, bottom, left, right = 2 - top, 2 - bottom, 2 - left, 2 - right
    x = (
        F.pad(x, (left, right, top, bottom))
        if mode == "zeros"
        else pad64(x, [top, bottom, left, right], mode)
    )
    return winograd_error.bound(x, w, groups, unit)


@functools.lru_cache(maxsize=4096)
def expected(text: str, dtype: torch.dtype, pass_: str, with_bias: bool = False) -> Tensor:
    """The oracle on `operands`, rounded once to the dtype."""
    made = operands(text, dtype)
    result = oracle(pass_, *pick(pass_, made), parse(text, dtype))
    if with_bias:
        result = result + _wide(made.bias)[:, None, None]
    return result.to(dtype)


# ------------------------------------------------------------------------------------------------------------
# Calling the operators.
# ------------------------------------------------------------------------------------------------------------


def run(
    pass_: str, a: Tensor, b: Tensor, p: _C.Problem, algorithm: str = "", bias: Tensor | None = None
) -> Tensor:
    ops = torch.ops.pyconv
    if pass_ == "forward":
        return ops.conv2d(a, b, bias, *parameters(p), algorithm)
    if pass_ == "grad_input":
        return ops.conv2d_grad_input(a, b, input_size(p), *parameters(p), algorithm)
    return ops.conv2d_grad_weight(a, b, weight_size(p), *parameters(p), algorithm)


def in_layout(tensor: Tensor, layout: str) -> Tensor:
    """A dense copy. `contiguous()` would leave one channel as it is, whose strides fit both layouts."""
    memory_format = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    return torch.empty_like(tensor, memory_format=memory_format).copy_(tensor)


@functools.cache
def _plan(
    text: str, dtype: torch.dtype, pass_: str, layout: str, device: str, *settings: object
) -> list[dict]:
    return _C.plan(parse(text, dtype), pass_, layout, device)


def plan(text: str, dtype: torch.dtype, pass_: str, layout: str = "nchw", device: str = "cpu") -> list[dict]:
    settings = _C.isa(), _C.winograd_enabled(), _C.tf32_allowed()
    return _plan(text, dtype, pass_, layout, device, *settings)


# What a forced row says that supports a problem, but not in the strides it was given.
STRIDE_REFUSALS = (
    "needs pixels side by side along image rows",
    "takes grad_output with contiguous rows (NCHW) only",
    "takes 1x1 kernels where image rows follow each other only",
)


def refuses_strides(error: RuntimeError) -> bool:
    return any(sentence in str(error) for sentence in STRIDE_REFUSALS)


def supported(
    text: str, dtype: torch.dtype, pass_: str, layout: str = "nchw", device: str = "cpu"
) -> list[str]:
    return [row["name"] for row in plan(text, dtype, pass_, layout, device) if not row["refusal"]]


def difference(got: Tensor, want: Tensor) -> str:
    """Empty if sizes, dtypes and all elements agree (NaN with NaN, -0 with 0); else where they don't."""
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"got {got.dtype} {tuple(got.shape)}, expected {want.dtype} {tuple(want.shape)}"
    got, want = got.cpu(), want.cpu()
    wrong = ~((got == want) | ((got != got) & (want != want)))
    if not wrong.any():
        return ""
    first = tuple(wrong.nonzero()[0].tolist())
    return (
        f"{int(wrong.sum())} of {wrong.numel()} elements differ, first at {first}: got {got[first].item()}, "
        f"expected {want[first].item()}"
    )


def check_exact(
    text: str,
    dtype: torch.dtype,
    pass_: str,
    layout: str,
    algorithm: str = "",
    device: str = "cpu",
    bias: bool = False,
) -> str:
    """Empty if the pass gives the oracle's bits on the problem's data; else what differs.

    Rows that the plan does not call exact may differ by their derived bound.
    """
    made = operands(text, dtype)
    a, b = (in_layout(tensor.to(device), layout) for tensor in pick(pass_, made))
    try:
        got = run(pass_, a, b, parse(text, dtype), algorithm, made.bias.to(device) if bias else None)
    except RuntimeError as error:
        return f"raised {error}"
    if is_exact(text, dtype, pass_, layout, device, algorithm):
        return difference(got, expected(text, dtype, pass_, bias))
    return beyond(got, expected(text, dtype, pass_, bias), winograd_bound(pass_, a, b, parse(text, dtype)))


def is_exact(
    text: str, dtype: torch.dtype, pass_: str, layout: str = "nchw", device: str = "cpu", algorithm: str = ""
) -> bool:
    """Whether the named row, or the one that the plan chooses, gives exact sums exactly."""
    rows = plan(text, dtype, pass_, layout, device)
    if dtype.is_complex:  # runs on the strided parts, for which the plan may choose another row
        return all(row["exact"] for row in rows if not row["refusal"])
    return next(row["exact"] for row in rows if (row["name"] == algorithm if algorithm else row["chosen"]))


def beyond(got: Tensor, want: Tensor, bound: Tensor) -> str:
    """Empty if every element is within its bound and the rounding of its storage; else how far off it is."""
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"got {got.dtype} {tuple(got.shape)}, expected {want.dtype} {tuple(want.shape)}"
    error, size = (torch.view_as_real(_wide(t)) if t.is_complex() else _wide(t) for t in (got - want, want))
    stored = torch.finfo(got.dtype)
    allowed = (bound[..., None] if got.is_complex() else bound) + 2 * stored.eps * size.abs() + stored.tiny
    share = (error.abs() / allowed).nan_to_num(nan=math.inf).max().item()
    return f"the largest error is {share:.3g} times its bound" if share > 1 else ""


def report(failures: list[tuple[str, str]]) -> None:
    """Fails the test with each problem string and what was wrong with it."""
    lines = [f"  {what}: {why}" for what, why in failures if why]
    shown = lines[:20] + ([f"  and {len(lines) - 20} more"] if len(lines) > 20 else [])
    assert not lines, f"{len(lines)} of {len(failures)} problems are wrong\n" + "\n".join(shown)
