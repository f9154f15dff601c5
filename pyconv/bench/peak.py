"""What this machine can do, measured in the same run as the rows, and what machine it is."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from pathlib import Path

import torch

from pyconv import _C

from .cases import MIB
from .clock import clock_of
from .precision import matmul_precision
from .suites import DTYPES

# Of the square matrix product that stands for a GPU's peak: large enough to fill any.
MATRIX = 8192
# What is measured there: the dtype of a row and the precision in which it may be computed.
PRODUCTS = (("bfloat16", "ieee"), ("float16", "ieee"), ("float32", "ieee"), ("float32", "tf32"))
PRODUCTS += (("float64", "ieee"),)


def fma_peak(dtype: str, threads: int, device: str) -> float | None:
    """GFLOP/s of a register-only multiply-add loop; None where nothing measures it.

    16-bit types are held against the float32 loop unless the ISA in use has a loop of their own. The best of
    several: a pool's threads may begin on one core and share it for longer than one measurement takes.
    """
    if device != "cpu":
        return None
    token = next(short for short, name in DTYPES.items() if name == dtype)
    return max(float(_C.fma_peak(token, threads)) or float(_C.fma_peak("f32", threads)) for _ in range(8))


def matmul_peak(dtype: str, precision: str, device: str) -> float:
    """GFLOP/s of torch's square matrix product, the best of five.

    Of random numbers, because zeros take less power and let the clock rise.
    """
    made = [torch.rand(MATRIX, MATRIX, device=device).sub_(0.5).to(getattr(torch, dtype)) for _ in range(2)]
    out = torch.empty_like(made[0])
    clock = clock_of(device)

    def product(operands: list[torch.Tensor]) -> torch.Tensor:
        return torch.mm(*operands, out=out)

    with matmul_precision(precision):
        clock.read(product, [made])
        best = min(clock.read(product, [made]) for _ in range(5))
    return 2 * MATRIX**3 / best / 1e9


def device_peaks(device: str) -> dict[str, float]:
    """Every product's peak, named by its dtype, or by "tf32" where float32 may be rounded to that."""
    return {
        "tf32" if precision == "tf32" else dtype: round(matmul_peak(dtype, precision, device), 1)
        for dtype, precision in PRODUCTS
    }


def copy_bandwidth(device: str) -> float:
    """GB/s of copying a tensor far larger than the caches, reads and writes counted; the best of five."""
    size = (256 if device == "cpu" else 2048) * MIB
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    clock = clock_of(device)
    best = min(clock.read(target.copy_, [source]) for _ in range(5))
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
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "l2_bytes": properties.L2_cache_size,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return facts
