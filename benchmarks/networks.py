"""U-Nets of about 5M, 15M and 50M parameters, ours beside four peers: seconds, GFLOP/s, memory.

    python benchmarks/networks.py [--sizes S M L] [--shape 16x24x40] [--runs 5] [--threads 2]

Every contender is a process of its own; they take turns (A B C D A B C D ...), so that a machine
that slows down slows all of them, and the median counts. The peers live in an environment of their
own, which this script makes once under build/peers-venv; `--without-peers` leaves them out.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from _network_worker import CONTENDERS
from _peers import peers_python
from _report import ROOT, headline, machine, parser, table, write

WORKER = Path(__file__).with_name("_network_worker.py")
PEERS = ("imagen-pytorch", "diffusers", "video-diffusion-pytorch", "make-a-video-pytorch")
ONLY_M = "make-a-video-pytorch"
"""The peer of which there is one size."""
MODES = ("forward", "train")


class Contender:
    """A worker process that runs one call whenever it is asked to."""

    def __init__(
        self, name: str, python: Path, threads: int, case: tuple[str, ...], worker: Path = WORKER
    ) -> None:
        """Start it and wait until it has warmed up.

        Args:
            name: which contender.
            python: interpreter of the environment that has it.
            threads: of torch.
            case: mode, size and shape, or what else its worker takes.
            worker: script of the process.
        """
        self.name = name
        mode, size, shape = case
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "PYTHONPATH": str(ROOT / "src"),
        }
        self._process = subprocess.Popen(
            [str(python), str(worker), name, mode, str(threads), size, shape],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.about = self._answer()
        self.seconds: list[float] = []

    def run(self) -> None:
        """Time one call."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.seconds.append(self._answer()["seconds"])

    def finish(self) -> dict[str, Any]:
        """End the process and return all that it said."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        last = self._answer()
        self._process.wait(timeout=60)
        return {**self.about, **last, "seconds": self.seconds}

    def stop(self) -> None:
        """End the process whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(timeout=60)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait(timeout=60)
            raise SystemExit(f"{self.name} ended with exit code {code}; see its message above")
        return json.loads(line)


def compare(
    case: tuple[str, ...],
    pythons: dict[str, Path],
    runs: int,
    threads: int,
    worker: Path = WORKER,
) -> dict[str, Any]:
    """Time all contenders in turn."""
    contenders: list[Contender] = []
    with contextlib.ExitStack() as stack:
        for name, python in pythons.items():
            contenders.append(Contender(name, python, threads, case, worker))
            stack.callback(contenders[-1].stop)
        for _ in range(runs):
            for contender in contenders:
                contender.run()
        return {contender.name: contender.finish() for contender in contenders}


def rows(size: str, result: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a contender, with its ratios to the first of ours."""
    lines = []
    first = next(iter(result["forward"]))
    for name, about in result["forward"].items():
        line: dict[str, Any] = {
            "size": size,
            "network": name,
            "parameters": f"{about['parameters'] / 1e6:.2f}M",
        }
        line["GFLOP forward"] = about["gigaflops"]
        for mode in MODES:
            seconds = statistics.median(result[mode][name]["seconds"])
            reference = statistics.median(result[mode][first]["seconds"])
            # forward and backward cost about three forward passes
            work = (about["gigaflops"] or float("nan")) * (1 if mode == "forward" else 3)
            line[f"{mode} s"] = seconds
            line[f"{mode} ratio"] = seconds / reference
            line[f"{mode} GFLOP/s"] = work / seconds
            line[f"{mode} peak MiB"] = round(result[mode][name]["peak_bytes"] / 2**20)
        lines.append(line)
    return lines


def headlines(shape: str, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Our seconds and memory, with those of every peer as ratios."""
    found = []
    ours = {line["size"]: line for line in lines if line["network"] == "imagen-video"}
    for line in lines:
        if line["network"] not in PEERS:
            continue
        mine = ours[line["size"]]
        for mode in MODES:
            what = f"{mode} of {line['size']} at {shape}"
            ratio = line[f"{mode} s"] / mine[f"{mode} s"]
            found.append(headline(what, mine[f"{mode} s"], "s", ratio, line["network"]))
        ratio = line["train peak MiB"] / mine["train peak MiB"]
        what = f"memory of training {line['size']} at {shape}"
        found.append(headline(what, mine["train peak MiB"], "MiB", ratio, line["network"]))
    return found


def main() -> None:
    """Compare and print."""
    options = parser(__doc__, "networks")
    options.add_argument("--runs", type=int, default=5, help="calls of each contender")
    options.add_argument("--sizes", nargs="+", choices=("S", "M", "L"), default=["M"])
    options.add_argument("--shape", default="16x24x40", help="frames x height x width")
    options.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    args = options.parse_args()
    if args.quick:
        args.runs, args.sizes, args.shape = 1, args.sizes[:1], "4x8x8"
    pythons = {name: Path(sys.executable) for name in CONTENDERS if name not in PEERS}
    if not args.without_peers:
        pythons |= dict.fromkeys(PEERS, peers_python(args.peers, args.pip_arg))
    results, lines = {}, []
    for size in args.sizes:
        taking_part = {n: python for n, python in pythons.items() if n != ONLY_M or size == "M"}
        results[size] = {
            mode: compare((mode, size, args.shape), taking_part, args.runs, args.threads)
            for mode in MODES
        }
        lines += rows(size, results[size])
    print(table(lines))
    about = {"machine": machine(), "threads": args.threads, "input": f"1x3x{args.shape}, fp32"}
    found = headlines(args.shape, lines)
    write(args.out, {**about, "contenders": results, "table": lines, "headline": found})


if __name__ == "__main__":
    main()
