"""On what machine numbers were measured."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from imagen_video.data.workers import num_cores


def machine() -> dict[str, Any]:
    """Return the processor, the cores, the memory, the system and the time, as plain values."""
    return {
        "processor": _processor(),
        "cores": num_cores(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    """Return the memory of the machine; None where the system does not tell."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return round(size / 2**30, 1) if size > 0 else None
