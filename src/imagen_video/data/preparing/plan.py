"""What is to be prepared, and how: options, what each stage wants, and the clips in units.

A unit is some consecutive clips. It gives at most one tar a stage, and it is what an interruption
costs: units that are done are kept. How clips are divided, and everything in the tars, follows from
the plan alone, so its digest tells whether a folder can be gone on with.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagen_video.data.checking.target import Target, targets_of, unfit
from imagen_video.data.clips.faults import Dropped
from imagen_video.data.clips.labels import Label
from imagen_video.data.clips.records import DataLimits, Record
from imagen_video.data.decoding.probe import Probe
from imagen_video.data.shards.framing import CropPolicy, ShortPolicy
from imagen_video.data.shards.manifest import FORMAT
from imagen_video.errors import InputError
from imagen_video.media.picture_bytes import PictureEncoding

if TYPE_CHECKING:
    from imagen_video.cascade.spec import CascadeSpec

MOST_CLIPS_PER_SHARD = 64
"""Unless the user wants more."""
SLOWEST = 0.9
"""Least frame rate of a source, as a share of the stage's: 23 fps will do for 24."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """How clips become shards. What is given here is part of the result, but for `workers`."""

    out: Path
    """Folder for the shards. Give the same command again to go on after an interruption."""
    stages: tuple[str, ...] = ()
    """Stages to prepare; all of the cascade by default."""
    windows: int = 1
    """Most windows that a long clip gives, each a sample of its own."""
    window_stride: float | None = None
    """Seconds from one window's start to the next; None = the cascade's length, no overlap."""
    short: ShortPolicy = "drop"
    """Clips shorter than a stage's training clips: drop, hold the last frame, or loop."""
    crop: CropPolicy = "centre"
    """Where the largest rectangle of the cascade's aspect lies in a clip; one for all frames."""
    upscale: bool = False
    """Keep clips that are smaller than a stage's frames, enlarged: the stage learns their blur."""
    repeat_frames: bool = False
    """Keep clips of a lower frame rate than a stage's, with repeated frames."""
    keep_unlabelled: bool = False
    """Keep clips without the caption, class or vector that the cascade reads; it is then null."""
    encoding: PictureEncoding = "webp"
    """webp loses nothing; jpeg (quality 95) takes a third of the space and is faster to read."""
    clips_per_shard: int | None = None
    """Clips of a tar, and what an interruption costs at most for each worker. By default 64, and
    fewer where there are few clips, so that every core has something to do."""
    seed: int = 0
    """Keys random crops."""
    workers: int | None = None
    """Processes; one a core by default, 0 = none besides this one."""
    clip_seconds: float = 1800.0
    """A clip that takes longer to prepare is left out (not with --workers 0)."""

    def __post_init__(self) -> None:
        """Refuse options that nothing can be done with."""
        for name, least in (("windows", 1), ("clips_per_shard", 1), ("workers", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(name, f"{value}", f"at least {least}", "raise it")
        if self.windows > 9999:
            raise InputError("windows", f"{self.windows}", "at most 9999", "lower it")
        for name in ("window_stride", "clip_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(name, f"{value}", "a positive number of seconds", "correct it")

    @property
    def lasting(self) -> dict[str, Any]:
        """The options that the result depends on, as JSON values."""
        values = dataclasses.asdict(self)
        for name in ("out", "workers", "clip_seconds"):
            del values[name]
        return {**values, "stages": list(self.stages)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageTask:
    """What one stage wants of every clip."""

    target: Target
    """The least that a clip must have, options applied."""
    frames: int
    """Frames of a whole clip."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    fps: float
    """Frames per second."""
    channels: int
    """Of a pixel."""
    every: int
    """Grid steps between two of its frames."""
    multiple: int
    """Frames come in multiples of this: a temporal stage's factor."""
    least_frames: int
    """Frames of a training clip."""
    keep_unlabelled: bool
    """Whether clips without a label will do."""

    @property
    def name(self) -> str:
        """Of the stage."""
        return self.target.name

    def fault(self, ident: str, label: Label, shape: Probe) -> Dropped | None:
        """Say why a clip cannot serve the stage, or return None."""
        target = self.target
        if self.keep_unlabelled:  # what is there must fit all the same
            parts = {"caption": label.caption, "class": label.class_id, "vector": label.vector}
            needs = tuple(need for need in target.needs if parts[need] is not None)
            target = dataclasses.replace(target, needs=needs)
        return unfit(ident, label, shape, target)

    def whole(self, frames: int) -> int:
        """Return how many of some frames can be kept; 0 if they are too few to train on."""
        kept = frames // self.multiple * self.multiple
        return kept if kept >= self.least_frames else 0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> StageTask:
        """Rebuild what `to_json` wrote."""
        target = {**values["target"], "needs": tuple(values["target"]["needs"])}
        return cls(**{**values, "target": Target(**target)})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that the result depends on, but for the bytes of the clips."""

    cascade: str
    """Name."""
    tasks: tuple[StageTask, ...]
    """In the order of the cascade."""
    grid_fps: float
    """Frame rate of the finest stage of the whole cascade."""
    options: PrepareOptions
    """How."""
    limits: DataLimits
    """What to refuse."""
    encoder: dict[str, Any] | None
    """Identity of the text encoder; None if no stage reads text."""
    records: Sequence[Record]
    """The clips."""
    dropped: Sequence[Dropped]
    """What discovery left out."""

    @property
    def unit_clips(self) -> int:
        """Clips of a unit, by the options or the number of clips (never by the machine)."""
        few = -(-len(self.records) // MOST_CLIPS_PER_SHARD)
        return self.options.clips_per_shard or min(MOST_CLIPS_PER_SHARD, few)

    @property
    def num_units(self) -> int:
        """Number of units."""
        return -(-len(self.records) // self.unit_clips)

    def unit(self, number: int) -> range:
        """Return the numbers of the clips of a unit."""
        size = self.unit_clips
        return range(number * size, min((number + 1) * size, len(self.records)))

    @property
    def window_stride(self) -> float:
        """Seconds from one window's start to the next."""
        longest = max(task.frames / task.fps for task in self.tasks)
        return self.options.window_stride or longest

    def digest(self) -> str:
        """Return the SHA-256 of the plan: of what the clips are, not of where they lie."""
        about = {
            "format": FORMAT,
            "cascade": self.cascade,
            "tasks": [task.to_json() for task in self.tasks],
            "grid_fps": self.grid_fps,
            "options": self.options.lasting,
            "limits": dataclasses.asdict(self.limits),
            "encoder": self.encoder,
            "dropped": [dataclasses.asdict(drop) for drop in self.dropped],
        }
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for record in self.records:
            values = record.to_json()
            del values["media"]["path"]
            digest.update(json.dumps(values, sort_keys=True).encode())
        return digest.hexdigest()


def stage_tasks(cascade: CascadeSpec, options: PrepareOptions) -> tuple[StageTask, ...]:
    """Return what the chosen stages want.

    Raises:
        InputError: a stage that the cascade does not have.
    """
    names = options.stages or tuple(stage.name for stage in cascade.stages)
    for name in names:
        cascade.index(name)
    targets = {target.name: target for target in targets_of(cascade)}
    tasks = []
    for stage in cascade.stages:
        if stage.name not in names:
            continue
        target, source = targets[stage.name], cascade.input_of(stage.name)
        if options.upscale:
            target = dataclasses.replace(target, height=1, width=1)
        if not options.repeat_frames:
            target = dataclasses.replace(target, least_fps=SLOWEST * stage.output.fps)
        if options.short != "drop":
            target = dataclasses.replace(target, min_frames=1)
        tasks.append(
            StageTask(
                target=target,
                frames=stage.output.frames,
                height=stage.output.height,
                width=stage.output.width,
                fps=stage.output.fps,
                channels=stage.unet.channels,
                every=cascade.frame_stride(stage.name),
                multiple=stage.output.frames // source.frames if source else 1,
                least_frames=stage.train_frames or stage.output.frames,
                keep_unlabelled=options.keep_unlabelled,
            )
        )
    return tuple(tasks)
