"""`python -m pyconv bench`: verify, then time, beside torch, against what this machine can do.

Each pass of each problem is first compared with a float64 answer; a result outside its bound is shown as
FAILED, is not timed, and makes the exit status non-zero. benchmarks/README.md says how to read the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

from . import cases, peak, report, suites
from .peers import PEERS, missing
from .runner import Options, measure

__all__ = ["main", "run"]

BUDGET_SECONDS = 0.12
QUICK_BUDGET_SECONDS = 0.04


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
    made.add_argument("--algorithm", default="", metavar="NAME", help="force one row of the plan")
    made.add_argument("--exhaustive", action="store_true", help="also time what the plan could have chosen")
    made.add_argument(
        "--peers",
        nargs="*",
        default=["torch"],
        choices=list(PEERS),
        help="default: torch; the others need pip install 'pyconv[peers]'",
    )
    made.add_argument("--quick", action="store_true", help="a third of each suite, fewer samples")
    made.add_argument("--budget", type=float, help="seconds of samples for each entrant of a row")
    made.add_argument("--json", type=Path, metavar="FILE", help="write machine facts, rows and footer")
    return made


def progress(total: int):
    """A tqdm bar on stderr; rows are written above it, to stdout."""
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise SystemExit("bench: the progress bar needs tqdm: pip install 'pyconv[bench]'") from error
    return tqdm(total=total, unit="pass", file=sys.stderr, dynamic_ncols=True, disable=None)


def measured_limits(args: argparse.Namespace, dtypes: list[str]) -> dict:
    return {
        "fma_peak_gflops": {name: peak.fma_peak(name, args.threads, args.device) for name in dtypes},
        "copy_gigabytes": round(peak.copy_bandwidth(args.device), 1),
    }


def describe(limits: dict) -> str:
    peaks = [f"{name} {value:.0f} GFLOP/s" for name, value in limits["fma_peak_gflops"].items() if value]
    return f"FMA peak {', '.join(peaks) or 'unknown'}; copy {limits['copy_gigabytes']:.1f} GB/s"


def run(options: Options, entries: list[suites.Entry], passes: list[str]) -> list[report.Row]:
    """Measure and print every row. A problem that cannot be set up is a failed row, and the run goes on."""
    width = max(len(str(entry.problem)) for entry in entries)
    others = [name for name in options.peers if name != "torch"]
    print(report.header(width, [PEERS[name].label for name in others]), flush=True)
    rows: list[report.Row] = []
    with progress(len(entries) * len(passes)) as bar:
        for entry in entries:
            for pass_ in passes:
                bar.set_description(f"{entry.problem} {pass_}")
                try:
                    made = measure(entry, pass_, options)
                except RuntimeError as error:
                    note = str(error).splitlines()[0]
                    made = [
                        report.Row(
                            str(entry.problem),
                            entry.suites,
                            pass_,
                            layout,
                            entry.problem.dtype,
                            "-",
                            status="failed",
                            note=note,
                        )
                        for layout in options.layouts
                    ]
                rows += made
                for row in made:
                    bar.write(report.format_row(row, width, others), file=sys.stdout)
                bar.update()
    return rows


def main(argv: list[str] | None = None) -> int:
    """Run the bench; the result is the exit status, 0 only if every row that was not refused is verified."""
    made = parser()
    args = made.parse_args(argv)
    if args.threads < 1:
        made.error(f"--threads must be at least 1, got {args.threads}")
    absent = [sentence for sentence in (missing(PEERS[name]) for name in args.peers) if sentence]
    if absent:
        made.error("; ".join(absent))
    wanted = args.suite or ([] if args.problems else ["all"])
    wanted = suites.names() if "all" in wanted else wanted
    try:
        entries = suites.select(wanted, args.problems, args.dtype, args.quick)
    except ValueError as error:
        made.error(str(error))
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        return bench(args, entries)
    finally:
        torch.set_num_threads(before)


def bench(args: argparse.Namespace, entries: list[suites.Entry]) -> int:
    start = time.perf_counter()
    dtypes = list(dict.fromkeys(entry.problem.dtype for entry in entries))
    facts = peak.machine(args.device, args.threads)
    limits = measured_limits(args, dtypes)
    name = facts.get("gpu", facts["cpu"])
    print(f"{name}, {facts['cores']} cores, {facts['threads']} threads, {facts['isa']}")
    print(f"torch {facts['torch']}; measured now: {describe(limits)}")
    if facts["load_before"] > 1:
        print(f"The machine is busy (load average {facts['load_before']}): do not rely on the times below")
    options = Options(
        layouts=tuple(args.layout),
        device=args.device,
        algorithm=args.algorithm,
        peers=tuple(dict.fromkeys(args.peers)),
        exhaustive=args.exhaustive,
        budget=args.budget or (QUICK_BUDGET_SECONDS if args.quick else BUDGET_SECONDS),
        peak=limits["fma_peak_gflops"],
    )
    rows = run(options, entries, args.passes)
    # Measured again: a peak that moved says how far the machine itself did during the run.
    later = measured_limits(args, dtypes)
    seconds = time.perf_counter() - start
    summary = report.footer(rows)
    print(f"\n{report.format_footer(summary, rows)}")
    print(f"{len(rows)} rows in {seconds:.0f} s; measured at the end: {describe(later)}")
    if args.json:
        result = {
            "machine": facts,
            "limits": limits,
            "limits_at_the_end": later,
            "options": {"budget_seconds": options.budget, "quick": args.quick, "passes": args.passes},
            "footer": summary,
            "seconds": round(seconds, 1),
            "rows": [row.to_json() for row in rows],
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"Written: {args.json}")
    return 1 if summary["failed"] else 0
