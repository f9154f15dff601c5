"""Rewrites the results table of a README, between its markers, from a result file of the bench.

    python benchmarks/update_readme.py benchmarks/results/NAME.json [--readme README.md]

Needs neither torch nor pyconv.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

BEGIN = "<!-- bench:begin -->"
END = "<!-- bench:end -->"
PASSES = ("forward", "grad_input", "grad_weight")


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def cell(rows: list[dict]) -> str:
    """Both means of a group of rows: same layout / torch's better layout."""
    if not rows:
        return "-"
    same = geometric_mean([row["same_layout"] for row in rows])
    best = geometric_mean([row["best_layout"] for row in rows])
    return f"{same:.2f} / {best:.2f}"


def table(result: dict) -> str:
    """One line a suite, one column a pass, and the worst row of the suite by name."""
    rows = [row for row in result["rows"] if row["status"] == "ok" and row["chosen"] and row["same_layout"]]
    if not rows:
        raise ValueError("the result file has no verified row with a torch time beside it")
    suites = list(dict.fromkeys(suite for row in rows for suite in row["suites"]))
    lines = [
        "| suite | rows | " + " | ".join(PASSES) + " | worst row, x torch's better layout |",
        "|---|---:|" + "---:|" * len(PASSES) + "---|",
    ]
    groups = [(name, [row for row in rows if name in row["suites"]]) for name in suites]
    for name, group in [*groups, ("**all**", rows)]:
        worst = min(group, key=lambda row: row["best_layout"])
        by_pass = " | ".join(cell([row for row in group if row["pass"] == pass_]) for pass_ in PASSES)
        where = f"{worst['best_layout']:.2f}: `{worst['problem']}` {worst['pass']} {worst['layout']}"
        lines.append(f"| {name} | {len(group)} | {by_pass} | {where} |")
    return "\n".join(lines)


def losses(result: dict) -> str:
    """The rows slower than torch, counted, the worst of them named."""
    count = result["footer"]["best_layout"]
    total = sum(count.values())
    return (
        f"Against torch's better layout, of {total} rows {count['wins']} are faster, {count['ties']} within "
        f"5 %, {count['losses']} slower."
    )


def section(result: dict, name: str) -> str:
    machine, limits = result["machine"], result["limits"]
    where = f"{machine['cpu']}, {machine['threads']} threads, {machine['isa']},"
    best, what = "torch's better layout", "FMA peak"
    if "gpu" in machine:
        where = f"{machine['gpu']}, CUDA {machine['cuda']}, float32 precision {machine['precision']},"
        best, what = "the best of torch's layouts and settings", "matrix product"
    peaks = ", ".join(f"{k} {v:.0f} GFLOP/s" for k, v in limits["fma_peak_gflops"].items() if v)
    facts = [
        f"Torch's time over pyconv's, geometric means, same layout / {best}: above 1 pyconv is",
        f"faster. {where}",
        f"torch {machine['torch']}; measured {what} {peaks or 'unknown'},",
        f"copy {limits['copy_gigabytes']:.0f} GB/s; {machine['date']}, `benchmarks/results/{name}`.",
    ]
    failed = result["footer"]["failed"]
    warning = [f"{failed} rows were not verified and are not in the table.", ""] if failed else []
    return "\n".join([*facts, "", *warning, table(result), "", losses(result)])


def replaced(readme: str, text: str) -> str:
    """`readme` with `text` between the markers, each of which must stand there exactly once, in order."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise ValueError(f"the README needs one {BEGIN} and, after it, one {END}")
    head, rest = readme.split(BEGIN)
    return f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Rewrite the results table of the README from a result file."
    )
    parser.add_argument("result", type=Path, help="written by python -m pyconv bench --json")
    parser.add_argument("--readme", type=Path, default=Path(__file__).resolve().parent.parent / "README.md")
    args = parser.parse_args(argv)
    try:
        result = json.loads(args.result.read_text(encoding="utf-8"))
        before = args.readme.read_text(encoding="utf-8")
        after = replaced(before, section(result, args.result.name))
    except (OSError, ValueError) as error:
        print(f"update_readme: {error}", file=sys.stderr)
        return 1
    args.readme.write_text(after, encoding="utf-8")
    print(f"{args.readme}: {'unchanged' if after == before else 'rewritten'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
