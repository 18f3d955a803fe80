"""Predicted against measured memory of training: the planner and processes that train.

    python benchmarks/memory.py [--only SUBSTRING] [--out FILE]

Each row trains a stage for two updates with the engine's own step, in fresh processes, and compares
the growth of their peak resident memory with `imagen_video.planning`. Memory that is freed is given
back to the system at once (`mallopt`), so the peak is that of what lives. Exit code 1 if a
prediction is off by more than 15 %.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from _report import headline, machine, parser, table, write

from imagen_video.planning.memory import Choice, Sharding, predict
from imagen_video.presets import preset
from imagen_video.training.config import OptimizerName, Precision

TOLERANCE = 0.15
TOKENS = 64
"""Longest captions of MiniLM: what the planner assumes."""
WORKER = Path(__file__).with_name("_memory_worker.py")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A stage and how it is trained."""

    preset: str = "emoji"
    stage: str = "base"
    clips: int = 4
    """Of every process."""
    precision: Precision = "fp32"
    checkpointing: bool = False
    optimizer: OptimizerName = "adamw"
    sharding: Sharding = "none"
    processes: int = 1
    accumulate: int = 1

    def __str__(self) -> str:
        """In words, for the table."""
        words = [f"{self.preset}/{self.stage}", f"{self.clips} clips", self.precision]
        words += ["checkpointing"] if self.checkpointing else []
        words += [self.optimizer] if self.optimizer != "adamw" else []
        words += [f"{self.sharding} x {self.processes}"] if self.processes > 1 else []
        words += [f"accumulate {self.accumulate}"] if self.accumulate > 1 else []
        return ", ".join(words)


CASES = (
    Case(clips=2),
    Case(clips=4),
    Case(clips=4, checkpointing=True),
    Case(clips=4, precision="bf16"),
    Case(clips=4, precision="bf16", checkpointing=True),
    Case(clips=2, optimizer="adafactor"),
    Case(clips=2, optimizer="muon"),
    Case(clips=4, accumulate=2),
    Case(stage="tsr1"),
    Case(stage="ssr1"),
    Case(stage="ssr1", precision="bf16"),
    Case(stage="ssr2", checkpointing=True),
    Case(stage="ssr2", precision="bf16"),
    Case(stage="tsr3", clips=8),
    Case(stage="ssr3", clips=8),
    Case(clips=1, sharding="ddp", processes=2),
    Case(clips=1, sharding="fsdp", processes=2),
    Case(clips=2, sharding="fsdp", processes=2, checkpointing=True),
)


def main() -> int:
    """Measure all cases, print the table, return the exit code."""
    arguments = parser(__doc__, "memory")
    arguments.add_argument("--only", default="", help="cases whose description holds this")
    options = arguments.parse_args()
    rows = []
    chosen = [case for case in CASES if options.only in str(case)]
    for case in chosen[:1] if options.quick else chosen:
        predicted, measured = plan(case), measure(case)
        rows.append(
            {
                "case": str(case),
                "predicted MB": round(predicted / 1e6),
                "measured MB": round(measured / 1e6),
                "measured / predicted": round(measured / predicted, 3),
            }
        )
        print(table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(rows))
    found = [
        headline(
            f"training {row['case']}",
            row["measured MB"],
            "MB",
            row["measured / predicted"],
            "measured over planned",
        )
        for row in rows
    ]
    write(options.out, {"machine": machine(), "cases": rows, "headline": found})
    worst = max((abs(row["measured / predicted"] - 1) for row in rows), default=0.0)
    print(f"worst: {100 * worst:.1f} %", file=sys.stderr)
    return int(worst > TOLERANCE)


def plan(case: Case) -> int:
    """Predict the bytes of a process."""
    choice = Choice(
        sharding=case.sharding,
        checkpointing=case.checkpointing,
        precision=case.precision,
        optimizer=case.optimizer,
    )
    return predict(
        preset(case.preset),
        case.stage,
        choice,
        ranks=case.processes,
        rows=case.clips // case.accumulate,
        accumulate=case.accumulate > 1,
        on_gpu=False,
    ).step_peak


def measure(case: Case) -> int:
    """Train in fresh processes; return the largest growth of one."""
    given: dict[str, Any] = {
        "preset": case.preset,
        "stage": case.stage,
        "tokens": TOKENS,
        "clips": case.clips,
        "precision": case.precision,
        "gradient_checkpointing": case.checkpointing,
        "optimizer": case.optimizer,
        "accumulate": case.accumulate,
    }
    command = [sys.executable]
    if case.processes > 1:
        given["parallel"] = case.sharding
        command += ["-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(case.processes)]
    done = subprocess.run(
        [*command, str(WORKER), json.dumps(given)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return max(json.loads(line)["grown"] for line in lines)


if __name__ == "__main__":
    sys.exit(main())
