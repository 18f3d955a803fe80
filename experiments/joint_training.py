"""Joint image-video training: 0, 4 or 8 images beside every clip.

    python experiments/joint_training.py [--updates 600] [--seeds 3] [--minutes 20]

The arms with images take twice as many updates, and each draws at random whether it sees images or
clips: on average all arms take as many updates on clips, and the arms with images as many on images
in between, of 4 or 8 images for every clip of a batch. They see more data and cost more time, as in
Video Diffusion Models (Ho et al. 2022), where the comparison comes from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from _bases import judged
from _frame import Experiment, Row, Session, main
from _small import base
from _training import CONFIG, Laboratory, Training

IMAGES = {"0 images": 0, "4 images": 4, "8 images": 8}


def training_of(arm: str, seed: int) -> Training:
    """Return what an arm trains: images in every second update, or never."""
    images = IMAGES[arm]
    config = dataclasses.replace(
        CONFIG, image_fraction=0.5 if images else 0.0, images=max(1, images * CONFIG.clips)
    )
    return Training(stage=base(), source=None, seed=seed, config=config)


def run(arm: str, seed: int, session: Session) -> Sequence[Row]:
    """Train, sample, measure."""
    lab, training = Laboratory(session), training_of(arm, seed)
    updates = session.updates * (2 if IMAGES[arm] else 1)
    network = lab.trained(training, updates)
    return [
        {"updates": updates}
        | judged(lab, training, network, f"joint_training-{arm}-seed{seed}", session.clips)
    ]


EXPERIMENT = Experiment(
    name="joint_training",
    title="Joint image-video training",
    arms=tuple(IMAGES),
    run=run,
    updates=600,
)

if __name__ == "__main__":
    raise SystemExit(main(EXPERIMENT))
