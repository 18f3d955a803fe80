"""From the arguments of a call to a `Request`: text, a clip to upscale, interpolate or extend.

Each function checks what it is given and computes nothing. `ImagenVideoPipeline` runs the result;
a server can `check` it first, and `run` it with a work folder and callbacks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from imagen_video.cascade.argument_types import check_types
from imagen_video.cascade.call_settings import SamplingSettings
from imagen_video.cascade.inputs import (
    check_overlap,
    fit_video,
    negatives_for,
    prompts_for,
    seeds_for,
    spread_options,
)
from imagen_video.cascade.labels import labels_for
from imagen_video.cascade.options import clips_for, selected
from imagen_video.cascade.request import Request
from imagen_video.cascade.run_plan import chosen_stages
from imagen_video.cascade.spec import MAX_EXTENT, MAX_FPS, CascadeSpec, Clip, StageKind, StageSpec
from imagen_video.errors import InputError
from imagen_video.media.clips import Clips, ClipSource, Picture, take_clips, take_pictures

Text = str | Sequence[str] | None
"""One text, or one a video."""


def text_request(  # noqa: PLR0913
    spec: CascadeSpec,
    prompt: Text = None,
    negative_prompt: Text = None,
    *,
    image: Picture | Sequence[Picture] | None = None,
    num_frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    until: str | None = None,
    **settings: Unpack[SamplingSettings],
) -> Request:
    """Ask for videos from text, class or numbers; with `image`, for videos that begin with it.

    Raises:
        InputError: for anything that cannot be used.
    """
    sizes: dict[str, Any] = {
        "until": until,
        "num_frames": num_frames,
        "height": height,
        "width": width,
    }
    check_types(sizes)
    ids, vectors = labels_for(settings.get("class_id"), settings.get("vector"))
    labelled = max(1 if label is None else len(label) for label in (ids, vectors))
    prompts = prompts_for(prompt, untold=None if _hears_text(spec) else labelled)
    given = None
    if image is not None:
        asked = Request(prompts=prompts, seeds=(0,) * len(prompts), **sizes)
        given = _first_frames(spec, asked, image)
    return _request(spec, prompts, negative_prompt, settings, given_frames=given, **sizes)


def upscale_request(
    spec: CascadeSpec,
    video: ClipSource,
    prompt: Text = None,
    negative_prompt: Text = None,
    *,
    fps: float | None = None,
    only: str | Sequence[str] | None = None,
    **settings: Unpack[SamplingSettings],
) -> Request:
    """Ask for a clip in more pixels: spatial super-resolution stages alone.

    Args:
        spec: the cascade.
        video: the clip, or several.
        prompt: what it shows; None = no text.
        negative_prompt: what guidance pushes away from.
        fps: frame rate of frames in memory; None = that of the first stage's input.
        only: stages to run, by name. None = from the one whose own input is nearest in size, to
            the last.
        **settings: see `SamplingSettings`.

    Raises:
        InputError: for anything that cannot be used.
    """
    clips = take_clips(video)
    names = _named(spec, "ssr", only)
    if names is None:
        area = clips.size[0] * clips.size[1]
        names = _from_nearest(spec, "ssr", area, lambda clip: clip.height * clip.width)
    rate = _rate(clips, fps)
    return _clip_request(spec, clips, rate, names, (prompt, negative_prompt), settings)


def interpolate_request(
    spec: CascadeSpec,
    video: ClipSource,
    prompt: Text = None,
    negative_prompt: Text = None,
    *,
    fps: float | None = None,
    only: str | Sequence[str] | None = None,
    **settings: Unpack[SamplingSettings],
) -> Request:
    """Ask for a clip with more frames a second: temporal super-resolution stages alone.

    Args:
        spec: the cascade.
        video: the clip, or several, of at least two frames.
        prompt: what it shows; None = no text.
        negative_prompt: what guidance pushes away from.
        fps: frame rate of frames in memory.
        only: stages to run, by name. None = from the one whose own input is nearest in frame
            rate, to the last.
        **settings: see `SamplingSettings`.

    Raises:
        InputError: for anything that cannot be used.
    """
    clips = take_clips(video)
    if clips.frames < 2:
        raise InputError(
            "video", "one frame", "at least two: frames are made between frames", "use upscale"
        )
    names, rate = _named(spec, "tsr", only), _rate(clips, fps)
    if names is None:
        if rate is None:
            raise InputError(
                "fps",
                "None for frames in memory",
                "their frame rate, which decides the stages",
                "pass fps=..., or name the stages with only=[...]",
            )
        names = _from_nearest(spec, "tsr", rate, lambda clip: clip.fps)
    return _clip_request(spec, clips, rate, names, (prompt, negative_prompt), settings)


def extend_request(  # noqa: PLR0913
    spec: CascadeSpec,
    video: ClipSource,
    prompt: Text,
    seconds: float,
    negative_prompt: Text = None,
    *,
    fps: float | None = None,
    overlap: int | None = None,
    until: str | None = None,
    **settings: Unpack[SamplingSettings],
) -> Request:
    """Ask for a clip that goes on after its end.

    The clip is brought to the base's size and frame rate, the base adds frames in windows, and the
    stages after it run on the whole.

    Args:
        spec: the cascade.
        video: the clip, or several.
        prompt: what it goes on with.
        seconds: how much to add; rounded up to a frame of the base.
        negative_prompt: what guidance pushes away from.
        fps: frame rate of frames in memory; None = the last stage's.
        overlap: frames of the base that each window is given; a quarter of a window if None.
        until: last stage to run.
        **settings: see `SamplingSettings`.

    Raises:
        InputError: for anything that cannot be used.
    """
    check_types({"overlap": overlap})
    chosen = selected(spec, None, until)
    base, last = chosen[0], chosen[-1]
    overlap = max(1, base.output.frames // 4) if overlap is None else overlap
    check_overlap(overlap, base)
    if not (isinstance(seconds, int | float) and 0 < seconds < math.inf):
        raise InputError("seconds", f"{seconds!r}", "a number above 0", "correct it")
    clips = take_clips(video)
    rate = _rate(clips, fps) or spec.stages[-1].output.fps
    whole = Clip(
        frames=MAX_EXTENT,
        height=base.output.height,
        width=base.output.width,
        fps=base.output.fps,
    )
    given = fit_video(clips.pixels, whole, rate, base.unet.channels)
    new = math.ceil(seconds * base.output.fps - 1e-6)
    factor = clips_for(spec, chosen)[last.name].frames // base.output.frames
    frames = (given.shape[1] + new) * factor
    if frames > MAX_EXTENT:
        raise InputError(
            "seconds",
            f"{seconds:g} after a clip of {clips.frames / rate:g}: {frames} frames",
            f"at most {MAX_EXTENT} frames",
            "ask for less, or cut the clip",
        )
    prompts = prompts_for(prompt, untold=None if _hears_text(spec) else len(clips))
    prompts, given = _as_many(prompts, given)
    return _request(
        spec,
        prompts,
        negative_prompt,
        settings,
        given_frames=given,
        num_frames=frames,
        until=until,
        overlap=overlap,
    )


def _clip_request(
    spec: CascadeSpec,
    clips: Clips,
    fps: float | None,
    names: tuple[str, ...],
    texts: tuple[Text, Text],
    settings: SamplingSettings,
) -> Request:
    """Ask for super-resolution stages on a clip."""
    channels = spec.stage(names[0]).unet.channels
    prompts = prompts_for(texts[0], untold=1)
    prompts, video = _as_many(prompts, clips.to_float(channels))
    return _request(spec, prompts, texts[1], settings, video=video, video_fps=fps, only=names)


def _request(
    spec: CascadeSpec,
    prompts: tuple[str, ...],
    negative_prompt: Text,
    settings: SamplingSettings,
    **fields: Any,
) -> Request:
    """Build a request with the settings that all ways of calling share.

    Raises:
        InputError: for settings that cannot be used.
    """
    check_types(settings)
    scale = settings.get("guidance_scale")
    if scale is not None:
        raise InputError(
            "guidance_scale",
            f"{scale}",
            "guidance_weight (the paper's w, 0 = off)",
            f"pass guidance_weight={scale - 1:g}: it is guidance_scale - 1",
        )
    generator = settings.get("generator")
    seed = settings.get("seed", 0) if generator is None else generator.initial_seed()
    ids, vectors = labels_for(settings.get("class_id"), settings.get("vector"))
    request = Request(
        prompts=prompts,
        seeds=seeds_for(seed, len(prompts)),
        negative_prompts=negatives_for(negative_prompt, len(prompts)),
        class_id=ids,
        vector=vectors,
        **fields,
    )
    steps = settings.get("num_inference_steps")
    options = spread_options(
        spec,
        settings.get("stages") or {},
        steps,
        settings.get("guidance_weight"),
        () if steps is None else chosen_stages(spec, request),
    )
    return dataclasses.replace(request, options=options)


def _as_many(prompts: tuple[str, ...], video: Tensor) -> tuple[tuple[str, ...], Tensor]:
    """Bring texts and clips to one number: one of either is for all of the other.

    Raises:
        InputError: if there are several of both, but not equally many.
    """
    count = max(len(prompts), len(video))
    if not {len(prompts), len(video)} <= {1, count}:
        raise InputError(
            "prompt",
            f"{len(prompts)} texts for {len(video)} clips",
            "one, or one a clip",
            "add them",
        )
    if len(prompts) == 1:
        prompts = prompts * count
    return prompts, video.expand(count, *video.shape[1:])


def _first_frames(spec: CascadeSpec, asked: Request, image: Picture | Sequence[Picture]) -> Tensor:
    """Bring pictures to the base's size, `(b, 1, c, h, w)`, one a prompt.

    Raises:
        InputError: if they cannot be used.
    """
    chosen = chosen_stages(spec, asked)
    clip = clips_for(
        spec, chosen, num_frames=asked.num_frames, height=asked.height, width=asked.width
    )[chosen[0].name]
    one = Clip(frames=1, height=clip.height, width=clip.width, fps=clip.fps)
    channels = chosen[0].unet.channels
    frames = [fit_video(p.pixels, one, one.fps, channels) for p in take_pictures(image)]
    if len(frames) not in (1, len(asked.prompts)):
        raise InputError(
            "image",
            f"{len(frames)} pictures for {len(asked.prompts)} prompts",
            "one, or one a prompt",
            "give one for each",
        )
    return _as_many(asked.prompts, torch.cat(frames))[1]


def _hears_text(spec: CascadeSpec) -> bool:
    return any(stage.unet.text_width for stage in spec.stages)


def _rate(clips: Clips, fps: float | None) -> float | None:
    """Return the frame rate of a clip: as told, else the file's.

    Raises:
        InputError: for a rate that is none.
    """
    rate = clips.fps if fps is None else fps
    if rate is not None and not (isinstance(rate, int | float) and 0 < rate <= MAX_FPS):
        raise InputError("fps", f"{rate!r}", f"above 0, at most {MAX_FPS}", "correct it")
    return rate


def _of_kind(spec: CascadeSpec, kind: StageKind) -> list[StageSpec]:
    """Return the stages of a kind.

    Raises:
        InputError: if there are none.
    """
    found = [stage for stage in spec.stages if stage.kind == kind]
    if not found:
        raise InputError(
            f"cascade {spec.name!r}", f"no {kind} stage", "at least one", "use another bundle"
        )
    return found


def _named(
    spec: CascadeSpec, kind: StageKind, only: str | Sequence[str] | None
) -> tuple[str, ...] | None:
    """Return the stages that a caller names; None where the clip decides.

    Raises:
        InputError: for a stage of another kind, or another order than the cascade's.
    """
    known = [stage.name for stage in _of_kind(spec, kind)]
    if only is None:
        return None
    names = (only,) if isinstance(only, str) else tuple(only)
    if not names or list(names) != [name for name in known if name in names]:
        raise InputError(
            "only", f"{list(names)}", f"one or more of {known}, in order", "correct it"
        )
    return names


def _from_nearest(
    spec: CascadeSpec, kind: StageKind, given: float, size: Callable[[Clip], float]
) -> tuple[str, ...]:
    """Return the stages of a kind, from the one whose input is nearest in ratio, to the last."""
    stages = _of_kind(spec, kind)
    inputs = [spec.input_of(stage.name) or stage.output for stage in stages]
    ratios = [abs(math.log(given / size(clip))) for clip in inputs]
    return tuple(stage.name for stage in stages[ratios.index(min(ratios)) :])
