"""Styles learned from stills only, asked for in motion.

    python recipes/emoji.py --teachers build/teachers
    python experiments/styles.py [--updates 400] [--seeds 3] [--minutes 20]

The teacher of the shipped base knows subjects and motions, and none of the three styles below:
they are pictures of its own corpus, turned to sepia, to a pencil drawing, to coarse pixels, and
named at the end of the caption. It is trained on, three of four updates on stills, one on clips.
In the arm `stills` only stills show the styles, in `clips` clips show them too, and `before` is the
teacher as it was. All are asked for held-out combinations in every style, in motion; every seed
trains on other scenes and is asked for others. A clip shows the style of the nearest, by Lite0
features, of real renders of its own scene in all styles, taken at other frames; the same judge's
score on real renders stands beside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import lru_cache

import _measures as measures
import numpy as np
import torch
from _frame import DIGITS, TEACHERS, Experiment, Row, Session, main
from _training import CONFIG, Laboratory, Training
from torch import Tensor, nn
from torch.nn import functional

from imagen_video.cascade.bundle import Bundle
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.resolve_bundle import find_bundle
from imagen_video.cli.generation import choose_precision
from imagen_video.corpus.scenes import Scene, SceneSource
from imagen_video.data.batches.batch import Batch, Captions
from imagen_video.data.batches.scene_clips import SceneBatches
from imagen_video.evaluation.features.lite0 import clip_vector
from imagen_video.evaluation.material.real_renders import real_video
from imagen_video.evaluation.measures.baselines import LUMA
from imagen_video.evaluation.measures.content import shows_motion
from imagen_video.evaluation.measures.retrieval import share
from imagen_video.media.frames import to_uint8
from imagen_video.models.spec import UNetSpec

BUNDLE = TEACHERS
"""Whose base is taught the styles."""
ANIMATION = "animation"
"""The one style of the corpus that is used: the others have words and pictures of their own."""
MAX_TRIES = 10_000
STEPS = 8
"""Of sampling: no fewer are needed to see a style."""
AHEAD = 4.0
"""Source frames by which the renders that a clip is held against are ahead of it."""
SEPIA = (1.0, 0.82, 0.58)
"""Of what is white."""
INK = 3.0
"""How dark a pencil draws an edge."""
BLOCK = 4
"""Pixels of a frame in one of the coarse ones, along a side."""


def grey(video: Tensor) -> Tensor:
    """Return the luma of `(..., 3, h, w)` in [-1, 1], `(..., 1, h, w)` in [0, 1]."""
    weights = video.new_tensor(LUMA)[:, None, None]
    return ((video + 1) / 2 * weights).sum(-3, keepdim=True)


def sepia(video: Tensor) -> Tensor:
    """Return an old photograph: brown where it was dark, cream where it was light."""
    return 2 * grey(video) * video.new_tensor(SEPIA)[:, None, None] - 1


def pencil(video: Tensor) -> Tensor:
    """Return the edges, dark on white paper."""
    luma = grey(video)
    down = functional.pad(luma.diff(dim=-2), (0, 0, 0, 1))
    right = functional.pad(luma.diff(dim=-1), (0, 1, 0, 0))
    edges = (down.square() + right.square()).sqrt()
    return (1 - INK * edges).clamp(-1, 1).expand_as(video)


def pixels(video: Tensor) -> Tensor:
    """Return blocks of one colour each."""
    *leading, height, width = video.shape
    coarse = functional.avg_pool2d(video.reshape(-1, 1, height, width), BLOCK)
    fine = functional.interpolate(coarse, size=(height, width), mode="nearest")
    return fine.reshape(*leading, height, width)


STYLES: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "plain": ("", lambda video: video),
    "sepia": (", sepia photograph", sepia),
    "pencil": (", pencil drawing", pencil),
    "pixels": (", pixel art", pixels),
}
"""What is said at the end of a caption, and what it does to a video."""
NAMES = tuple(STYLES)


class Animations(SceneSource):
    """Training scenes of the animated style alone."""

    def _draw(self, index: int) -> tuple[Scene, np.random.Generator]:
        """Return the first such scene from a number that no other index uses."""
        for attempt in range(MAX_TRIES):
            scene, rng = super()._draw(index + (attempt << 40))
            if scene.style == ANIMATION:
                return scene, rng
        raise AssertionError("no animated scene: is the corpus whole?")


@dataclasses.dataclass(frozen=True)
class Styled:
    """Batches in which every row has a style of its own, in turn."""

    batches: SceneBatches
    moving: bool
    """Whether clips have styles too; images always do."""

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        batch = self.batches.batch(step)
        if not (batch.is_images or self.moving):
            return batch
        names = [NAMES[(step + row) % len(NAMES)] for row in range(len(batch))]
        return dataclasses.replace(
            batch,
            video=in_style(batch.video, names),
            captions=told(batch.captions, names),
        )


def in_style(video: Tensor, names: Sequence[str]) -> Tensor:
    """Draw every clip of `(b, f, 3, h, w)` in its style."""
    return torch.stack([STYLES[name][1](clip) for clip, name in zip(video, names, strict=True)])


def told(captions: Captions, names: Sequence[str]) -> tuple[str, ...]:
    """Say the style at the end of every caption."""
    return tuple(f"{text}{STYLES[name][0]}" for text, name in zip(captions, names, strict=True))


@lru_cache(maxsize=1)
def taught() -> ImagenVideoPipeline:
    """Load the cascade whose base is trained on."""
    return ImagenVideoPipeline.from_pretrained(BUNDLE)


def teacher_base(spec: UNetSpec) -> nn.Module:
    """Return a new copy of that base."""
    pipeline = ImagenVideoPipeline.from_pretrained(BUNDLE)
    network = pipeline.network("base").float()
    assert pipeline.spec.stages[0].unet == spec
    return network


def training_of(arm: str, seed: int, lab: Laboratory) -> Training:
    """Return what an arm trains."""
    spec, digest = taught().spec, Bundle.open(find_bundle(BUNDLE)).digest[:DIGITS]
    config = dataclasses.replace(
        CONFIG,
        image_fraction=0.75,
        images=32,
        optimizer="muon",
        precision=choose_precision("auto", torch.device("cpu")),
    )
    source = Animations(lab.store, seed=seed, split="train", kinds={"subject": 1.0})
    batches = SceneBatches.of(
        spec,
        "base",
        source,
        clips=config.clips,
        images=config.images,
        image_fraction=config.image_fraction,
        seed=seed,
    )
    return Training(
        stage=spec.stages[0],
        source=None,
        seed=seed,
        config=config,
        build=teacher_base,
        batches=Styled(batches, moving=arm == "clips"),
        data=f"styles, {arm}, of {digest}",
    )


def moving_scenes(lab: Laboratory, count: int) -> list[Scene]:
    """Return held-out animations that move; the first n are the same for every count."""
    scenes = lab.scenes(4 * count + 8)
    return [s for s in scenes if s.style == ANIMATION and s.motion != "still"][:count]


def looks_of(video: Tensor) -> Tensor:
    """Return what every clip `(b, f, 3, h, w)` looks like to Lite0, as unit vectors `(b, d)`."""
    features = measures.lite0().frames
    return torch.stack(
        [functional.normalize(clip_vector(features(clip)), dim=0) for clip in to_uint8(video)]
    )


def shown(looks: Tensor, renders: dict[str, Tensor]) -> list[str]:
    """Return the style that every clip shows.

    Args:
        looks: of the clips that are judged, `(b, d)`.
        renders: looks of real clips of the same scenes in every style.
    """
    likeness = torch.stack([(looks * render).sum(-1) for render in renders.values()])
    return [list(renders)[int(best)] for best in likeness.argmax(0)]


def right(name: str, video: Tensor, renders: dict[str, Tensor]) -> float:
    """Return the share of clips that show a style."""
    return share(seen == name for seen in shown(looks_of(video), renders))


def run(arm: str, seed: int, session: Session) -> Sequence[Row]:
    """Ask for every style, in stills and in motion."""
    lab = Laboratory(session)
    training, stride = training_of(arm, seed, lab), taught().spec.frame_stride("base")
    scenes = moving_scenes(lab, session.clips * (seed + 1))[-session.clips :]
    if arm == "before":
        network = training.build(training.stage.unet).eval()
    else:
        network = lab.trained(training, session.updates)
    clip = training.stage.output
    times = [float(stride * frame) for frame in range(clip.frames)]
    later = [time + AHEAD for time in times]
    real = lab.real(scenes, clip, stride)
    ahead = torch.cat([real_video(s, lab.store, later, clip.height, clip.width) for s in scenes])
    renders = {name: looks_of(style(ahead)) for name, (_, style) in STYLES.items()}
    pictures = {name: looks_of(style(ahead[:, :1])) for name, (_, style) in STYLES.items()}
    rows: list[Row] = []
    for name, (_, style) in STYLES.items():
        assert session.minutes_left > 0
        stills = sampled(lab, training, network, scenes, name, frames=1)
        made = sampled(lab, training, network, scenes, name, frames=clip.frames)
        drawn = style(real)
        lab.show(f"styles-{arm}-{name}-seed{seed}", scenes, made)
        rows.append(
            {
                "style": name,
                "right in stills": right(name, stills, pictures),
                "right in motion": right(name, made, renders),
                "of real renders": right(name, drawn, renders),
                "motion right": motion_right(made, times, scenes),
                "motion, real": motion_right(drawn, times, scenes),
                "frame change / real": measures.change(made, drawn),
            }
        )
    return rows


def sampled(
    lab: Laboratory,
    training: Training,
    network: nn.Module,
    scenes: Sequence[Scene],
    name: str,
    *,
    frames: int,
) -> Tensor:
    """Make clips of a style, or stills if `frames` is 1."""
    said = [scene.image_caption if frames == 1 else scene.caption for scene in scenes]
    stage = training.stage
    asked = dataclasses.replace(
        training,
        stage=dataclasses.replace(stage, output=dataclasses.replace(stage.output, frames=frames)),
    )
    sampling = dataclasses.replace(stage.sampling, steps=STEPS)
    captions = told(tuple(said), [name] * len(said))
    return lab.sample(asked, network, scenes, sampling=sampling, captions=captions)


def motion_right(video: Tensor, times: Sequence[float], scenes: Sequence[Scene]) -> float:
    """Return the share of clips that move as their scene asks."""
    seen = (
        shows_motion(clip, times, scene)
        for clip, scene in zip(to_uint8(video), scenes, strict=True)
    )
    return share(bool(scores.get("motion")) for scores in seen)


EXPERIMENT = Experiment(
    name="styles",
    title="Styles learned from stills, in motion",
    arms=("before", "stills", "clips"),
    run=run,
    keys=("style",),
    updates=400,
    clips=8,
    bundle=BUNDLE,
    sheets=tuple(f"styles-stills-{name}-seed0" for name in NAMES[1:]),
)

if __name__ == "__main__":
    raise SystemExit(main(EXPERIMENT))
