"""One rank of test_distributed.py: `python distributed_process.py RANK RANKS FOLDER`.

It runs every check, in order, with the other ranks, and writes what became of each to FOLDER/<check>.<rank>:
nothing if all is well, else the traceback. A check without a file was not finished.
"""

import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path

import distributed_training as distributed_training  # adds its checks
import torch
import torch.distributed as dist
from distributed_checks import CHECKS
from torch.distributed.tensor import init_device_mesh

import pyconv

SECONDS_TO_WAIT = 60  # for the other ranks, in each communication


def run(rank: int, ranks: int, folder: Path) -> int:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=SECONDS_TO_WAIT),
    )
    mesh = init_device_mesh("cpu", (ranks,))
    for name, function in CHECKS.items():
        torch.manual_seed(0)
        text, together = "", True
        start = time.perf_counter()
        try:
            with pyconv.winograd(False):  # its numbers are not exact
                function(mesh)
        except AssertionError:
            text = traceback.format_exc()
        except Exception:
            # Another rank may be waiting for this one, so there is no more to be learned.
            text, together = traceback.format_exc(), False
        print(f"rank {rank}: {name} {time.perf_counter() - start:.1f} s", flush=True)
        (folder / f"{name}.{rank}").write_text(text)
        if not together:
            return 1
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
