"""What a pipeline is asked for, and what it reports: plain values, no behaviour of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from imagen_video.cascade.options import StageOptions
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import Clip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """Everything that determines a generation's result."""

    prompts: tuple[str, ...]
    """One a video; beside a given `video` it may be empty: no text."""
    seeds: tuple[int, ...]
    """One a video: its noise depends on nothing else."""
    negative_prompts: tuple[str, ...] | None = None
    """What guidance pushes away from, one a video; None = the null text."""
    start: str | None = None
    """First stage; None = base."""
    until: str | None = None
    """Last stage; None = the cascade's last."""
    only: tuple[str, ...] | None = None
    """Instead of `start` and `until`: stages by name, in the cascade's order. They need not be
    neighbours: a super-resolution stage takes a video of any size and frame rate."""
    video: Tensor | None = None
    """Input of the first stage where it is not the base: `(b, f, c, h, w)` in [-1, 1]."""
    video_fps: float | None = None
    """Frame rate of `video`; that of the stage before the first if None."""
    given_frames: Tensor | None = None
    """Clean first frames for the base (image-to-video), `(b, n, c, h, w)` in the base's size."""
    overlap: int | None = None
    """Make the base's clip in windows of its own length, each of which is given the last so many
    frames of what is there; None = all frames at once."""
    num_frames: int | None = None
    """Frames of the output; the last stage's if None."""
    height: int | None = None
    """Pixels of the output; the last stage's if None."""
    width: int | None = None
    """Pixels of the output; the last stage's if None."""
    options: Mapping[str, StageOptions] = dataclasses.field(default_factory=dict)
    """Changes to the sampling, by stage name."""
    class_id: Tensor | None = None
    """Class ids, `(b,)`."""
    vector: Tensor | None = None
    """Numeric conditions, `(b, d)`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a generation is."""

    stage: str
    """The stage that runs."""
    index: int
    """Its number among the stages that run, from 0."""
    num_stages: int
    """How many stages run."""
    done: int
    """Finished parts of the stage (steps times tiles)."""
    total: int
    """All parts of the stage."""
    seconds: float
    """Since the stage began."""

    @property
    def seconds_left(self) -> float:
        """Estimated time to the end of the stage."""
        return self.seconds / max(1, self.done) * (self.total - self.done)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageReport:
    """What a stage did."""

    name: str
    """Its name."""
    clip: Clip
    """Shape of its output."""
    sampling: SamplingSpec
    """The settings it ran with."""
    seconds: float
    """How long it took."""
    tiles: int
    """Parts that every step was cut into."""
    resumed: bool = False
    """Taken from a work folder instead of run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineOutput:
    """Result of a call."""

    frames: Any
    """A clip a prompt: uint8 `(f, h, w, 3)`, lists of PIL images, or a tensor (`output_type`)."""
    fps: float
    """Frames per second."""
    stages: Mapping[str, Tensor]
    """Kept stage outputs `(b, f, c, h, w)` in [-1, 1], float32 on the CPU."""
    reports: tuple[StageReport, ...]
    """One a stage, in order."""

    @property
    def images(self) -> list[Any]:
        """The first frame of each clip, for one-frame videos: in the form of `frames`."""
        return [] if self.frames is None else [clip[0] for clip in self.frames]


class Stopped(Exception):
    """Raised by a callback to end a run; it comes out of the call.

    The stage that was running is lost. Finished stages are in the work folder, if there is one, and
    in `output`.
    """

    output: PipelineOutput | None = None
    """What was finished, filled in by the run: `frames` are those of the last finished stage, or
    None."""
