"""Training clips of the demo corpus: rendered on the fly at a stage's size, frame stride and crop.

Step i always sees the same scenes, crops and frames, whatever ran before: the draws are keyed by
the step.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from imagen_video.cascade.resample import resize
from imagen_video.cascade.spec import CascadeSpec, StageSpec
from imagen_video.data.batches.batch import Batch, BatchSource, rows_of_rank, shard_source
from imagen_video.media.frames import to_float

if TYPE_CHECKING:
    from imagen_video.corpus.scenes import Scene, SceneSource

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
        return Batch(
            video=torch.stack([video for video, _ in rendered]),
            captions=tuple(caption for _, caption in rendered),
            offset=rows.start,
            total=count,
        )

    def _example(self, index: int, image: bool) -> tuple[torch.Tensor, str]:
        """Render one clip `(f, c, h, w)` or image `(1, c, h, w)`."""
        rng = np.random.default_rng((self.seed, 2, index))
        if image:
            scene, frame = self.source.image(index)
            frames, caption = [frame], scene.image_caption
        else:
            scene = self.source.scene(index)
            length = self.stage.train_frames or self.stage.output.frames
            # even starts: a temporal stage's given frames are then those it gets when sampling
            start = 2 * int(rng.integers(0, (self.stage.output.frames - length) // 2 + 1))
            frames = [float(self.frame_stride * (start + i)) for i in range(length)]
            caption = scene.caption
        return self._render(scene, frames, rng), caption

    def _render(self, scene: Scene, frames: list[float], rng: np.random.Generator) -> torch.Tensor:
        from imagen_video.corpus.render import render

        height, width = self.stage.output.height, self.stage.output.width
        over = 2 if height <= SMALL_HEIGHT else 1
        crop = None
        if self.stage.crop is not None:
            # on the grid of the stage's total stride and of the low-res pixels
            grid = math.lcm(self.stage.unet.stride, 4)
            top = grid * int(rng.integers(0, (height - self.stage.crop[0]) // grid + 1))
            left = grid * int(rng.integers(0, (width - self.stage.crop[1]) // grid + 1))
            crop = (over * top, over * left, over * self.stage.crop[0], over * self.stage.crop[1])
        pixels = render(scene, self.source.store, frames, over * height, over * width, crop)
        video = to_float(pixels)[None]
        return resize(video, video.shape[-2] // over, video.shape[-1] // over)[0]


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
