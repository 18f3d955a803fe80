"""The one table: what every benchmark found, with ratios.

    python benchmarks/table.py [--bench build/bench]

A ratio against a peer is how many times more it takes than ours: above 1, ours is better. Other
ratios say what they compare. What was measured beside other work is marked as an indication.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from _report import BENCH, table

IDLE = 0.5
"""Share of all cores that other work may take on a machine that counts as idle."""


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Read the headlines of a result."""
    result = json.loads(path.read_text(encoding="utf-8"))
    return [
        {
            "benchmark": path.stem,
            "what": line["what"],
            "value": line["value"],
            "unit": line["unit"],
            "ratio": line["ratio"],
            "against": line["against"],
        }
        for line in result.get("headline", ())
    ]


def machine_line(results: list[dict[str, Any]]) -> str:
    """Say where the numbers come from."""
    found = [result["machine"] for result in results if "machine" in result]
    machines = {
        f"{m['processor']}, {m['cores']} cores, {m['memory_gib']} GiB, "
        f"torch {m['versions']['torch']}"
        for m in found
    }
    return "; ".join(sorted(machines)) or "unknown machine"


def main() -> None:
    """Print all results that there are."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bench", type=Path, default=BENCH)
    args = parser.parse_args()
    paths = sorted(args.bench.glob("*.json"))
    if not paths:
        sys.exit(f"no results in {args.bench}: run `make bench`")
    results = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    print(f"{machine_line(results)}\n")
    print(table([line for path in paths for line in lines_of(path)]))
    busy = [
        path.stem
        for path, result in zip(paths, results, strict=True)
        if (m := result.get("machine")) and (m["busy_at_start"] or 0) > IDLE * m["cores"]
    ]
    if busy:
        print(f"\nIndications only, as other work ran beside: {', '.join(busy)}")


if __name__ == "__main__":
    main()
