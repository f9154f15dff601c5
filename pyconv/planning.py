"""plan(): which algorithm a problem gets, what it is expected to cost, and why the others were refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ._arguments import as_int, check_padding_mode, four, padding_from_string, pair
from ._load import _C

PASSES = ("forward", "grad_input", "grad_weight")
LAYOUTS = ("nchw", "nhwc")

_TOKENS = {
    torch.float32: "f32",
    torch.float64: "f64",
    torch.bfloat16: "bf16",
    torch.float16: "f16",
    torch.int64: "i64",
    torch.complex64: "f32",
    torch.complex128: "f64",
}


@dataclass(frozen=True)
class Row:
    """One algorithm's answer to a problem.

    name: of the algorithm; what `algorithm=` of pyconv.conv2d takes.
    chosen: whether the plan runs it.
    refusal: why it cannot run the problem; empty if it can.
    exact: whether sums of integers that are exact in any order come out exact; not where transforms round.
    cost: modelled seconds; nan if refused.
    workspace: bytes.
    """

    name: str
    chosen: bool
    refusal: str
    exact: bool
    cost: float
    workspace: int


@dataclass(frozen=True)
class Plan:
    """The plan table for one problem and pass. str() is a table; iteration and indexing give its rows.

    tf32: whether float32 products may be rounded to it, on CUDA; torch.backends.cudnn.conv.fp32_precision
    says so, to torch's own convolution and to this one.
    """

    problem: str
    pass_: str
    layout: str
    device: str
    rows: tuple[Row, ...]
    tf32: bool = False

    @property
    def chosen(self) -> str | None:
        """Name of the algorithm that runs, or None if every one of them refuses."""
        return next((row.name for row in self.rows if row.chosen), None)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> Row:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def __str__(self) -> str:
        cells = [("algorithm", "cost", "workspace", "")]
        cells += [
            (
                row.name,
                _seconds(row.cost),
                "" if row.refusal else _bytes(row.workspace),
                "chosen" if row.chosen else row.refusal,
            )
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in cells) for column in range(3)]
        allowed = "  tf32 allowed" if self.tf32 else ""
        lines = [f"{self.problem}  {self.pass_}  {self.layout}  {self.device}{allowed}"]
        for name, cost, workspace, remark in cells:
            lines.append(
                f"  {name:<{widths[0]}}  {cost:>{widths[1]}}  {workspace:>{widths[2]}}  {remark}".rstrip()
            )
        return "\n".join(lines)


def plan(
    problem: str | Tensor | object,
    weight: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    pass_: str = "forward",
    layout: str | None = None,
    device: str | None = None,
    algorithm: str = "",
) -> Plan:
    """Ask the plan about a problem without running it.

    Complex tensors give the plan of the real problem that each product of their real and imaginary parts is.

    Args:
        problem: a problem string such as "n8_c64_k128_i56x56_f3x3_s1_p1_d1_g1", a pyconv._C.Problem, or the
            input tensor, (N, C, H, W) or (C, H, W).
        weight: (K, C / groups, R, S), with an input tensor only.
        stride, padding, dilation, groups, padding_mode: as in `pyconv.conv2d`, with tensors only.
        pass_: "forward", "grad_input" or "grad_weight".
        layout: "nchw" or "nhwc"; default: the tensors', else nchw.
        device: "cpu" or "cuda"; default: the tensors', else cpu.
        algorithm: name of a row to be forced, as in `pyconv.conv2d`.

    Returns:
        Plan: rows in the table's order.

    Raises:
        TypeError: neither a problem nor two tensors.
        ValueError: a string that does not parse, a problem without an output, an unknown pass or layout.
        RuntimeError: `algorithm` is unknown or refuses the problem.
    """
    if pass_ not in PASSES:
        raise ValueError(f"plan: pass_ must be one of {', '.join(PASSES)}, got {pass_!r}")
    if layout not in (None, *LAYOUTS):
        raise ValueError(f"plan: layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if isinstance(problem, Tensor):
        if not isinstance(weight, Tensor):
            raise TypeError(f"plan: an input tensor needs a weight tensor, got {type(weight).__name__}")
        last = torch.channels_last
        if layout is None and (_is_dense_last(problem, last) or _is_dense_last(weight, last)):
            layout = "nhwc"
        device = device or problem.device.type
        problem = problem_string(problem, weight, stride, padding, dilation, groups, padding_mode)
    elif weight is not None:
        raise TypeError("plan: weight goes with an input tensor; a problem already has its filters")
    if isinstance(problem, str):
        problem = _C.Problem.parse(problem)
    elif not isinstance(problem, _C.Problem):
        raise TypeError(
            "plan: problem must be a problem string, a pyconv._C.Problem or an input tensor, got "
            f"{type(problem).__name__}"
        )
    problem.validate()
    layout, device = layout or "nchw", device or "cpu"
    rows = tuple(Row(**row) for row in _C.plan(problem, pass_, layout, device, algorithm))
    tf32 = device == "cuda" and problem.dtype == "float32" and _C.tf32_allowed()
    return Plan(str(problem), pass_, layout, device, rows, tf32)


@contextmanager
def winograd(enabled: bool) -> Iterator[None]:
    """Context manager: switches the Winograd kernels off or on, in every thread of the process.

        with pyconv.winograd(False):
            output = layer(images)

    Winograd's kernels take 3x3 layers of stride 1 with a half to a quarter of the multiplications, and those
    of stride 2 with two thirds. Their largest error stays under 5e-6 of the largest output (before it is
    rounded to a 16-bit type; in float64 under 1e-14), a few times that of a direct sum at most, and a value
    that is not finite shows in the whole tile of 2x2 or 4x4 outputs, or in all nine taps of a filter and
    channel. Inside `winograd(False)` every output is the direct sum of its own products. They are on unless
    the environment has PYCONV_WINOGRAD=0.

    Raises TypeError if `enabled` is not a bool.
    """
    if not isinstance(enabled, bool):
        raise TypeError(f"winograd(): enabled must be a bool, got {type(enabled).__name__}")
    before = _C.winograd_enabled()
    _C.set_winograd_enabled(enabled)
    try:
        yield
    finally:
        _C.set_winograd_enabled(before)


def problem_string(
    input: Tensor, weight: Tensor, stride=1, padding=0, dilation=1, groups=1, padding_mode: str = "zeros"
) -> str:
    """The problem string of a call of `pyconv.conv2d` with these arguments.

    Raises TypeError for a dtype that has no kernels, RuntimeError for sizes that do not fit together.
    """
    if input.dim() not in (3, 4) or weight.dim() != 4:
        raise RuntimeError(
            "plan: expected a 3D or 4D input and a 4D weight, but got sizes "
            f"{list(input.shape)} and {list(weight.shape)}"
        )
    if input.dtype not in _TOKENS:
        raise TypeError(f"plan: dtype {input.dtype} is not supported")
    check_padding_mode(padding_mode)
    stride, dilation = pair("plan", "stride", stride), pair("plan", "dilation", dilation)
    groups = as_int("plan", "groups", groups)
    k, per_group, r, s = weight.shape
    if isinstance(padding, str):
        padding = padding_from_string(padding, (r, s), stride, dilation)
    top, bottom, left, right = four("plan", padding)
    n, c, h, w = input.shape if input.dim() == 4 else (1, *input.shape)
    if per_group * groups != c:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected "
            f"input{[n, c, h, w]} to have {per_group * groups} channels, but got {c} channels instead"
        )
    words = [
        f"n{n}_c{c}_k{k}_i{h}x{w}_f{r}x{s}_s{stride[0]}x{stride[1]}_p{top}x{bottom}x{left}x{right}",
        f"d{dilation[0]}x{dilation[1]}_g{groups}",
    ]
    if padding_mode != "zeros":
        words.append(padding_mode)
    return "_".join([*words, _TOKENS[input.dtype]])


def _is_dense_last(tensor: Tensor, last: torch.memory_format) -> bool:
    """Whether torch calls the tensor channels_last and not also contiguous (1x1 images and single channels
    are both).
    """
    return tensor.dim() == 4 and tensor.is_contiguous(memory_format=last) and not tensor.is_contiguous()


def _seconds(value: float) -> str:
    if math.isnan(value):
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def _bytes(value: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value} B"
