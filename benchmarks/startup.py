"""How long the command takes to answer, with every socket blocked.

    python benchmarks/startup.py [--runs 7]

A socket that is opened ends the process, so a finished row also says that no network was needed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from _report import machine, table, write

ROOT = Path(__file__).resolve().parents[1]

BLOCKED = """
import socket, sys
def refuse(*args, **kwargs):
    raise SystemExit("a socket was opened")
socket.socket.__init__ = socket.create_connection = socket.getaddrinfo = refuse
"""

ANSWERS = {
    "python -c pass": "",
    "import imagen_video": "import imagen_video",
    "imagen-video --help": "from imagen_video.cli.main import main\nsys.exit(main(['--help']))",
    "imagen-video --version": (
        "from imagen_video.cli.main import main\nsys.exit(main(['--version']))"
    ),
    "imagen-video generate --help": (
        "from imagen_video.cli.main import main\nsys.exit(main(['generate', '--help']))"
    ),
    "from imagen_video import ImagenVideoPipeline": (
        "from imagen_video.cascade.pipeline import ImagenVideoPipeline"
    ),
}


def seconds(code: str) -> float:
    """Run some code in a new interpreter without sockets."""
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    started = time.perf_counter()
    command = [sys.executable, "-c", BLOCKED + code]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - started


def main() -> None:
    """Time every answer in turn and print the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "startup.json")
    args = parser.parse_args()
    for code in ANSWERS.values():  # fills the caches of byte code and of the disk
        seconds(code)
    times: dict[str, list[float]] = {name: [] for name in ANSWERS}
    for _ in range(args.runs):
        for name, code in ANSWERS.items():
            times[name].append(seconds(code))
    rows = [
        {"what": name, "median s": statistics.median(values), "sockets": "none opened"}
        for name, values in times.items()
    ]
    print(table(rows))
    write(args.out, {"machine": machine(), "table": rows, "seconds": times})


if __name__ == "__main__":
    main()
