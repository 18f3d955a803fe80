"""What a stage's network is told about a window of frames, in sampling.

Labels and text are the same in every window. The videos among the conditions (the upsampled, noised
input; given frames) are cut to it, and stay the same in all steps: those of the last window are
kept, so that a clip that is not cut in time has them made once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from imagen_video.cascade.conditioning import condition_on
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import StageSpec
from imagen_video.cascade.tiling import Span
from imagen_video.models.conditions import Conditions
from imagen_video.text.base import TextEmbedding

if TYPE_CHECKING:
    from imagen_video.cascade.stage import StageInput

MOST_TOGETHER = 8
"""Frames whose input is made at once: enough for several threads, and little memory."""

FrameNoise = Callable[[range], Tensor]
"""Standard normal noise of some frames of the output, `(b, f, c, h, w)`, on the device."""


class WindowConditions:
    """Conditions of one request."""

    def __init__(
        self,
        stage: StageSpec,
        request: StageInput,
        sampling: SamplingSpec,
        device: torch.device,
        noise: FrameNoise,
    ) -> None:
        """Bring everything that is asked for to the device.

        Args:
            stage: its spec.
            request: what it shall make.
            sampling: settings.
            device: of the network.
            noise: what the low-resolution video is augmented with.
        """
        self._stage, self._sampling, self._device, self._noise = stage, sampling, device, noise
        self._clip, self._batch = request.clip, len(request.seeds)
        self._low_res, self._given_frames, self._given_mask = (
            None if tensor is None else tensor.to(device)
            for tensor in (request.low_res, request.given_frames, request.given_mask)
        )
        self._labels, self._with_null = self._static(request)
        self._last: tuple[Span, Conditions] | None = None

    def of(self, frames: Span) -> Conditions:
        """Return the conditions of a window of frames over the whole plane, one row a sample."""
        if self._last is None or self._last[0] != frames:
            self._last = None  # its memory goes before the next is made
            self._last = (frames, self._made(frames))
        return self._last[1]

    def merged(self, conditions: Conditions) -> Conditions:
        """Return those of a doubled batch: the prompt's, then the null or negative ones."""
        return conditions.twice().replace(
            text_states=self._with_null.text_states,
            text_mask=self._with_null.text_mask,
            class_id=self._with_null.class_id,
            vector=self._with_null.vector,
        )

    def each(self, value: float) -> Tensor:
        """One number for every sample; a float also where JSON had `3` and not `3.0`."""
        return torch.full((self._batch,), float(value), device=self._device)

    def keep_given(self, x_hat: Tensor, frames: slice, rows: slice, columns: slice) -> Tensor:
        """Put given frames in the place of what the network says there.

        Training counts no loss at given frames, so its output there means nothing; with them, z at
        a given frame is the given frame diffused, as in training.

        Args:
            x_hat: prediction of a part of the clip.
            frames: that part.
            rows: that part.
            columns: that part.
        """
        if self._given_frames is None or self._given_mask is None:
            return x_hat
        at = self._given_mask[:, frames][:, :, None, None, None]
        given = self._given_frames[:, frames, :, rows, columns]
        return torch.where(at, given.to(x_hat.dtype), x_hat)

    def _static(self, request: StageInput) -> tuple[Conditions, Conditions]:
        """Text, class and vector: for the prompt alone, and for prompt and null together."""
        text, negative = (
            None if told is None else told.to(self._device)
            for told in (request.text, request.negative)
        )
        dropped = torch.arange(2 * self._batch, device=self._device) >= self._batch
        plain = Conditions(
            text_states=None if text is None else text.states,
            text_mask=None if text is None else text.mask,
            class_id=request.class_id,
            vector=request.vector,
        ).map(lambda tensor: tensor.to(self._device))
        both = plain.twice().drop(dropped)
        if text is not None and negative is not None:
            joined = TextEmbedding.concat([text, negative])
            both = both.replace(text_states=joined.states, text_mask=joined.mask)
        return plain, both

    def _made(self, frames: Span) -> Conditions:
        conditions = self._labels
        if self._low_res is not None:
            conditions = conditions.replace(
                low_res=self._low_res_window(self._low_res, range(frames.low, frames.high)),
                low_res_logsnr=self.each(self._sampling.augmentation_logsnr),
            )
        if self._given_frames is not None and self._given_mask is not None:
            conditions = conditions.replace(
                given_frames=self._given_frames[:, frames.window],
                given_mask=self._given_mask[:, frames.window],
            )
        if self._stage.unet.frame_rate:
            conditions = conditions.replace(frame_rate=self.each(self._clip.fps))
        return conditions

    def _low_res_window(self, low_res: Tensor, frames: range) -> Tensor:
        """Upsampled, noised input of some frames.

        Made a few frames at a time: a whole window at once would need its size four times.
        """
        clip, channels = self._clip, self._stage.unet.channels
        shape = (self._batch, len(frames), channels, clip.height, clip.width)
        window = torch.empty(shape, device=self._device)
        together = max(1, min(MOST_TOGETHER, torch.get_num_threads()))
        for first in range(0, len(frames), together):
            some = frames[first : first + together]
            made = condition_on(
                Conditions(),
                low_res,
                self._noise(some),
                self.each(self._sampling.augmentation_logsnr),
                fill=self._stage.temporal_fill,
                clip_frames=clip.frames,
                frames=some,
            )
            assert made.low_res is not None
            window[:, first : first + len(some)] = made.low_res
        return window
