"""The whole cascade through the command: seconds of every stage and peak memory.

    python benchmarks/cascade.py [--bundle emoji] [--until STAGE] [--memory 4GB] [--runs 1]

Runs `imagen-video generate` as a process of its own, as a user does; medians count where there are
several runs.
"""

from __future__ import annotations

import resource
import statistics
import sys
from pathlib import Path

from _generate import generate
from _report import ROOT, headline, machine, parser, table, write


def main() -> None:
    """Generate videos and print what they took."""
    options = parser(__doc__, "cascade")
    options.add_argument("--prompt", default="a panda dancing on a blue background")
    options.add_argument("--bundle", default="emoji")
    options.add_argument("--until", help="last stage; the whole cascade if left out")
    options.add_argument("--memory", default="4GB")
    options.add_argument("--runs", type=int, default=1)
    options.add_argument("--videos", type=Path, default=ROOT / "build" / "bench" / "videos")
    args = options.parse_args()
    if args.quick:
        args.until, args.runs = "base", 1
    command = ["--out", str(args.videos), "--seed", "1", "--bundle", args.bundle]
    command += ["--memory", args.memory] + (["--until", args.until] if args.until else [])
    runs = [generate(args.prompt, command) for _ in range(args.runs)]
    said = runs[-1][1]
    # Of the children alone; kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    keys = ("name", "steps", "sampler", "guidance_weight")
    rows = [
        {key: stage.get(key) for key in keys}
        | {"seconds": statistics.median(each["stages"][index]["seconds"] for _, each in runs)}
        for index, stage in enumerate(said["stages"])
    ]
    whole = statistics.median(seconds for seconds, _ in runs)
    rows.append({**dict.fromkeys(keys), "name": "all, with start and encoding", "seconds": whole})
    print(table(rows))
    made = f"{said['frames']}x{said['height']}x{said['width']}"
    print(f"\n{made}, peak {peak / 2**30:.2f} GiB, {args.runs} runs")
    found = [headline(f"{made} from a sentence", whole, "s")]
    found += [headline(f"stage {row['name']}", row["seconds"], "s") for row in rows[:-1]]
    found += [headline(f"memory of {made}", peak / 2**20, "MiB")]
    about = {
        "machine": machine(),
        "command": ["generate", args.prompt, *command],
        "table": rows,
        "headline": found,
    }
    write(args.out, {**about, "peak_rss_bytes": peak, "generate": [each for _, each in runs]})


if __name__ == "__main__":
    main()
