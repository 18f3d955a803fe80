"""What a caller may change about a stage, and how big every stage's clip is for a wanted output."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from imagen_video.cascade.spec import (
    CascadeSpec,
    Clip,
    GuidanceName,
    SamplerName,
    SamplingSpec,
    StageSpec,
    ThresholdName,
)
from imagen_video.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageOptions:
    """Changes to one stage's sampling; None keeps the stage's own setting. See `SamplingSpec`."""

    steps: int | None = None
    """Network evaluations."""
    sampler: SamplerName | None = None
    """ancestral, ddim or few_step."""
    gamma: float | None = None
    """Variance interpolation of the ancestral sampler."""
    guidance: GuidanceName | None = None
    """constant or oscillating."""
    guidance_weight: float | None = None
    """w; 0 = off."""
    guidance_low: float | None = None
    """Low weight of the oscillation."""
    threshold: ThresholdName | None = None
    """static or dynamic."""
    percentile: float | None = None
    """Percentile of dynamic thresholding."""
    augmentation_logsnr: float | None = None
    """Log SNR of the noise on the low-resolution input."""

    def apply(self, sampling: SamplingSpec) -> SamplingSpec:
        """Return the settings with the changes made."""
        changes = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        return dataclasses.replace(sampling, **changes)


def resolve(
    spec: CascadeSpec, stages: Sequence[StageSpec], options: Mapping[str, StageOptions]
) -> dict[str, SamplingSpec]:
    """Settle the sampling of every stage that will run.

    Raises:
        InputError: for options of a stage that the cascade does not have.
    """
    for name in options:
        spec.index(name)
    return {
        stage.name: options.get(stage.name, StageOptions()).apply(stage.sampling)
        for stage in stages
    }


def selected(spec: CascadeSpec, start: str | None, until: str | None) -> tuple[StageSpec, ...]:
    """Return the stages from `start` to `until`, both included.

    Raises:
        InputError: for unknown stages or an empty selection.
    """
    first = spec.index(start) if start is not None else 0
    last = spec.index(until) if until is not None else len(spec.stages) - 1
    if first > last:
        raise InputError("stages", f"{start!r} to {until!r}", "a start before the end", "swap them")
    return spec.stages[first : last + 1]


def clips_for(
    spec: CascadeSpec,
    stages: Sequence[StageSpec],
    *,
    source: Clip | None = None,
    num_frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
) -> dict[str, Clip]:
    """Find the output clip of every stage that will run.

    Args:
        spec: the cascade.
        stages: the stages that will run.
        source: the given video, where the first stage is not the base: every stage multiplies it.
        num_frames: frames of the last stage's output; the spec's if None. Only from the base on.
        height: pixels of the last stage's output; the spec's if None.
        width: pixels of the last stage's output; the spec's if None.

    Raises:
        InputError: if a stage's clip would not be whole, its strides do not divide it, or a size
            is asked for where a given video decides it.
    """
    clips: dict[str, Clip] = {}
    last = stages[-1].output
    if source is not None and (num_frames, height, width) != (None, None, None):
        raise InputError(
            "num_frames, height, width",
            f"{num_frames}, {height}, {width} with a given video",
            "none of them: every stage multiplies the video that it is given",
            "leave them out, or cut and resize the video first",
        )
    wanted = (
        last.frames if num_frames is None else num_frames,
        last.height if height is None else height,
        last.width if width is None else width,
    )
    for stage in stages:
        index = spec.index(stage.name)
        if source is not None:
            before = clips[spec.stages[index - 1].name] if clips else source
            own, base = stage.output, spec.stages[index - 1].output
            clip = Clip(
                frames=before.frames * (own.frames // base.frames),
                height=before.height * (own.height // base.height),
                width=before.width * (own.width // base.width),
                fps=before.fps * (own.fps / base.fps),
            )
        else:
            sizes = [
                _scaled(f"stage {stage.name!r} {axis}", own, want, of)
                for axis, own, want, of in zip(
                    ("frames", "height", "width"),
                    (stage.output.frames, stage.output.height, stage.output.width),
                    wanted,
                    (last.frames, last.height, last.width),
                    strict=True,
                )
            ]
            clip = Clip(frames=sizes[0], height=sizes[1], width=sizes[2], fps=stage.output.fps)
        stage.unet.check_size(f"stage {stage.name!r}", clip.height, clip.width)
        clips[stage.name] = clip
    return clips


def _scaled(where: str, own: int, want: int, of: int) -> int:
    if own * want % of:
        factor = of // own if of % own == 0 else of
        raise InputError(
            where,
            f"{own * want / of:g} for a final {want}",
            "a whole number",
            f"use a multiple of {factor}",
        )
    return own * want // of
