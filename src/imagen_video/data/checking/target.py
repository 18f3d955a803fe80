"""What a stage of a cascade asks of a clip, and whether a clip has it."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal

from imagen_video.data.clips.faults import Dropped
from imagen_video.data.clips.labels import Label
from imagen_video.data.decoding.probe import Probe

if TYPE_CHECKING:
    from imagen_video.cascade.spec import CascadeSpec, StageSpec

DEFAULT_TARGET = "any cascade"
Need = Literal["caption", "class", "vector"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """The least that a clip must have. A still picture needs no length: joint training takes it."""

    name: str = DEFAULT_TARGET
    """What to call it: the stage's name."""
    min_frames: int = 1
    """Frames, counted at `fps` if that is given, else the clip's own."""
    fps: float | None = None
    """Frames per second at which the clip is sampled."""
    least_fps: float | None = None
    """A slower clip would show some of its frames twice; None takes it."""
    height: int = 1
    """Pixels; smaller clips would have to be enlarged."""
    width: int = 1
    """Pixels."""
    channels: int | None = None
    """Of the cascade; None takes any. Grey and RGB stand in for each other."""
    needs: tuple[Need, ...] = ("caption",)
    """Parts of the label that must be there."""
    num_classes: int | None = None
    """Class ids must be below this."""
    vector_width: int | None = None
    """Numbers in the vector."""


def targets_of(cascade: CascadeSpec) -> tuple[Target, ...]:
    """Return what each stage of a cascade asks for, in order."""
    return tuple(_target(stage) for stage in cascade.stages)


def _target(stage: StageSpec) -> Target:
    unet = stage.unet
    conditions: tuple[tuple[Need, int | None], ...] = (
        ("caption", unet.text_width),
        ("class", unet.num_classes),
        ("vector", unet.vector_width),
    )
    return Target(
        name=stage.name,
        min_frames=stage.train_frames or stage.output.frames,
        fps=stage.output.fps,
        height=stage.output.height,
        width=stage.output.width,
        channels=unet.channels,
        needs=tuple(need for need, width in conditions if width is not None),
        num_classes=unet.num_classes,
        vector_width=unet.vector_width,
    )


def frames_at(seconds: float, fps: float) -> int:
    """Return how many frames a clip gives when sampled at 0, 1/fps, 2/fps, ... before its end.

    128 frames at 24 per second last 5.333 seconds and give 128 again: the last is due at 127/24.
    """
    # A thousandth of a frame is what rounding in time stamps leaves.
    return max(0, math.ceil(seconds * fps - 1e-3))


def unfit(ident: str, label: Label, shape: Probe, target: Target) -> Dropped | None:
    """Say why a clip cannot serve a target, or return None.

    Args:
        ident: the clip's id.
        label: its label.
        shape: exact numbers of frames and seconds (a header's may lie).
        target: what is asked for.
    """
    for reason, detail in (
        _label_fault(label, target),
        _length_fault(shape, target),
        _size_fault(shape, target),
    ):
        if reason:
            return Dropped(id=ident, reason=reason, detail=detail)
    return None


def _label_fault(label: Label, target: Target) -> tuple[str, str]:
    values = {"caption": label.caption, "class": label.class_id, "vector": label.vector}
    for need in target.needs:
        if values[need] is None:
            return f"no {need}", "give it one in a .txt, .json, CSV or JSONL file, or --need less"
    most = target.num_classes
    if "class" in target.needs and most is not None and (label.class_id or 0) >= most:
        return "class out of range", f"class {label.class_id} of {most}, counted from 0"
    width = target.vector_width
    if "vector" in target.needs and width is not None and len(label.vector or ()) != width:
        return (
            "wrong vector width",
            f"{len(label.vector or ())} numbers; {target.name} takes {width}",
        )
    return "", ""


def _length_fault(shape: Probe, target: Target) -> tuple[str, str]:
    if shape.is_image:
        return "", ""
    if target.fps is None:
        if (shape.frames or 0) < target.min_frames:
            return "too short", f"{shape.frames} frames; {target.name} needs {target.min_frames}"
        return "", ""
    if target.least_fps is not None and shape.fps < target.least_fps:
        found = f"{shape.fps:g} fps; {target.name} makes {target.fps:g}"
        return "frame rate too low", found
    count = frames_at(shape.seconds or 0.0, target.fps)
    if count < target.min_frames:
        given = f"{shape.seconds or 0.0:.2f} s give {count} frames at {target.fps:g} fps"
        return "too short", f"{given}; {target.name} needs {target.min_frames}"
    return "", ""


def _size_fault(shape: Probe, target: Target) -> tuple[str, str]:
    channels = target.channels
    if channels is not None and shape.channels != channels and {shape.channels, channels} != {1, 3}:
        return "wrong channels", f"{shape.channels} channels; {target.name} takes {channels}"
    if shape.height < target.height or shape.width < target.width:
        found = f"{shape.width}x{shape.height}"
        return "too small", f"{found}; {target.name} makes {target.width}x{target.height}"
    return "", ""
