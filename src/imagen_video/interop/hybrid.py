"""Hybrid cascades: somebody else's text-to-video model as the base, our super-resolution after it.

    prompt -> a diffusers pipeline -> frames -> resized -> noised -> ssr / tsr stages -> video

The base may be any object with diffusers' call convention, a latent model included. Its frames are
brought to the size that the first stage was trained on and enter it as the output of our own base
would: through the noise conditioning augmentation, which is what makes super-resolution models
tolerant of a base that they were not trained after (Imagen Video, section 2.5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, Unpack

import torch
from torch import Tensor

from imagen_video.cascade.argument_types import check_types
from imagen_video.cascade.call_settings import RunSettings
from imagen_video.cascade.inputs import (
    fit_video,
    negatives_for,
    prompts_for,
    seeds_for,
    spread_options,
)
from imagen_video.cascade.options import StageOptions, selected
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.progress_bars import StageBars
from imagen_video.cascade.request import PipelineOutput, Progress, Request
from imagen_video.cascade.spec import MAX_EXTENT, MAX_FPS, CascadeSpec, Clip, StageSpec
from imagen_video.errors import InputError
from imagen_video.interop.frames import from_diffusers
from imagen_video.media.clips import Clips

Text = str | Sequence[str]


VideoMaker: TypeAlias = Callable[..., Any]
"""Called as the text-to-video pipelines of diffusers are: with `prompt` and `generator`, a list of
each, `output_type="np"`, and what else it takes by name. Returns an object with `.frames`."""


class RefineSettings(RunSettings, total=False):
    """Settings of `refine` that a call hands on."""

    until: str | None
    num_inference_steps: int | None
    stages: Mapping[str, StageOptions] | None


class HybridPipeline:
    """A diffusers text-to-video pipeline, followed by stages of a cascade of ours."""

    def __init__(
        self,
        base: VideoMaker,
        cascade: ImagenVideoPipeline,
        *,
        start: str | None = None,
        only: Sequence[str] | None = None,
        fps: float | None = None,
    ) -> None:
        """Put the two together.

        Without `start` and `only` the stages are chosen by the frames that come: spatial ones from
        the one whose trained input is nearest in size, temporal ones from the one nearest in frame
        rate, and none of a kind whose end the frames have reached already.

        Args:
            base: the pipeline that makes the first frames.
            cascade: the cascade whose super-resolution stages go on.
            start: first stage, all later ones follow.
            only: stages to run instead, in the cascade's order; they need not be neighbours.
            fps: frame rate of the base's videos; diffusers does not tell. None = the rate that
                the first stage was trained on.

        Raises:
            InputError: for stages that cannot take a video, or a frame rate that is none.
        """
        if start is not None or only is not None:
            chosen = selected(cascade.spec, start, None, only)
            if chosen[0].kind == "base":
                raise InputError(
                    "start" if only is None else "only",
                    f"{chosen[0].name!r}, the cascade's own base",
                    f"one of {[s.name for s in cascade.spec.stages if s.kind != 'base']}",
                    "name the stage that shall take the other pipeline's frames",
                )
        if fps is not None and not 0 < fps <= MAX_FPS:
            raise InputError("fps", f"{fps!r}", f"above 0, at most {MAX_FPS}", "correct it")
        self.base = base
        self.cascade = cascade
        self.start = start
        self.only = only
        self.fps = fps

    def __call__(
        self,
        prompt: Text,
        negative_prompt: Text | None = None,
        *,
        seed: int | Sequence[int] = 0,
        base_options: Mapping[str, Any] | None = None,
        **settings: Unpack[RefineSettings],
    ) -> PipelineOutput:
        """Make one video a prompt.

        Args:
            prompt: one or several sentences, for both halves.
            negative_prompt: what both push away from.
            seed: one (video i gets seed + i) or one a prompt, for both halves.
            base_options: further arguments of the base's call: `num_frames`, `height`,
                `guidance_scale`, ...
            **settings: see `refine`.

        Raises:
            InputError: for anything that cannot be used.
            Stopped: if the callback raises it.
        """
        frames = self.draft(prompt, negative_prompt, seed=seed, **(base_options or {}))
        return self.refine(frames, prompt, negative_prompt, seed=seed, **settings)

    def draft(
        self,
        prompt: Text,
        negative_prompt: Text | None = None,
        *,
        seed: int | Sequence[int] = 0,
        **base_options: Any,
    ) -> Clips:
        """Run the base alone.

        Args:
            prompt: one or several sentences.
            negative_prompt: what it pushes away from; not passed on if None.
            seed: of a generator for each prompt, on the CPU.
            **base_options: further arguments of its call.

        Raises:
            InputError: if it returns no frames that can be used.
        """
        prompts = list(prompts_for(prompt))
        seeds = seeds_for(seed, len(prompts))
        generators = [torch.Generator().manual_seed(number) for number in seeds]
        options: dict[str, Any] = {"output_type": "np", **base_options}
        if negative_prompt is not None:
            options["negative_prompt"] = list(negatives_for(negative_prompt, len(prompts)) or ())
        output = self.base(prompt=prompts, generator=generators, **options)
        frames = output[0] if isinstance(output, tuple) else getattr(output, "frames", None)
        if frames is None:
            raise InputError(
                "base pipeline",
                f"{type(output).__name__} without .frames",
                "a text-to-video pipeline of diffusers, or an object that is called like one",
                "pass another base",
            )
        return from_diffusers(frames, "frames of the base pipeline")

    def refine(  # noqa: PLR0913 - the argument names of the ecosystem
        self,
        frames: Any,
        prompt: Text,
        negative_prompt: Text | None = None,
        *,
        seed: int | Sequence[int] = 0,
        until: str | None = None,
        num_inference_steps: int | None = None,
        stages: Mapping[str, StageOptions] | None = None,
        memory: int | None = None,
        keep: Sequence[str] = (),
        output_type: str = "np",
        callback_on_step_end: Callable[[Progress], None] | None = None,
        progress: bool | None = None,
    ) -> PipelineOutput:
        """Run our stages on frames that the base has made.

        Args:
            frames: `.frames` of a diffusers pipeline, or what `draft` returned.
            prompt: what they show, one or one a clip.
            negative_prompt: what guidance pushes away from.
            seed: one or one a clip.
            until: last stage to run.
            num_inference_steps: steps of every stage but those that were distilled for other
                steps; each stage's own if None.
            stages: further settings by stage name; `StageOptions(augmentation_logsnr=1.0)` adds
                more noise to the base's frames, and so lets the stage redraw more of them.
            memory: bytes that the process may use; None = no bound.
            keep: stages whose outputs are returned in `stages`.
            output_type: `np` (uint8), `pil` or `pt` (float in [-1, 1]).
            callback_on_step_end: called with a `Progress`; may raise `Stopped`.
            progress: show a bar for each stage. None = on a terminal or in a notebook.

        Raises:
            InputError: for anything that cannot be used.
            Stopped: if the callback raises it.
        """
        check_types({"num_inference_steps": num_inference_steps, "stages": stages})
        clips = frames if isinstance(frames, Clips) else from_diffusers(frames)
        chosen = self._stages_for(clips, until)
        video = fitted(clips, self.cascade.spec, chosen)
        prompts = prompts_for(prompt)
        if len(prompts) != len(video):
            raise InputError(
                "frames",
                f"{len(video)} clips for {len(prompts)} prompts",
                "one clip a prompt",
                "give a prompt for each clip, and leave num_videos_per_prompt out",
            )
        request = Request(
            prompts=prompts,
            seeds=seeds_for(seed, len(prompts)),
            negative_prompts=negatives_for(negative_prompt, len(prompts)),
            only=tuple(stage.name for stage in chosen),
            video=video,
            video_fps=self.fps or _trained_input(self.cascade.spec, chosen).fps,
            options=spread_options(
                self.cascade.spec, stages or {}, num_inference_steps, None, chosen
            ),
        )
        with StageBars(progress, callback_on_step_end) as bars:
            return self.cascade.run(
                request,
                memory=memory,
                keep=keep,
                output_type=output_type,
                on_progress=bars.on_progress,
            )

    def _stages_for(self, clips: Clips, until: str | None) -> tuple[StageSpec, ...]:
        """Choose the stages: those that were named, or those that suit the frames."""
        spec = self.cascade.spec
        if self.start is not None or self.only is not None:
            chosen = selected(spec, self.start, None if self.only else until, self.only)
        else:
            area = clips.size[0] * clips.size[1]
            wanted = [
                *_from_nearest(spec, "ssr", area, lambda clip: clip.height * clip.width),
                *(
                    []
                    if self.fps is None
                    else _from_nearest(spec, "tsr", self.fps, lambda c: c.fps)
                ),
            ]
            chosen = tuple(stage for stage in spec.stages if stage.name in wanted)
        if until is not None:
            last = spec.index(until)
            chosen = tuple(stage for stage in chosen if spec.index(stage.name) <= last)
        if not chosen:
            rate = "" if self.fps is None else f" at {self.fps:g} fps"
            raise InputError(
                "stages",
                f"none for frames of {clips.size[0]}x{clips.size[1]}{rate}"
                + ("" if until is None else f" until {until!r}"),
                "a stage that makes the frames larger or more",
                "name stages with start= or only=",
            )
        return chosen


def fitted(clips: Clips, spec: CascadeSpec, chosen: Sequence[StageSpec]) -> Tensor:
    """Bring frames to the size that the first of the chosen stages was trained on.

    The centre is cut to the aspect, then resized with antialiasing. Every frame stays: each stage
    multiplies frames and rate, whatever the rate is.

    Args:
        clips: frames of the base.
        spec: the cascade.
        chosen: stages that will run.

    Returns:
        `(b, f, c, h, w)` in [-1, 1].

    Raises:
        InputError: for more frames than a clip may have.
    """
    size = _trained_input(spec, chosen)
    if clips.frames > MAX_EXTENT:
        raise InputError("frames", f"{clips.frames}", f"at most {MAX_EXTENT}", "cut the clip")
    clip = Clip(frames=clips.frames, height=size.height, width=size.width, fps=1.0)
    return fit_video(clips.pixels, clip, 1.0, chosen[0].unet.channels)


def _trained_input(spec: CascadeSpec, chosen: Sequence[StageSpec]) -> Clip:
    """Return the size that the first spatial stage takes, and the rate of the first temporal one.

    Where there is only one kind, its own input says both.
    """
    inputs = {stage.kind: spec.input_of(stage.name) for stage in reversed(chosen)}
    space, time = inputs.get("ssr") or inputs.get("tsr"), inputs.get("tsr") or inputs.get("ssr")
    assert space is not None
    assert time is not None
    return Clip(frames=space.frames, height=space.height, width=space.width, fps=time.fps)


def _from_nearest(
    spec: CascadeSpec, kind: str, given: float, size: Callable[[Clip], float]
) -> list[str]:
    """Return the stages of a kind from the one whose input is nearest in ratio to the last one.

    None of them where the last one's output is nearer still.
    """
    stages = [stage for stage in spec.stages if stage.kind == kind]
    steps = [*(spec.input_of(stage.name) or stage.output for stage in stages)]
    steps += [stage.output for stage in stages[-1:]]
    ratios = [abs(math.log(given / size(clip))) for clip in steps]
    return [stage.name for stage in stages[ratios.index(min(ratios)) :]] if ratios else []
