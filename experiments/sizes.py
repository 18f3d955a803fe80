"""Three sizes of the base model at equal updates.

python experiments/sizes.py [--updates 600] [--seeds 3] [--minutes 20]

Every size sees the same clips and noise; each is judged at three points of its training.
"""

from __future__ import annotations

from collections.abc import Sequence

from _bases import judged
from _frame import Experiment, Row, Session, main
from _page import Plot
from _small import base
from _training import Laboratory, Training

from imagen_video.models.cost import num_parameters

WIDTHS = {"small": (32, 64), "medium": (64, 128), "large": (128, 256)}


def run(arm: str, seed: int, session: Session) -> Sequence[Row]:
    """Judge one size at three points of its training."""
    lab = Laboratory(session)
    training = Training(stage=base(WIDTHS[arm]), source=None, seed=seed)
    rows: list[Row] = []
    for part in (4, 2, 1):
        updates = max(1, session.updates // part)
        network = lab.trained(training, updates)
        name = f"sizes-{arm}-seed{seed}-{updates}"
        row: Row = {"updates": updates} | judged(lab, training, network, name, session.clips)
        rows.append(row | {"parameters": num_parameters(training.stage.unet)})
    return rows


EXPERIMENT = Experiment(
    name="sizes",
    title="Three sizes of the base model",
    arms=tuple(WIDTHS),
    run=run,
    keys=("updates",),
    updates=600,
    plots=(
        Plot(x="updates", y="held-out v-error", log=True),
        Plot(x="updates", y="frame distance"),
    ),
)

if __name__ == "__main__":
    raise SystemExit(main(EXPERIMENT))
