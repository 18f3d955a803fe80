"""How long the command takes to answer with every socket blocked, and how much is installed.

    python benchmarks/startup.py [--runs 7] [--without-peers]

A socket that is opened ends the process, so a finished row also says that no network was needed.
Peers are imported in their own environment (`_peers.py`), in turn with ours; one that
fails there shows why.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _peers import peers_python
from _report import ROOT, headline, machine, parser, table, write

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
PEERS = {
    "from diffusers import UNet3DConditionModel": "from diffusers import UNet3DConditionModel",
    "from imagen_pytorch import Imagen": "from imagen_pytorch import Imagen",
    "from video_diffusion_pytorch import Unet3D": "from video_diffusion_pytorch import Unet3D",
}
PEER_NAMES = ("diffusers", "imagen-pytorch", "video-diffusion-pytorch")
COLUMNS = ("installed", "MB", "least MB", "MB without torch", "distributions", "not installed")
PIPELINE = "from imagen_video import ImagenVideoPipeline"


def seconds(code: str, python: str) -> float | str:
    """Run some code in a new interpreter without sockets; return its time, or why it failed."""
    paths = [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    started = time.perf_counter()
    done = subprocess.run(
        [python, "-c", BLOCKED + code],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    if done.returncode == 0:
        return time.perf_counter() - started
    return (done.stderr.strip().splitlines() or ["no message"])[-1][:80]


def installed(python: str, *names: str) -> list[dict[str, Any]]:
    """Return what installing each of some distributions puts on the disk of an environment."""
    script = str(Path(__file__).with_name("_installed.py"))
    said = subprocess.run([python, script, *names], check=True, stdout=subprocess.PIPE).stdout
    rows = []
    for name, found in json.loads(said).items():
        # a peer that was installed for its networks alone lacks what it asks for: "at least"
        row = {"installed": name, "least MB" if found["not installed"] else "MB": found["MB"]}
        rows.append({**dict.fromkeys(COLUMNS), **row, **{k: found[k] for k in COLUMNS[3:]}})
    return rows


def main() -> None:
    """Time every answer in turn and print the medians."""
    options = parser(__doc__, "startup")
    options.add_argument("--runs", type=int, default=7)
    args = options.parse_args()
    runs = 1 if args.quick else args.runs
    python = {name: (code, sys.executable) for name, code in ANSWERS.items()}
    if not args.without_peers:
        peers = str(peers_python(args.peers, args.pip_arg))
        python |= {name: (code, peers) for name, code in PEERS.items()}
    # The first call fills the caches of byte code and of the disk, and shows what fails.
    first = {name: seconds(*what) for name, what in python.items()}
    times: dict[str, list[float]] = {n: [] for n, took in first.items() if isinstance(took, float)}
    for _ in range(runs):
        for name, taken in times.items():
            took = seconds(*python[name])
            assert isinstance(took, float), took
            taken.append(took)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    rows = [
        {
            "what": name,
            "median s": medians.get(name),
            "sockets": "none opened" if name in times else first[name],
        }
        for name in python
    ]
    sizes = installed(sys.executable, "imagen-video")
    if not args.without_peers:
        sizes += installed(str(peers_python(args.peers, args.pip_arg)), *PEER_NAMES)
    print(table(rows), table(sizes), sep="\n\n")
    found = [headline(name, medians[name], "s") for name in ANSWERS if name in medians]
    found += [
        headline(PIPELINE, medians[PIPELINE], "s", medians[name] / medians[PIPELINE], name)
        for name in PEERS
        if name in medians
    ]
    ours = sizes[0]["MB"]
    found += [
        headline(
            f"installed: {row['installed']}" + ("" if row["MB"] else " at least"),
            row["MB"] or row["least MB"],
            "MB",
            (row["MB"] or row["least MB"]) / ours,
            "imagen-video",
        )
        for row in sizes
    ]
    about = {"machine": machine(), "installed": sizes, "headline": found}
    write(args.out, {**about, "table": rows, "seconds": times})


if __name__ == "__main__":
    main()
