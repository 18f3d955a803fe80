"""A clip longer than the base's own, made in windows that go on from one another.

    frames    g g g g g g                     given
    window        g g n n n n                 `overlap` known frames, new ones after them
    window                n n n n n n         and so on; what exceeds the clip is cut off

Each window is a clip of the length that the base was trained on, with given leading frames, as in
training. A frame's noise depends on its place in the whole clip, so a longer clip begins as a
shorter one does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from imagen_video.cascade.stage import OnStep, StageInput

SampleWindow = Callable[[StageInput, OnStep | None], Tensor]
"""Samples one window: `sample_stage` with its settings."""


def sample_in_windows(
    sample: SampleWindow,
    asked: StageInput,
    channels: int,
    window: int,
    overlap: int,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample a clip in windows.

    Args:
        sample: makes one window.
        asked: the whole clip; its given frames are the first ones.
        channels: of the video.
        window: frames of a window.
        overlap: known frames that a window is given, 1 to window - 1.
        on_step: progress, over all windows.

    Returns:
        Video `(b, f, c, h, w)`; given frames are in it as they came.
    """
    clip, batch = asked.clip, len(asked.seeds)
    known = 0 if asked.given_mask is None else int(asked.given_mask[0].sum())
    shape = (batch, window, channels, clip.height, clip.width)
    made = torch.zeros(batch, 0, *shape[2:])
    if asked.given_frames is not None:
        made = asked.given_frames[:, :known]
    lows = _window_starts(clip.frames, known, window, overlap)
    for index, low in enumerate(lows):
        seen = made[:, low:]
        given = seen.new_zeros(shape)
        given[:, : seen.shape[1]] = seen
        part = dataclasses.replace(
            asked,
            clip=dataclasses.replace(clip, frames=window),
            given_frames=given,
            given_mask=torch.arange(window).expand(batch, -1) < seen.shape[1],
            first_frame=low,
        )
        video = sample(part, _share(on_step, index, len(lows)))
        made = torch.cat([made.to(video), video[:, seen.shape[1] :]], dim=1)
    return made[:, : clip.frames]


def _window_starts(frames: int, known: int, window: int, overlap: int) -> list[int]:
    """Return where the windows begin that make frames `known` to `frames`."""
    starts = []
    while known < frames:
        starts.append(max(0, known - overlap))
        known = starts[-1] + window
    return starts


def _share(on_step: OnStep | None, index: int, count: int) -> OnStep | None:
    """Report a window's progress as that of all of them."""
    if on_step is None:
        return None
    return lambda done, total: on_step(index * total + done, count * total)
