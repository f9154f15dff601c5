"""The named sets of problems, one shapes file each: a problem string a line, `#` starts a comment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pyconv import _C

FOLDER = Path(__file__).parent / "suites"

# The token of a problem string for each dtype the bench takes, and torch's name of that dtype.
DTYPES = {"f32": "float32", "f64": "float64", "bf16": "bfloat16", "f16": "float16"}


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


def select(suites: list[str], problems: list[str], dtypes: list[str], quick: bool) -> list[Entry]:
    """The entries to run: suites first, then single problems; a problem named twice is measured once.

    With `quick`, every third problem of a suite is kept. With no dtypes, each problem keeps its own.
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
            entry = entries.setdefault(str(problem), Entry(problem))
            if suite and suite not in entry.suites:
                entry.suites.append(suite)
    return list(entries.values())
