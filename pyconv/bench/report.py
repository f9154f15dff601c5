"""Rows, their table, and the footer that sums them up: means, worst row, wins and losses."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

# A peer's time is within noise of ours inside this band: neither a win nor a loss.
TIE = 0.05


@dataclass
class Row:
    """One (problem, pass, layout, algorithm). `status` is ok, failed (not verified, not timed) or refused."""

    problem: str
    suites: list[str]
    pass_: str
    layout: str
    dtype: str
    algorithm: str
    chosen: bool = True  # the plan's choice (or the forced algorithm); others are there with --exhaustive
    status: str = "ok"
    note: str = ""
    seconds: float | None = None
    samples: int = 0
    gflops: float | None = None
    share_of_peak: float | None = None
    gigabytes: float | None = None
    same_layout: float | None = None  # torch's time in this layout / ours
    best_layout: float | None = None  # torch's time in its better layout (on CUDA: and setting) / ours
    error_over_bound: float | None = None
    error_over_max: float | None = None
    peers: dict[str, dict[str, float]] = field(default_factory=dict)  # "torch nchw" -> seconds, errors

    def times(self, peer: str) -> float | None:
        """The peer's time, in its better layout, over ours; None where it was not timed."""
        seconds = [measured["seconds"] for key, measured in self.peers.items() if key.split()[0] == peer]
        return min(seconds) / self.seconds if seconds and self.seconds else None

    def to_json(self) -> dict[str, object]:
        """Times to a microsecond's thousandth, ratios to four digits: enough, and a diff that can be read."""
        rounded = {
            key: float(f"{value:.4g}") if isinstance(value, float) and math.isfinite(value) else value
            for key, value in vars(self).items()
        }
        rounded["pass"] = rounded.pop("pass_")
        rounded["peers"] = {
            name: {key: float(f"{value:.4g}") for key, value in measured.items() if math.isfinite(value)}
            for name, measured in self.peers.items()
        }
        for key in ("error_over_bound", "error_over_max"):
            if rounded[key] is not None and not math.isfinite(rounded[key]):
                rounded[key] = None
        return rounded


HEADERS = ("pass", "layout", "algorithm", "time", "GFLOP/s", "% peak", "GB/s", "x same", "x best", "err/bnd")
WIDTHS = (11, 6, 26, 10, 8, 6, 6, 7, 7, 7)
OTHER_WIDTH = 7


def header(problem_width: int, others: Iterable[str] = ()) -> str:
    """`others` are the labels of peers that have a column of their own at the end."""
    cells = [f"{'problem':<{problem_width}}"]
    columns = list(zip(HEADERS, WIDTHS, strict=True))
    cells += [f"{text:<{width}}" for text, width in columns[:3]] + [
        f"{text:>{width}}" for text, width in columns[3:]
    ]
    cells += [f"{'x ' + label:>{OTHER_WIDTH}}" for label in others]
    line = "  ".join(cells)
    return f"{line}\n{'-' * len(line)}"


def format_time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.4g} {unit}"
    return f"{seconds / 1e-9:.4g} ns"


def number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def format_row(row: Row, problem_width: int, others: Iterable[str] = ()) -> str:
    """`others` are the names of peers that have a column of their own at the end."""
    name = row.algorithm if row.chosen else f"  {row.algorithm}"
    start = f"{row.problem:<{problem_width}}  {row.pass_:<11}  {row.layout:<6}  {name:<26}"
    if row.status != "ok":
        return f"{start}  {row.status.upper()}: {row.note}"
    peak = None if row.share_of_peak is None else 100 * row.share_of_peak
    cells = (
        format_time(row.seconds or 0.0),
        number(row.gflops),
        number(peak),
        number(row.gigabytes),
        number(row.same_layout, 2),
        number(row.best_layout, 2),
        "-" if row.error_over_bound is None else f"{row.error_over_bound:.1e}",
    )
    line = start + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, WIDTHS[3:], strict=True))
    return line + "".join(f"  {number(row.times(name), 2):>{OTHER_WIDTH}}" for name in others)


def geometric_mean(values: Iterable[float]) -> float | None:
    logs = [math.log(value) for value in values if value > 0]
    return math.exp(sum(logs) / len(logs)) if logs else None


def compared(rows: list[Row]) -> list[Row]:
    """The rows that stand for pyconv: verified, timed, the plan's choice, and beside a torch time."""
    return [row for row in rows if row.status == "ok" and row.chosen and row.same_layout is not None]


def means(rows: list[Row]) -> dict[str, object]:
    rows = compared(rows)
    return {
        "rows": len(rows),
        "same_layout": geometric_mean(row.same_layout for row in rows),
        "best_layout": geometric_mean(row.best_layout for row in rows),
    }


def worst(rows: list[Row]) -> Row | None:
    return min(compared(rows), key=lambda row: row.best_layout, default=None)


def named(row: Row) -> str:
    return f"{row.problem} {row.pass_} {row.layout}"


