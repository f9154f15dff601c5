"""`python -m pyconv info | plan | check | bench | demo`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from importlib import import_module

import torch

from . import _env, planning, verify
from ._load import _C

# Small, and between them: tails in every dimension, strides, dilation, groups, depthwise, four-sided padding,
# every padding mode, kernels larger than the image, one channel, every dtype.
CHECKED = (
    "n2_c3_k5_i7x9_f3x3",
    "n1_c1_k1_i6x8_f1x2",
    "n2_c16_k33_i8x8_f3x3_p1",
    "n2_c17_k16_i9x7_f3x3_s2_p1",
    "n1_c8_k8_i11x10_f5x3_s2x3_p2x1_d1x2",
    "n2_c12_k8_i8x8_f1x1_s2",
    "n2_c8_k12_i7x7_f3x3_p1_g4",
    "n2_c16_k16_i10x10_f7x7_p3_g16",
    "n1_c1_k1_i20x24_f5x5_p2",
    "n1_c4_k6_i3x3_f5x5_p1x3x2x2",
    "n2_c4_k4_i8x9_f3x3_p2_reflect",
    "n2_c4_k4_i8x9_f3x3_p2_replicate",
    "n2_c4_k4_i8x9_f3x3_p2_circular",
    "n1_c6_k7_i8x8_f3x3_p1_f64",
    "n1_c6_k7_i8x8_f3x3_p1_bf16",
    "n1_c6_k7_i8x8_f3x3_p1_f16",
    "n1_c6_k7_i8x8_f3x3_p1_i64",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (0: fine, 1: a check failed, 2: bad usage)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # These two have command lines of their own and need packages that the others do without.
    if arguments and arguments[0] in ("bench", "demo"):
        return import_module(f".{arguments[0]}", __package__).main(arguments[1:]) or 0
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (ValueError, RuntimeError) as error:
        print(f"pyconv {options.command}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pyconv", description="2-D cross-correlation for PyTorch")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="info | plan | check | bench | demo"
    )
    info = commands.add_parser("info", help="what was built and what this machine has, for a bug report")
    info.set_defaults(run=_info)

    plan = commands.add_parser("plan", help="which algorithm a problem gets, and why not the others")
    plan.add_argument("problem", metavar="PROBLEM", help="such as n8_c64_k128_i56x56_f3x3_s1_p1_d1_g1")
    plan.add_argument("--pass", dest="pass_", choices=(*planning.PASSES, "all"), default="forward")
    plan.add_argument("--layout", choices=planning.LAYOUTS, default="nchw")
    plan.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    plan.set_defaults(run=_plan)

    check = commands.add_parser("check", help="verify every algorithm against the float64 reference")
    check.add_argument("problems", metavar="PROBLEM", nargs="*", help="default: a set of small ones")
    check.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    check.add_argument(
        "--verbose", action="store_true", help="a line for every comparison, not only for differences"
    )
    check.set_defaults(run=_check)
    commands.add_parser("bench", help="time against torch (options: bench --help)")
    commands.add_parser("demo", help="edges, the learned kernel, digits (options: demo --help)")
    return parser


def facts() -> dict[str, str]:
    """What `info` prints, as name -> value."""
    from . import __version__

    build = _C.build_info()
    algorithms = {name for name, _ in _C.algorithms()}
    lines = {
        "pyconv": __version__,
        "torch": f"{torch.__version__} (built against {build['torch']})",
        "python": f"{platform.python_version()} on {platform.platform()}",
        "compiler": str(build["compiler"]),
        "processor": _processor(),
        "instructions": f"{_C.isa()} in use, {_C.isa_detected()} found, {' '.join(_C.isas())} usable",
        "threads": str(torch.get_num_threads()),
        "algorithms": f"{len(algorithms)} on the CPU",
    }
    if build["cuda"]:
        algorithms = {name for name, _ in _C.algorithms("cuda")}
        lines["cuda"] = (
            f"{build['cuda']} for {' '.join(map(str, build['cuda_arches']))}, {len(algorithms)} algorithms"
        )
        lines["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none visible"
    else:
        lines["cuda"] = f"none ({build['cuda_reason']})"
    settings = _env.settings()
    lines["environment"] = (
        " ".join(f"{name}={value}" for name, value in settings.items()) or "no PYCONV_ variable set"
    )
    return lines


def _processor() -> str:
    """The processor's name where the system tells it."""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.lower().startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _info(options: argparse.Namespace) -> int:
    lines = facts()
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:<{width}}  {value}")
    return 0


def _plan(options: argparse.Namespace) -> int:
    passes = planning.PASSES if options.pass_ == "all" else (options.pass_,)
    tables = [
        str(planning.plan(options.problem, pass_=pass_, layout=options.layout, device=options.device))
        for pass_ in passes
    ]
    print("\n\n".join(tables))
    return 0


def _check(options: argparse.Namespace) -> int:
    compared, failed = 0, 0
    for problem in options.problems or CHECKED:
        for layout in planning.LAYOUTS:
            case = verify.make_case(problem, layout, options.device)
            for pass_ in planning.PASSES:
                for row in planning.plan(case.problem, pass_=pass_, layout=layout, device=options.device):
                    if row.refusal:
                        continue
                    verdict = verify.compare(case, pass_, verify.run(case, pass_, row.name))
                    compared += 1
                    failed += not verdict.passed
                    if options.verbose or not verdict.passed:
                        word = "ok       " if verdict.passed else "DIFFERENT"
                        print(
                            f"{word} {case.problem} {pass_} {layout} {row.name}: error {verdict.error:.3g}, "
                            f"{verdict.share:.3g} of the bound"
                        )
    print(f"{compared} comparisons with the float64 reference, {failed} different")
    return 1 if failed or not compared else 0
