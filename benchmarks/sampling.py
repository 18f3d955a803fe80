"""A cascade of three stages end to end, ours beside imagen-pytorch: seconds and memory of a clip.

    python benchmarks/sampling.py [--steps 8] [--runs 5] [--threads 2]

The same plan and the same number of steps for all (`_sampling_worker.py`): 8 frames, 8x8 to 32x32
pixels, random weights, guidance on. Processes take turns, as in networks.py.
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path
from typing import Any

from _peers import peers_python
from _report import headline, machine, parser, table, write
from _sampling_worker import CONTENDERS
from networks import compare

WORKER = Path(__file__).with_name("_sampling_worker.py")
PEER = "imagen-pytorch"
PLAN = "8x8"
"""Frames and side of the first stage."""


def main() -> None:
    """Compare and print."""
    options = parser(__doc__, "sampling")
    options.add_argument("--steps", type=int, default=8, help="of every stage")
    options.add_argument("--runs", type=int, default=5, help="clips of each contender")
    options.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    args = options.parse_args()
    if args.quick:
        args.runs, args.steps = 1, 2
    pythons = {name: Path(sys.executable) for name in CONTENDERS if name != PEER}
    if not args.without_peers:
        pythons[PEER] = peers_python(args.peers, args.pip_arg)
    case = ("sample", str(args.steps), PLAN)
    result = compare(case, pythons, args.runs, args.threads, WORKER)
    medians = {name: statistics.median(about["seconds"]) for name, about in result.items()}
    first = medians["imagen-video"]
    lines: list[dict[str, Any]] = [
        {
            "cascade": name,
            "parameters": f"{about['parameters'] / 1e6:.1f}M",
            "s a clip": medians[name],
            "ratio": medians[name] / first,
            "peak MiB": round(about["peak_bytes"] / 2**20),
        }
        for name, about in result.items()
    ]
    print(table(lines))
    found = []
    if PEER in medians:
        peaks = {name: about["peak_bytes"] / 2**20 for name, about in result.items()}
        ours = peaks["imagen-video"]
        what = f"three stages, {args.steps} steps each"
        found = [
            headline(f"a clip of {what}", first, "s", medians[PEER] / first, PEER),
            headline(f"memory of {what}", ours, "MiB", peaks[PEER] / ours, PEER),
        ]
    about = {"machine": machine(), "threads": args.threads, "steps": args.steps}
    write(args.out, {**about, "contenders": result, "table": lines, "headline": found})


if __name__ == "__main__":
    main()
