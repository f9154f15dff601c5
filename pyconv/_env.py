"""The environment variables that pyconv reads at run time, all of them, each once, at import.

PYCONV_ISA       strongest instruction set the CPU kernels may use: portable, avx2, avx512 or avx512bf16
                 (default: the best here)
PYCONV_WINOGRAD  0 switches the Winograd kernels off, as pyconv.winograd(False) does for a block (default: 1)
"""

from __future__ import annotations

import os

NAMES = ("PYCONV_ISA", "PYCONV_WINOGRAD")


def apply(extension) -> None:
    """Hand what the environment asks for to `extension` (pyconv._C).

    Raises ValueError, naming the variable, where the value is unknown or this machine cannot do it.
    """
    winograd = os.environ.get("PYCONV_WINOGRAD", "1")
    if winograd not in ("0", "1"):
        raise ValueError(f"PYCONV_WINOGRAD must be 0 or 1, got {winograd!r}")
    extension.set_winograd_enabled(winograd == "1")
    isa = os.environ.get("PYCONV_ISA")
    if isa:
        try:
            extension.set_isa(isa)
        except ValueError as error:
            raise ValueError(f"PYCONV_ISA={isa}: {error}") from error


def settings() -> dict[str, str]:
    """The variables that are set, for `python -m pyconv info`."""
    return {name: os.environ[name] for name in NAMES if name in os.environ}
