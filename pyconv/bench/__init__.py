"""`python -m pyconv bench`: verify, then time, beside torch, against what this machine can do.

Each pass of each problem is first compared with a float64 answer; a result outside its bound is shown as
FAILED, is not timed, and makes the exit status non-zero. benchmarks/README.md says how to read the table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time

import torch

from . import cold_start, peak, report, suites
from .arguments import parsed
from .memory import keep_memory
from .peers import PEERS
from .precision import convolution_precision
from .runner import Allowance, Options, measure

__all__ = ["main", "run"]


def progress(total: int):
    """A tqdm bar on stderr; rows are written above it, to stdout."""
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise SystemExit("bench: the progress bar needs tqdm: pip install 'pyconv[bench]'") from error
    return tqdm(total=total, unit="pass", file=sys.stderr, dynamic_ncols=True, disable=None)


def measured_limits(args: argparse.Namespace, dtypes: list[str]) -> dict:
    """What "% peak" and GB/s are to be held against: of a GPU, by matrix products in the rows' precision."""
    copy = round(peak.copy_bandwidth(args.device), 1)
    if args.device == "cpu":
        peaks = {name: peak.fma_peak(name, args.threads, args.device) for name in dtypes}
        return {"fma_peak_gflops": peaks, "copy_gigabytes": copy}
    products = peak.device_peaks(args.device)
    rounded = {"float32": "tf32"} if args.precision == "tf32" else {}
    peaks = {name: products[rounded.get(name, name)] for name in dtypes}
    return {"fma_peak_gflops": peaks, "matmul_gflops": products, "copy_gigabytes": copy}


def describe(limits: dict) -> str:
    products = limits.get("matmul_gflops")
    named = products or limits["fma_peak_gflops"]
    peaks = [f"{name} {value:.0f} GFLOP/s" for name, value in named.items() if value]
    what = f"matrix product {peak.MATRIX}^3" if products else "FMA peak"
    return f"{what} {', '.join(peaks) or 'unknown'}; copy {limits['copy_gigabytes']:.1f} GB/s"


def device_lost(device: str) -> bool:
    """Whether a kernel has left the device unusable: everything after it would fail with its error."""
    if device == "cpu":
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        print(f"bench: the device is lost: {str(error).splitlines()[0]}", file=sys.stderr)
        return True
    # Blocks that the allocator keeps for sizes that do not come again.
    if 2 * torch.cuda.memory_reserved() > torch.cuda.get_device_properties(device).total_memory:
        torch.cuda.empty_cache()
    return False


def run(
    options: Options, entries: list[suites.Entry], passes: list[str], limit: float | None = None
) -> list[report.Row]:
    """Measure and print every row. A problem that cannot be set up is a failed row, and the run goes on.

    No problem is started after `limit` seconds, nor on a device that is lost.
    """
    start = time.perf_counter()
    width = max(len(str(entry.problem)) for entry in entries)
    others = [name for name in options.peers if name != "torch"]
    print(report.header(width, [PEERS[name].label for name in others]), flush=True)
    rows: list[report.Row] = []
    with progress(len(entries) * len(passes)) as bar:
        for entry in entries:
            if (limit and time.perf_counter() - start > limit) or device_lost(options.device):
                break
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
    args, entries = parsed(argv)
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        if args.device == "cpu":
            keep_memory()
            return bench(args, entries)
        with torch.cuda.device(args.device), convolution_precision(args.precision):
            return bench(args, entries)
    finally:
        torch.set_num_threads(before)


def bench(args: argparse.Namespace, entries: list[suites.Entry]) -> int:
    start = time.perf_counter()
    dtypes = list(dict.fromkeys(entry.problem.dtype for entry in entries))
    facts = peak.machine(args.device, args.threads)
    limits = measured_limits(args, dtypes)
    name = facts.get("gpu", facts["cpu"])
    if args.device == "cpu":
        print(f"{name}, {facts['cores']} cores, {facts['threads']} threads, {facts['isa']}")
    else:
        facts["precision"] = args.precision
        print(f"{name}, CUDA {facts['cuda']}, cuDNN {facts['cudnn']}, float32 precision {args.precision}")
    print(f"torch {facts['torch']}; measured now: {describe(limits)}")
    if facts["load_before"] > 1:
        print(f"The machine is busy (load average {facts['load_before']}): do not rely on the times below")
    options = Options(
        layouts=tuple(args.layout),
        device=args.device,
        algorithm=args.algorithm,
        peers=tuple(dict.fromkeys(args.peers)),
        exhaustive=args.exhaustive,
        budget=args.budget,
        peak=limits["fma_peak_gflops"],
        tf32=args.precision == "tf32",
        tuning=Allowance(args.tuning),
    )
    rows = run(options, entries, args.passes, args.limit)
    reached = len({row.problem for row in rows})
    # Measured again: a peak that moved says how far the machine itself did during the run.
    later, cold = None, None
    with contextlib.suppress(RuntimeError):  # of a device that is lost: what was measured is still written
        later = measured_limits(args, dtypes)
        if args.device != "cpu" and not args.no_cold_start:
            torch.cuda.empty_cache()
            cold = cold_start.measure(dtypes[0], args.device, args.precision)
    seconds = time.perf_counter() - start
    summary = report.footer(rows)
    print(f"\n{report.format_footer(summary, rows)}")
    if cold:
        print(cold_start.format_lines(cold))
    if reached < len(entries):
        print(f"Not reached: {len(entries) - reached} of {len(entries)} problems")
    if args.device != "cpu" and options.tuning.spent:
        print(f"cuDNN's tuning took {options.tuning.spent:.0f} s of {args.tuning:.0f}")
    at_the_end = describe(later) if later else "nothing, the device is lost"
    print(f"{len(rows)} rows in {seconds:.0f} s; measured at the end: {at_the_end}")
    if args.json:
        device_options = {"batch": args.batch, "precision": args.precision} if args.device != "cpu" else {}
        result = {
            "machine": facts,
            "limits": limits,
            "limits_at_the_end": later,
            **({"cold_start": cold} if cold else {}),
            **({"problems_not_reached": len(entries) - reached} if reached < len(entries) else {}),
            "options": {
                "budget_seconds": options.budget,
                "quick": args.quick,
                "passes": args.passes,
                **device_options,
            },
            "footer": summary,
            "seconds": round(seconds, 1),
            "rows": [row.to_json() for row in rows],
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"Written: {args.json}")
    return 1 if summary["failed"] or later is None else 0
