"""Noise-conditioning augmentation: trained with or without it, and its level at sampling.

    python recipes/emoji.py --teachers build/teachers
    python experiments/augmentation.py [--updates 300] [--seeds 3] [--minutes 20]

The stage is judged on two inputs: real clips that were shrunk, as in its training, and clips that
a diffusion model made. Those are the same scenes, noised to t = 0.5 and denoised in one step by the
teacher of the shipped base, so that both inputs have the same right answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import _measures as measures
import torch
from _frame import TEACHERS, Experiment, Row, Session, main
from _page import Plot
from _small import LOW, sampled, ssr
from _training import Laboratory, Training
from torch import Tensor

from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.corpus.scenes import Scene
from imagen_video.diffusion.parameterization import diffuse, x_from_v
from imagen_video.diffusion.schedule import logsnr_from_t
from imagen_video.models.conditions import Conditions

BUNDLE = TEACHERS
"""Whose base makes the input."""
MAX_T = {"trained with": 0.5, "trained without": 1e-3}
LEVELS = (20.0, 6.0, 3.0, 1.0)
"""Log SNR of the noise at sampling; 20 is none."""
MADE_FROM = 0.5
"""t from which that base denoises."""
STEPS = 8


@torch.no_grad()
def made_by_base(lab: Laboratory, scenes: Sequence[Scene], bundle: str = BUNDLE) -> Tensor:
    """Return what a base makes of noised real clips, `(b, f, 3, h, w)` at its own size."""
    pipeline = ImagenVideoPipeline.from_pretrained(bundle)
    stage, network = pipeline.spec.stages[0], pipeline.network("base").float()
    clip = dataclasses.replace(stage.output, frames=LOW.frames)
    real = lab.real(scenes, clip, pipeline.spec.frame_stride("base"))
    text = lab.encoder.encode([scene.caption for scene in scenes])
    logsnr = logsnr_from_t(torch.full((len(scenes),), MADE_FROM))
    eps = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    z = diffuse(real, eps, logsnr)
    told = Conditions(text_states=text.states, text_mask=text.mask)
    return x_from_v(z, network(z, logsnr, told), logsnr).clamp(-1, 1)


def run(arm: str, seed: int, session: Session) -> Sequence[Row]:
    """Judge a stage at every level on both inputs."""
    lab = Laboratory(session)
    training = Training(stage=ssr(augmentation_max_t=MAX_T[arm]), source=LOW, seed=seed)
    network = lab.trained(training, session.updates)
    scenes = lab.scenes(session.clips)
    real = lab.real(scenes, training.stage.output)
    features = measures.frame_features(real)
    inputs = {
        "real": lab.low_res(training, real),
        "made": lab.low_res(training, made_by_base(lab, scenes)),
    }
    rows: list[Row] = []
    for name, low_res in inputs.items():
        for level in LEVELS:
            sampling = sampled(training.stage, augmentation_logsnr=level, steps=STEPS)
            made = lab.sample(training, network, scenes, low_res=low_res, sampling=sampling)
            rows.append(
                {
                    "input": name,
                    "log SNR": level,
                    "frame distance": measures.frame_distance(
                        features, measures.frame_features(made)
                    ),
                    "sharpness": measures.sharpness(made, real),
                    "error": measures.error(made, real),
                }
            )
            lab.show(f"augmentation-{arm}-{name}-{level:g}-seed{seed}", scenes, made)
    return rows


EXPERIMENT = Experiment(
    name="augmentation",
    title="Noise-conditioning augmentation",
    arms=tuple(MAX_T),
    run=run,
    keys=("input", "log SNR"),
    updates=300,
    bundle=BUNDLE,
    plots=(
        Plot(x="log SNR", y="frame distance", where=("input", "real")),
        Plot(x="log SNR", y="frame distance", where=("input", "made")),
        Plot(x="log SNR", y="sharpness", where=("input", "made")),
    ),
)

if __name__ == "__main__":
    raise SystemExit(main(EXPERIMENT))
