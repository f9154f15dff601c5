"""`python -m pyconv demo`: edges of photographs, the textbook's learned kernel, digits read by a small CNN.

The exit status is 0 only if all three do what they promise: the filters agree with torch, the learned kernel
is within 0.1 of (1, -1), and at least 97 % of the held-out digits are read right.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path

__all__ = ["main"]

NEEDED = {"sklearn": "scikit-learn", "matplotlib": "matplotlib", "PIL": "pillow", "tqdm": "tqdm"}


def missing() -> list[str]:
    return [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m pyconv demo", description="Three small jobs on real input."
    )
    made.add_argument(
        "--output", type=Path, default=Path("demo_output"), metavar="DIR", help="for the pictures"
    )
    made.add_argument("--epochs", type=int, default=20, help="epochs of the digits network (default 20)")
    made.add_argument(
        "--only", nargs="+", choices=["photograph", "kernel", "digits"], help="default: all three"
    )
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the demo; the result is the exit status."""
    args = parser().parse_args(argv)
    if absent := missing():
        print(f"demo: please install {', '.join(absent)}: pip install 'pyconv[demo]'", file=sys.stderr)
        return 2
    from . import digits, kernel, photograph  # after the check: they import what it looks for

    parts = {
        "photograph": lambda: photograph.run(args.output),
        "kernel": kernel.run,
        "digits": lambda: digits.run(args.epochs),
    }
    start = time.perf_counter()
    failures: list[str] = []
    for number, (name, part) in enumerate(parts.items(), start=1):
        if args.only is None or name in args.only:
            print(f"\n== {number}. {part_title(name)}", flush=True)
            failures += part()
    print(f"\nDone in {time.perf_counter() - start:.0f} s.")
    for failure in failures:
        print(f"MISSED: {failure}", file=sys.stderr)
    return 1 if failures else 0


def part_title(name: str) -> str:
    return {
        "photograph": "Edges in two photographs",
        "kernel": "The textbook's learned kernel",
        "digits": "Reading digits with a small CNN",
    }[name]
