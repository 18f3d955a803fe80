"""Rows of a batch: from bytes and labels to the tensors of a `Batch`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imagen_video.cascade.spec import StageSpec
from imagen_video.data.batches.batch import Batch
from imagen_video.data.clips.labels import Label
from imagen_video.data.shards.text_store import TextStore
from imagen_video.errors import DataError
from imagen_video.tensor_types import Video


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One row."""

    pixels: np.ndarray
    """uint8 `(f, h, w, c)`."""
    labels: tuple[Label, ...]
    """One, or one for each frame of packed images."""

    def labels_of(self, frames: int | None) -> tuple[Label, ...]:
        """Return one label, or one for each of some frames."""
        if frames is None or len(self.labels) == frames:
            return self.labels
        return self.labels * frames


def batch_of(
    examples: Sequence[Example],
    stage: StageSpec,
    text: TextStore | None,
    is_image: Tensor | None,
    rows: range,
    total: int,
) -> Batch:
    """Join rows.

    Args:
        examples: of one shape.
        stage: what is trained; labels that it does not read are left out.
        text: its captions.
        is_image: which rows are packed images, `(b,)`; labels are then given per frame.
        rows: which rows of the whole batch these are.
        total: rows of the whole batch.

    Raises:
        DataError: a label that the stage cannot read.
    """
    video = to_video(np.stack([row.pixels for row in examples]))
    frames = None if is_image is None else video.shape[1]
    labels = [row.labels_of(frames) for row in examples]
    for label in {label for row in labels for label in row}:
        _check(label, stage)
    told: dict[str, Any] = {}
    if text is not None:
        captions = [[label.caption for label in row] for row in labels]
        shown = tuple(tuple(caption or "" for caption in row) for row in captions)
        if frames is None:
            told["text"] = text.embed([row[0] for row in captions])
            told["captions"] = tuple(row[0] for row in shown)
        else:
            told["text"], told["captions"] = text.embed_frames(captions), shown
    if stage.unet.num_classes is not None:
        ids = [[-1 if x.class_id is None else x.class_id for x in row] for row in labels]
        told["class_id"] = _per_row(torch.tensor(ids), frames)
    if stage.unet.vector_width is not None:
        none = (float("nan"),) * stage.unet.vector_width
        vectors = [[x.vector or none for x in row] for row in labels]
        told["vector"] = _per_row(torch.tensor(vectors, dtype=torch.float32), frames)
    return Batch(
        video=video,
        is_image=is_image,
        frame_rate=torch.full((len(examples),), float(stage.output.fps)),
        offset=rows.start,
        total=total,
        **told,
    )


def to_video(pixels: np.ndarray) -> Video:
    """Turn uint8 `(b, f, h, w, c)` into float32 `(b, f, c, h, w)` in [-1, 1].

    x = u / 127.5 - 1, as `media.frames.to_float` does for RGB.
    """
    values = torch.from_numpy(pixels).permute(0, 1, 4, 2, 3)
    return values.to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1.0)


def _check(label: Label, stage: StageSpec) -> None:
    most, width = stage.unet.num_classes, stage.unet.vector_width
    fits = most is None or label.class_id is None or label.class_id < most
    if not fits or (width is not None and len(label.vector or ()) not in (0, width)):
        raise DataError(
            "a label in the shards",
            f"class {label.class_id}, a vector of {len(label.vector or ())} numbers",
            f"a class below {most}, a vector of {width}",
            "copy the folder again, or prepare the data again",
        )


def _per_row(values: Tensor, frames: int | None) -> Tensor:
    """Drop the axis of frames where labels are one a row."""
    return values[:, 0] if frames is None else values
