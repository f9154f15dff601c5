"""The environment variables that pyconv reads at run time, all of them, each once, at import.

| variable   | meaning
|
|------------|-----------------------------------------------------------------------------------------------------|
| PYCONV_ISA | strongest instruction set the CPU kernels may use: portable, avx2 or avx512 (default: the best
here) |
"""

from __future__ import annotations

import os

NAMES = ("PYCONV_ISA",)


def apply(extension) -> None:
    """Hand what the environment asks for to `extension` (pyconv._C).

    Raises ValueError, naming the variable, where the value is unknown or this machine cannot do it.
    """
    isa = os.environ.get("PYCONV_ISA")
    if isa:
        try:
            extension.set_isa(isa)
        except ValueError as error:
            raise ValueError(f"PYCONV_ISA={isa}: {error}") from error


def settings() -> dict[str, str]:
    """The variables that are set, for `python -m pyconv info`."""
    return {name: os.environ[name] for name in NAMES if name in os.environ}
