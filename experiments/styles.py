"""Styles learned from stills only, asked for in motion.

    python experiments/styles.py [--updates 800] [--seeds 3] [--minutes 20]

Half of the updates are on images of every style, half on clips. In the arm `stills` no clip shows
another style than the 3D animation, so that flat drawings, cartoons and renders are known from
stills alone; in `clips` they move in training too. Both are asked for the three styles in motion.
Each clip is held against real renders of its own subject in all the styles that the corpus has it
in: the nearest by Lite0 features is the style that it shows (`evaluation.measures.styles`). Scenes
of subjects in one style only are passed over, as there is nothing to tell apart. The same judge's
score on real renders stands beside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import _measures as measures
from _frame import Experiment, Row, Session, main
from _small import HIGH, STRIDE, base
from _training import CONFIG, Laboratory, Training
from torch import Tensor

from imagen_video.corpus.scenes import Scene, SceneSource
from imagen_video.data.batches.scene_clips import SceneBatches
from imagen_video.errors import DataError
from imagen_video.evaluation.material.clips import Clip
from imagen_video.evaluation.measures.styles import StyleJudge, styles_of
from imagen_video.media.frames import to_uint8

STILLS = ("flat", "cartoon", "render")
MOVING = "animation"
SEED = 8
"""Of the scenes that are asked for."""
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


def styled_scenes(lab: Laboratory, count: int) -> list[Scene]:
    """Return `count` moving held-out scenes of each style, all of which can be judged.

    Raises:
        DataError: if the corpus has too few of a style.
    """
    source = SceneSource(
        lab.store, seed=SEED, split="held_out", kinds={"subject": 1.0}, complete_captions=True
    )
    found: dict[str, list[Scene]] = {style: [] for style in (*STILLS, MOVING)}
    for index in range(MAX_TRIES):
        scene = source.scene(index)
        mine = found[scene.style]
        told_apart = len(styles_of(lab.store, scene)) > 1
        if len(mine) < count and scene.motion != "still" and told_apart:
            mine.append(scene)
        if all(len(scenes) == count for scenes in found.values()):
            return [scene for scenes in found.values() for scene in scenes]
    few = {style: len(scenes) for style, scenes in found.items()}
    raise DataError(
        "scenes of every style", str(few), f"{count} of each", "judge fewer clips, or rebuild"
    )


def styles_right(judge: StyleJudge, video: Tensor, scenes: Sequence[Scene]) -> float:
    """Return the share of clips `(b, f, 3, h, w)` in the style that their scene asks for."""
    right: list[float] = []
    for frames, scene in zip(to_uint8(video), scenes, strict=True):
        clip = Clip(frames=frames, times=tuple(float(STRIDE * i) for i in range(len(frames))))
        seen = measures.lite0().frames(frames[list(clip.judged)])
        right.append(judge.scores(clip, seen, scene)["style"])
    return sum(right) / len(right)


def run(arm: str, seed: int, session: Session) -> Sequence[Row]:
    """Ask for every style in motion."""
    lab = Laboratory(session)
    training = training_of(arm, seed, lab)
    scenes = styled_scenes(lab, max(1, session.clips // 4))
    network = lab.trained(training, session.updates)
    judge = StyleJudge(measures.lite0().frames, lab.store)
    real = lab.real(scenes, HIGH)
    made = lab.sample(training, network, scenes)
    lab.show(f"styles-{arm}-seed{seed}", scenes, made)
    rows: list[Row] = []
    for style in (*STILLS, MOVING):
        index = [i for i, scene in enumerate(scenes) if scene.style == style]
        asked = [scenes[i] for i in index]
        chances = [1 / len(styles_of(lab.store, scene)) for scene in asked]
        rows.append(
            {
                "style": style,
                "clips": len(asked),
                "style right": styles_right(judge, made[index], asked),
                "of real renders": styles_right(judge, real[index], asked),
                "by chance": sum(chances) / len(chances),
                "frame change / real": measures.change(made[index], real[index]),
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
