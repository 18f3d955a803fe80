"""A cascade of one's own: grey 64x64 clips of 32 frames, made from a number and no text.

    python examples/number_cascade.py         prints all commands, from rendering to generating

Everything that a cascade needs is in this file: the geometry and the networks (`cascade`), the data
(`DATA`), and how long and how fast each stage learns (`SCHEDULE`). docs/own_cascade.md walks
through it. To make it yours, change the `Clip`s first: the other two follow from them.
"""

from __future__ import annotations

import dataclasses
import shlex

from imagen_video.cascade.spec import CascadeSpec, Clip, SamplingSpec, StageSpec
from imagen_video.models.spec import LevelSpec, UNetSpec
from imagen_video.training.config import TrainConfig

PRESET = "examples/number_cascade.py:cascade"
CLIPS = "build/rings/clips"
SHARDS = "build/rings/shards"
RUNS = "runs/rings"
BUNDLE = "build/rings/bundle"
VIDEOS = "build/rings/videos"

DATA = ("--vector-columns", "ejection")
"""Where the number of a clip is: this column of labels.csv beside the clips. With text instead of
numbers there would be .txt files or a `caption` column, and nothing to say here."""


def cascade() -> CascadeSpec:
    """Build the spec: 16 frames of 16x16, then 32 of 16x16, then 32 of 64x64, over two seconds."""
    return CascadeSpec(
        name="rings",
        stages=(
            StageSpec(
                name="base",
                kind="base",
                output=Clip(frames=16, height=16, width=16, fps=8.0),
                unet=_network(
                    # 16x16 positions, then 8x8, where positions and frames attend to one another
                    LevelSpec(channels=32, num_blocks=1, temporal="convolution"),
                    LevelSpec(
                        channels=64,
                        num_blocks=2,
                        spatial_attention=True,
                        temporal="attention",
                    ),
                ),
                # ejection is followed more strictly than the clips alone would teach
                sampling=SamplingSpec(sampler="ddim", steps=24, guidance_weight=3.0),
            ),
            StageSpec(
                name="tsr1",
                kind="tsr",
                output=Clip(frames=32, height=16, width=16, fps=16.0),
                # residual_std: how far clips are from their repeated frames, measured on the data
                unet=_network(
                    LevelSpec(channels=32, num_blocks=2, temporal="convolution"),
                    residual_std=0.1,
                ),
                augmentation_max_t=0.3,
                sampling=_FEW_STEPS,
            ),
            StageSpec(
                name="ssr1",
                kind="ssr",
                output=Clip(frames=32, height=64, width=64, fps=16.0),
                # patches of 4x4 pixels and local operations: cheap, and exact in tiles
                unet=_network(
                    LevelSpec(channels=64, num_blocks=2, temporal="convolution", norm="layer"),
                    residual_std=0.2,
                    patch_size=4,
                ),
                augmentation_max_t=0.3,
                train_frames=8,
                sampling=_FEW_STEPS,
            ),
        ),
    )


_FEW_STEPS = SamplingSpec(sampler="ddim", steps=4, threshold="static", augmentation_logsnr=6.0)


def _network(
    *levels: LevelSpec, residual_std: float | None = None, patch_size: int = 1
) -> UNetSpec:
    """One grey channel, one number; super-resolution stages have a `residual_std`."""
    return UNetSpec(
        levels=levels,
        channels=1,
        patch_size=patch_size,
        embedding_width=128,
        vector_width=1,
        low_res=residual_std is not None,
        residual_std=residual_std,
    )


SCHEDULE: dict[str, TrainConfig] = {
    "base": TrainConfig(steps=1500, clips=8, image_fraction=0.0, learning_rate=1e-3),
    "tsr1": TrainConfig(steps=300, clips=8, image_fraction=0.0, learning_rate=1e-3),
    "ssr1": TrainConfig(steps=300, clips=8, image_fraction=0.0, learning_rate=1e-3),
}
"""Minutes on two cores. image_fraction=0: one frame does not show how a ring beats."""


def commands() -> list[list[str]]:
    """Return every command from a folder of clips to generated videos, in order."""
    program = "imagen-video"
    return [
        ["python", "examples/render_rings.py", CLIPS],
        [program, "data", "check", CLIPS, "--preset", PRESET, *DATA],
        [program, "data", "prepare", CLIPS, "--preset", PRESET, *DATA, "--out", SHARDS],
        *(train_command(stage.name) for stage in cascade().stages),
        [program, "export", "--preset", PRESET, "--run-dir", RUNS, "--out", BUNDLE],
        [program, "generate", "--bundle", BUNDLE, "--vector", "0.2", "0.5", "0.8", "--out", VIDEOS],
        ["python", "examples/measure_rings.py", VIDEOS],
    ]


def train_command(stage: str) -> list[str]:
    """Return the command that trains a stage as `SCHEDULE` says."""
    words = ["imagen-video", "train", "--preset", PRESET, "--stage", stage]
    words += ["--run-dir", f"{RUNS}/{stage}", "--data", SHARDS]
    usual = TrainConfig()
    for field in dataclasses.fields(TrainConfig):
        value = getattr(SCHEDULE[stage], field.name)
        if value != getattr(usual, field.name):
            words += [f"--{field.name.replace('_', '-')}", str(value)]
    return words


if __name__ == "__main__":
    for command in commands():
        print(shlex.join(command))
