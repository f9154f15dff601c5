"""One pass of one problem: verify every candidate, then time the verified ones and the peers together."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial

import torch

from pyconv import _C

from . import cases
from .clock import Call
from .oracle import Oracle
from .peers import PEERS, pyconv_call
from .report import Row
from .suites import Entry
from .timing import Entrant, round_robin, timed

# With --exhaustive, a candidate that the plan expects to take longer than this is left out: the seven loops
# on a VGG layer would take minutes to tell what is known.
EXHAUSTIVE_SECONDS = 1.0


@dataclass
class Allowance:
    """Seconds that may be spent in all, and were."""

    seconds: float = float("inf")
    spent: float = 0.0

    @property
    def used_up(self) -> bool:
        return self.spent >= self.seconds


@dataclass(frozen=True)
class Options:
    layouts: tuple[str, ...]
    device: str
    algorithm: str
    peers: tuple[str, ...]
    exhaustive: bool
    budget: float  # seconds of samples for each entrant of a row
    peak: dict[str, float | None]  # by dtype
    tf32: bool = False  # whether float32 products may be rounded to it
    tuning: Allowance = field(default_factory=Allowance)  # of first calls that try algorithms


def candidates(entry: Entry, pass_: str, layout: str, options: Options) -> list[Row]:
    """The plan's choice (or the forced algorithm), and with --exhaustive all else it could have chosen."""
    base = {
        "problem": str(entry.problem),
        "suites": entry.suites,
        "pass_": pass_,
        "layout": layout,
        "dtype": entry.problem.dtype,
    }
    try:
        table = _C.plan(entry.problem, pass_, layout, options.device.split(":")[0], options.algorithm)
    except (RuntimeError, ValueError) as error:
        return [Row(**base, algorithm=options.algorithm or "-", status="failed", note=str(error))]
    chosen = next((line for line in table if line["chosen"]), None)
    if chosen is None:
        wanted = [line for line in table if not options.algorithm or line["name"] == options.algorithm]
        reason = wanted[0]["refusal"] if len(wanted) == 1 else "no algorithm supports this problem"
        return [Row(**base, algorithm=options.algorithm or "-", status="refused", note=reason)]
    rows = [Row(**base, algorithm=chosen["name"])]
    if options.exhaustive:
        rows += [
            Row(**base, algorithm=line["name"], chosen=False)
            for line in table
            if not line["chosen"] and not line["refusal"] and line["cost"] <= EXHAUSTIVE_SECONDS
        ]
    return rows


def verify(row: Row, call: Call, rotation: cases.Rotation, oracle: Oracle, device: str) -> Entrant | None:
    """What may be timed; or None, and the row says what is wrong with it."""
    try:
        result, seconds = timed(call, rotation.sets[0], device)
        check = oracle.check(result)
    except Exception as error:  # whatever a kernel raises belongs in its row, beside the others
        row.status, row.note = "failed", f"{type(error).__name__}: {error}".splitlines()[0]
        return None
    row.error_over_bound, row.error_over_max = check.error_over_bound, check.error_over_max
    if not check.passed:
        row.status = "failed"
        row.note = f"largest error is {check.error_over_bound:.3g} times its bound"
        return None
    return Entrant(call, rotation, [seconds])


def measure(entry: Entry, pass_: str, options: Options) -> list[Row]:
    """The rows of one problem and pass, in every layout asked for."""
    problem = entry.problem
    tensors = cases.make(problem, options.device)
    oracle = Oracle(problem, pass_, tensors, options.tf32)
    rotations = {layout: cases.Rotation(tensors, layout, pass_) for layout in cases.LAYOUTS}
    rows: list[Row] = []
    entrants: dict[str, Entrant] = {}
    with torch.no_grad():
        for layout in options.layouts:
            for row in candidates(entry, pass_, layout, options):
                rows.append(row)
                if row.status != "ok":
                    continue
                # A choice is timed as a user gets it; only the alternatives are forced by name.
                call = pyconv_call(problem, pass_, options.algorithm if row.chosen else row.algorithm)
                entrant = verify(row, call, rotations[layout], oracle, options.device)
                if entrant:
                    entrants[f"{row.algorithm} {layout}"] = entrant
        if entrants:
            beside, errors = peer_entrants(problem, pass_, options, rotations, oracle)
            round_robin([*entrants.values(), *beside.values()], options.budget, options.device)
            for row in rows:
                if row.status == "ok":
                    fill(row, problem, entrants[f"{row.algorithm} {row.layout}"], beside, errors, options)
    return rows


def peer_entrants(
    problem: _C.Problem, pass_: str, options: Options, rotations: dict[str, cases.Rotation], oracle: Oracle
) -> tuple[dict[str, Entrant], dict[str, dict[str, float]]]:
    """Every peer in its layouts, with its own errors: shown beside ours, never a reason to leave it out."""
    entrants: dict[str, Entrant] = {}
    errors: dict[str, dict[str, float]] = {}
    for name in options.peers:
        peer = PEERS[name]
        tunes = peer.name == "torch_tuned"
        if peer.refusal(problem, pass_) or (tunes and options.tuning.used_up):
            continue
        call = peer.prepare(problem, pass_)
        for layout in peer.layouts:
            rotation = rotations[layout]
            try:
                started = time.perf_counter()
                result, seconds = peer.place(partial(timed, call, rotation.sets[0], options.device))
                if tunes:
                    options.tuning.spent += time.perf_counter() - started
                check = oracle.check(result)
            except (RuntimeError, NotImplementedError, ValueError, *foreign_errors(name)):
                continue  # the peer has no kernel for this dtype or shape: its columns show a dash
            key = f"{name} {layout}"
            entrants[key] = Entrant(call, rotation, [seconds], peer.place)
            errors[key] = {"error_over_bound": check.error_over_bound, "error_over_max": check.error_over_max}
    return entrants, errors


def foreign_errors(peer: str) -> tuple[type[Exception], ...]:
    """What a peer raises of its own where it has no kernel."""
    if peer != "onnxruntime":
        return ()
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.Fail,
        state.NotImplemented,
        state.InvalidArgument,
        state.InvalidGraph,
        state.RuntimeException,
    )


def fill(
    row: Row,
    problem: _C.Problem,
    entrant: Entrant,
    beside: dict[str, Entrant],
    errors: dict[str, dict[str, float]],
    options: Options,
) -> None:
    row.seconds = entrant.median
    row.samples = len(entrant.samples)
    row.gflops = problem.flops / row.seconds / 1e9
    row.gigabytes = cases.tensor_bytes(problem) / row.seconds / 1e9
    peak = options.peak.get(row.dtype)
    row.share_of_peak = row.gflops / peak if peak else None
    row.peers = {key: {"seconds": peer.median, **errors[key]} for key, peer in beside.items()}
    # In its default setting and the same layout, and in the better of all its settings and layouts.
    if f"torch {row.layout}" in beside:
        row.same_layout = beside[f"torch {row.layout}"].median / row.seconds
    times = [peer.median for key, peer in beside.items() if key.split()[0] in ("torch", "torch_tuned")]
    if times:
        row.best_layout = min(times) / row.seconds
