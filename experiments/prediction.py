"""v- against eps-prediction in a spatial super-resolution stage.

    python experiments/prediction.py [--updates 400] [--seeds 3] [--minutes 20]

Three arms see the same clips and noise. `v`: the network outputs v, error of v. `v, eps loss`: the
network outputs v, error of eps (the paper's Eq. 2). `eps`: the network outputs eps, error of eps.
"""

from __future__ import annotations

from collections.abc import Sequence

import _measures as measures
from _frame import Experiment, Row, Session, main
from _page import Plot
from _small import LOW, ssr
from _training import Laboratory, Training
from torch import Tensor

from imagen_video.diffusion.loss import LossKind
from imagen_video.diffusion.parameterization import v_from_eps
from imagen_video.models.conditions import Conditions
from imagen_video.models.unet import VideoUNet

LOSS: dict[str, LossKind] = {"v": "v", "v, eps loss": "eps", "eps": "eps"}


class EpsUNet(VideoUNet):
    """The same network with its output read as eps; trainer and sampler see v as always."""

    def forward(self, z: Tensor, logsnr: Tensor, conditions: Conditions) -> Tensor:
        """Predict eps and turn it into v."""
        return v_from_eps(z, super().forward(z, logsnr, conditions), logsnr)


def training_of(arm: str, seed: int) -> Training:
    """Return what an arm trains."""
    return Training(
        stage=ssr(residual=False, loss=LOSS[arm]),
        source=LOW,
        seed=seed,
        build=EpsUNet if arm == "eps" else VideoUNet,
    )


def run(arm: str, seed: int, session: Session) -> Sequence[Row]:
    """Judge the stage at three points of its training."""
    lab, training = Laboratory(session), training_of(arm, seed)
    scenes = lab.scenes(session.clips)
    real = lab.real(scenes, training.stage.output)
    features = measures.frame_features(real)
    rows: list[Row] = []
    for part in (4, 2, 1):
        updates = max(1, session.updates // part)
        network = lab.trained(training, updates)
        made = lab.sample(training, network, scenes, low_res=lab.low_res(training, real))
        rows.append(
            {
                "updates": updates,
                "frame distance": measures.frame_distance(features, measures.frame_features(made)),
                "colour shift": measures.colour_shift(made, real),
                "colour drift": measures.colour_drift(made, real),
                "error": measures.error(made, real),
                "held-out eps-error": lab.validation_loss(
                    training, network, session.clips, loss="eps"
                ),
            }
        )
        lab.show(f"prediction-{arm.replace(', ', '-')}-seed{seed}-{updates}", scenes, made)
    return rows


EXPERIMENT = Experiment(
    name="prediction",
    title="v- against eps-prediction",
    arms=tuple(LOSS),
    run=run,
    keys=("updates",),
    updates=400,
    plots=(
        Plot(x="updates", y="frame distance", log=True),
        Plot(x="updates", y="colour shift", log=True),
        Plot(x="updates", y="colour drift", log=True),
    ),
    sheets=tuple(f"prediction-{arm.replace(', ', '-')}-seed0-{{updates}}" for arm in LOSS),
)

if __name__ == "__main__":
    raise SystemExit(main(EXPERIMENT))
