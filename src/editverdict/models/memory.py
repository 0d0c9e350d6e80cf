"""Memory that the process has no more use for."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return free memory of the process to the system, where the C library can (glibc keeps it otherwise)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
