"""What installing a distribution puts on the disk: run by the interpreter of an environment.

python benchmarks/_installed.py NAME ...        prints one JSON object, by name
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

SOURCES = Path(__file__).resolve().parents[1] / "src"


def distributions(name: str) -> tuple[set[str], set[str]]:
    """Return what one distribution brings, without its extras: what is here, and what is not."""
    found: set[str] = set()
    absent: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop().lower().replace("_", "-")
        if current in found | absent:
            continue
        try:
            requires = metadata.requires(current) or []
        except metadata.PackageNotFoundError:
            absent.add(current)
            continue
        found.add(current)
        needs = map(Requirement, requires)
        waiting += [n.name for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})]
    return found, absent


def megabytes(name: str) -> float:
    """Return the size of a distribution's installed files; an editable one has its sources."""
    if name == "imagen-video":
        files = [path for path in SOURCES.rglob("*") if "__pycache__" not in path.parts]
    else:
        files = [Path(str(file.locate())) for file in metadata.files(name) or []]
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def installed(name: str) -> dict[str, Any]:
    """Describe an installation: megabytes by distribution, and what it lacks."""
    found, absent = distributions(name)
    sizes = {each: megabytes(each) for each in found}
    return {
        "MB": sum(sizes.values()),
        "MB without torch": sum(sizes.values()) - sizes.get("torch", 0.0),
        "distributions": len(found),
        "not installed": sorted(absent),
        "sizes": dict(sorted(sizes.items(), key=lambda item: -item[1])),
    }


if __name__ == "__main__":
    print(json.dumps({name: installed(name) for name in sys.argv[1:]}))
