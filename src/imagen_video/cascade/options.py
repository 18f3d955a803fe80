"""What a caller may change about a stage, and how big every stage's clip is for a wanted output."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from imagen_video.cascade.sampling_spec import (
    GuidanceName,
    SamplerName,
    SamplingSpec,
    ThresholdName,
)
from imagen_video.cascade.spec import MAX_EXTENT, MAX_FPS, CascadeSpec, Clip, StageSpec
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
    """w; 0 = off. Where guidance oscillates, the high weight, which the low one does not exceed."""
    guidance_low: float | None = None
    """Low weight of the oscillation."""
    guidance_stop: float | None = None
    """The t at which guidance ends."""
    threshold: ThresholdName | None = None
    """static or dynamic."""
    percentile: float | None = None
    """Percentile of dynamic thresholding."""
    augmentation_logsnr: float | None = None
    """Log SNR of the noise on the low-resolution input."""
    temperature: float | None = None
    """Scale of the sampler's noise, 0 to 1; that on the low-resolution input has its own level."""

    def apply(self, sampling: SamplingSpec) -> SamplingSpec:
        """Return the settings with the changes made."""
        changes = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        changed = dataclasses.replace(sampling, **changes)
        if changed.guidance == "oscillating" and self.guidance_low is None:
            # 0 is off, and a weak pull stays weak, in every step of an oscillation
            low = min(changed.guidance_low, changed.guidance_weight)
            changed = dataclasses.replace(changed, guidance_low=low)
        return changed


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


def selected(
    spec: CascadeSpec,
    start: str | None,
    until: str | None,
    only: Sequence[str] | None = None,
) -> tuple[StageSpec, ...]:
    """Return the stages from `start` to `until`, both included, or those that `only` names.

    Raises:
        InputError: for unknown stages, another order than the cascade's, or an empty selection.
    """
    if only is not None:
        return _named(spec, only, together=start is None and until is None)
    first = spec.index(start) if start is not None else 0
    last = spec.index(until) if until is not None else len(spec.stages) - 1
    if first > last:
        raise InputError("stages", f"{start!r} to {until!r}", "a start before the end", "swap them")
    return spec.stages[first : last + 1]


def _named(spec: CascadeSpec, only: Sequence[str], *, together: bool) -> tuple[StageSpec, ...]:
    indices = [spec.index(name) for name in only]
    if not indices or indices != sorted(set(indices)) or not together:
        raise InputError(
            "only",
            f"{list(only)}" + ("" if together else " beside start or until"),
            f"at least one of {[stage.name for stage in spec.stages]}, in this order",
            "correct it",
        )
    return tuple(spec.stages[index] for index in indices)


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
        stages: the stages that will run; they need not be neighbours.
        source: the given video, where the first stage is not the base: every stage multiplies it.
        num_frames: frames of the last stage's output; the spec's if None. Only from the base on.
        height: pixels of the last stage's output; the spec's if None.
        width: pixels of the last stage's output; the spec's if None.

    Raises:
        InputError: if a stage's clip would not be whole, its strides do not divide it, or a size
            is asked for where a given video decides it.
    """
    if source is not None:
        if (num_frames, height, width) != (None, None, None):
            raise InputError(
                "num_frames, height, width",
                f"{num_frames}, {height}, {width} with a given video",
                "none of them: every stage multiplies the video that it is given",
                "leave them out, or cut and resize the video first",
            )
        before, clips = source, {}
        for stage in stages:
            before = clips[stage.name] = _multiplied(spec, stage, before)
        _check_source(source, stages, clips)
    else:
        own = {stages[0].name: stages[0].output}
        for before, stage in itertools.pairwise(stages):
            own[stage.name] = _multiplied(spec, stage, own[before.name])
        last = own[stages[-1].name]
        wanted = {
            "frames": last.frames if num_frames is None else num_frames,
            "height": last.height if height is None else height,
            "width": last.width if width is None else width,
        }
        _check_wanted(wanted, stages, own)
        clips = {name: _scaled(clip, last, wanted) for name, clip in own.items()}
    for stage in stages:
        clip = clips[stage.name]
        stage.unet.check_size(f"stage {stage.name!r}", clip.height, clip.width)
    return clips


def _multiplied(spec: CascadeSpec, stage: StageSpec, before: Clip) -> Clip:
    """Return what a super-resolution stage makes of a clip.

    Raises:
        InputError: if that is larger than any clip may be.
    """
    source, own = spec.input_of(stage.name), stage.output
    assert source is not None
    sizes = {
        axis: getattr(before, axis) * (getattr(own, axis) // getattr(source, axis))
        for axis in ("frames", "height", "width")
    }
    fps = before.fps * (own.fps / source.fps)
    if max(sizes.values()) > MAX_EXTENT or fps > MAX_FPS:
        raise InputError(
            f"stage {stage.name!r} on a clip of {before} at {before.fps:g} frames per second",
            "x".join(f"{size}" for size in sizes.values()) + f" at {fps:g}",
            f"at most {MAX_EXTENT} frames or pixels of a side, and {MAX_FPS} frames per second",
            "run fewer stages, or cut or shrink the clip",
        )
    return Clip(**sizes, fps=fps)


def _check_source(source: Clip, stages: Sequence[StageSpec], clips: Mapping[str, Clip]) -> None:
    """Say of the given video, and not of what a stage makes of it, what the strides need.

    Raises:
        InputError: if they do not divide some stage's output.
    """
    steps = []
    for side in ("height", "width"):
        own = getattr(source, side)
        factors = [(stage.unet.stride, getattr(clips[stage.name], side) // own) for stage in stages]
        steps.append(math.lcm(*(stride // math.gcd(stride, factor) for stride, factor in factors)))
    if source.height % steps[0] or source.width % steps[1]:
        raise InputError(
            "video",
            f"{source.height}x{source.width} (height x width)",
            f"height in multiples of {steps[0]}, width of {steps[1]}, for the strides of "
            f"{', '.join(stage.name for stage in stages)}",
            "crop or pad the video, or choose other stages",
        )


def _check_wanted(
    wanted: Mapping[str, int], stages: Sequence[StageSpec], own: Mapping[str, Clip]
) -> None:
    """Say of the final size, and not of some stage's, what the stages need.

    A stage makes own * want / last, which must be a multiple of its stride: so `want` is one of
    last * stride / gcd(last * stride, own), and of the same of every other stage.

    Raises:
        InputError: if a stage's clip would not be whole, or its stride does not divide it.
    """
    last = own[stages[-1].name]
    for axis, want in wanted.items():
        step = 1
        for stage in stages:
            of = getattr(last, axis) * (1 if axis == "frames" else stage.unet.stride)
            step = math.lcm(step, of // math.gcd(of, getattr(own[stage.name], axis)))
        if want % step:
            within = min(max(want, 1), MAX_EXTENT)
            below = within - within % step
            near = [n for n in (below, below + step) if 1 <= n <= MAX_EXTENT]
            raise InputError(
                "num_frames" if axis == "frames" else axis,
                f"{want}",
                f"a multiple of {step}, for {', '.join(stage.name for stage in stages)}",
                f"use {' or '.join(map(str, near))}",
            )


def _scaled(own: Clip, last: Clip, wanted: Mapping[str, int]) -> Clip:
    """Return a stage's clip where the last one's is to be `wanted` instead of `last`."""
    sizes = {
        axis: getattr(own, axis) * want // getattr(last, axis) for axis, want in wanted.items()
    }
    return Clip(**sizes, fps=own.fps)
