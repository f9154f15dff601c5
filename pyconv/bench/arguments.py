"""The bench's command line: what may be asked for, and what a device or a build does not have."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from pyconv import _C

from . import cases, suites
from .peers import PEERS, missing
from .precision import PRECISIONS

# Seconds of samples for each entrant of a row. A GPU's sample is a millisecond of calls.
BUDGET_SECONDS = {"cpu": 0.12, "cuda": 0.02}
QUICK_BUDGET_SECONDS = {"cpu": 0.04, "cuda": 0.01}
# The suites' batches are for a CPU: this many images occupy a GPU.
CUDA_BATCH = 32
TUNING_SECONDS = 60.0


def parser() -> argparse.ArgumentParser:
    known = suites.names()
    made = argparse.ArgumentParser(
        prog="python -m pyconv bench",
        description="Verify every row against float64, then time it interleaved with torch in both layouts.",
        epilog="With neither problems nor suites, all suites are run.",
    )
    made.add_argument("problems", nargs="*", metavar="PROBLEM", help="such as n8_c64_k128_i56x56_f3x3_s1_p1")
    made.add_argument("--suite", nargs="+", default=[], metavar="NAME", help=f"of: {', '.join(known)}, all")
    made.add_argument("--pass", nargs="+", default=list(cases.PASSES), choices=cases.PASSES, dest="passes")
    made.add_argument(
        "--dtype", nargs="+", default=[], choices=sorted(suites.DTYPES), help="default: the problem's"
    )
    made.add_argument("--layout", nargs="+", default=list(cases.LAYOUTS), choices=cases.LAYOUTS)
    made.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="default: torch's own choice"
    )
    made.add_argument("--device", default="cpu", help="cpu, or cuda[:N]")
    made.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="images of every problem; fewer where its tensors would be over 1 GiB of float32 together; 0 "
        f"keeps each problem's own; default: 0, on cuda {CUDA_BATCH}",
    )
    made.add_argument(
        "--precision",
        default="ieee",
        choices=PRECISIONS,
        help="what torch and pyconv may round float32 products to, on cuda; default: ieee",
    )
    made.add_argument("--algorithm", default="", metavar="NAME", help="force one row of the plan")
    made.add_argument("--exhaustive", action="store_true", help="also time what the plan could have chosen")
    made.add_argument(
        "--peers",
        nargs="*",
        choices=list(PEERS),
        help="default: torch, on cuda with torch_tuned; the others need pip install 'pyconv[peers]'",
    )
    made.add_argument("--quick", action="store_true", help="a third of each suite, fewer samples")
    made.add_argument("--budget", type=float, help="seconds of samples for each entrant of a row")
    made.add_argument(
        "--tuning",
        type=float,
        default=TUNING_SECONDS,
        metavar="SECONDS",
        help=f"of torch_tuned's first calls in all; then rows do without it; default: {TUNING_SECONDS:.0f}",
    )
    made.add_argument(
        "--limit",
        type=float,
        metavar="SECONDS",
        help="start no problem after so long; problems are then taken from the suites in turn",
    )
    made.add_argument(
        "--no-cold-start", action="store_true", help="on cuda: leave out the first call in a fresh process"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write machine facts, rows and footer")
    return made


def device_kind(device: str) -> str:
    return device.split(":")[0]


def device_error(device: str) -> str:
    """Why the device cannot be measured, as a sentence, or an empty string."""
    if device == "cpu":
        return ""
    if device_kind(device) != "cuda":
        return f"--device must be cpu or cuda[:N], got {device}"
    built = _C.build_info()
    if not built["cuda"]:
        return f"pyconv was built without CUDA ({built['cuda_reason']})"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    return ""


def parsed(argv: list[str] | None) -> tuple[argparse.Namespace, list[suites.Entry]]:
    """Arguments with every default filled in, and the problems that they name; exits with a sentence."""
    made = parser()
    args = made.parse_args(argv)
    if args.threads < 1:
        made.error(f"--threads must be at least 1, got {args.threads}")
    kind = device_kind(args.device)
    if error := device_error(args.device):
        made.error(error)
    if args.precision != "ieee" and kind == "cpu":
        made.error(f"--precision {args.precision} is for --device cuda; the CPU computes float32 in float32")
    if args.peers is None:
        args.peers = ["torch", "torch_tuned"] if kind == "cuda" else ["torch"]
    elsewhere = [name for name in args.peers if kind not in PEERS[name].devices]
    if elsewhere:
        made.error(f"no such peer on {kind}: {', '.join(elsewhere)}")
    absent = [sentence for sentence in (missing(PEERS[name]) for name in args.peers) if sentence]
    if absent:
        made.error("; ".join(absent))
    if args.batch is None:
        args.batch = CUDA_BATCH if kind == "cuda" else 0
    if args.batch < 0:
        made.error(f"--batch must be at least 0, got {args.batch}")
    if not args.budget:
        args.budget = (QUICK_BUDGET_SECONDS if args.quick else BUDGET_SECONDS)[kind]
    wanted = args.suite or ([] if args.problems else ["all"])
    wanted = suites.names() if "all" in wanted else wanted
    try:
        entries = suites.select(wanted, args.problems, args.dtype, args.quick, args.batch)
    except ValueError as error:
        made.error(str(error))
    return args, suites.in_turn(entries) if args.limit else entries
