"""What this machine can do, measured in the same run as the rows, and what machine it is."""

from __future__ import annotations

import os
import platform
import time
from datetime import datetime, timezone
from pathlib import Path

import torch

from pyconv import _C

from .cases import MIB
from .suites import DTYPES
from .timing import synchronizer


def fma_peak(dtype: str, threads: int, device: str) -> float | None:
    """GFLOP/s of a register-only multiply-add loop; None where nothing measures it.

    16-bit types are held against the float32 loop unless the ISA in use has a loop of their own. The best of
    several: a pool's threads may begin on one core and share it for longer than one measurement takes.
    """
    if device != "cpu":
        return None
    token = next(short for short, name in DTYPES.items() if name == dtype)
    return max(float(_C.fma_peak(token, threads)) or float(_C.fma_peak("f32", threads)) for _ in range(8))


def copy_bandwidth(device: str, size: int = 256 * MIB) -> float:
    """GB/s of copying a tensor far larger than the caches, reads and writes counted; the best of five."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    synchronize = synchronizer(device)
    best = float("inf")
    for _ in range(5):
        synchronize()
        start = time.perf_counter()
        target.copy_(source)
        synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * size / best / 1e9


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def load() -> float:
    """How many processes wanted a core in the last minute; 0 where nothing tells."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else 0.0


def machine(device: str, threads: int) -> dict[str, object]:
    """Facts a reader needs before comparing two result files."""
    facts: dict[str, object] = {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "threads": threads,
        "isa": _C.isa(),
        "torch": torch.__version__,
        "compiler": _C.build_info().get("compiler"),
        "python": platform.python_version(),
        "device": device,
        "load_before": load(),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    if device.startswith("cuda"):
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts
