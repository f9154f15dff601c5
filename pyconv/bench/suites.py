"""The named sets of problems, one shapes file each: a problem string a line, `#` starts a comment."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from pyconv import _C

FOLDER = Path(__file__).parent / "suites"

# The token of a problem string for each dtype the bench takes, and torch's name of that dtype.
DTYPES = {"f32": "float32", "f64": "float64", "bf16": "bfloat16", "f16": "float16"}

# Of input, weight and output together, where a batch is chosen here: 1 GiB of float32.
MOST_ELEMENTS = 1 << 28


@dataclass
class Entry:
    """A problem to measure, and every suite that asked for it."""

    problem: _C.Problem
    suites: list[str] = field(default_factory=list)


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def read(name: str) -> list[str]:
    """The problem strings of a suite, in the order of its file."""
    path = FOLDER / f"{name}.txt"
    if not path.is_file():
        raise ValueError(f"bench: unknown suite {name!r}; the suites are {', '.join(names())}")
    lines = (line.split("#", 1)[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def with_dtype(problem: _C.Problem, token: str) -> _C.Problem:
    """The same problem in another dtype; `token` is a key of DTYPES."""
    kept = [part for part in str(problem).split("_") if part not in DTYPES and part != "i64"]
    return _C.Problem.parse("_".join([*kept, token]))


def with_batch(problem: _C.Problem, n: int, most_elements: int = MOST_ELEMENTS) -> _C.Problem:
    """The same problem with n images; with fewer, a power of two, where the tensors would be too large."""
    image = problem.c * problem.h * problem.w + problem.k * problem.p * problem.q
    weight = problem.k * (problem.c // problem.groups) * problem.r * problem.s
    fitting = max(1, (most_elements - weight) // max(image, 1))
    changed = _C.Problem.parse(str(problem))
    changed.n = n if n <= fitting else 1 << (fitting.bit_length() - 1)
    return changed


def in_turn(entries: list[Entry]) -> list[Entry]:
    """One of each suite, then the next of each: a run that is cut off has seen something of all of them."""
    queues: dict[str, list[Entry]] = {}
    for entry in entries:
        queues.setdefault(entry.suites[0] if entry.suites else "", []).append(entry)
    rounds = zip_longest(*queues.values())
    return [entry for round_ in rounds for entry in round_ if entry is not None]


def select(
    suites: list[str], problems: list[str], dtypes: list[str], quick: bool, batch: int = 0
) -> list[Entry]:
    """The entries to run: suites first, then single problems; a problem named twice is measured once.

    With `quick`, every third problem of a suite is kept. With no dtypes, each problem keeps its own; with no
    batch, its own number of images.
    """
    asked = [(line, suite) for suite in suites for line in read(suite)[:: 3 if quick else 1]]
    asked += [(line, "") for line in problems]
    entries: dict[str, Entry] = {}
    for token in dtypes or [""]:
        for line, suite in asked:
            problem = _C.Problem.parse(line)
            problem.validate()
            if token:
                problem = with_dtype(problem, token)
            if batch:
                problem = with_batch(problem, batch)
            entry = entries.setdefault(str(problem), Entry(problem))
            if suite and suite not in entry.suites:
                entry.suites.append(suite)
    return list(entries.values())
