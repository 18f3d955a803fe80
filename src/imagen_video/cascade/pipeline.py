"""`ImagenVideoPipeline`: prompts in, video out, through any run of stages (paper, Fig. 6).

    text -> base -> tsr1 -> ssr1 -> ssr2 -> tsr2 -> tsr3 -> ssr3

Each stage's output is the next one's low-resolution input, noised by conditioning augmentation. A
stage that starts from a given video is a generic video super-resolver: `upscale` and `interpolate`
run such stages alone, `extend` goes on from a clip's last frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Unpack

import torch

from imagen_video.cascade.call_settings import CallSettings, ImageSettings, split
from imagen_video.cascade.calls import (
    extend_request,
    interpolate_request,
    text_request,
    upscale_request,
)
from imagen_video.cascade.hub import OnTheHub
from imagen_video.cascade.inputs import fit_video
from imagen_video.cascade.loaded_cascade import LoadedCascade
from imagen_video.cascade.options import StageOptions
from imagen_video.cascade.progress_bars import StageBars
from imagen_video.cascade.request import PipelineOutput, Progress, Request, StageReport, Stopped
from imagen_video.media.clips import ClipSource, Picture

__all__ = [
    "ImagenVideoPipeline",
    "PipelineOutput",
    "Progress",
    "Request",
    "StageReport",
    "Stopped",
    "fit_video",
]


class ImagenVideoPipeline(OnTheHub, LoadedCascade):
    """A cascade and the ways to call it: from text, from an image, on a clip."""

    def __call__(  # noqa: PLR0913 - the argument names of the ecosystem
        self,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        *,
        image: Picture | Sequence[Picture] | None = None,
        class_id: int | Sequence[int] | None = None,
        vector: Sequence[float] | Sequence[Sequence[float]] | None = None,
        seed: int | Sequence[int] = 0,
        generator: torch.Generator | None = None,
        num_frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_weight: float | None = None,
        guidance_scale: float | None = None,
        stages: Mapping[str, StageOptions] | None = None,
        until: str | None = None,
        memory: int | None = None,
        keep: Sequence[str] = (),
        output_type: str = "np",
        callback_on_step_end: Callable[[Progress], None] | None = None,
        progress: bool | None = None,
    ) -> PipelineOutput:
        """Make one video a prompt.

        Args:
            prompt: one or several sentences; None for a cascade without text.
            negative_prompt: what guidance pushes away from, or one a prompt; None = the null text.
            image: the first frame, one or one a prompt: a path, a PIL image, uint8 `(h, w, 3)`, or
                floats `(c, h, w)` in [-1, 1]. Its centre is cut to the aspect.
            class_id: one, or one a video.
            vector: the numbers of a video, or of each.
            seed: one (video i gets seed + i) or one a prompt: equal ones give equal videos.
            generator: alternative to `seed`: its initial seed is taken.
            num_frames: frames of the output; the cascade's if None. 1 makes an image: temporal
                stages are left out.
            height: pixels of the output.
            width: pixels of the output.
            num_inference_steps: of every stage but those distilled for others; None = its own.
            guidance_weight: w of the base; each stage's own if None. 0 = off.
            guidance_scale: refused: the weight is one less.
            stages: further settings by stage name.
            until: last stage to run.
            memory: bytes that the process may use; None = no bound.
            keep: stages whose outputs are returned in `stages`.
            output_type: `np` (uint8), `pil` or `pt` (float in [-1, 1]).
            callback_on_step_end: called with a `Progress`; may raise `Stopped`.
            progress: show a bar for each stage. None = on a terminal or in a notebook.

        Raises:
            InputError: for anything that cannot be used.
            Stopped: if the callback raises it; finished stages are in its `output`.
        """
        request = text_request(
            self.spec,
            prompt,
            negative_prompt,
            image=image,
            num_frames=num_frames,
            height=height,
            width=width,
            until=until,
            class_id=class_id,
            vector=vector,
            seed=seed,
            generator=generator,
            num_inference_steps=num_inference_steps,
            guidance_weight=guidance_weight,
            guidance_scale=guidance_scale,
            stages=stages,
        )
        return self._shown(
            request,
            memory=memory,
            keep=keep,
            output_type=output_type,
            callback_on_step_end=callback_on_step_end,
            progress=progress,
        )

    def image(
        self,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        **settings: Unpack[ImageSettings],
    ) -> PipelineOutput:
        """Make one image a prompt: one-frame videos, which pass no temporal stage.

        Args:
            prompt: as in a call.
            negative_prompt: as in a call.
            **settings: as in a call, but for `num_frames` and `image`.

        Returns:
            Images in `.images`, `(h, w, 3)` each with `output_type="np"`.

        Raises:
            InputError: for anything that cannot be used.
            Stopped: if the callback raises it.
        """
        return self(prompt, negative_prompt, num_frames=1, **settings)

    def upscale(
        self,
        video: ClipSource,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        *,
        fps: float | None = None,
        only: str | Sequence[str] | None = None,
        **settings: Unpack[CallSettings],
    ) -> PipelineOutput:
        """Raise the resolution of a clip with the spatial super-resolution stages alone.

        Without `only`, the stages from the one whose own input is nearest to the clip in size run,
        up to the last. `reports` of the result says which. Each multiplies height and width, which
        must suit the networks' strides: the message says how. A clip of one frame is an image.

        Args:
            video: a path; uint8 `(f, h, w, 3)`; PIL images; floats `(f, c, h, w)` or
                `(b, f, c, h, w)` in [-1, 1]; or a list of clips of one shape.
            prompt: what it shows, one or one a clip; None = no text.
            negative_prompt: as in a call.
            fps: frame rate of frames in memory, for the result's; a file says its own.
            only: names of the stages to run, in order: `"ssr3"`, or `["ssr1", "ssr3"]`.
            **settings: as in a call.

        Raises:
            InputError: for anything that cannot be used.
            Stopped: if the callback raises it.
        """
        what, how = split(settings)
        request = upscale_request(
            self.spec, video, prompt, negative_prompt, fps=fps, only=only, **what
        )
        return self._shown(request, **how)

    def interpolate(
        self,
        video: ClipSource,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        *,
        fps: float | None = None,
        only: str | Sequence[str] | None = None,
        **settings: Unpack[CallSettings],
    ) -> PipelineOutput:
        """Raise the frame rate of a clip with the temporal super-resolution stages alone.

        Without `only`, the stages from the one whose own input is nearest to the clip in frame rate
        run, up to the last. Each multiplies frames and frame rate. Every given frame keeps its
        place in time, but is drawn anew.

        Args:
            video: as in `upscale`, at least two frames.
            prompt: what it shows, one or one a clip; None = no text.
            negative_prompt: as in a call.
            fps: frame rate of frames in memory; needed where `only` is not given.
            only: names of the stages to run, in order.
            **settings: as in a call.

        Raises:
            InputError: for anything that cannot be used.
            Stopped: if the callback raises it.
        """
        what, how = split(settings)
        request = interpolate_request(
            self.spec, video, prompt, negative_prompt, fps=fps, only=only, **what
        )
        return self._shown(request, **how)

    def extend(
        self,
        video: ClipSource,
        prompt: str | Sequence[str] | None,
        seconds: float,
        negative_prompt: str | Sequence[str] | None = None,
        *,
        fps: float | None = None,
        overlap: int | None = None,
        until: str | None = None,
        **settings: Unpack[CallSettings],
    ) -> PipelineOutput:
        """Make a clip longer: the base goes on from its last frames, the rest runs on the whole.

        The clip is brought to the base's size and frame rate. The base adds frames in windows of
        its own length; each is given the last `overlap` frames. With `until="base"` the given
        frames are in the result as they came; the later stages draw the whole clip anew.

        Args:
            video: as in `upscale`; one picture is enough.
            prompt: what it goes on with, one or one a clip.
            seconds: how much to add; rounded up to a frame of the base.
            negative_prompt: as in a call.
            fps: frame rate of frames in memory; the last stage's if None.
            overlap: frames of the base that each window is given: more join better and cost more.
                A quarter of a window if None.
            until: last stage to run.
            **settings: as in a call.

        Raises:
            InputError: for anything that cannot be used.
            Stopped: if the callback raises it.
        """
        what, how = split(settings)
        request = extend_request(
            self.spec,
            video,
            prompt,
            seconds,
            negative_prompt,
            fps=fps,
            overlap=overlap,
            until=until,
            **what,
        )
        return self._shown(request, **how)

    def _shown(
        self,
        request: Request,
        *,
        memory: int | None = None,
        keep: Sequence[str] = (),
        output_type: str = "np",
        callback_on_step_end: Callable[[Progress], None] | None = None,
        progress: bool | None = None,
    ) -> PipelineOutput:
        """Run a request with progress bars, where they are wanted."""
        with StageBars(progress, callback_on_step_end) as bars:
            return self.run(
                request,
                memory=memory,
                keep=keep,
                output_type=output_type,
                on_progress=bars.on_progress,
            )
