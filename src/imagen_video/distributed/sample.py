"""One video of a batch: what is asked for, and what came of it, as plain JSON values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from imagen_video.cascade.inputs import spread_options
from imagen_video.cascade.labels import labels_for
from imagen_video.cascade.options import StageOptions
from imagen_video.cascade.request import Request
from imagen_video.cascade.spec import CascadeSpec

TEXT = "text"
"""Name of the step before the stages, which encodes the prompt."""
MAX_ID = 120
"""Characters of an id: with what is added to it, a file name may have 255 bytes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One video to make."""

    id: str
    """Its name: the video is `<id>.mp4`."""
    settings: Mapping[str, Any]
    """Everything that determines it: the JSON of a `generate` request."""
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the video file says about where it comes from."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompt, and the negative one where there is one."""
        negative = self.settings.get("negative_prompt")
        return (self.settings["prompt"], *([] if negative is None else [negative]))

    def request(
        self, spec: CascadeSpec, stage: str | None = None, video: Tensor | None = None
    ) -> Request:
        """Build what the pipeline is asked for.

        Args:
            spec: the cascade.
            stage: the only stage to run; None for all that the sample asks for.
            video: its input `(1, f, c, h, w)`, where it is not the base.

        Raises:
            InputError: for labels that are not numbers.
        """
        settings = self.settings
        negative = settings.get("negative_prompt")
        class_id, vector = labels_for(settings.get("class_id"), settings.get("vector"))
        options = {name: StageOptions(steps=n) for name, n in settings.get("steps", {}).items()}
        return Request(
            prompts=(settings["prompt"],),
            seeds=(settings["seed"],),
            negative_prompts=None if negative is None else (negative,),
            start=stage,
            until=settings.get("until") if stage is None else stage,
            video=video,
            options=spread_options(spec, options, None, settings.get("guidance_weight")),
            class_id=class_id,
            vector=vector,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """A finished video."""

    id: str
    video: str
    """File name inside the folder."""
    sha256: str
    """Of the file."""
    num_bytes: int
    """Of the file."""
    clip: Mapping[str, Any]
    """Frames, height, width and fps."""
    stages: tuple[Mapping[str, Any], ...]
    """Name and seconds of every step, in order, where it ran, and at which attempt."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failed:
    """A video that could not be made."""

    id: str
    stage: str
    """Where it failed."""
    error: str
    """One line."""
    can_retry: bool = True
    """Whether another attempt might end otherwise."""
    stops: bool = False
    """Whether the next sample would fail the same way: the disk is full."""


Outcome = Made | Failed
