"""Imports the compiled half, pyconv._C, and says which of the things that go wrong did.

"Never built", "built for another Python", "built for torch X, running Y" and "built without CUDA" need
different answers from the reader, so they are different sentences; the exception that Python or the linker
raised is always chained, because its symbol name is what a bug report needs.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

import torch

from . import _env

_REBUILD = "Run `pip install --no-build-isolation .` in pyconv's source directory"


def _release(version: str) -> str:
    """The part of a torch version within which its C++ interface holds still: "2.13" of "2.13.0+cpu"."""
    return ".".join(version.split("+")[0].split(".")[:2])


def _explain(error: ImportError, directory: Path) -> str:
    """The sentence for an import of _C that failed with `error`."""
    built = sorted(path.name for pattern in ("_C*.so", "_C*.pyd") for path in directory.glob(pattern))
    if not built:
        return f"pyconv was never built: there is no compiled _C in {directory}. {_REBUILD}."
    if not any(f"_C{suffix}" in built for suffix in EXTENSION_SUFFIXES):
        return (
            f"pyconv was built for another Python: found {', '.join(built)}, this one loads "
            f"_C{EXTENSION_SUFFIXES[0]}. {_REBUILD} with this Python."
        )
    if re.search(r"undefined symbol|symbol not found|lib(torch|c10)", str(error)):
        return (
            f"pyconv was built for another torch than the one running, {torch.__version__}: "
            f"{error}. {_REBUILD} with this torch."
        )
    return f"pyconv's compiled half does not load: {error}"


def _check_release(built_for: str) -> None:
    """ImportError unless the running torch is of the release that the extension was compiled against.

    A mismatch often loads without a word and fails later, inside a call.
    """
    if _release(built_for) != _release(torch.__version__):
        raise ImportError(
            f"pyconv was built for torch {built_for}, running {torch.__version__}. {_REBUILD} with this "
            "torch."
        )


def _refusal(reason: str) -> Callable:
    """A kernel that answers every call with the reason why there are no CUDA kernels."""

    def refuse(*arguments, **keywords):
        raise NotImplementedError(
            f"pyconv was built without CUDA ({reason}): move the tensors to the CPU, or rebuild with nvcc "
            "present and PYCONV_CUDA=1"
        )

    return refuse


def _refuse_cuda(reason: str) -> torch.library.Library:
    """Registers the refusal for CUDA tensors, of which the dispatcher alone would say less."""
    library = torch.library.Library("pyconv", "FRAGMENT")
    for operator in ("conv2d", "conv2d_activated", "conv2d_grad_input", "conv2d_grad_weight"):
        library.impl(operator, _refusal(reason), "CUDA")
    return library


def _load() -> ModuleType:
    try:
        extension = importlib.import_module("pyconv._C")
    except ImportError as error:
        raise ImportError(_explain(error, Path(__file__).parent)) from error
    _check_release(extension.build_info()["torch"])
    _env.apply(extension)
    return extension


_C = _load()
_build = _C.build_info()
# Kept alive for as long as the module: the registrations go when the library does.
_cuda_refusals = None if _build["cuda"] else _refuse_cuda(_build["cuda_reason"])
