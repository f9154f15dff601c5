"""Builds pyconv._C against the torch that is installed: pip install --no-build-isolation .

PYCONV_CUDA=auto|0|1 and TORCH_CUDA_ARCH_LIST decide about CUDA, never a visible GPU.
"""

import os
import sys
from pathlib import Path

from setuptools import setup

try:
    from torch.utils import cpp_extension
except ImportError as error:
    sys.exit(
        "pyconv is built against an installed torch, and this Python has none.\n"
        "Install torch first (2.11 or newer), then: pip install --no-build-isolation .\n"
        f"({error})"
    )

ROOT = Path(__file__).parent
# GCC 12 warns of uninitialised values inside its own AVX-512 headers, torch's headers have unused parameters.
COMMON = [
    *("-O3", "-g0", "-fopenmp", "-fvisibility=hidden", "-Wall", "-Wextra"),
    *("-Wno-unused-parameter", "-Wno-maybe-uninitialized", "-Wno-uninitialized"),
]


def sources(*folders: str) -> list[str]:
    """The C++ sources of some rooms but those for CUDA, sorted so that builds are repeatable."""
    paths = [path for folder in folders for path in (ROOT / "csrc" / folder).rglob("*.cpp")]
    return sorted(str(path.relative_to(ROOT)) for path in paths if "cuda" not in path.stem)


def extension():
    reason = "not built: this is a CPU build"
    return cpp_extension.CppExtension(
        "pyconv._C",
        sources("core", "layout", "reference", "cpu", "plan", "bindings"),
        include_dirs=[str(ROOT / "csrc")],
        define_macros=[("PYCONV_CUDA_REASON", f'"{reason}"')],
        extra_compile_args={"cxx": COMMON},
        extra_link_args=["-fopenmp"],
    )


os.environ.setdefault("MAX_JOBS", str(os.cpu_count() or 1))
setup(ext_modules=[extension()], cmdclass={"build_ext": cpp_extension.BuildExtension})
