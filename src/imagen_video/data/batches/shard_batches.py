"""Batches out of prepared shards: exact by step, and the same for any number of processes.

    source = ShardBatches.open("shards", cascade, "base", clips=8, images=32, image_fraction=0.5,
                               seed=0, packed_images=0.25)
    source.batch(1000)              # whatever was asked for before
    source.shard(2, 8).batch(1000)  # its rows for process 2 of 8

Joint training on images has both forms. A batch of images has one frame a row. A packed row is a
clip's length of independent images, each with its own caption, class and vector (paper, joint
training); in a batch with a packed row, labels are given per frame in all rows.

What an image means for a temporal stage: it has no moment between two given frames. It is therefore
its own low-resolution frame, like a frame that is given: the stage learns from images how frames
look, and how to take away the augmentation noise, in styles that the clips do not have; between
frames nothing is computed for it (`is_image`). What happens between frames it learns from clips.
Assumption: the paper trains all models on both, and does not say what the input is.

Windows of temporal stages start at given frames (a multiple of the factor), as in sampling. Crops
lie on the grid of the network's stride and of the low-res pixels, one for all frames of a row.
If there are no still pictures, images are frames of clips.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.data.batches.batch import Batch, rows_of_rank
from imagen_video.data.batches.epochs import Mixture, Stream, example, example_draws
from imagen_video.data.batches.examples import Example, batch_of
from imagen_video.data.batches.shard_checks import checked_stage
from imagen_video.data.shards.framing import Box
from imagen_video.data.shards.manifest import Manifest
from imagen_video.data.shards.reader import ShardReader
from imagen_video.data.shards.text_store import TextStore
from imagen_video.data.shards.verify import check_digests, check_sizes

MAX_THREADS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardBatches:
    """A `BatchSource` over the shards of one stage. Build it with `open`."""

    reader: ShardReader
    """The samples."""
    clips: np.ndarray
    """Numbers of those that clips are taken from."""
    images: np.ndarray
    """Numbers of those that images are taken from."""
    text: TextStore | None
    """The captions; None if the stage reads none."""
    stage: StageSpec
    """Resolution, frames, crop."""
    source: Clip | None
    """What the stage takes; None for the base."""
    mixture: Mixture
    """How clips and images are mixed."""
    seed: int
    """Keys orders, windows and crops."""
    pool: ThreadPoolExecutor
    """Decodes the rows of a batch."""
    rank: int = 0
    """Which of `ranks` processes this is."""
    ranks: int = 1
    """How many processes share a batch."""

    @staticmethod
    def open(  # noqa: PLR0913 - what a user decides about a mixture
        path: str | Path,
        cascade: CascadeSpec,
        stage_name: str,
        *,
        clips: int,
        images: int,
        image_fraction: float,
        seed: int = 0,
        packed_images: float = 0.0,
        verify: bool = True,
    ) -> ShardBatches:
        """Open a folder of shards for one stage; everything is checked before the first step.

        Args:
            path: the folder, `--out` of `data prepare`.
            cascade: what is trained.
            stage_name: which stage of it.
            clips: rows of a batch of clips, over all processes.
            images: rows of a batch of images, over all processes.
            image_fraction: share of the steps that see batches of images.
            seed: keys orders, windows and crops.
            packed_images: share of the rows of a clip batch that are images packed into a clip.
            verify: compare the SHA-256 of files that have changed since they were last compared;
                sizes are always compared.

        Raises:
            DataError: not a finished folder; files that are not the manifest's; another geometry
                or text encoder than the cascade's; labels that the stage reads and the shards do
                not have; no samples of a kind that the mixture asks for.
        """
        folder = Path(path)
        manifest = Manifest.read(folder)
        stage = cascade.stage(stage_name)
        mixture = Mixture(
            clips=clips,
            images=images,
            image_fraction=image_fraction,
            packed_images=packed_images,
        )
        entry, text = checked_stage(folder, manifest, cascade, stage, mixture)
        files = [*entry.files, *([text] if text else [])]
        check_sizes(folder, files)
        if verify:
            check_digests(folder, files)
        reader = ShardReader(folder, entry)
        still = reader.index["image"] == 1
        whole = np.arange(len(still))
        return ShardBatches(
            reader=reader,
            clips=whole if stage.output.frames == 1 else whole[~still],
            images=whole if stage.output.frames == 1 or not still.any() else whole[still],
            text=TextStore(folder, text) if text else None,
            stage=stage,
            source=cascade.input_of(stage_name),
            mixture=mixture,
            seed=seed,
            pool=ThreadPoolExecutor(
                min(MAX_THREADS, os.cpu_count() or 1), thread_name_prefix="decoding"
            ),
        )

    def shard(self, rank: int, ranks: int) -> ShardBatches:
        """Return a source that decodes the rows of one process only."""
        return dataclasses.replace(self, rank=rank, ranks=ranks)

    def batch(self, step: int) -> Batch:
        """Return this process's rows of the batch of a step."""
        mixture = self.mixture
        images = mixture.is_images(step)
        total = mixture.images if images else mixture.clips
        rows = rows_of_rank(total, self.rank, self.ranks)
        if images:
            positions = mixture.image_positions(step)
            examples = self._each(lambda row: self._image("images", positions[row]), rows)
            return batch_of(examples, self.stage, self.text, None, rows, total)
        packed = mixture.packed_rows(step)

        def read(row: int) -> Example:
            position = mixture.row_position(step, row)
            return self._packed(position) if packed[row] else self._clip(position)

        examples = self._each(read, rows)
        # The whole batch decides, so that the rows of a process do not depend on who shares it.
        is_image = torch.tensor([packed[row] for row in rows]) if any(packed) else None
        return batch_of(examples, self.stage, self.text, is_image, rows, total)

    @property
    def num_frames(self) -> int:
        """Frames of a training clip."""
        return self.stage.train_frames or self.stage.output.frames

    def _each(self, read: Callable[[int], Example], rows: range) -> list[Example]:
        return list(self.pool.map(read, rows)) if len(rows) > 1 else [read(row) for row in rows]

    def _clip(self, position: int) -> Example:
        draws = example_draws("clips", position, self.seed)
        number = self.clips[example("clips", position, len(self.clips), self.seed)]
        factor = self.stage.output.frames // self.source.frames if self.source else 1
        room = (int(self.reader.index["frames"][number]) - self.num_frames) // factor
        start = factor * int(draws.integers(room + 1))
        pixels, facts = self.reader.read(
            number, range(start, start + self.num_frames), self._box(draws)
        )
        return Example(pixels=pixels, labels=(facts.label,))

    def _packed(self, position: int) -> Example:
        first = position * self.num_frames
        parts = [self._image("packed", first + frame) for frame in range(self.num_frames)]
        return Example(
            pixels=np.concatenate([part.pixels for part in parts]),
            labels=tuple(part.labels[0] for part in parts),
        )

    def _image(self, stream: Stream, position: int) -> Example:
        draws = example_draws(stream, position, self.seed)
        number = self.images[example(stream, position, len(self.images), self.seed)]
        frame = int(draws.integers(self.reader.index["frames"][number]))
        pixels, facts = self.reader.read(number, range(frame, frame + 1), self._box(draws))
        return Example(pixels=pixels, labels=(facts.label,))

    def _box(self, draws: np.random.Generator) -> Box | None:
        if self.stage.crop is None:
            return None
        output, (height, width) = self.stage.output, self.stage.crop
        factor = output.height // self.source.height if self.source else 1
        grid = math.lcm(self.stage.unet.stride, factor)
        return Box(
            top=grid * int(draws.integers((output.height - height) // grid + 1)),
            left=grid * int(draws.integers((output.width - width) // grid + 1)),
            height=height,
            width=width,
        )
