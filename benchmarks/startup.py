"""How long the command takes to answer with every socket blocked, and how much is installed.

    python benchmarks/startup.py [--runs 7] [--without-peers]

A socket that is opened ends the process, so a finished row also says that no network was needed.
Peers are imported in their own environment (`_peers.py`), in turn with ours; one that
fails there shows why.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from _peers import FOLDER, peers_python
from _report import ROOT, headline, machine, parser, table, write
from packaging.requirements import Requirement

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


def distributions(name: str) -> set[str]:
    """Return every distribution that installing one brings, without its extras."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop().lower().replace("_", "-")
        if current in found:
            continue
        try:
            requires = metadata.requires(current) or []
        except metadata.PackageNotFoundError:
            continue  # a marker excludes it here
        found.add(current)
        needs = map(Requirement, requires)
        waiting += [n.name for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})]
    return found


def megabytes(name: str) -> float:
    """Return the size of a distribution's installed files; an editable one has its sources."""
    if name == "imagen-video":
        files = [path for path in (ROOT / "src").rglob("*") if "__pycache__" not in path.parts]
    else:
        files = [Path(str(file.locate())) for file in metadata.files(name) or []]
    return sum(path.stat().st_size for path in files if path.is_file()) / 1e6


def installed() -> list[dict[str, Any]]:
    """Return what `pip install imagen-video` puts on the disk, the largest first."""
    sizes = {name: megabytes(name) for name in distributions("imagen-video")}
    rows: list[dict[str, Any]] = [
        {"distribution": f"all {len(sizes)}", "MB": sum(sizes.values())},
        {"distribution": "all but torch", "MB": sum(sizes.values()) - sizes.get("torch", 0.0)},
    ]
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    return rows + [{"distribution": name, "MB": size} for name, size in largest]


def main() -> None:
    """Time every answer in turn and print the medians."""
    options = parser(__doc__, "startup")
    options.add_argument("--runs", type=int, default=7)
    options.add_argument("--peers", type=Path, default=FOLDER)
    options.add_argument("--without-peers", action="store_true")
    options.add_argument("--pip-arg", action="append", default=[], help="option of pip install")
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
    sizes = installed()
    print(table(rows), table(sizes), sep="\n\n")
    found = [headline(name, medians[name], "s") for name in ANSWERS if name in medians]
    found += [
        headline(PIPELINE, medians[PIPELINE], "s", medians[name] / medians[PIPELINE], name)
        for name in PEERS
        if name in medians
    ]
    found += [headline(f"installed: {row['distribution']}", row["MB"], "MB") for row in sizes[:2]]
    about = {"machine": machine(), "installed": sizes, "headline": found}
    write(args.out, {**about, "table": rows, "seconds": times})


if __name__ == "__main__":
    main()
