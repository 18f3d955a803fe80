"""Draw the picture of docs/batch.md: what a plan promises, and what a simulation of it makes.

    python docs/figures_batch.py          # half a minute

Seconds a stage are those that the page names. Every plan is played through, event by event, with
times that vary by 10 %.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from imagen_video.distributed.plan import allocate
from imagen_video.distributed.simulation import simulate

IMAGES = Path(__file__).parent / "images"
SECONDS = {
    "base": 4.5,
    "tsr1": 0.4,
    "ssr1": 0.6,
    "ssr2": 2.3,
    "tsr2": 3.9,
    "tsr3": 7.8,
    "ssr3": 80.5,
}
GPUS = (8, 16, 32, 64, 128, 256, 512, 1000)
SPREAD = 0.1
SHOWN = (16, 1000)
"""Clusters whose pools are drawn one by one."""


def main() -> None:
    """Draw samples an hour by size of the cluster, and how busy each pool is."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    plans = [allocate(SECONDS, gpus) for gpus in GPUS]
    bound = [3600 * gpus / sum(SECONDS.values()) for gpus in GPUS]
    spread = dict.fromkeys(SECONDS, SPREAD)
    made = [
        3600 * simulate(plan.actors, SECONDS, samples=20 * plan.gpus, spread=spread).rate
        for plan in plans
    ]
    left.loglog(GPUS, bound, color="0.7", label="no GPU ever idle")
    left.loglog(GPUS, [plan.rate * 3600 for plan in plans], "C0", label="planned")
    left.loglog(GPUS, made, "C1o", markersize=4, label="simulated")
    left.set(xlabel="GPUs", ylabel="samples an hour")
    left.legend(frameon=False)
    width = 0.8 / len(SHOWN)
    for index, gpus in enumerate(SHOWN):
        plan = plans[GPUS.index(gpus)]
        places = [place + index * width for place in range(len(SECONDS))]
        bars = right.bar(places, [100 * plan.busy(s) for s in SECONDS], width, label=f"{gpus} GPUs")
        right.bar_label(bars, [str(plan.actors[stage]) for stage in SECONDS], size=6)
    right.set_xticks([place + width / 2 for place in range(len(SECONDS))], list(SECONDS))
    right.set(ylabel="busy, % (number: processes)", ylim=(0, 125))
    right.legend(frameon=False, ncols=2, loc="upper left")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(IMAGES / "batch.png", dpi=90)


if __name__ == "__main__":
    main()
