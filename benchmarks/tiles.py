"""Peak memory and time of the 128x768x1280 stage by tile size.

    python benchmarks/tiles.py [--runs 1] [--threads 2]

Every size is a process of its own that takes one sampling step of the emoji cascade's `ssr3`, with
random weights: neither time nor memory depends on them. A tile that is expected to take more memory
than the machine has free is left out. A run takes about a minute on two cores, so one is enough.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from _report import ROOT, headline, machine, parser, table, write

from imagen_video.cascade.spec import Clip
from imagen_video.cascade.tiling import tile_plan, window_bytes
from imagen_video.presets import preset

WORKER = Path(__file__).with_name("_tile_worker.py")
TILES = ((4, 48, 80), (8, 96, 160), (16, 192, 320), (32, 192, 320), (32, 384, 640), (64, 384, 640))
"""Frames, height, width."""
SHARE = 0.7
"""Of the free memory that a run may take."""


def run(clip: Clip, tile: tuple[int, ...], threads: int, *, bf16: bool) -> dict[str, Any]:
    """Sample once in a process of its own."""
    shape = {"frames": clip.frames, "height": clip.height, "width": clip.width}
    given = json.dumps({"clip": shape, "tile": tile, "threads": threads, "bf16": bf16})
    done = subprocess.run(
        [sys.executable, str(WORKER), given],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT / "src")},
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def free_bytes() -> int:
    """Memory that can be taken now."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def main() -> None:
    """Measure all sizes that fit."""
    options = parser(__doc__, "tiles")
    options.add_argument("--runs", type=int, default=1)
    options.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    options.add_argument("--bf16", action="store_true")
    args = options.parse_args()
    stage = preset("emoji").stage("ssr3")
    clip, tiles = stage.output, TILES
    if args.quick:
        clip, tiles = Clip(frames=8, height=192, width=320, fps=24.0), TILES[:2]
    state = 4 * 3 * clip.frames * clip.height * clip.width
    fits = {
        tile: plan
        for tile in tiles
        if window_bytes(stage.unet, clip, plan := tile_plan(stage.unet, clip, *tile)) + state
        < SHARE * free_bytes()
    }
    taken: dict[tuple[int, ...], list[dict[str, Any]]] = {tile: [] for tile in fits}
    for _ in range(args.runs):
        for tile, answers in taken.items():
            answers.append(run(clip, tile, args.threads, bf16=args.bf16))
            print(f"{tile}: {answers[-1]['seconds']:.1f} s", file=sys.stderr)
    rows = [
        {
            "tile": "x".join(map(str, tile)),
            "tiles": answers[0]["tiles"],
            "recomputed": answers[0]["recomputed"],
            "seconds a step": statistics.median(each["seconds"] for each in answers),
            "peak MiB": max(each["peak_bytes"] for each in answers) / 2**20,
            "grown MiB": max(each["grown_bytes"] for each in answers) / 2**20,
            "predicted MiB, without z": answers[0]["predicted_bytes"] / 2**20,
        }
        for tile, answers in taken.items()
    ]
    print(f"{clip}; z alone is {state / 2**20:.0f} MiB\n\n{table(rows)}")
    left_out = ["x".join(map(str, tile)) for tile in tiles if tile not in fits]
    if left_out:
        print(f"left out for memory: {', '.join(left_out)}", file=sys.stderr)
    least = min(row["seconds a step"] for row in rows)
    found = [
        headline(
            f"peak of {clip} in tiles of {row['tile']}",
            row["peak MiB"],
            "MiB",
            row["seconds a step"] / least,
            "the fastest tile's time",
        )
        for row in rows
    ]
    about = {"machine": machine(), "threads": args.threads, "bf16": args.bf16}
    write(args.out, {**about, "table": rows, "left_out": left_out, "headline": found})


if __name__ == "__main__":
    main()
