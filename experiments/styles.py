"""Styles learned from stills only, asked for in motion.

    python experiments/styles.py [--updates 800] [--seeds 3] [--minutes 20]

Half of the updates are on images of every style, half on clips. In the arm `stills` no clip shows
another style than the 3D animation, so that flat drawings, cartoons and renders are known from
stills alone; in `clips` they move in training too. Both are asked for the three styles in motion.
A linear probe on Lite0 features of real renders says which style a clip shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import _measures as measures
import torch
from _frame import Experiment, Row, Session, main
from _small import HIGH, STRIDE, base
from _training import CONFIG, Laboratory, Training

from imagen_video.corpus.scenes import Scene, SceneSource
from imagen_video.data.batches.scene_clips import SceneBatches
from imagen_video.evaluation.measures.retrieval import SubjectProbe, share

STILLS = ("flat", "cartoon", "render")
MOVING = "animation"
PROBED = 40
"""Real renders of each style that the probe is fitted on."""
MAX_TRIES = 10_000


class MovingOnly(SceneSource):
    """Training scenes whose clips are all of the animated style; images are of every style."""

    def scene(self, index: int) -> Scene:
        """Return the first animated scene from a number that no other index uses."""
        for attempt in range(MAX_TRIES):
            scene = super().scene(index + (attempt << 40))
            if scene.style == MOVING:
                return scene
        raise AssertionError("no animated scene: is the corpus whole?")

    def image(self, index: int) -> tuple[Scene, float]:
        """Return a still of any style."""
        scene, rng = self._draw(index)
        return scene, float(rng.integers(0, 128))


def training_of(arm: str, seed: int, lab: Laboratory) -> Training:
    """Return what an arm trains, at 24x40: styles cannot be told apart at half of that."""
    config = dataclasses.replace(CONFIG, image_fraction=0.5, images=32)
    kind = MovingOnly if arm == "stills" else SceneSource
    training = Training(
        stage=base(output=HIGH), source=None, seed=seed, config=config, data=f"styles, {arm}"
    )
    source = kind(lab.store, seed=seed, split="train", kinds={"subject": 1.0})
    batches = SceneBatches(
        source=source,
        stage=training.stage,
        frame_stride=STRIDE,
        clips=config.clips,
        images=config.images,
        image_fraction=config.image_fraction,
        seed=seed,
    )
    return dataclasses.replace(training, batches=batches)


def styled_scenes(lab: Laboratory, count: int, seed: int, split: str = "held_out") -> list[Scene]:
    """Return `count` moving scenes of each style of stills and of the animation."""
    source = SceneSource(
        lab.store,
        seed=seed,
        split="train" if split == "train" else "held_out",
        kinds={"subject": 1.0},
        complete_captions=True,
    )
    found: dict[str, list[Scene]] = {style: [] for style in (*STILLS, MOVING)}
    for index in range(MAX_TRIES):
        scene = source.scene(index)
        mine = found.get(scene.style)
        if mine is not None and len(mine) < count and scene.motion != "still":
            mine.append(scene)
        if all(len(scenes) == count for scenes in found.values()):
            break
    return [scene for scenes in found.values() for scene in scenes]


def clip_features(video: torch.Tensor) -> torch.Tensor:
    """Mean Lite0 features of every clip, `(b, 1280)`."""
    return measures.frame_features(video).unflatten(0, (len(video), -1)).mean(1)


def run(arm: str, seed: int, session: Session) -> Sequence[Row]:
    """Ask for every style in motion."""
    lab = Laboratory(session)
    training = training_of(arm, seed, lab)
    shown = styled_scenes(lab, PROBED, 7, "train")
    probe = SubjectProbe.fit(clip_features(lab.real(shown, HIGH)), [s.style for s in shown])
    network = lab.trained(training, session.updates)
    rows: list[Row] = []
    scenes = styled_scenes(lab, max(1, session.clips // 4), 8)
    real = lab.real(scenes, HIGH)
    made = lab.sample(training, network, scenes)
    lab.show(f"styles-{arm}-seed{seed}", scenes, made)
    for style in (*STILLS, MOVING):
        of_style = [index for index, scene in enumerate(scenes) if scene.style == style]
        seen = [ranked[0] for ranked in probe.ranked(clip_features(made[of_style]))]
        ceiling = [ranked[0] for ranked in probe.ranked(clip_features(real[of_style]))]
        rows.append(
            {
                "style": style,
                "style right": share(name == style for name in seen),
                "of real renders": share(name == style for name in ceiling),
                "frame change / real": measures.change(made[of_style], real[of_style]),
            }
        )
    return rows


EXPERIMENT = Experiment(
    name="styles",
    title="Styles learned from stills, in motion",
    arms=("stills", "clips"),
    run=run,
    keys=("style",),
    updates=800,
    clips=32,
)

if __name__ == "__main__":
    raise SystemExit(main(EXPERIMENT))
