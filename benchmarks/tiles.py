"""How many tiles the CPU kernels cut the suites into, and how busy that keeps so many threads: the table of
docs/architecture.md. Nothing is run.

    python benchmarks/tiles.py [--threads 2 8 16 64] [--layout nchw]

A call's step of T equal tiles keeps W threads busy for T / (W * ceil(T / W)) of the time it takes. Shown are
the tiles of its largest step (others pack weights or add partial sums): least, median; median of the share.
"""

from __future__ import annotations

import argparse
import math
import statistics

from pyconv import _C
from pyconv.bench import suites

PASSES = ("forward", "grad_input", "grad_weight")


def busy(tiles: int, threads: int) -> float:
    return tiles / (threads * math.ceil(tiles / threads))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 8, 16, 64])
    parser.add_argument("--layout", choices=("nchw", "nhwc"), default="nchw")
    options = parser.parse_args()
    print("| suite | pass | " + " | ".join(f"{threads} threads" for threads in options.threads) + " |")
    print("|---|---|" + "---:|" * len(options.threads))
    for suite in suites.names():
        for pass_ in PASSES:
            cells = []
            for threads in options.threads:
                counts = [
                    max(steps)
                    for entry in suites.select([suite], [], [], quick=False)
                    if (steps := _C.tiles(entry.problem, pass_, options.layout, threads))
                ]
                share = [busy(count, threads) for count in counts]
                cells.append(
                    f"{min(counts)}, {statistics.median(counts):.0f}; {100 * statistics.median(share):.0f} %"
                )
            print(f"| {suite} | {pass_} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
