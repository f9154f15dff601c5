"""What `activation=` saves: pyconv's fused call beside its two calls and torch's two, interleaved.

    python benchmarks/activation.py [PROBLEM ...] [--activation relu silu gelu] [--training] [--cpu-time]

The second call of both pairs is torch's function in place, the cheaper of its forms. --training times a step
of the layer instead, forward and both gradients, in which torch's function makes a new tensor. Each row is
verified first: relu has the bits of the pair, and so has training; silu and gelu are near their exact values.
"""

from __future__ import annotations

import argparse
import statistics

import torch
import torch.nn.functional as F

import pyconv
from pyconv import _C
from pyconv.bench import cases, clock, peers, timing

PROBLEMS = (
    "n4_c32_k32_i112_f3_p1_g32",
    "n4_c144_k144_i56_f3_p1_g144",
    "n4_c96_k96_i112_f3_s2_p1_g96",
    "n4_c16_k96_i112_f1",
    "n4_c64_k256_i56_f1",
    "n4_c64_k64_i56_f3_p1",
    "n4_c256_k256_i14_f3_p1",
    "n1_c3_k64_i224_f3_p1",
    "n1_c1_k1_i1080x1920_f5_p2",
)
SECOND = {
    "relu": torch.relu_,
    "silu": lambda y: F.silu(y, inplace=True),
    "gelu": torch.ops.aten.gelu_.default,
}


FUNCTIONS = {"relu": F.relu, "silu": F.silu, "gelu": F.gelu}


def entrants(problem: _C.Problem, activation: str) -> dict[str, clock.Call]:
    stride = (problem.stride_h, problem.stride_w)
    padding = (problem.pad_top, problem.pad_left)
    dilation, groups = (problem.dilation_h, problem.dilation_w), problem.groups
    second, ours = SECOND[activation], peers.pyconv_call(problem, "forward")
    theirs = peers.torch_call(problem, "forward")
    return {
        "fused": lambda t: pyconv.conv2d(
            t.x, t.w, None, stride, padding, dilation, groups, activation=activation
        ),
        "two calls": lambda t: second(ours(t)),
        "torch": lambda t: second(theirs(t)),
    }


def training_entrants(problem: _C.Problem, activation: str) -> dict[str, clock.Call]:
    """Each gives the output and the gradients of input and weight."""
    p, function = problem, FUNCTIONS[activation]
    rest = (None, (p.stride_h, p.stride_w), (p.pad_top, p.pad_left), (p.dilation_h, p.dilation_w), p.groups)

    def step(forward) -> clock.Call:
        def call(t: cases.Tensors) -> tuple[torch.Tensor, ...]:
            x, w = t.x.requires_grad_(), t.w.requires_grad_()
            with torch.enable_grad():
                y = forward(x, w)
            return (y.detach(), *torch.autograd.grad(y, (x, w), t.dy))

        return call

    return {
        "fused": step(lambda x, w: pyconv.conv2d(x, w, *rest, activation=activation)),
        "two calls": step(lambda x, w: function(pyconv.conv2d(x, w, *rest))),
        "torch": step(lambda x, w: function(F.conv2d(x, w, *rest))),
    }


def check(got: torch.Tensor, x: torch.Tensor, activation: str) -> None:
    """Of f(x), relative to x: four units in the last place. torch's own float32 gelu is not as near."""
    error = (got.double() - FUNCTIONS[activation](x.double())).abs()
    if not (error <= 2.0**-21 * x.double().abs()).all():
        raise SystemExit(
            f"{activation}: off by {(error / x.double().abs()).nan_to_num().max():.1e} of its argument"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", default=PROBLEMS)
    parser.add_argument("--activation", nargs="+", choices=SECOND, default=list(SECOND))
    parser.add_argument("--budget", type=float, default=0.3, help="seconds of samples for each entrant")
    parser.add_argument("--training", action="store_true", help="forward and backward")
    parser.add_argument("--layout", nargs="+", choices=cases.LAYOUTS, default=list(cases.LAYOUTS))
    parser.add_argument("--cpu-time", action="store_true", help="of one thread, where others use the machine")
    options = parser.parse_args()
    if options.cpu_time:
        torch.set_num_threads(1)
    place = timing.cpu_time if options.cpu_time else timing.here
    print(f"{torch.get_num_threads()} threads, {_C.isa()}, torch {torch.__version__}")
    print(
        "| problem | layout | activation | fused, us | x two calls | x torch |\n|---|---|---|---:|---:|---:|"
    )
    ratios: dict[str, list[float]] = {"two calls": [], "torch": []}
    with torch.no_grad():
        for text in options.problems:
            problem = _C.Problem.parse(text)
            for layout in options.layout:
                for activation in options.activation:
                    tensors = cases.make(problem).map(lambda t, layout=layout: cases.in_layout(t, layout))
                    calls = (training_entrants if options.training else entrants)(problem, activation)
                    results = {name: timing.timed(call, tensors, "cpu") for name, call in calls.items()}
                    got, want = results["fused"][0], results["two calls"][0]
                    if activation == "relu" or options.training:
                        torch.testing.assert_close(got, want, rtol=0, atol=0)
                    else:
                        check(got, peers.pyconv_call(problem, "forward")(tensors), activation)
                    rotation = cases.Rotation(tensors, layout, "forward")
                    timed = {
                        name: timing.Entrant(call, rotation, [results[name][1]], place)
                        for name, call in calls.items()
                    }
                    timing.round_robin(list(timed.values()), options.budget, "cpu")
                    median = {name: entrant.median for name, entrant in timed.items()}
                    for name in ratios:
                        ratios[name].append(median[name] / median["fused"])
                    print(
                        f"| `{text}` | {layout} | {activation} | {median['fused'] * 1e6:.0f} "
                        f"| {ratios['two calls'][-1]:.2f} | {ratios['torch'][-1]:.2f} |",
                        flush=True,
                    )
    means = {name: statistics.geometric_mean(values) for name, values in ratios.items()}
    print(f"Geometric means: {means['two calls']:.2f} x two calls, {means['torch']:.2f} x torch")


if __name__ == "__main__":
    main()
