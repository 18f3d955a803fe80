"""Draw docs/images/loss-STAGE.png from the logs of runs: `python docs/loss_curves.py [RUNS]`.

A stage without a log keeps its picture: stages are not all trained again at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STAGES = ("base", "tsr1", "ssr1", "ssr2", "tsr2", "tsr3", "ssr3")
SMOOTH = 5
"""Log lines in a moving average."""


def main() -> None:
    """Draw one picture for each stage that has a log."""
    runs = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    for stage in STAGES:
        log = runs / stage / "log.jsonl"
        if log.exists():
            _draw(stage, [json.loads(line) for line in log.read_text("utf-8").splitlines()])


def _draw(stage: str, lines: list[dict[str, Any]]) -> None:
    figure, axis = plt.subplots(figsize=(3.5, 3), layout="constrained")
    for key in ("loss_images", "loss_clips"):
        points = [(line["step"], line[key]) for line in lines if key in line]
        windows = [points[max(0, i - SMOOTH + 1) : i + 1] for i in range(len(points))]
        means = [(part[-1][0], sum(loss for _, loss in part) / len(part)) for part in windows]
        if means:
            axis.plot(*zip(*means, strict=True), label=key.removeprefix("loss_"))
    axis.set(title=stage, xlabel="updates", yscale="log")
    axis.legend()
    figure.savefig(Path(__file__).parent / "images" / f"loss-{stage}.png", dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
