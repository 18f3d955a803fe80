"""Draw docs/images/loss.png from the logs of the runs: `python docs/loss_curves.py [RUNS]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STAGES = ("base", "tsr1", "ssr1", "ssr2", "tsr2", "tsr3", "ssr3")
SMOOTH = 5
"""Log lines in a moving average."""


def main() -> None:
    """Draw one panel a stage."""
    runs = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    figure, axes = plt.subplots(2, 4, figsize=(14, 6), constrained_layout=True)
    for axis, stage in zip(axes.flat, STAGES, strict=False):
        log = runs / stage / "log.jsonl"
        lines = (
            [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            if log.exists()
            else []
        )
        for key in ("loss_images", "loss_clips"):
            points = [(line["step"], line[key]) for line in lines if key in line]
            means = [
                (
                    points[i][0],
                    sum(v for _, v in points[max(0, i - SMOOTH + 1) : i + 1]) / min(i + 1, SMOOTH),
                )
                for i in range(len(points))
            ]
            if means:
                axis.plot(*zip(*means, strict=True), label=key.removeprefix("loss_"))
        axis.set(title=stage, xlabel="updates", yscale="log")
        axis.legend()
    axes.flat[-1].axis("off")
    figure.savefig(Path(__file__).parent / "images" / "loss.png", dpi=80)


if __name__ == "__main__":
    main()
