"""Keep what a call frees with the process, so that no sample pays for pages that another one gave back."""

from __future__ import annotations

import ctypes

# mallopt's parameters (malloc.h) and what they are set to: nothing is given back from the heap's top, which
# grows by so much at once, and only what is larger than glibc lets this be is a mapping of its own.
_SETTINGS = {-1: 2**31 - 1, -2: 64 << 20, -3: 32 << 20}  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD


def keep_memory() -> bool:
    """Whether the C library was told so; one that is not glibc is left as it is."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return all(mallopt(parameter, value) for parameter, value in _SETTINGS.items())
