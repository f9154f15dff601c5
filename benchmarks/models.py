"""Whole networks, torch eager against the same network after pyconv.convert: verified, then timed.

    python benchmarks/models.py [resnet50 unet ...] [--layout nchw nhwc] [--batch 4] [--json FILE]

The networks are those of tests/architectures.py in their published size, with random weights and images of
224 pixels; all but the U-Net need the transformers package. A step and an inference are first compared with
torch's in float32, inside the bound of tests/agreement.py; what is outside is printed as FAILED, is not
timed, and makes the exit status 1. Then one call of each library in each layout is timed in turn, and
again, --rounds times. The medians make a Markdown table.

A training step is forward, backward and SGD; an inference is a forward pass in eval mode. Both include all
the layers that are no convolutions, which are torch's on both sides.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import pyconv
from pyconv.bench.peak import load, machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from agreement import LAYOUTS, refer
from architectures import ARCHITECTURES, Architecture

WORK = ("training", "inference")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(ARCHITECTURES)}")
    parser.add_argument("--layout", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--batch", type=int, help="images a step (default: 4, of the segmenters 1)")
    parser.add_argument("--small", action="store_true", help="the networks of the tests: does it run at all?")
    parser.add_argument("--rounds", type=int, default=9, help="samples of each time (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine facts, rows and samples")
    options = parser.parse_args()
    for name in options.models:
        if name not in ARCHITECTURES:
            parser.error(f"no model {name!r}; there are {', '.join(ARCHITECTURES)}")
    return options


def training_step(model: nn.Module, images: Tensor) -> Callable[[], None]:
    model.train()
    # A rate that leaves the weights as they are: a step of the last round does the work of the first one's.
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)

    def step() -> None:
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()

    return step


def inference(model: nn.Module, images: Tensor) -> Callable[[], None]:
    model.eval()

    def call() -> None:
        with torch.inference_mode():
            model(images)

    return call


def in_turn(calls: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call in each round, after one round that is not counted."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds + 1):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                if turn:
                    samples[name].append(time.perf_counter() - start)
    finally:
        gc.enable()
    return samples


def measure(architecture: Architecture, options: argparse.Namespace) -> dict:
    full = not options.small
    batch = options.batch or architecture.full_batch
    model, images = architecture.build(full), architecture.images(batch, full)
    report = pyconv.convert(copy.deepcopy(model))
    row: dict = {
        "model": architecture.name,
        "batch": batch,
        "pixels": images.size(-1),
        "replaced": len(report.replaced),
        "left": report.left,
        "shares": {},
        "samples": {},
    }
    for training in (True, False):
        reference = refer(model.train(training), images, "float32")
        for layout in options.layout:
            found = reference.shares(report.model.train(training), LAYOUTS[layout])
            worst = max(found, key=lambda name: found[name])
            row["shares"][f"{layout} {'train' if training else 'eval'}"] = (found[worst], worst)
    pairs = {}
    for layout in options.layout:
        torchs = copy.deepcopy(model).to(memory_format=LAYOUTS[layout])
        ours = copy.deepcopy(report.model).to(memory_format=LAYOUTS[layout])
        laid = images.contiguous(memory_format=LAYOUTS[layout])
        pairs[layout] = {"torch": (torchs, laid), "pyconv": (ours, laid)}
    row["largest"] = max(share for share, _ in row["shares"].values())
    row["passed"] = all(share <= 1 for share, _ in row["shares"].values())
    if row["passed"]:
        for work, make in (("inference", inference), ("training", training_step)):
            calls = {
                f"{work} {who} {layout}": make(*pairs[layout][who])
                for layout in options.layout
                for who in ("pyconv", "torch")
            }
            row["samples"] |= in_turn(calls, options.rounds)
    row["medians"] = {name: statistics.median(seconds) for name, seconds in row["samples"].items()}
    return row


def cells(row: dict, layouts: list[str]) -> list[str]:
    """The columns of a row: of each work, torch's and pyconv's time in each layout, then the better ones'."""
    found = [
        f"{row['model']}, {row['batch']} x {row['pixels']}x{row['pixels']}",
        f"{row['replaced']} of {row['replaced'] + len(row['left'])}",
        f"{row['largest']:.2f}",
    ]
    if not row["passed"]:
        return found + ["FAILED"] + [""] * (len(WORK) * (len(layouts) + 1) - 1)
    for work in WORK:
        best = dict.fromkeys(("torch", "pyconv"), float("inf"))
        for layout in layouts:
            theirs, ours = (row["medians"][f"{work} {who} {layout}"] for who in ("torch", "pyconv"))
            best = {"torch": min(best["torch"], theirs), "pyconv": min(best["pyconv"], ours)}
            found.append(f"{1e3 * theirs:.0f} / {1e3 * ours:.0f}")
        found.append(f"{best['torch'] / best['pyconv']:.2f}")
    return found


def main() -> int:
    options = arguments()
    torch.set_num_threads(options.threads)
    facts = machine("cpu", options.threads)
    heads = ["model, images", "layers replaced", "error / bound"]
    for work in WORK:
        heads += [f"{work}, {layout}" for layout in options.layout] + ["x"]
    print(
        f"Milliseconds of torch / of pyconv, medians of {options.rounds}; x: torch's better layout "
        f"over pyconv's better layout, above 1 pyconv is faster. {facts['cpu']}, {options.threads} threads, "
        f"{facts['isa']}, torch {facts['torch']}, float32, {facts['date']}.\n"
    )
    print(f"| {' | '.join(heads)} |")
    print(f"|---|---:|{'---:|' * (len(heads) - 2)}", flush=True)
    rows = []
    for name in options.models or ARCHITECTURES:
        rows.append(measure(ARCHITECTURES[name], options))
        print(f"| {' | '.join(cells(rows[-1], options.layout))} |", flush=True)
    failed = [row for row in rows if not row["passed"]]
    for row in failed:
        print(f"FAILED: {row['model']}: {row['shares']}", file=sys.stderr)
    for row in rows:
        for name, reason in row["left"]:
            print(f"left in {row['model']}: {name}: {reason}", file=sys.stderr)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        result = {"machine": facts, "rounds": options.rounds, "load_after": load(), "rows": rows}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
