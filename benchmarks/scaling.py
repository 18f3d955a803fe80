"""How time and memory grow with frames, pixels and parameters: the exponents.

    python benchmarks/scaling.py [--network imagen-video] [--mode train] [--runs 5] [--threads 2]

Every point is a process of its own; they take turns, and medians count. value ~ size^p, p by least
squares of the logarithms over the points that are shown. Memory is what a process holds beyond its
libraries. Parameters grow by width and depth at once (sizes S, M and L of networks.py), so their
exponent is that of those three networks.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from _peers import peers_python
from _report import exponent, headline, machine, parser, table, write
from networks import PEERS, Contender

POINTS: dict[str, tuple[tuple[str, str], ...]] = {
    "frames": tuple(("M", f"{frames}x24x40") for frames in (4, 8, 16, 32)),
    "pixels": tuple(("M", f"8x{height}x{height * 5 // 3}") for height in (24, 48, 72, 96)),
    "parameters": tuple((size, "16x24x40") for size in ("S", "M", "L")),
}
"""What grows -> size and shape of every point."""
QUICK = {
    "frames": (("S", "2x8x16"), ("S", "4x8x16")),
    "pixels": (("S", "2x8x16"), ("S", "2x16x32")),
    "parameters": (("S", "2x8x16"), ("M", "2x8x16")),
}


def size_of(axis: str, point: tuple[str, str], about: dict[str, Any]) -> float:
    """How large a point is along an axis."""
    frames, height, width = map(int, point[1].split("x"))
    return {"frames": frames, "pixels": height * width, "parameters": about["parameters"]}[axis]


def measure(args: Any, python: Path, points: list[tuple[str, str]]) -> dict[Any, dict[str, Any]]:
    """Time all points in turn."""
    with contextlib.ExitStack() as stack:
        running = []
        for size, shape in points:
            running.append(Contender(args.network, python, args.threads, (args.mode, size, shape)))
            stack.callback(running[-1].stop)
        for _ in range(args.runs):
            for contender in running:
                contender.run()
        return {p: contender.finish() for p, contender in zip(points, running, strict=True)}


def main() -> None:
    """Measure, fit and print."""
    options = parser(__doc__, "scaling")
    options.add_argument("--network", default="imagen-video", help="a contender of networks.py")
    options.add_argument("--mode", choices=("forward", "train"), default="train")
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    args = options.parse_args()
    peer = args.network in PEERS
    if peer and args.without_peers:
        print(f"{args.network} is left out: --without-peers", file=sys.stderr)
        return
    python = peers_python(args.peers, args.pip_arg) if peer else Path(sys.executable)
    axes = QUICK if args.quick else POINTS
    args.runs = 1 if args.quick else args.runs
    rows, fitted = [], []
    for axis, points in axes.items():
        answers = measure(args, python, list(points))
        lines = [
            {
                "grows": axis,
                "size": size_of(axis, point, about),
                "network and shape": " ".join(point),
                "seconds": statistics.median(about["seconds"]),
                "MiB": (about["peak_bytes"] - about["before_bytes"]) / 2**20,
            }
            for point, about in answers.items()
        ]
        rows += lines
        sizes = [float(line["size"]) for line in lines]
        for measure_name in ("seconds", "MiB"):
            power = exponent(sizes, [max(float(line[measure_name]), 1e-9) for line in lines])
            fitted.append({"of": measure_name, "with": axis, "exponent": power})
    print(table(rows), table(fitted), sep="\n\n")
    found = [
        headline(f"{args.mode}: {row['of']} ~ {row['with']}^p", row["exponent"], "p")
        for row in fitted
    ]
    about = {"machine": machine(), "network": args.network, "mode": args.mode}
    write(args.out, {**about, "points": rows, "table": fitted, "headline": found})


if __name__ == "__main__":
    main()
