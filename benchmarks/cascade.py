"""The whole cascade through the command: seconds of every stage and peak memory.

    python benchmarks/cascade.py [--bundle emoji] [--until STAGE] [--memory 4GB]

Runs `imagen-video generate` as a process of its own, as a user does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from _report import machine, table, write

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Generate one video and print what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--prompt", default="a panda dancing on a blue background")
    parser.add_argument("--bundle", default="emoji")
    parser.add_argument("--until", help="last stage; the whole cascade if left out")
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--videos", type=Path, default=ROOT / "runs" / "cascade")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "cascade.json")
    args = parser.parse_args()
    command = [sys.executable, "-m", "imagen_video", "generate", args.prompt, "--json"]
    command += ["--out", str(args.videos), "--seed", "1", "--bundle", args.bundle]
    command += ["--memory", args.memory] + (["--until", args.until] if args.until else [])
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(f"generate ended with exit code {done.returncode}; see its message above")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    # Of the child alone; kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    keys = ("name", "steps", "sampler", "guidance_weight", "seconds")
    rows = [{key: stage.get(key) for key in keys} for stage in said["stages"]]
    rows.append({"name": "all, with start and encoding", "seconds": seconds})
    print(table([{key: row.get(key) for key in keys} for row in rows]))
    print(f"\n{said['frames']}x{said['height']}x{said['width']}, peak {peak / 2**30:.2f} GiB")
    about = {"machine": machine(), "command": command[1:], "seconds": seconds}
    write(args.out, {**about, "peak_rss_bytes": peak, "generate": said})


if __name__ == "__main__":
    main()
