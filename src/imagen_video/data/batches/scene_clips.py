"""Training clips of the demo corpus: rendered on the fly at a stage's size, frame stride and crop.

Step i always sees the same scenes, crops and frames, whatever ran before: the draws are keyed by
the step.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from imagen_video.cascade.conditioning import low_res_of
from imagen_video.cascade.resample import resize
from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.data.batches.batch import Batch, BatchSource, rows_of_rank, shard_source
from imagen_video.data.batches.made_inputs import MadeInputs
from imagen_video.errors import InputError
from imagen_video.media.frames import to_float

if TYPE_CHECKING:
    from pathlib import Path

    from imagen_video.corpus.scenes import Scene, SceneSource

Place: TypeAlias = tuple[int, int, int, int]
"""Top, left, height and width in pixels of the stage."""

SMALL_HEIGHT = 48
"""Targets up to this height are rendered twice as large and shrunk by the cascade's own resize.

So what small stages learn looks like the low-res inputs that larger stages derive from theirs.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneBatches:
    """Batches of rendered scenes for one stage."""

    source: SceneSource
    """Which scenes, from which split."""
    stage: StageSpec
    """Resolution, frames, crop."""
    frame_stride: int
    """Source frames (24 fps) between two frames of the stage."""
    clips: int
    """Clips in a batch of clips."""
    images: int
    """Images in a batch of images."""
    image_fraction: float
    """Share of the steps that see independent images instead of clips (joint training)."""
    seed: int = 0
    """Keys the choice of images or clips, windows and crops."""
    made: MadeInputs | None = None
    """Inputs of the stage that the stages before it made."""
    made_fraction: float = 0.0
    """Share of the clips, and of a spatial stage's images, whose input is such a one. Deviation."""
    rank: int = 0
    """Which of `ranks` processes this is."""
    ranks: int = 1
    """How many processes share a batch."""

    @staticmethod
    def of(
        cascade: CascadeSpec,
        name: str,
        source: SceneSource,
        *,
        clips: int,
        images: int,
        image_fraction: float,
        seed: int = 0,
    ) -> SceneBatches:
        """Build the batches of a stage of a cascade."""
        return SceneBatches(
            source=source,
            stage=cascade.stage(name),
            frame_stride=cascade.frame_stride(name),
            clips=clips,
            images=images,
            image_fraction=image_fraction,
            seed=seed,
        )

    def with_made(self, cascade: CascadeSpec, folder: Path, fraction: float) -> SceneBatches:
        """Return the same with a share of made inputs.

        Raises:
            DataError: if the folder holds none for this stage.
            InputError: if the stage has no input, or the share is none.
        """
        source = cascade.input_of(self.stage.name)
        if source is None or not 0 < fraction <= 1:
            raise InputError(
                "made inputs",
                f"a share of {fraction:g} for stage {self.stage.name!r}",
                "a share in (0, 1] for a stage after the base",
                "correct the share, or leave them out",
            )
        shape = (source.frames, source.height, source.width)
        made = MadeInputs.open(folder, self.source.store, self.stage.name, shape)
        return dataclasses.replace(self, made=made, made_fraction=fraction)

    def shard(self, rank: int, ranks: int) -> SceneBatches:
        """Return a source that renders the rows of one process only."""
        return dataclasses.replace(self, rank=rank, ranks=ranks)

    def batch(self, step: int) -> Batch:
        """Render the batch of a step, or this process's rows of it."""
        images = np.random.default_rng((self.seed, 1, step)).random() < self.image_fraction
        count = self.images if images else self.clips
        rows = rows_of_rank(count, self.rank, self.ranks)
        first = step * max(self.images, self.clips)
        rendered = [self._example(first + i, images) for i in rows]
        batch = Batch(
            video=torch.stack([example.video for example in rendered]),
            captions=tuple(example.caption for example in rendered),
            offset=rows.start,
            total=count,
        )
        if all(example.low_res is None for example in rendered):
            return batch
        assert self.made is not None
        frames, height, width = self.made.shape
        source = Clip(frames=frames, height=height, width=width)
        shrunk = low_res_of(batch.video, source, self.stage.output)
        for low_res, example in zip(shrunk, rendered, strict=True):
            if example.low_res is not None:
                low_res.copy_(example.low_res)
        return dataclasses.replace(batch, low_res=shrunk)

    def _example(self, index: int, image: bool) -> _Example:
        """Render one clip or image."""
        rng = np.random.default_rng((self.seed, 2, index))
        number, first = self._made_number(rng, image), 0
        length = 1 if image else self.stage.train_frames or self.stage.output.frames
        if image and number is None:
            scene, frame = self.source.image(index)
        else:
            scene = self._scene(index, number)
            # even starts: a temporal stage's given frames are then those it gets when sampling
            first = 2 * int(rng.integers(0, (self.stage.output.frames - length) // 2 + 1))
            frame = float(self.frame_stride * first)
        frames = [frame + self.frame_stride * i for i in range(length)]
        height, width = self.stage.output.height, self.stage.output.width
        place = _crop(self.stage, rng) if self.stage.crop else (0, 0, height, width)
        return _Example(
            video=self._render(scene, frames, place),
            caption=scene.image_caption if image else scene.caption,
            low_res=None if number is None else self._made_input(number, first, length, place),
        )

    def _scene(self, index: int, number: int | None) -> Scene:
        if number is None:
            return self.source.scene(index)
        assert self.made is not None
        return self.made.scenes.scene(number)

    def _made_number(self, rng: np.random.Generator, image: bool) -> int | None:
        """Choose a made input, or none; a still is its own input in temporal stages."""
        if self.made is None or (image and self.stage.kind == "tsr"):
            return None
        chosen = rng.random() < self.made_fraction
        return int(rng.integers(self.made.count)) if chosen else None

    def _made_input(self, number: int, first: int, length: int, place: Place) -> torch.Tensor:
        """Cut what belongs to `length` frames and a part of the plane out of a made input."""
        assert self.made is not None
        output, (frames, height, _) = self.stage.output, self.made.shape
        in_time, in_space = output.frames // frames, output.height // height
        video = self.made.clip(number)[first // in_time : (first + length) // in_time]
        top, left, rows, columns = (extent // in_space for extent in place)
        return video[..., top : top + rows, left : left + columns]

    def _render(self, scene: Scene, frames: list[float], place: Place) -> torch.Tensor:
        from imagen_video.corpus.render import render

        height, width = self.stage.output.height, self.stage.output.width
        over = 2 if height <= SMALL_HEIGHT else 1
        top, left, rows, columns = (over * extent for extent in place)
        crop = (top, left, rows, columns) if self.stage.crop else None
        pixels = render(scene, self.source.store, frames, over * height, over * width, crop)
        video = to_float(pixels)[None]
        return resize(video, video.shape[-2] // over, video.shape[-1] // over)[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Example:
    video: torch.Tensor
    """`(f, c, h, w)`."""
    caption: str
    low_res: torch.Tensor | None


def _crop(stage: StageSpec, rng: np.random.Generator) -> Place:
    """Draw a part of the plane, on the grid of the stage's stride and of the low-res pixels."""
    assert stage.crop is not None
    (rows, columns), grid = stage.crop, math.lcm(stage.unet.stride, 4)
    top = grid * int(rng.integers(0, (stage.output.height - rows) // grid + 1))
    left = grid * int(rng.integers(0, (stage.output.width - columns) // grid + 1))
    return top, left, rows, columns


class Prefetched:
    """Makes the next batch in a thread while the current one is trained on."""

    def __init__(self, source: BatchSource) -> None:
        """Start with nothing made."""
        from concurrent.futures import Future, ThreadPoolExecutor

        self._source = source
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: tuple[int, Future[Batch]] | None = None

    def shard(self, rank: int, ranks: int) -> Prefetched:
        """Return a source of the rows of one process."""
        return Prefetched(shard_source(self._source, rank, ranks))

    def batch(self, step: int) -> Batch:
        """Return the batch of a step; steps in order come from the thread."""
        if self._next is not None and self._next[0] == step:
            batch = self._next[1].result()
        else:
            batch = self._source.batch(step)
        self._next = (step + 1, self._pool.submit(self._source.batch, step + 1))
        return batch
