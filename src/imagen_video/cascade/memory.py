"""How much memory is left for a stage's activations, and what becomes of memory that is freed."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch  # the command imports this module before it knows whether it needs torch

RESERVE = 832 << 20
"""Bytes kept free for what no plan sees: holes that freed windows leave, video encoding, buffers of
libraries. Measured: a clip of 128x768x1280 under 4 GB peaks at 3.54 GB; with 448 MB at 4.20."""

PROCESS = 640 << 20
"""Bytes of the process itself: Python, torch, the demo's text encoder (measured: 550 MB)."""

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Names of malloc.h."""
_MOST = 2**31 - 1
"""Largest C int."""


def beside_activations(held_bytes: int, state_bytes: int) -> int:
    """Return the bytes that a stage takes from a bound beside one step's activations.

    Args:
        held_bytes: what the process holds before the stage begins.
        state_bytes: what the stage keeps through all steps (z).
    """
    return held_bytes + state_bytes + RESERVE


def resident_bytes() -> int:
    """Resident memory of this process now (its peak, where the system tells only that)."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return peak_bytes()


def held_bytes(device: torch.device) -> int:
    """What this process holds where it computes: of a GPU's memory, or of the machine's."""
    if device.type == "cuda":
        import torch

        return torch.cuda.memory_allocated(device)
    return resident_bytes()


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done what it was told, so that a clock tells the truth."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


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


def keep_freed() -> None:
    """Keep freed memory for the next tensor, for the rest of the process.

    glibc takes every tensor of more than 32 MB from the system and gives it back at once, so that
    each operation on a large tile begins with thousands of page faults: 40 % of the CPU time of
    `ssr3` (docs/lab-notes.md). A process of our own calls this first; a library must not.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to do
        glibc = ctypes.CDLL(None)
        glibc.mallopt(_M_MMAP_MAX, 0)
        glibc.mallopt(_M_TRIM_THRESHOLD, _MOST)


def give_back_freed(device: torch.device | None = None) -> None:
    """Return freed memory to the system: what a finished stage held is not kept for the next."""
    gc.collect()
    if device is not None and device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to do
        ctypes.CDLL(None).malloc_trim(0)
