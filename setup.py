"""Builds pyconv._C against the torch that is installed: pip install --no-build-isolation .

PYCONV_CUDA=auto|0|1 and TORCH_CUDA_ARCH_LIST decide about CUDA, never a visible GPU.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from setuptools import setup

try:
    import torch
    from torch.utils import cpp_extension
except ImportError as error:
    sys.exit(
        "pyconv is built against an installed torch, and this Python has none.\n"
        "Install torch first (2.11 or newer), then: pip install --no-build-isolation .\n"
        f"({error})"
    )

ROOT = Path(__file__).parent
SUFFIXES = (".cpp", ".cu")
# Without debug information, which Python's own flags ask for: it took a third of the time. GCC 12 warns of
# uninitialised values inside its own AVX-512 headers, torch's headers have unused parameters.
COMMON = [
    *("-O3", "-g0", "-fopenmp", "-fvisibility=hidden", "-Wall", "-Wextra"),
    *("-Wno-unused-parameter", "-Wno-maybe-uninitialized", "-Wno-uninitialized"),
]


NVCC = ["-O3", "-std=c++17"]
# A baseline for every newer GPU (as machine code for sm_80 and sm_90a, as PTX for what comes after them).
DEFAULT_ARCHES = "8.0+PTX;9.0a"


def nvcc_version() -> str | None:
    """The release of the nvcc that would be used, as "13.0"; None where there is none."""
    if not cpp_extension.CUDA_HOME:
        return None
    try:
        nvcc = Path(cpp_extension.CUDA_HOME) / "bin" / "nvcc"
        text = subprocess.check_output([str(nvcc), "--version"], text=True)
    except OSError:
        return None
    found = re.search(r"release (\d+\.\d+)", text)
    return found.group(1) if found else None


def why_not_cuda() -> str:
    """Why the CUDA kernels are left out; empty if they are built."""
    choice = os.environ.get("PYCONV_CUDA", "auto")
    if choice not in ("auto", "0", "1"):
        sys.exit(f"PYCONV_CUDA must be auto, 0 or 1, got {choice!r}")
    if choice == "0":
        return "PYCONV_CUDA=0 when it was built"
    nvcc, reason = nvcc_version(), ""
    if torch.version.cuda is None:
        reason = f"torch {torch.__version__} has no CUDA"
    elif nvcc is None:
        reason = "no nvcc was found; CUDA_HOME says where it is"
    elif nvcc.split(".")[0] != torch.version.cuda.split(".")[0]:
        reason = f"nvcc is {nvcc}, torch was built with CUDA {torch.version.cuda}"
    if reason and choice == "1":
        sys.exit(f"PYCONV_CUDA=1, but {reason}")
    return reason


def sources(*folders: str, cuda: bool = False) -> list[str]:
    """The sources of some rooms, those for CUDA only if asked for, sorted so that builds are repeatable."""
    paths = [path for folder in folders for path in (ROOT / "csrc" / folder).rglob("*.c*")]
    paths = [path for path in paths if path.suffix in SUFFIXES and (cuda or "cuda" not in path.stem)]
    return sorted(str(path.relative_to(ROOT)) for path in paths)


def extension():
    rooms = ["core", "layout", "reference", "cpu", "plan", "bindings"]
    reason = why_not_cuda()
    kind, options = cpp_extension.CppExtension, {"cxx": [*COMMON, f'-DPYCONV_CUDA_REASON="{reason}"']}
    if not reason:
        # torch would otherwise compile for the GPUs that it sees.
        arches = os.environ.setdefault("TORCH_CUDA_ARCH_LIST", DEFAULT_ARCHES)
        names = ", ".join(f'"{arch}"' for arch in re.split(r"[;, ]+", arches.strip()))
        facts = [f'-DPYCONV_CUDA_VERSION="{nvcc_version()}"', f"-DPYCONV_CUDA_ARCHES={names}"]
        kind, options = cpp_extension.CUDAExtension, {"cxx": [*COMMON, *facts], "nvcc": NVCC}
        rooms.append("cuda")
    return kind(
        "pyconv._C",
        sources(*rooms, cuda=not reason),
        include_dirs=[str(ROOT / "csrc")],
        extra_compile_args=options,
        extra_link_args=["-fopenmp"],
    )


os.environ.setdefault("MAX_JOBS", str(os.cpu_count() or 1))
setup(ext_modules=[extension()], cmdclass={"build_ext": cpp_extension.BuildExtension})
