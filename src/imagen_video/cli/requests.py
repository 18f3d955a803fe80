"""From `Settings` to the pipeline's `Request`: the given video and picture are read and fitted."""

from __future__ import annotations

import functools
import math
from pathlib import Path

from torch import Tensor

from imagen_video.cascade.inputs import fit_video, spread_options
from imagen_video.cascade.labels import labels_for
from imagen_video.cascade.options import StageOptions, clips_for, selected
from imagen_video.cascade.request import Request
from imagen_video.cascade.spec import CascadeSpec, Clip
from imagen_video.cli.settings import Settings
from imagen_video.errors import InputError
from imagen_video.media.digest import file_sha256
from imagen_video.media.pictures import read_image
from imagen_video.media.video_io import probe_video, read_video


def build_request(spec: CascadeSpec, settings: Settings) -> Request:
    """Build the request of one video.

    Raises:
        InputError: for stages, sizes or files that do not fit the cascade.
    """
    options = {name: StageOptions(steps=steps) for name, steps in settings.steps.items()}
    negative = settings.negative_prompt
    class_id, vector = labels_for(settings.class_id, settings.vector)
    return Request(
        prompts=(settings.prompt,),
        seeds=(settings.seed,),
        negative_prompts=None if negative is None else (negative,),
        start=settings.start_stage,
        until=settings.until,
        video=_source_video(spec, settings),
        given_frames=_first_frame(spec, settings),
        num_frames=settings.num_frames,
        height=settings.height,
        width=settings.width,
        options=spread_options(spec, options, None, settings.guidance_weight),
        class_id=class_id,
        vector=vector,
    )


def file_digest(option: str, path: Path | None) -> str | None:
    """Identify a given file by its contents; None for none.

    Raises:
        InputError: if it cannot be read.
    """
    if path is None:
        return None
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(
            f"{option} {path}", error.strerror or "an error", "a readable file", "check the path"
        ) from error


def _source_video(spec: CascadeSpec, settings: Settings) -> Tensor | None:
    """Read `--from-video` and bring it to the input of the first stage."""
    chosen = selected(spec, settings.start_stage, settings.until)
    if (settings.from_video is None) != (chosen[0].kind == "base"):
        raise InputError(
            "--from-video",
            "none" if settings.from_video is None else f"a video for stage {chosen[0].name!r}",
            "a video exactly when the first stage is not the base",
            "give --from-video FILE together with --start-stage STAGE",
        )
    if settings.from_video is None:
        return None
    before = spec.stages[spec.index(chosen[0].name) - 1]
    # a given video decides the sizes of the result: whoever asks for others is told by `plan_run`
    return _read_fitted(Path(settings.from_video), before.output, before.unet.channels)


def _first_frame(spec: CascadeSpec, settings: Settings) -> Tensor | None:
    """Read `--image` and bring it to the base's size."""
    if settings.image is None:
        return None
    chosen = selected(spec, settings.start_stage, settings.until)
    if chosen[0].kind != "base":
        raise InputError(
            "--image",
            f"a first frame for stage {chosen[0].name!r}",
            "a run that starts at the base",
            "leave out --image or --start-stage",
        )
    clip = clips_for(
        spec,
        chosen,
        num_frames=settings.num_frames,
        height=settings.height,
        width=settings.width,
    )[chosen[0].name]
    picture = read_image(Path(settings.image))[None]
    one = Clip(frames=1, height=clip.height, width=clip.width, fps=clip.fps)
    return fit_video(picture, one, clip.fps, chosen[0].unet.channels)


@functools.lru_cache(maxsize=1)  # several prompts, one video
def _read_fitted(path: Path, clip: Clip, channels: int) -> Tensor:
    info = probe_video(path)
    count = max(1, math.ceil(clip.frames / clip.fps * info.fps) + 1)
    frames, fps = read_video(path, count=count)
    return fit_video(frames, clip, fps, channels)


def check_files(settings: Settings) -> None:
    """Refuse to go on with other files than an interrupted run began with.

    Raises:
        InputError: if a given file has changed.
    """
    for option, path, digest in (
        ("--from-video", settings.from_video, settings.from_video_sha256),
        ("--image", settings.image, settings.image_sha256),
    ):
        if path is not None and file_digest(option, Path(path)) != digest:
            raise InputError(
                f"{option} {path}", "other contents than before", "the same file", "start anew"
            )
