"""What a training step is fed: clips, what is said about them, and nothing about diffusion."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from imagen_video.tensor_types import Video


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips of one shape. A batch of images is a batch of one-frame clips."""

    video: Video
    """Training targets `(b, f, c, h, w)` in [-1, 1]."""
    captions: tuple[str, ...]
    """One caption a clip."""

    @property
    def is_images(self) -> bool:
        """Whether these are single images."""
        return self.video.shape[1] == 1


class BatchSource(Protocol):
    """Batches by step number.

    The same step always gives the same batch, so that a resumed run sees no difference.
    """

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        ...
