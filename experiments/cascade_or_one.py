"""A cascade against one model that makes the large clip at once, at equal compute.

    python experiments/cascade_or_one.py [--updates 600] [--seeds 3] [--minutes 20]

The cascade trains a base at 8x12x20 for the given updates and an SR stage to 8x24x40 for a third of
them; the one model makes 8x24x40 itself and takes as many updates as the same training FLOPs buy.
"""

from __future__ import annotations

from collections.abc import Sequence

from _bases import clip_measures
from _frame import Experiment, Row, Session, main
from _small import HIGH, LOW, base, ssr
from _training import CONFIG, Laboratory, Training

from imagen_video.cascade.spec import StageSpec
from imagen_video.models.cost import flops

SR_SHARE = 3
"""Updates of the base for one of the SR stage."""
ONE = base(output=HIGH)


def update_flops(stage: StageSpec) -> int:
    """FLOPs of the forward passes of an update; the backward passes are twice that in all arms."""
    frames = stage.train_frames or stage.output.frames
    return flops(stage.unet, CONFIG.clips, frames, stage.output.height, stage.output.width)


def equal_updates(updates: int) -> int:
    """Updates of the one model that cost what the cascade's cost."""
    spent = updates * update_flops(base()) + updates // SR_SHARE * update_flops(ssr())
    return max(1, round(spent / update_flops(ONE)))


def run(arm: str, seed: int, session: Session) -> Sequence[Row]:
    """Train and judge at the large size."""
    lab = Laboratory(session)
    scenes = lab.scenes(session.clips)
    real = lab.real(scenes, HIGH)
    if arm == "one model":
        updates = equal_updates(session.updates)
        one = Training(stage=ONE, source=None, seed=seed)
        made = lab.sample(one, lab.trained(one, updates), scenes)
        trained = f"{updates}"
    else:
        first = Training(stage=base(), source=None, seed=seed)
        second = Training(stage=ssr(), source=LOW, seed=seed)
        few = max(1, session.updates // SR_SHARE)
        low_res = lab.sample(first, lab.trained(first, session.updates), scenes)
        made = lab.sample(second, lab.trained(second, few), scenes, low_res=low_res)
        trained = f"{session.updates} and {few}"
    lab.show(f"cascade_or_one-{arm}-seed{seed}", scenes, made)
    return [{"trained": trained} | clip_measures(made, real, scenes)]


EXPERIMENT = Experiment(
    name="cascade_or_one",
    title="A cascade against one model at equal compute",
    arms=("cascade", "one model"),
    run=run,
    keys=("trained",),
    updates=600,
)

if __name__ == "__main__":
    raise SystemExit(main(EXPERIMENT))
