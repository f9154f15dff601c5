"""Session rules of the test suite.

A registered algorithm that no test has executed is untested, whatever the tests say: when the whole suite has
run, the session fails and names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pyconv import _C

_TESTS = Path(__file__).parent
_partial: list[str] = []
_never_run: list[str] = []


@pytest.fixture(autouse=True)
def _same_settings_for_every_test() -> Iterator[None]:
    """Threads, ISA and Winograd are process-wide; a test that changes them leaves them as they were."""
    threads, isa, winograd = torch.get_num_threads(), _C.isa(), _C.winograd_enabled()
    yield
    _C.set_winograd_enabled(winograd)
    torch.set_num_threads(threads)
    if _C.isa() != isa:
        _C.set_isa(isa)


def pytest_collection_finish(session: pytest.Session) -> None:
    """The whole suite is running if every test file of this directory gave its tests."""
    if session.config.option.collectonly:
        _partial.append("tests were only collected")
    collected = {Path(item.path) for item in session.items}
    missing = sorted(path.name for path in _TESTS.glob("test_*.py") if path not in collected)
    if missing:
        _partial.append(f"not collected: {', '.join(missing)}")


def pytest_deselected(items: list[pytest.Item]) -> None:
    if items:
        _partial.append(f"{len(items)} tests were deselected")


def _devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() and _C.build_info()["cuda"] else ["cpu"]


def _beyond_this_machine(name: str) -> bool:
    """Rows are named after the instruction set they need; the ones this machine lacks cannot run here."""
    isa = name.rpartition("_")[2]
    return isa in {"avx2", "avx512", "avx512bf16"} and isa not in _C.isas()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.shouldstop or session.shouldfail:
        _partial.append("the session stopped early")
    if any("::" in argument for argument in session.config.args):
        _partial.append("single tests were asked for")
    if _partial or exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return
    executed = _C.executed()
    for device in _devices():
        for row in _C.algorithms(device):
            if not executed.get(tuple(row)) and not _beyond_this_machine(row[0]):
                _never_run.append(f"{device} {row[0]} {row[1]}")
    if _never_run:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _never_run:
        terminalreporter.section("registered algorithms that no test executed", red=True)
        for line in _never_run:
            terminalreporter.write_line(line)
