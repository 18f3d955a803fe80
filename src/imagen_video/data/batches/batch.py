"""What a training step is fed: clips, what is said about them, and nothing about diffusion.

Several processes share the batch of a step. Each holds consecutive rows of it (`rows_of_rank`) and
says which (`offset`, `total`): random draws are keyed by the row in the whole batch, so that the
split changes nothing but the order of sums.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor

from imagen_video.cascade.resample import ResampledVideo
from imagen_video.errors import DataError, InputError
from imagen_video.tensor_types import Video
from imagen_video.text.base import TextEmbedding

Captions: TypeAlias = tuple[str | tuple[str, ...], ...]

_TENSORS = ("class_id", "vector", "is_image", "frame_rate", "low_res")
"""Fields with a row for every clip, where they are given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips of one shape. A batch of images is a batch of one-frame clips."""

    video: Video
    """Training targets `(b, f, c, h, w)` in [-1, 1]."""
    captions: Captions = ()
    """One a clip; for packed images one a frame, as tuples of tuples; () if there are none."""
    text: TextEmbedding | None = None
    """Captions that are encoded already, one a clip or one a frame; `captions` are then labels."""
    class_id: Tensor | None = None
    """`(b,)` or `(b, f)`; -1 = none."""
    vector: Tensor | None = None
    """`(b, d)` or `(b, f, d)`; a row of NaN = none."""
    is_image: Tensor | None = None
    """True at rows that are independent images packed into a clip, `(b,)` (joint training)."""
    frame_rate: Tensor | None = None
    """Frames per second, `(b,)`."""
    low_res: ResampledVideo | None = None
    """What a super-resolution stage is given, clean, `(b, f', c, h', w')`; None = shrunk from
    `video`."""
    offset: int = 0
    """Where the first row lies in the whole batch of the step."""
    total: int | None = None
    """Rows of the whole batch over all processes; None = these are all."""

    def __post_init__(self) -> None:
        """Refuse an empty batch, and labels that are not one a row.

        Raises:
            DataError: saying which.
        """
        rows = len(self.video)
        if self.video.ndim != 5 or not self.video.numel():
            raise DataError(
                "a training batch",
                f"videos of shape {tuple(self.video.shape)}",
                "at least one clip, (b, f, c, h, w)",
                "check the data: `imagen-video data check`",
            )
        for name in ("captions", "text", *_TENSORS):
            value = getattr(self, name)
            if value is not None and len(value) not in (
                (rows, 0) if name == "captions" else (rows,)
            ):
                raise DataError(
                    "a training batch",
                    f"{len(value)} rows of {name}",
                    f"{rows}, as many as clips",
                    "give every clip its own",
                )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.video)

    @property
    def is_images(self) -> bool:
        """Whether these are single images."""
        return self.video.shape[1] == 1

    @property
    def whole(self) -> int:
        """Rows of the whole batch of the step."""
        return len(self) if self.total is None else self.total

    def rows(self, rows: range) -> Batch:
        """Cut out consecutive rows, which know where they were."""
        part = slice(rows.start, rows.stop)
        cut = {
            name: None if value is None else value[part]
            for name in ("captions", *_TENSORS)
            for value in (getattr(self, name),)
        }
        return dataclasses.replace(
            self,
            video=self.video[part],
            text=None if self.text is None else self.text.select(part),
            offset=self.offset + rows.start,
            total=self.whole,
            **cut,
        )


@runtime_checkable
class BatchSource(Protocol):
    """Batches by step number.

    The same step always gives the same batch, so that a resumed run sees no difference.
    """

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        ...


@runtime_checkable
class ShardedSource(BatchSource, Protocol):
    """A source that can make the rows of one process alone."""

    def shard(self, rank: int, ranks: int) -> BatchSource:
        """Return a source of the rows `rows_of_rank(rows, rank, ranks)` of every batch.

        Its batches have `offset` and `total` set, as `Batch.rows` does.
        """
        ...


def rows_of_rank(rows: int, rank: int, ranks: int) -> range:
    """Rows of a whole batch that process `rank` of `ranks` holds: consecutive, as even as possible.

    Raises:
        InputError: if there are fewer rows than processes.
    """
    if rows < ranks:
        raise InputError(
            "batch size",
            f"{rows} rows for {ranks} processes",
            "at least one row a process",
            "raise the batch size (--clips, --images) or start fewer processes",
        )
    return range(rows * rank // ranks, rows * (rank + 1) // ranks)


@dataclasses.dataclass(frozen=True)
class _RowsOf:
    """The rows of one process, cut out of whole batches."""

    source: BatchSource
    rank: int
    ranks: int

    def batch(self, step: int) -> Batch:
        whole = self.source.batch(step)
        return whole.rows(rows_of_rank(len(whole), self.rank, self.ranks))


def shard_source(source: BatchSource, rank: int, ranks: int) -> BatchSource:
    """Give the rows of one process: made alone where the source can, else cut out."""
    if ranks == 1:
        return source
    if isinstance(source, ShardedSource):
        return source.shard(rank, ranks)
    return _RowsOf(source, rank, ranks)