def plan_hits(rows: list[Row]) -> dict[str, object] | None:
    """How often the plan's choice was the measured best; a choice within the tie band of the best counts."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.status == "ok":
            groups.setdefault((row.problem, row.pass_, row.layout), []).append(row)
    contested = [group for group in groups.values() if len(group) > 1 and any(row.chosen for row in group)]
    if not contested:
        return None
    lost = []
    for group in contested:
        best = min(group, key=lambda row: row.seconds)
        chosen = next(row for row in group if row.chosen)
        if chosen.seconds > best.seconds * (1 + TIE):
            lost.append((chosen.seconds / best.seconds, chosen, best))
    lost.sort(key=lambda item: -item[0])
    misses = [
        {
            "row": named(chosen),
            "chosen": chosen.algorithm,
            "best": best.algorithm,
            "times_slower": round(ratio, 3),
        }
        for ratio, chosen, best in lost
    ]
    return {"contested": len(contested), "picked_best": len(contested) - len(lost), "misses": misses}


def beside(rows: list[Row], peer: str) -> dict[str, object] | None:
    """How pyconv stands beside a peer other than torch; None where it was timed nowhere."""
    pairs = [(row.times(peer), row) for row in rows if row.status == "ok" and row.chosen]
    pairs = [(ratio, row) for ratio, row in pairs if ratio is not None]
    if not pairs:
        return None
    pairs.sort(key=lambda pair: pair[0])
    losses = [{"row": named(row), "times": round(ratio, 3)} for ratio, row in pairs if ratio < 1 - TIE]
    return {
        "rows": len(pairs),
        "mean": geometric_mean(ratio for ratio, _ in pairs),
        **wins(ratio for ratio, _ in pairs),
        "worst": {"row": named(pairs[0][1]), "times": pairs[0][0]},
        "lost": losses,
    }


def footer(rows: list[Row]) -> dict[str, object]:
    """Everything the last lines say, as data."""
    others = dict.fromkeys(key.split()[0] for row in rows for key in row.peers)
    others = {name: beside(rows, name) for name in others if name != "torch"}
    shown = compared(rows)
    passes = dict.fromkeys(row.pass_ for row in shown)
    suites = dict.fromkeys(suite for row in shown for suite in row.suites)
    dtypes = dict.fromkeys(row.dtype for row in shown)
    slowest = worst(rows)
    return {
        "overall": means(rows),
        "passes": {name: means([row for row in shown if row.pass_ == name]) for name in passes},
        "dtypes": {name: means([row for row in shown if row.dtype == name]) for name in dtypes},
        "suites": {name: means([row for row in shown if name in row.suites]) for name in suites},
        "worst": None if slowest is None else {"row": named(slowest), "best_layout": slowest.best_layout},
        "same_layout": wins(row.same_layout for row in shown),
        "best_layout": wins(row.best_layout for row in shown),
        "failed": sum(row.status == "failed" for row in rows),
        "refused": sum(row.status == "refused" for row in rows),
        "plan": plan_hits(rows),
        "others": {name: summary for name, summary in others.items() if summary},
    }


def wins(ratios: Iterable[float]) -> dict[str, int]:
    counts = {"wins": 0, "ties": 0, "losses": 0}
    for ratio in ratios:
        counts["wins" if ratio > 1 + TIE else "losses" if ratio < 1 - TIE else "ties"] += 1
    return counts


def format_footer(summary: dict, rows: list[Row], losses_shown: int = 10) -> str:
    # With torch_tuned beside it, torch's best is over two layouts and two settings.
    best = "best setting" if "torch_tuned" in summary["others"] else "best layout"

    def line(label: str, mean: dict) -> str:
        return (
            f"  {label:<16} {mean['rows']:>5} rows   x torch, same layout {number(mean['same_layout'], 2):>7}"
            f"   x torch, its {best} {number(mean['best_layout'], 2):>7}"
        )

    lines = ["Geometric means of torch's time over pyconv's:", line("overall", summary["overall"])]
    for kind in ("passes", "dtypes", "suites"):
        if len(summary[kind]) > 1:
            lines += [line(name, mean) for name, mean in summary[kind].items()]
    for key, label in (("same_layout", "same layout"), ("best_layout", f"torch's {best}")):
        count = summary[key]
        wins_and_ties = f"{count['wins']} wins, {count['ties']} ties (within {TIE:.0%})"
        lines.append(f"Against {label}: {wins_and_ties}, {count['losses']} losses")
    losses = [row for row in compared(rows) if row.best_layout < 1 - TIE]
    losses.sort(key=lambda row: row.best_layout)
    if summary["worst"]:
        slowest = summary["worst"]
        lines.append(f"Worst row: {slowest['row']}, {slowest['best_layout']:.2f} x torch's {best}")
    if losses:
        lines.append(f"Slower than torch's {best} (the worst {min(losses_shown, len(losses))}):")
        lines += [f"  {row.best_layout:5.2f}  {named(row)}  {row.algorithm}" for row in losses[:losses_shown]]
    for name, other in summary["others"].items():
        lines += format_other(name, other, losses_shown)
    plan = summary["plan"]
    if plan:
        share = f"{plan['picked_best']} of {plan['contested']}"
        lines.append(f"The plan picked the measured best (within {TIE:.0%}) in {share}")
        lines += [
            f"  {miss['times_slower']:5.2f}  {miss['row']}: chose {miss['chosen']}, best {miss['best']}"
            for miss in plan["misses"][:losses_shown]
        ]
    if summary["refused"]:
        lines.append(f"Refused: {summary['refused']} rows, not measured")
    if summary["failed"]:
        lines.append(f"FAILED: {summary['failed']} rows were not verified and not timed")
    return "\n".join(lines)


def format_other(name: str, other: dict, losses_shown: int) -> list[str]:
    lines = [
        f"Against {name}, {other['rows']} rows: geometric mean {other['mean']:.2f}, {other['wins']} wins, "
        f"{other['ties']} ties, {other['losses']} losses; worst {other['worst']['times']:.2f}, "
        f"{other['worst']['row']}"
    ]
    return lines + [f"  {lost['times']:5.2f}  {lost['row']}" for lost in other["lost"][:losses_shown]]
