"""Constant against oscillating guidance, with and without dynamic thresholding, over the weight.

    python recipes/emoji.py --teachers build/teachers
    python experiments/guidance.py [--clips 8] [--minutes 20]

Nothing is trained: the teacher of the shipped base is sampled on held-out combinations, as a
student has neither a negative answer nor another threshold; EXPERIMENT_BUNDLE names another bundle.
Seeds of the frame are seeds of the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import _measures as measures
import torch
from _frame import TEACHERS, Experiment, Row, Session, main
from _page import Plot
from _training import Laboratory

from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.sampling_spec import GuidanceName, SamplingSpec, ThresholdName
from imagen_video.cascade.stage import StageInput, sample_stage
from imagen_video.cli.generation import choose_precision

BUNDLE = TEACHERS
WEIGHTS = (0.0, 1.0, 3.0, 6.0, 15.0)
LOW_WEIGHT = 1.0
"""Of the oscillation, as in the paper: 15 and 1."""
STEPS = 16
ARMS: dict[str, tuple[GuidanceName, ThresholdName]] = {
    "constant, static": ("constant", "static"),
    "constant, dynamic": ("constant", "dynamic"),
    "oscillating, static": ("oscillating", "static"),
    "oscillating, dynamic": ("oscillating", "dynamic"),
}


@lru_cache(maxsize=1)
def pipeline_of(bundle: str) -> ImagenVideoPipeline:
    """Load a bundle once, in the precision that the command would choose."""
    pipeline = ImagenVideoPipeline.from_pretrained(bundle)
    bf16 = choose_precision("auto", torch.device("cpu")) == "bf16"
    pipeline.to(dtype=torch.bfloat16 if bf16 else torch.float32)
    return pipeline


def sampling_of(arm: str, weight: float) -> SamplingSpec:
    """Return the settings of an arm at a weight."""
    guidance, threshold = ARMS[arm]
    return SamplingSpec(
        sampler="ddim",
        steps=STEPS,
        guidance=guidance,
        guidance_weight=weight,
        guidance_low=min(LOW_WEIGHT, weight),
        threshold=threshold,
    )


def run(arm: str, seed: int, session: Session) -> Sequence[Row]:
    """Sample every scene at every weight."""
    lab, pipeline = Laboratory(session), pipeline_of(BUNDLE)
    stage, network = pipeline.spec.stages[0], pipeline.network("base")
    scenes = lab.scenes(session.clips)
    real = lab.real(scenes, stage.output, pipeline.spec.frame_stride("base"))
    features = measures.frame_features(real)
    text = lab.encoder.encode([scene.caption for scene in scenes])
    rows: list[Row] = []
    for weight in WEIGHTS:
        assert session.minutes_left > 0
        request = StageInput(
            seeds=[1000 * seed + index for index in range(len(scenes))],
            clip=stage.output,
            text=text,
        )
        sampling = lab.sampling(sampling_of(arm, weight))
        made = sample_stage(stage, network, request, sampling, bf16=pipeline.bf16)
        rows.append(
            {
                "weight": weight,
                "frame distance": measures.frame_distance(features, measures.frame_features(made)),
                "ground right": measures.ground_right(made, scenes),
                "saturated": measures.saturation(made),
                "saturated, real": measures.saturation(real),
                "contrast": float(made.std() / real.std()),
            }
        )
        lab.show(f"guidance-{arm}-{weight:g}-seed{seed}", scenes, made)
    return rows


EXPERIMENT = Experiment(
    name="guidance",
    title="Guidance: constant or oscillating, thresholded or clipped",
    arms=tuple(ARMS),
    run=run,
    keys=("weight",),
    clips=8,
    bundle=BUNDLE,
    plots=(
        Plot(x="weight", y="frame distance"),
        Plot(x="weight", y="ground right"),
        Plot(x="weight", y="saturated"),
    ),
)

if __name__ == "__main__":
    raise SystemExit(main(EXPERIMENT))
