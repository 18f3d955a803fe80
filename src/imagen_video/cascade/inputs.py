"""From what a caller hands over (arrays, single values, lists) to what the stages take."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from imagen_video.cascade.distilled import keeping_own_steps
from imagen_video.cascade.options import StageOptions
from imagen_video.cascade.request import Request
from imagen_video.cascade.resample import resize
from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.errors import InputError
from imagen_video.media.frames import to_float


def fit_video(frames: np.ndarray | Tensor, clip: Clip, fps: float, channels: int = 3) -> Tensor:
    """Bring a user's clip to the input of a stage.

    Frames are taken by time, the centre is cropped to the aspect, and the result resized with
    antialiasing. A clip of that size and frame rate stays as it is.

    Args:
        frames: uint8 `(f, h, w, 3)` or `(b, f, h, w, 3)`, or floats `(b, f, c, h, w)`.
        clip: the stage's input.
        fps: frame rate of `frames`.
        channels: 3, or 1 for grey.

    Returns:
        `(b, f', c, h', w')` in [-1, 1]: `clip.frames` frames, or as many as the clip is long.

    Raises:
        InputError: for a clip without frames.
    """
    if isinstance(frames, np.ndarray) and frames.ndim == 4:
        frames = frames[None]
    count = frames.shape[1]
    if count == 0:
        raise InputError("video", "no frames", "at least one", "choose another file")
    index = np.floor(np.arange(clip.frames) / clip.fps * fps + 1e-6).astype(int)
    index = index[index < count]
    rows, columns = _centre(
        frames.shape[2:4] if isinstance(frames, np.ndarray) else frames.shape[3:5], clip
    )
    made = []
    for i in index:  # one at a time: many large frames become few and small ones
        if isinstance(frames, np.ndarray):
            frame = to_float(frames[:, i : i + 1, rows, columns], channels)
        else:
            frame = frames[:, i : i + 1, :, rows, columns].float()
        made.append(resize(frame, clip.height, clip.width))
    return torch.cat(made, dim=1)


def _centre(size: Sequence[int], clip: Clip) -> tuple[slice, slice]:
    """Cut the centre of a picture to the aspect of a clip."""
    height, width = size
    scale = min(height / clip.height, width / clip.width)
    rows, columns = max(1, round(clip.height * scale)), max(1, round(clip.width * scale))
    top, left = (height - rows) // 2, (width - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)


def given_first_frames(frames: Tensor | None, stage: StageSpec, clip: Clip) -> dict[str, Tensor]:
    """Pad given first frames to the clip and make their mask.

    Args:
        frames: `(b, n, c, h, w)`, or None.
        stage: the stage that shall go on from them.
        clip: its output.

    Returns:
        `given_frames` and `given_mask` of a `StageInput`; empty for None.

    Raises:
        InputError: if the stage takes no frames, or they do not fit.
    """
    if frames is None:
        return {}
    if not stage.unet.given_frames:
        raise InputError(
            f"stage {stage.name!r}",
            "given first frames",
            "none: its network takes no given frames",
            "use a bundle whose base takes given frames (UNetSpec.given_frames), or leave them out",
        )
    batch, count, channels, height, width = frames.shape
    wanted = (stage.unet.channels, clip.height, clip.width)
    if (channels, height, width) != wanted or count > clip.frames:
        raise InputError(
            "given frames",
            f"{count}x{height}x{width}, {channels} channels",
            f"at most {clip}, {stage.unet.channels} channels",
            "resize them",
        )
    padded = frames.new_zeros(batch, clip.frames, channels, height, width)
    padded[:, :count] = frames
    mask = torch.arange(clip.frames).expand(batch, -1) < count
    return {"given_frames": padded, "given_mask": mask}


def check_overlap(overlap: int | None, stage: StageSpec) -> None:
    """Check the overlap of a base's windows.

    Raises:
        InputError: if the stage cannot go on from frames, or sees no new ones in a window.
    """
    if overlap is None:
        return
    if not stage.unet.given_frames:
        raise InputError(
            f"stage {stage.name!r}",
            "a clip to go on from",
            "none: its network takes no given frames",
            "use a bundle whose base takes given frames (UNetSpec.given_frames)",
        )
    if not 1 <= overlap < stage.output.frames:
        raise InputError(
            "overlap",
            f"{overlap}",
            f"1 to {stage.output.frames - 1}: the base makes {stage.output.frames} frames at once",
            "correct it",
        )


def source_clip(request: Request, spec: CascadeSpec, first: StageSpec) -> Clip | None:
    """Check the given video against the first stage and return its clip; None for the base.

    Raises:
        InputError: if there is a video for a base or none for another stage, or it does not fit.
    """
    if (request.video is None) != (first.kind == "base"):
        raise InputError(
            f"stage {first.name!r}",
            "no video" if request.video is None else "a video",
            "a video exactly when the first stage is not the base",
            "give --from-video together with --start-stage",
        )
    if request.video is None:
        return None
    _, frames, channels, height, width = request.video.shape
    if channels != first.unet.channels:
        raise InputError("video", f"{channels} channels", f"{first.unet.channels}", "convert it")
    before = spec.input_of(first.name)
    assert before is not None
    return Clip(frames=frames, height=height, width=width, fps=request.video_fps or before.fps)


def seeds_for(seed: int | Sequence[int], count: int) -> tuple[int, ...]:
    """Return one seed a video: video i of a single seed gets seed + i.

    Raises:
        InputError: for another number of seeds, or one out of range.
    """
    try:  # NumPy's integers, and arrays of them, are as good as Python's
        if isinstance(seed, Iterable):
            seeds = tuple(operator.index(one) for one in seed)
        else:
            seeds = tuple(operator.index(seed) + i for i in range(count))
    except TypeError:
        seeds = ()
    if len(seeds) != count or not all(0 <= one < 2**63 for one in seeds):
        raise InputError(
            "seed", repr(seed)[:80], f"one number, or {count}, from 0 to 2^63 - 1", "correct it"
        )
    return seeds


def prompts_for(
    prompt: str | Sequence[str] | None, where: str = "prompt", untold: int | None = None
) -> tuple[str, ...]:
    """Return the texts of a call: one, or several.

    Args:
        prompt: as given.
        where: its name.
        untold: for cascades that hear no text: how many empty texts None stands for.

    Raises:
        InputError: for anything else than text; empty text is the encoder's to refuse.
    """
    if prompt is None and untold is not None:
        return ("",) * untold
    texts = (prompt,) if isinstance(prompt, str) else prompt
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise InputError(
            where, repr(prompt)[:80], "a string, or a list of strings", "write it as text"
        )
    return tuple(texts)


def negatives_for(text: str | Sequence[str] | None, count: int) -> tuple[str, ...] | None:
    """Return one negative prompt a video.

    Raises:
        InputError: for another number of texts, or anything else than text.
    """
    if text is None:
        return None
    texts = prompts_for(text, "negative_prompt")
    texts = texts * count if isinstance(text, str) else texts
    if len(texts) != count:
        raise InputError(
            "negative_prompt", f"{len(texts)} texts", f"one, or {count}", "give one a prompt"
        )
    return texts


def spread_options(
    spec: CascadeSpec,
    options: Mapping[str, StageOptions],
    steps: int | None,
    guidance_weight: float | None,
    chosen: Sequence[StageSpec] = (),
) -> dict[str, StageOptions]:
    """Give `steps` to all stages and `guidance_weight` to the base; a stage's own options win.

    Args:
        spec: the cascade.
        options: by stage name.
        steps: for every stage that can take it; None leaves each its own.
        guidance_weight: w of the base; None leaves it its own.
        chosen: the stages that will run; those among them that were distilled for other steps keep
            theirs.
    """
    merged = dict(options)
    kept: tuple[str, ...] = ()
    if steps is not None:
        open_ = [one for one in chosen if options.get(one.name, StageOptions()).steps is None]
        kept = keeping_own_steps(open_, steps)
    for stage in spec.stages:
        own = merged.get(stage.name, StageOptions())
        weight = own.guidance_weight
        merged[stage.name] = dataclasses.replace(
            own,
            steps=steps if own.steps is None and stage.name not in kept else own.steps,
            guidance_weight=guidance_weight if weight is None and stage.kind == "base" else weight,
        )
    return merged
