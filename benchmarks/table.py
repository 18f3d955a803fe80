"""The one table: what every benchmark found, with ratios.

    python benchmarks/table.py [--bench build/bench] [--quick]

A ratio against a peer is how many times more it takes than ours: above 1, ours is better. Other
ratios say what they compare. A row that was measured beside other work says how many cores that
took: times and memory are then indications, scores are not touched by it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from _report import BENCH, QUICK, table

IDLE_CORES = 0.1
"""Cores that other work may take on a machine that counts as idle: what an idle system does."""


def other_work(result: dict[str, Any]) -> str:
    """Say how many cores were busy with something else before a benchmark began; "" if none."""
    machine = result.get("machine", {})
    busy = machine.get("busy_at_start")
    if busy is None:
        return "not looked for"
    return f"{busy:.2g} of {machine['cores']} cores" if busy > IDLE_CORES else ""


def lines_of(name: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the headlines of a result."""
    return [
        {
            "benchmark": name,
            "what": line["what"],
            "value": line["value"],
            "+-": line.get("error"),
            "unit": line["unit"],
            "ratio": line["ratio"],
            "against": line["against"],
            "other work": other_work(result),
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
    parser.add_argument("--quick", action="store_true", help="what quick runs wrote instead")
    args = parser.parse_args()
    folder = args.bench / QUICK if args.quick else args.bench
    paths = sorted(folder.glob("*.json"))
    if not paths:
        sys.exit(
            f"table: got no results in {folder}; expected those of benchmarks; "
            f"run `make bench{' BENCH_ARGS=--quick' if args.quick else ''}`"
        )
    results = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    print(f"{machine_line(list(results.values()))}\n")
    print(table([line for name, result in results.items() for line in lines_of(name, result)]))
    if args.quick:
        print("\nQuick runs: proof that the benchmarks run; the numbers mean nothing")
    busy = [f"{name} ({said})" for name, result in results.items() if (said := other_work(result))]
    if busy:
        print(f"\nTimes and memory are indications, as other work ran beside: {', '.join(busy)}")


if __name__ == "__main__":
    main()
