"""How much memory is left for a stage's activations."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import sys
from pathlib import Path

RESERVE = 448 << 20
"""Bytes kept free for what no plan sees: allocator slack, video encoding, buffers of libraries."""

PROCESS = 640 << 20
"""Bytes of the process itself: Python, torch, the demo's text encoder (measured: 550 MB)."""


def activation_budget(memory: int, held_bytes: int, state_bytes: int) -> int:
    """Return the bytes left for one step's activations.

    Args:
        memory: bytes that the process may use in all.
        held_bytes: what it holds before the stage begins.
        state_bytes: what the stage keeps through all steps (z).
    """
    return max(0, memory - held_bytes - state_bytes - RESERVE)


def resident_bytes() -> int:
    """Resident memory of this process now (its peak, where the system tells only that)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return peak_bytes()


def peak_bytes() -> int:
    """Peak resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss would include the process that started this one
        fields = dict(
            line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines()
        )
        if "VmHWM" in fields:
            return int(fields["VmHWM"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def give_back_freed() -> None:
    """Return freed memory to the system: glibc would keep a finished stage's for later."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to do
        ctypes.CDLL(None).malloc_trim(0)
