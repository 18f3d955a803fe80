"""Geometry and settings of a cascade: `Clip`, `StageSpec`, `CascadeSpec` (paper, Fig. 6).

A cascade checks itself when built: each stage's input is the previous stage's output. Specs are
frozen values, written as JSON beside the weights, so that a bundle rebuilds itself.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from imagen_video.cascade.distilled import DistilledSpec, check_student
from imagen_video.cascade.resample import TemporalFill
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.diffusion.loss import LossKind
from imagen_video.errors import InputError
from imagen_video.models.spec import UNetSpec, checked_fields

StageKind = Literal["base", "tsr", "ssr"]

MAX_STAGES = 32
MAX_EXTENT = 1 << 14
"""Most frames, or pixels of an axis, that a spec may name: a guard against hostile files."""
MAX_FPS = 1000
"""Highest frame rate."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """The shape of a stage's output."""

    frames: int
    """Number of frames; 1 for images."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    fps: float = 24.0
    """Frames per second."""

    def __post_init__(self) -> None:
        """Refuse empty, huge or still-standing clips."""
        for name in ("frames", "height", "width"):
            if not 1 <= getattr(self, name) <= MAX_EXTENT:
                raise InputError(
                    f"Clip.{name}", f"{getattr(self, name)}", f"1 to {MAX_EXTENT}", "correct it"
                )
        if not 0 < self.fps <= MAX_FPS:
            raise InputError("Clip.fps", f"{self.fps}", f"0 < fps <= {MAX_FPS}", "correct it")

    def __str__(self) -> str:
        """Frames x height x width."""
        return f"{self.frames}x{self.height}x{self.width}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One of the models of a cascade."""

    name: str
    """`base`, `tsr1`, `ssr1`, ... : also the folder in a bundle."""
    kind: StageKind
    """base, temporal or spatial super-resolution."""
    output: Clip
    """What it makes."""
    unet: UNetSpec
    """Its network."""
    sampling: SamplingSpec = dataclasses.field(default_factory=SamplingSpec)
    """Its defaults at sampling."""
    temporal_fill: TemporalFill = "repeat"
    """How a temporal stage fills new frames. Assumption: repeat; the paper names both."""
    loss: LossKind = "v"
    """Weighting of the training loss; see `diffusion.loss`."""
    augmentation_max_t: float = 1.0
    """Training draws the augmentation time from U[0, this]. Assumption: 1."""
    crop: tuple[int, int] | None = None
    """Height and width of training crops (paper: the last stage); None for whole frames."""
    train_frames: int | None = None
    """Frames of a training clip, cut at random from the stage's; None for all of them."""
    distilled: DistilledSpec | None = None
    """What a distilled stage was made for; None for a stage that was trained on data."""

    def __post_init__(self) -> None:
        """Check the parts against one another."""
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", self.name):
            raise InputError(
                "StageSpec.name",
                repr(self.name),
                "lower-case letters, digits and _",
                "rename the stage",
            )
        if self.kind not in get_args(StageKind):
            raise InputError(
                f"stage {self.name!r} kind",
                repr(self.kind),
                f"one of {get_args(StageKind)}",
                "choose one",
            )
        self.unet.check_size(f"stage {self.name!r}", self.output.height, self.output.width)
        if self.unet.low_res != (self.kind != "base"):
            raise InputError(
                f"stage {self.name!r}",
                f"kind {self.kind!r} with low_res={self.unet.low_res}",
                "low_res=True exactly for tsr and ssr",
                "set UNetSpec.low_res",
            )
        if self.crop is not None:
            object.__setattr__(self, "crop", tuple(self.crop))
            height, width = self.crop
            self.unet.check_size(f"stage {self.name!r} crop", height, width)
            if height > self.output.height or width > self.output.width:
                raise InputError(
                    f"stage {self.name!r} crop",
                    f"{height}x{width}",
                    f"within {self.output}",
                    "shrink it",
                )
        if self.train_frames is not None:
            # a part's frames would be numbered from 0 as well
            least = self.output.frames if self.unet.frame_position else 1
            if not least <= self.train_frames <= self.output.frames:
                raise InputError(
                    f"stage {self.name!r} train_frames",
                    f"{self.train_frames}, frame_position {self.unet.frame_position}",
                    f"{least} to {self.output.frames}",
                    "correct it",
                )
        if not 0 < self.augmentation_max_t <= 1:
            raise InputError(
                f"stage {self.name!r} augmentation_max_t",
                f"{self.augmentation_max_t}",
                "in (0, 1]",
                "correct it",
            )
        check_student(self)

    @property
    def takes_weight(self) -> bool:
        """Whether w is an input of the network: guidance then costs nothing."""
        return self.unet.guidance_weight

    def rows_a_sample(self, sampling: SamplingSpec) -> int:
        """Rows of a network call for one sample: 2 if it answers with and without the prompt."""
        return 2 if sampling.is_guided and not self.takes_weight else 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class CascadeSpec:
    """Any number of stages in any order, checked as a chain."""

    name: str
    """For people and provenance."""
    stages: tuple[StageSpec, ...]
    """From the first model to the last."""
    text_encoder: Mapping[str, Any] | None = None
    """Identity of the text encoder (`text_encoder.json`); None for cascades without text."""

    def __post_init__(self) -> None:
        """Check that the stages form a chain."""
        object.__setattr__(self, "stages", tuple(self.stages))
        if not 1 <= len(self.stages) <= MAX_STAGES:
            raise InputError(
                "CascadeSpec.stages",
                f"{len(self.stages)}",
                f"1 to {MAX_STAGES} stages",
                "correct it",
            )
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise InputError(
                "CascadeSpec.stages", f"names {names}", "different names", "rename a stage"
            )
        for index, stage in enumerate(self.stages):
            if (stage.kind == "base") != (index == 0):
                raise InputError(
                    f"stage {stage.name!r}",
                    f"kind {stage.kind!r} at position {index}",
                    "one base, first",
                    "reorder",
                )
        for before, stage in zip(self.stages, self.stages[1:], strict=False):
            _check_link(before, stage)

    def stage(self, name: str) -> StageSpec:
        """Return a stage by name.

        Raises:
            InputError: if there is none.
        """
        return self.stages[self.index(name)]

    def index(self, name: str) -> int:
        """Return a stage's position by name.

        Raises:
            InputError: if there is none.
        """
        for index, stage in enumerate(self.stages):
            if stage.name == name:
                return index
        raise InputError(
            "stage", repr(name), f"one of {[s.name for s in self.stages]}", "choose one of them"
        )

    def input_of(self, name: str) -> Clip | None:
        """Return the shape of the video a stage takes; None for the base."""
        index = self.index(name)
        return self.stages[index - 1].output if index else None

    def frame_stride(self, name: str) -> int:
        """Return how many frames of the final clip lie between two frames of a stage."""
        return round(self.stages[-1].output.fps / self.stage(name).output.fps)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values from which `from_json` rebuilds the spec."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any, where: str = "cascade") -> CascadeSpec:
        """Rebuild a spec from JSON values.

        Raises:
            InputError: on anything unknown, mistyped or inconsistent.
        """
        values = checked_fields(cls, data, where, skip=("stages", "text_encoder"))
        stages = values.get("stages")
        if not isinstance(stages, list | tuple) or len(stages) > MAX_STAGES:
            raise InputError(
                f"{where}.stages",
                repr(stages)[:80],
                f"a list of at most {MAX_STAGES}",
                "rewrite the file",
            )
        encoder = values.get("text_encoder")
        if encoder is not None and not isinstance(encoder, dict):
            raise InputError(
                f"{where}.text_encoder", repr(encoder)[:80], "an object or null", "rewrite the file"
            )
        try:
            values["stages"] = tuple(
                _stage_from_json(s, f"{where}.stages[{i}]") for i, s in enumerate(stages)
            )
            return cls(**values)
        except TypeError as error:  # a required key is missing
            raise InputError(where, str(error), "every required key", "rewrite the file") from error


