"""What every benchmark says about itself: the machine, a table, and a JSON file."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "build" / "bench"
"""Where results lie unless a script is told otherwise; table.py reads them there."""
QUICK = "quick"
"""Folder beside results that those of quick runs lie in."""
LOOK_SECONDS = 1.0
"""How long other work is looked for before a benchmark begins."""
PEERS_FOLDER = ROOT / "build" / "peers-venv"
"""Environment of the peers, made by the first benchmark that needs them."""
PACKAGES = ("imagen-video", "torch", "numpy", "transformers", "av")


_other: dict[str, float | None] = {}


def machine() -> dict[str, Any]:
    """Return the processor, the memory, the versions and the time of a measurement."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "busy_at_start": _other.get("busy"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions(PACKAGES),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def parser(doc: str | None, name: str) -> argparse.ArgumentParser:
    """Return the options that every benchmark has, so that one list of them can go to all.

    Where to write, a quick run that proves it, and the peers: a benchmark without peers takes
    their options and has no use for them.

    Args:
        doc: the script's docstring.
        name: of its result.
    """
    _other["busy"] = busy_cores(LOOK_SECONDS)
    options = _Parser(description=(doc or "").partition("\n")[0])
    options.add_argument("--out", type=Path, default=BENCH / f"{name}.json")
    options.add_argument(
        "--quick",
        action="store_true",
        help="prove that it runs; the numbers mean nothing, and go to the folder quick beside OUT",
    )
    peers = options.add_argument_group("peers", "no effect on a benchmark that has none")
    peers.add_argument("--peers", type=Path, default=PEERS_FOLDER, help="their environment")
    peers.add_argument("--without-peers", action="store_true", help="measure ours only")
    peers.add_argument("--pip-arg", action="append", default=[], help="option of pip install")
    return options


class _Parser(argparse.ArgumentParser):
    """Keeps the numbers of a quick run away from results, wherever those are asked for."""

    def parse_args(self, *args: Any, **more: Any) -> Any:
        found = super().parse_args(*args, **more)
        if found.quick:
            found.out = found.out.parent / QUICK / found.out.name
        return found


def busy_cores(seconds: float) -> float | None:
    """Return how many cores worked in the next seconds, while we wait; None where none can tell."""
    try:
        before, after = _ticks(), (time.sleep(seconds), _ticks())[1]
    except OSError:
        return None
    total, idle = (b - a for a, b in zip(before, after, strict=True))
    return len(os.sched_getaffinity(0)) * (1 - idle / total) if total else None


def _ticks() -> tuple[int, int]:
    """Ticks of all cores since the machine began, and those of them that were idle."""
    fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    ticks = [int(field) for field in fields]
    return sum(ticks), ticks[3] + ticks[4]


def headline(
    what: str,
    value: float | None,
    unit: str,
    ratio: float | None = None,
    against: str = "",
    *,
    error: float | None = None,
) -> dict[str, Any]:
    """Return a line of the one table that table.py prints.

    Args:
        what: was measured.
        value: of ours, or of what is named.
        unit: of the value.
        ratio: how many times more something else takes; above 1 we are better.
        against: what that is.
        error: standard error of the value.
    """
    line = {"what": what, "value": value, "error": error, "unit": unit}
    return line | {"ratio": ratio, "against": against}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Fit p of value ~ size^p by least squares of the logarithms.

    Raises:
        ValueError: for fewer than two different sizes.
    """
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    if not spread:
        raise ValueError("an exponent needs at least two different sizes")
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread


def versions(names: Sequence[str]) -> dict[str, str]:
    """Return the installed versions among some distributions."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format rows with the same keys as a Markdown table; floats keep three digits."""
    if not rows:
        return "(nothing measured)"
    names = list(rows[0])
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON, beside its place and renamed there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)
    print(f"\nwritten to {path}", file=sys.stderr)
