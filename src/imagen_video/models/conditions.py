"""Everything a network is told besides the noisy video and its noise level."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions of a batch of `b` videos of `f` frames; None = not given.

    Text, noise levels, classes and vectors may be given once a video or once a frame, so that
    independent images packed into a clip-long sequence keep their own captions and noise (paper,
    joint training).
    """

    text_states: Tensor | None = None
    """Token states of the text encoder, `(b, l, w)` or `(b, f, l, w)`."""
    text_mask: Tensor | None = None
    """True at real tokens, `(b, l)` or `(b, f, l)`. All False = the null text of guidance."""
    low_res: Tensor | None = None
    """Upsampled, noise-augmented low-resolution video, `(b, f, c, h, w)`."""
    low_res_logsnr: Tensor | None = None
    """Log SNR of the augmentation noise, `(b,)` or `(b, f)`."""
    class_id: Tensor | None = None
    """Class ids, `(b,)` or `(b, f)`; -1 = no class."""
    vector: Tensor | None = None
    """Numeric conditions, `(b, d)` or `(b, f, d)`; a row of NaN = no vector."""
    given_frames: Tensor | None = None
    """Clean frames, `(b, f, c, h, w)`; only positions where `given_mask` is True are read."""
    given_mask: Tensor | None = None
    """True at given frames, `(b, f)`."""
    frame_rate: Tensor | None = None
    """Frames per second, `(b,)`."""
    guidance_weight: Tensor | None = None
    """The paper's w, `(b,)`: only for guidance-distilled students."""
    is_image: Tensor | None = None
    """True for a sequence of independent images, `(b,)`: its frames never mix.

    One-frame videos are images.
    """

    def map(self, function: Callable[[Tensor], Tensor]) -> Conditions:
        """Apply `function` to every tensor."""
        return Conditions(
            **{
                field.name: None if value is None else function(value)
                for field in dataclasses.fields(self)
                for value in (getattr(self, field.name),)
            }
        )

    def replace(self, **changes: Tensor | None) -> Conditions:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def drop(self, dropped: Tensor) -> Conditions:
        """Make text, class and vector null for the videos where `dropped` `(b,)` is True.

        Only these are dropped: super-resolution stages keep their low-res video (as in
        Imagen).
        """
        changes: dict[str, Tensor | None] = {}
        if self.text_mask is not None:
            shape = (-1,) + (1,) * (self.text_mask.ndim - 1)
            changes["text_mask"] = self.text_mask & ~dropped.view(shape)
        if self.class_id is not None:
            shape = (-1,) + (1,) * (self.class_id.ndim - 1)
            changes["class_id"] = torch.where(dropped.view(shape), -1, self.class_id)
        if self.vector is not None:
            shape = (-1,) + (1,) * (self.vector.ndim - 1)
            changes["vector"] = torch.where(dropped.view(shape), torch.nan, self.vector)
        return self.replace(**changes)

    def twice(self) -> Conditions:
        """Repeat the batch, for one call with and without the condition."""
        return self.map(lambda tensor: torch.cat([tensor, tensor]))

    def window(self, frames: slice) -> Conditions:
        """Cut per-frame conditions to a window of frames; the caller cuts the videos among them."""
        changes: dict[str, Tensor | None] = {}
        for name, frame_ndim in (
            ("text_states", 4),
            ("text_mask", 3),
            ("low_res_logsnr", 2),
            ("class_id", 2),
            ("vector", 3),
        ):
            value = getattr(self, name)
            if value is not None and value.ndim == frame_ndim:
                changes[name] = value[:, frames]
        return self.replace(**changes)
