"""A U-Net of about 15M parameters at 16x24x40, ours beside two peers: seconds, GFLOP/s, memory.

    python benchmarks/networks.py [--runs 5] [--threads 2] [--out runs/networks.json]

Every contender is a process of its own; they take turns (A B C D A B C D ...), so that a machine
that slows down slows all of them, and the median counts. The peers live in an environment of their
own, which this script makes once under build/peers-venv; `--without-peers` leaves them out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import torch
from _network_worker import CONTENDERS
from _report import machine, table, write

ROOT = Path(__file__).resolve().parents[1]
WORKER = Path(__file__).with_name("_network_worker.py")
PEERS = ("imagen-pytorch", "diffusers")
MODES = ("forward", "train")
REQUIREMENTS = ("diffusers==0.38.0", "einops>=0.8,<1", "numpy>=2,<3", "tqdm", "transformers>=5,<6")
# Alone: what it asks for (torchvision, kornia, accelerate, ...) is not needed by its U-Net.
ALONE = ("imagen-pytorch==2.1.0",)


def peers_python(folder: Path, pip_args: list[str]) -> Path:
    """Make the peers' environment if it is not there, and return its interpreter."""
    python, stamp = folder / "bin" / "python", folder / ".installed"
    wanted = "\n".join((torch.__version__, *REQUIREMENTS, *ALONE))
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    print(f"installing the peers into {folder}", file=sys.stderr)
    if not python.exists():
        venv.create(folder, with_pip=True)
    # The same release of torch; which build of it is the user's choice.
    same_torch = f"torch=={torch.__version__.split('+')[0]}"
    pip = [str(python), "-m", "pip", "install", "--quiet", *pip_args]
    subprocess.run([*pip, same_torch, *REQUIREMENTS], check=True)
    subprocess.run([*pip, "--no-deps", *ALONE], check=True)
    stamp.write_text(wanted, encoding="utf-8")
    return python


class Contender:
    """A worker process that runs one call whenever it is asked to."""

    def __init__(self, name: str, mode: str, python: Path, threads: int) -> None:
        """Start it and wait until it has warmed up."""
        self.name = name
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "PYTHONPATH": str(ROOT / "src"),
        }
        self._process = subprocess.Popen(
            [str(python), str(WORKER), name, mode, str(threads)],
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


def compare(mode: str, pythons: dict[str, Path], runs: int, threads: int) -> dict[str, Any]:
    """Time all contenders in turn."""
    contenders: list[Contender] = []
    with contextlib.ExitStack() as stack:
        for name, python in pythons.items():
            contenders.append(Contender(name, mode, python, threads))
            stack.callback(contenders[-1].stop)
        for _ in range(runs):
            for contender in contenders:
                contender.run()
        return {contender.name: contender.finish() for contender in contenders}


def rows(result: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a contender, with its ratios to the first of ours."""
    lines = []
    first = next(iter(result["forward"]))
    for name, about in result["forward"].items():
        line: dict[str, Any] = {"network": name, "parameters": f"{about['parameters'] / 1e6:.2f}M"}
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


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="calls of each contender")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "networks.json")
    parser.add_argument("--peers", type=Path, default=ROOT / "build" / "peers-venv")
    parser.add_argument("--without-peers", action="store_true", help="time ours only")
    parser.add_argument("--pip-arg", action="append", default=[], help="option of pip install")
    options = parser.parse_args()
    pythons = {name: Path(sys.executable) for name in CONTENDERS if name not in PEERS}
    if not options.without_peers:
        python = peers_python(options.peers, options.pip_arg)
        pythons |= dict.fromkeys(PEERS, python)
    result = {mode: compare(mode, pythons, options.runs, options.threads) for mode in MODES}
    lines = rows(result)
    print(table(lines))
    about = {"machine": machine(), "threads": options.threads, "input": "1x3x16x24x40, fp32"}
    write(options.out, {**about, "contenders": result, "table": lines})


if __name__ == "__main__":
    main()