def _stage_from_json(data: Any, where: str) -> StageSpec:
    parts = ("output", "unet", "sampling", "crop", "distilled")
    values = checked_fields(StageSpec, data, where, skip=parts)
    values["output"] = Clip(**checked_fields(Clip, values.get("output"), f"{where}.output"))
    values["unet"] = UNetSpec.from_json(values.get("unet") or {}, f"{where}.unet")
    values["sampling"] = SamplingSpec(
        **checked_fields(SamplingSpec, values.get("sampling"), f"{where}.sampling")
    )
    values["distilled"] = DistilledSpec.from_json(values.get("distilled"), f"{where}.distilled")
    crop = values.get("crop")
    if crop is not None:
        if not (
            isinstance(crop, list | tuple)
            and len(crop) == 2
            and all(isinstance(n, int) for n in crop)
        ):
            raise InputError(
                f"{where}.crop", repr(crop)[:80], "[height, width] or null", "rewrite the file"
            )
        values["crop"] = tuple(crop)
    return StageSpec(**values)


def _check_link(before: StageSpec, stage: StageSpec) -> None:
    """Check that `stage` can take what `before` makes."""
    source, target = before.output, stage.output
    where = f"stage {stage.name!r} after {before.name!r}"
    if before.unet.channels != stage.unet.channels:
        raise InputError(
            where,
            f"{before.unet.channels} -> {stage.unet.channels} channels",
            "equal channels",
            "set UNetSpec.channels",
        )
    same_size = (source.height, source.width) == (target.height, target.width)
    if stage.kind == "tsr":
        factor = target.frames // source.frames
        if not same_size or target.frames % source.frames or factor < 2:
            raise InputError(
                where,
                f"{source} -> {target}",
                "a whole multiple of the frames, same size",
                "fix its Clip",
            )
        if abs(target.fps - source.fps * factor) > 1e-6 * target.fps:
            raise InputError(
                where,
                f"{source.fps} -> {target.fps} fps",
                f"{source.fps * factor} fps",
                "fix its Clip",
            )
        if stage.train_frames is not None and stage.train_frames % factor:
            raise InputError(
                f"{where} train_frames",
                f"{stage.train_frames}",
                f"a multiple of {factor}, as its input has every {factor}th frame",
                "correct it",
            )
        return
    whole = target.height % source.height == 0 and target.width % source.width == 0
    if target.frames != source.frames or target.fps != source.fps:
        raise InputError(
            where, f"{source} -> {target}", "the same frames and frame rate", "fix its Clip"
        )
    if not whole or same_size or target.height // source.height != target.width // source.width:
        raise InputError(
            where,
            f"{source} -> {target}",
            "height and width multiplied by one whole factor >= 2",
            "fix its Clip",
        )
    factor = target.height // source.height
    if stage.crop is not None and (stage.crop[0] % factor or stage.crop[1] % factor):
        raise InputError(
            f"{where} crop",
            f"{stage.crop[0]}x{stage.crop[1]}",
            f"multiples of {factor}, so that its low-res version is whole",
            "correct it",
        )
