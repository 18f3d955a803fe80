"""Does a super-resolution stage need the caption?

    python experiments/text_in_sr.py [--updates 300] [--seeds 3] [--minutes 20]

Both arms are the same stage but for the text; they are judged at two levels of augmentation, as a
low-res video that is nearly hidden in noise leaves more for the caption to say. `wrong caption` is
the arm with text, given the caption of another scene.
"""

from __future__ import annotations

from collections.abc import Sequence

import _measures as measures
from _frame import Experiment, Row, Session, main
from _small import LOW, sampled, ssr
from _training import Laboratory, Training

LEVELS = (3.0, -2.0)
STEPS = 8
WRONG = "wrong caption"


def run(arm: str, seed: int, session: Session) -> Sequence[Row]:
    """Judge an arm at both levels."""
    lab = Laboratory(session)
    training = Training(stage=ssr(text=arm != "without text"), source=LOW, seed=seed)
    network = lab.trained(training, session.updates)
    scenes = lab.scenes(session.clips)
    captions = [scene.caption for scene in scenes]
    if arm == WRONG:
        captions = captions[1:] + captions[:1]
    real = lab.real(scenes, training.stage.output)
    low_res, features = lab.low_res(training, real), measures.frame_features(real)
    rows: list[Row] = []
    for level in LEVELS:
        sampling = sampled(training.stage, augmentation_logsnr=level, steps=STEPS)
        made = lab.sample(
            training, network, scenes, low_res=low_res, sampling=sampling, captions=captions
        )
        distance = measures.frame_distance(features, measures.frame_features(made))
        rows.append(
            {
                "log SNR": level,
                "frame distance": distance,
                "error": measures.error(made, real),
                "sharpness": measures.sharpness(made, real),
            }
        )
        lab.show(f"text_in_sr-{arm}-{level:g}-seed{seed}", scenes, made)
    return rows


EXPERIMENT = Experiment(
    name="text_in_sr",
    title="Super-resolution with and without text",
    arms=("with text", "without text", WRONG),
    run=run,
    keys=("log SNR",),
    updates=300,
)

if __name__ == "__main__":
    raise SystemExit(main(EXPERIMENT))
