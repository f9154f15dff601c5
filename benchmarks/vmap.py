"""What vmap over both tensors costs: pyconv's batch of problems beside the other ways to the same numbers.

    python benchmarks/vmap.py [CASE ...] [--layout nchw nhwc] [--budget SECONDS] [--cpu-time]

A CASE is a batch and a problem of one sample, 32xn1_c64_k64_i28_f3_p1. `forward` and `grad_input` are those
of per-sample kernels; `grad_weight` is a per-sample gradient; `layer` is vmap(grad) of a layer whose weight
all samples share, forward pass included. The entrants:

    batch   pyconv under vmap: one call, whose workers take problems
    groups  pyconv under vmap, the batch folded into the groups of one problem, as on CUDA
    loop    a call of pyconv's operator for each sample, results stacked
    torch   torch's operators under torch's vmap

Each is verified against float64 first. Times are interleaved; medians, and of ratios also those of the
minima. On a machine that others use too, --cpu-time says what one thread was given, not what it waited for.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from collections.abc import Callable, Iterator
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

import pyconv
from pyconv import _C, transforms
from pyconv.bench import cases, timing

CASES = (
    "8xn1_c3_k32_i32_f3_p1",
    "64xn1_c3_k32_i32_f3_p1",
    "32xn1_c64_k64_i16_f3_p1",
    "32xn1_c64_k64_i28_f3_p1",
    "8xn1_c64_k64_i56_f3_p1",
    "32xn1_c256_k256_i14_f1",
    "8xn1_c256_k256_i14_f3_p1",
    "32xn1_c64_k64_i28_f3_p1_g64",
    "16xn1_c3_k256_i64_f8_s8",
    "64xn1_c4_k8_i8_f3_p1",
)
ENTRANTS = ("batch", "groups", "loop", "torch")
PASSES = (*cases.PASSES, "layer")
# Of the largest magnitude of the exact result: Winograd's bound, and that torch's own kernels keep too.
ALLOWED = 2e-5

Sample = Callable[[Tensor, Tensor], Tensor]


def functions(problem: _C.Problem, pass_: str) -> tuple[Sample, Sample]:
    """Ours and torch's, of the two tensors of one sample that the pass takes."""
    p = problem
    stride, dilation, groups = (p.stride_h, p.stride_w), (p.dilation_h, p.dilation_w), p.groups
    padding = (p.pad_top, p.pad_left)
    if (p.pad_bottom, p.pad_right) != padding or str(p.padding_mode) != "zeros":
        raise SystemExit("torch's functions have one padding of zeros for opposite sides")
    x_size, w_size = (p.n, p.c, p.h, p.w), (p.k, p.c // p.groups, p.r, p.s)
    tail = (stride, [p.pad_top, p.pad_bottom, p.pad_left, p.pad_right], dilation, groups)
    ops, grad = torch.ops.pyconv, torch.nn.grad
    if pass_ == "forward":
        return (
            lambda x, w: ops.conv2d(x, w, None, *tail),
            lambda x, w: F.conv2d(x, w, None, stride, padding, dilation, groups),
        )
    if pass_ == "grad_input":
        return (
            lambda dy, w: ops.conv2d_grad_input(dy, w, x_size, *tail),
            lambda dy, w: grad.conv2d_input(x_size, w, dy, stride, padding, dilation, groups),
        )
    if pass_ == "grad_weight":
        return (
            lambda dy, x: ops.conv2d_grad_weight(dy, x, w_size, *tail),
            lambda dy, x: grad.conv2d_weight(x, w_size, dy, stride, padding, dilation, groups),
        )

    def gradient(conv2d) -> Sample:
        def loss(w: Tensor, x: Tensor) -> Tensor:
            return conv2d(x, w, None, stride, padding, dilation, groups).square().sum()

        return torch.func.grad(loss)

    return gradient(pyconv.conv2d), gradient(F.conv2d)


def operands(problem: _C.Problem, pass_: str, batch: int, layout: str) -> tuple[Tensor, Tensor]:
    """Of all samples; of a layer, the one weight and all inputs."""
    generator = torch.Generator().manual_seed(20)
    p = problem
    sizes = {
        "x": (p.n, p.c, p.h, p.w),
        "w": (p.k, p.c // p.groups, p.r, p.s),
        "dy": (p.n, p.k, p.p, p.q),
    }

    def made(name: str, copies: int) -> Tensor:
        size = sizes[name]
        drawn = torch.rand((copies * size[0], *size[1:]), generator=generator) * 2 - 1
        return cases.in_layout(drawn, layout).unflatten(0, (copies, size[0]))

    if pass_ == "layer":
        return made("w", 1)[0], made("x", batch)
    first, second = cases.OPERANDS[pass_]
    return made(first, batch), made(second, batch)


@contextlib.contextmanager
def by_groups() -> Iterator[None]:
    with mock.patch.object(transforms, "_by_groups", lambda tensor: True):
        yield


def entrants(problem: _C.Problem, pass_: str, a: Tensor, b: Tensor) -> dict[str, Callable]:
    ours, theirs = functions(problem, pass_)
    shared = pass_ == "layer"
    dims = (None, 0) if shared else (0, 0)

    def groups(_) -> Tensor:
        with by_groups():
            return torch.vmap(ours, dims)(a, b)

    return {
        "batch": lambda _: torch.vmap(ours, dims)(a, b),
        "groups": groups,
        "loop": lambda _: torch.stack([ours(a if shared else a[i], b[i]) for i in range(len(b))]),
        "torch": lambda _: torch.vmap(theirs, dims)(a, b),
    }


def second(place: Callable[[Callable], float]) -> Callable[[Callable], float]:
    """Of two samples the second: the first finds the memory that another entrant has freed, or given back."""

    def sampled(work: Callable[[], float]) -> float:
        work()
        return place(work)

    return sampled


def verified(
    problem: _C.Problem, pass_: str, a: Tensor, b: Tensor, place: Callable[[Callable], float]
) -> dict[str, timing.Entrant]:
    calls = entrants(problem, pass_, a, b)
    _, theirs = functions(problem, pass_)
    first = [a] * len(b) if pass_ == "layer" else a
    exact = torch.stack([theirs(one.double(), other.double()) for one, other in zip(first, b, strict=True)])
    allowed = ALLOWED * exact.abs().max().item()
    found = {}
    # The same operands each time: a batch of samples is what was just made or read, too.
    rotation = mock.Mock(take=lambda count: [None] * count)
    for name, call in calls.items():
        result, seconds = timing.timed(call, None, "cpu")
        if not (error := (result.double() - exact).abs().max().item()) <= allowed:
            raise SystemExit(f"{name}, {pass_} of {problem}: off by {error:.1e}, allowed {allowed:.1e}")
        found[name] = timing.Entrant(call, rotation, [seconds], place)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", default=CASES)
    parser.add_argument("--layout", nargs="+", choices=cases.LAYOUTS, default=list(cases.LAYOUTS))
    parser.add_argument("--pass", nargs="+", choices=PASSES, default=list(PASSES), dest="passes")
    parser.add_argument("--budget", type=float, default=0.1, help="seconds of samples for each entrant")
    parser.add_argument("--cpu-time", action="store_true", help="of one thread")
    options = parser.parse_args()
    if options.cpu_time:
        torch.set_num_threads(1)
    place = second(timing.cpu_time if options.cpu_time else timing.here)
    print(f"{torch.get_num_threads()} threads, {_C.isa()}, torch {torch.__version__}")
    print("Others' times over batch's: of the medians (of the minima)")
    print("| samples and problem | layout | pass | batch, us | groups | loop | torch |")
    print("|---|---|---|---:|---:|---:|---:|")
    ratios: dict[str, list[float]] = {name: [] for name in ENTRANTS[1:]}
    for case in options.cases:
        batch, _, text = case.partition("x")
        problem = _C.Problem.parse(text)
        for layout in options.layout:
            for pass_ in options.passes:
                timed = verified(problem, pass_, *operands(problem, pass_, int(batch), layout), place)
                timing.round_robin(list(timed.values()), options.budget, "cpu")
                base = timed["batch"]
                cells = []
                for name in ratios:
                    ratios[name].append(timed[name].median / base.median)
                    fastest = min(timed[name].samples) / min(base.samples)
                    cells.append(f"{ratios[name][-1]:.2f} ({fastest:.2f})")
                print(
                    f"| `{case}` | {layout} | {pass_} | {base.median * 1e6:.0f} | {' | '.join(cells)} |",
                    flush=True,
                )
    for name, values in ratios.items():
        print(
            f"{name}: geometric mean {statistics.geometric_mean(values):.2f}, least {min(values):.2f}, "
            f"most {max(values):.2f}"
        )


if __name__ == "__main__":
    main()
