"""What a process's first convolution waits for: libraries, kernels and plans that later calls find ready."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyconv

from .report import format_time
from .suites import DTYPES

PROBLEM = "n32_c64_k64_i56x56_f3x3_p1"
WHO = ("pyconv", "torch")
SECONDS = 60  # after which a child is given up
# The pyconv that is running, wherever it was found.
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from pyconv.bench.first_call import main; main(*sys.argv[2:])"
)


def child(who: str, problem: str, device: str, precision: str) -> dict[str, object]:
    """First and second call in a fresh process, torch imported, the device initialised, operands made."""
    root = str(Path(pyconv.__file__).resolve().parent.parent)
    command = [sys.executable, "-c", START, root, who, problem, device, precision]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        return json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        lines = done.stderr.splitlines() if not isinstance(error, subprocess.TimeoutExpired) else []
        return {"error": lines[-1] if lines else f"{type(error).__name__}: {error}"}


def measure(dtype: str, device: str, precision: str) -> dict[str, object]:
    token = next(short for short, name in DTYPES.items() if name == dtype)
    problem = f"{PROBLEM}_{token}"
    return {"problem": problem, **{who: child(who, problem, device, precision) for who in WHO}}


def format_lines(result: dict) -> str:
    lines = [f"First call in a fresh process, {result['problem']} forward:"]
    for who in WHO:
        times = result[who]
        said = times.get("error") or (
            f"{format_time(times['first_seconds'])}, second call {format_time(times['second_seconds'])}"
        )
        lines.append(f"  {who:<8} {said}")
    return "\n".join(lines)
