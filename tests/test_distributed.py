"""Two processes on gloo: the DTensor rules, DistributedDataParallel, fully_shard, and the example."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("this torch has no gloo", allow_module_level=True)

import distributed_training as distributed_training  # adds its checks
from distributed_checks import CHECKS

RANKS = 2
TESTS = Path(__file__).parent
EXAMPLE = TESTS.parent / "examples" / "digits_ddp.py"
SECONDS = 300  # a hang is a failure


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """All checks, run once: the folder of what became of each, and what the processes printed."""
    folder = tmp_path_factory.mktemp("ranks")
    outputs = [folder / f"output.{rank}.txt" for rank in range(RANKS)]
    ranks = []
    try:
        for rank, path in enumerate(outputs):
            with path.open("w") as output:
                command = [sys.executable, TESTS / "distributed_process.py", str(rank), str(RANKS), folder]
                ranks.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT))
        for process in ranks:
            process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        pass  # the checks that were not reached fail
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    return folder, "\n".join(path.read_text()[-4000:] for path in outputs)


@pytest.mark.parametrize("name", CHECKS)
def test_two_processes(processes, name):
    folder, printed = processes
    for rank in range(RANKS):
        result = folder / f"{name}.{rank}"
        assert result.exists(), f"rank {rank} did not finish {name}. The processes printed:\n{printed}"
        assert result.read_text() == "", f"rank {rank}:\n{result.read_text()}"


def test_a_plain_import_pays_nothing():
    code = "import sys, pyconv; sys.exit('torch.distributed.tensor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=SECONDS).returncode == 0


def test_the_example():
    pytest.importorskip("sklearn")
    pytest.importorskip("tqdm")
    arguments = ["--standalone", f"--nproc-per-node={RANKS}", EXAMPLE, "--epochs", "6"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    accuracy = re.search(r"2 processes, 6 epochs, .*: (.*)% of the held-out digits", done.stdout)
    assert accuracy and float(accuracy[1]) >= 94, done.stdout
