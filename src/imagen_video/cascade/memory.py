"""How much memory is left for a stage's activations."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

RESERVE = 192 << 20
"""Bytes kept free for what no plan sees: allocator slack, video encoding, buffers of libraries."""


def activation_budget(memory: int, state_bytes: int) -> int:
    """Return the bytes left for one step's activations.

    Args:
        memory: bytes that the process may use in all.
        state_bytes: what the stage keeps through all steps (z).
    """
    return max(0, memory - resident_bytes() - state_bytes - RESERVE)


def resident_bytes() -> int:
    """Resident memory of this process now (its peak, where the system tells only that)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return peak_bytes()


def peak_bytes() -> int:
    """Peak resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
