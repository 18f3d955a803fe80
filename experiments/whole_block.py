"""Super-resolution of the whole block of frames against one frame at a time: flicker.

    python experiments/whole_block.py [--updates 300] [--seeds 3] [--minutes 20]

`whole block` mixes frames by temporal convolution, `frames` is the same network without it;
`bilinear` is what both start from.
"""

from __future__ import annotations

from collections.abc import Sequence

import _measures as measures
from _frame import Experiment, Row, Session, main
from _small import LOW, sampled, ssr
from _training import Laboratory, Training

from imagen_video.evaluation.measures.baselines import bilinear
from imagen_video.models.cost import num_parameters

STEPS = 8
BASELINE = "bilinear"


def run(arm: str, seed: int, session: Session) -> Sequence[Row]:
    """Judge an arm on real low-res clips."""
    lab = Laboratory(session)
    stage = ssr(temporal="none" if arm == "frames" else "convolution")
    training = Training(stage=stage, source=LOW, seed=seed)
    scenes = lab.scenes(session.clips)
    real = lab.real(scenes, stage.output)
    low_res = lab.low_res(training, real)
    if arm == BASELINE:
        made = bilinear(low_res, stage.output.height, stage.output.width)
    else:
        network = lab.trained(training, session.updates)
        sampling = sampled(stage, steps=STEPS)
        made = lab.sample(training, network, scenes, low_res=low_res, sampling=sampling)
    lab.show(f"whole_block-{arm}-seed{seed}", scenes, made)
    return [
        {
            "border flicker": measures.border_flicker(made),
            "border flicker, real": measures.border_flicker(real),
            "flicker of the error": measures.flicker(made, real),
            "colour drift": measures.colour_drift(made, real),
            "frame distance": measures.frame_distance(
                measures.frame_features(real), measures.frame_features(made)
            ),
            "error": measures.error(made, real),
            "sharpness": measures.sharpness(made, real),
            "parameters": 0 if arm == BASELINE else num_parameters(stage.unet),
        }
    ]


EXPERIMENT = Experiment(
    name="whole_block",
    title="Super-resolution of a whole block of frames",
    arms=("whole block", "frames", BASELINE),
    run=run,
    updates=300,
    sheets=("whole_block-whole block-seed0", "whole_block-frames-seed0"),
)

if __name__ == "__main__":
    raise SystemExit(main(EXPERIMENT))
