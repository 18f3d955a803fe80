"""The keyword arguments that all ways of calling a pipeline share, typed; a call explains them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import torch

from imagen_video.cascade.options import StageOptions
from imagen_video.cascade.request import Progress


class SamplingSettings(TypedDict, total=False):
    """What determines a result besides its text and its clip."""

    class_id: int | Sequence[int] | None
    vector: Sequence[float] | Sequence[Sequence[float]] | None
    seed: int | Sequence[int]
    generator: torch.Generator | None
    num_inference_steps: int | None
    guidance_weight: float | None
    guidance_scale: float | None
    stages: Mapping[str, StageOptions] | None


class RunSettings(TypedDict, total=False):
    """How it is run, and in which form it comes back."""

    memory: int | None
    keep: Sequence[str]
    output_type: str
    callback_on_step_end: Callable[[Progress], None] | None
    progress: bool | None


class CallSettings(SamplingSettings, RunSettings, total=False):
    """Settings of `upscale`, `interpolate` and `extend`."""


class ImageSettings(CallSettings, total=False):
    """Settings of `image`."""

    height: int | None
    width: int | None
    until: str | None


def split(settings: CallSettings) -> tuple[SamplingSettings, RunSettings]:
    """Part what determines a result from how it is run.

    Raises:
        TypeError: for names that are none of both, as Python does for its own arguments.
    """
    sampling, running = SamplingSettings(), RunSettings()
    for name, value in settings.items():
        if name in SamplingSettings.__annotations__:
            sampling[name] = value
        elif name in RunSettings.__annotations__:
            running[name] = value
        else:
            raise TypeError(f"unexpected keyword argument {name!r}")
    return sampling, running
