"""What a worker does with a job: run the cascade, show every finished stage, fill the gallery."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from imagen_video import __version__
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.request import Request, StageReport
from imagen_video.cascade.run_plan import RunPlan
from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.cascade.weights_file import write_tensors
from imagen_video.errors import InputError
from imagen_video.media.atomic import replacing
from imagen_video.media.frames import to_float, to_uint8
from imagen_video.media.sheets import contact_sheet, spread, write_png
from imagen_video.media.video_writer import VideoWriter
from imagen_video.web.gallery import (
    POSTER,
    SHEET,
    VIDEO,
    Gallery,
    Result,
    StageResult,
    linked,
    preview_name,
)
from imagen_video.web.jobs import Job, StageDone
from imagen_video.web.limits import Limits
from imagen_video.web.settings import JobSettings, request_of
from imagen_video.web.uploads import Uploads

CLAIMED = "upload"
"""A job's own copy of an uploaded file."""
_SHEET_FRAMES, _SHEET_COLUMNS, _SHEET_CELL, _POSTER_WIDTH = 16, 4, 320, 320
_PREVIEW_CRF = 23  # smaller than the result's 18; it is looked at once


class Maker:
    """Makes results with one pipeline."""

    def __init__(
        self,
        pipeline: ImagenVideoPipeline,
        gallery: Gallery,
        uploads: Uploads,
        limits: Limits,
        bundle: str,
    ) -> None:
        """Hold what every job needs.

        Args:
            pipeline: on its device.
            gallery: where results go.
            uploads: where clips come from.
            limits: what is refused.
            bundle: what people call the weights.
        """
        self._pipeline = pipeline
        self._gallery = gallery
        self._uploads = uploads
        self._limits = limits
        self._bundle = bundle
        self._checking = threading.Lock()
        self._check_sizes = functools.lru_cache(maxsize=256)(self._plan_sizes)

    def check(self, settings: JobSettings) -> None:
        """Refuse settled settings that cannot be run, without computing anything.

        Raises:
            InputError: for sizes, stages or weights that do not fit.
            ResourceError: if the memory does not suffice.
        """
        source = None if settings.start_stage is None else self._clip_before(settings)
        # What the answer does not depend on is made equal: planning tiles takes tenths of a second,
        # and 50 clients at once mostly ask for the same.
        alike = {"prompt": "any", "seed": 0, "result": None, "upload": None}
        if settings.negative_prompt is not None:
            alike["negative_prompt"] = "any"
        wanted = settings.model_copy(update=alike).model_dump_json()
        with self._checking:  # the first of a crowd works it out, the others find it
            self._check_sizes(wanted, source)

    def _plan_sizes(self, settings_json: str, source: tuple[Clip, int] | None) -> None:
        settings = JobSettings.model_validate_json(settings_json)
        request = request_of(settings, self._pipeline.spec)
        if source is not None:
            clip, channels = source
            blank = torch.empty(1, clip.frames, channels, clip.height, clip.width, device="meta")
            request = dataclasses.replace(request, video=blank, video_fps=clip.fps)
        plan = self._pipeline.check(request, self._limits.memory_for(settings.memory_gb))
        last = plan.clips[plan.stages[-1].name]
        self._limits.check_result(last.frames, last.height, last.width)

    def make(self, job: Job) -> None:
        """Run a job; its result is in the gallery afterwards.

        Raises:
            Stopped: if the job was to be stopped.
            InputError: for an upload or result that cannot be used after all.
            ResourceError: if memory or disk do not suffice.
        """
        folder = self._gallery.draft(job.id)
        settings = job.settings
        request, taken = self._request(job, folder)
        memory = self._limits.memory_for(settings.memory_gb)
        plan = self._pipeline.check(request, memory)
        about = _provenance(settings, plan, self._bundle, self._pipeline.digest)
        last = plan.stages[-1].name
        done = list(taken)

        def on_stage(report: StageReport, video: Tensor) -> None:
            done.append(_stage_result(report))
            if report.name != self._pipeline.spec.stages[-1].name:
                _keep(folder, report.name, video)
            if report.name != last:
                _write_clip(folder / preview_name(report.name), video, report.clip.fps, about)
                job.on_stage(_stage_done(done[-1], report.seconds))
                job.check_stop()

        clip = plan.clips[last]
        sheet = _Sheet(clip.frames)
        with VideoWriter(folder / VIDEO, clip.fps, about) as writer:

            def on_frames(first: int, frames: np.ndarray) -> None:
                writer.write(frames[0])
                sheet.take(first, frames[0])

            output = self._pipeline.run(
                request,
                memory=memory,
                output_type="none",
                on_progress=job.on_progress,
                on_stage=on_stage,
                on_frames=on_frames,
            )
        job.on_stage(_stage_done(done[-1], output.reports[-1].seconds))
        sheet.write(folder, settings.prompt, about)
        self._gallery.finish(
            Result(
                id=job.id,
                created=job.created,
                settings=settings,
                stages=done,
                seconds=round(sum(report.seconds for report in output.reports), 3),
                bundle=self._bundle,
                bundle_sha256=self._pipeline.digest,
                precision="bf16" if self._pipeline.bf16 else "fp32",
                version=__version__,
            )
        )

    def _request(self, job: Job, folder: Path) -> tuple[Request, list[StageResult]]:
        """Build the request with its video, and say which stages were taken from elsewhere."""
        settings, spec = job.settings, self._pipeline.spec
        request = request_of(settings, spec)
        if settings.start_stage is None:
            return request, []
        before = _stage_before(spec, settings.start_stage)
        clip, channels = self._clip_before(settings)
        if settings.upload is not None:
            claimed = folder / CLAIMED
            frames = self._uploads.read(claimed, clip, channels)
            claimed.unlink()
            video = to_float(frames, channels)[None]
            _keep(folder, before.name, video)
            _write_clip(folder / preview_name(before.name), video, clip.fps, {})
            taken = [
                StageResult(
                    name=before.name,
                    frames=len(frames),
                    height=clip.height,
                    width=clip.width,
                    fps=clip.fps,
                    seconds=0.0,
                    steps=0,
                )
            ]
        else:
            taken = self._take_stages(settings, before, folder)
            video = _kept(folder, before.name, channels)
        for stage in taken:
            job.on_stage(_stage_done(stage, 0.0))
        return dataclasses.replace(request, video=video, video_fps=clip.fps), taken

    def _take_stages(
        self, settings: JobSettings, last: StageSpec, folder: Path
    ) -> list[StageResult]:
        """Give this job the stages of another result, up to `last`.

        Raises:
            InputError: if the result is gone or does not have them.
        """
        source = self._gallery.get(settings.result or "")
        stages: list[StageResult] = []
        for stage in () if source is None else source.stages:
            assert source is not None
            tensor = self._gallery.stage(source.id, stage.name)
            preview = self._gallery.file(source.id, preview_name(stage.name))
            if preview is None and stage is source.last:
                preview = self._gallery.file(source.id, VIDEO)
            if tensor is not None:
                linked(tensor, folder / tensor.name)
            if preview is not None:
                linked(preview, folder / preview_name(stage.name))
            stages.append(stage.model_copy(update={"seconds": 0.0, "steps": 0}))
            if stage.name == last.name and tensor is not None:
                return stages
        raise _gone(last.name)

    def _clip_before(self, settings: JobSettings) -> tuple[Clip, int]:
        """Return shape and channels of the video that the first stage takes.

        Raises:
            InputError: if the result is gone or does not have it.
        """
        assert settings.start_stage is not None
        before = _stage_before(self._pipeline.spec, settings.start_stage)
        if settings.upload is not None:
            return before.output, before.unet.channels
        source = self._gallery.get(settings.result or "")
        if source is not None and self._gallery.stage(source.id, before.name) is not None:
            for stage in source.stages:
                if stage.name == before.name:
                    clip = Clip(
                        frames=stage.frames, height=stage.height, width=stage.width, fps=stage.fps
                    )
                    return clip, before.unet.channels
        raise _gone(before.name)


class _Sheet:
    """Collects the frames that the contact sheet and the poster show."""

    def __init__(self, count: int) -> None:
        self._shown = set(spread(count, _SHEET_FRAMES))
        self._cells: list[np.ndarray] = []

    def take(self, first: int, frames: np.ndarray) -> None:
        for index, frame in enumerate(frames, start=first):
            if index in self._shown:
                self._cells.append(frame.copy())

    def write(self, folder: Path, title: str, about: Mapping[str, Any]) -> None:
        cells = np.stack(self._cells)
        columns = min(_SHEET_COLUMNS, len(cells))
        sheet = contact_sheet(
            cells,
            columns=columns,
            rows=-(-len(cells) // columns),
            labels=[title],
            cell_width=min(_SHEET_CELL, cells.shape[2]),
        )
        write_png(folder / SHEET, sheet, about)
        middle = cells[len(cells) // 2][None]
        poster = contact_sheet(middle, columns=1, rows=1, cell_width=_POSTER_WIDTH, gap=0)
        write_png(folder / POSTER, poster, about)


def _stage_before(spec: CascadeSpec, name: str) -> StageSpec:
    return spec.stages[spec.index(name) - 1]


def _write_clip(path: Path, video: Tensor, fps: float, about: Mapping[str, Any]) -> None:
    """Write one stage's output `(1, f, c, h, w)`, a few frames at a time."""
    with VideoWriter(path, fps, about, crf=_PREVIEW_CRF) as writer:
        for part in video[0].split(8):
            writer.write(to_uint8(part.float()))


def _keep(folder: Path, stage: str, video: Tensor) -> None:
    """Write a stage's output as uint8 `(f, c, h, w)`: a quarter of float32.

    The noise of conditioning augmentation is far above the rounding.
    """
    values = ((video[0].float() + 1.0) * 127.5).clamp(0, 255).round().to(torch.uint8).cpu()
    with replacing(folder / f"{stage}.safetensors") as temporary:
        write_tensors({"video": values.contiguous()}, temporary)


def _kept(folder: Path, stage: str, channels: int) -> Tensor:
    """Read a stage's output back, `(1, f, c, h, w)` in [-1, 1].

    Raises:
        InputError: if it is damaged.
    """
    from safetensors import SafetensorError

    video = None
    with contextlib.suppress(OSError, SafetensorError, KeyError):
        video = load_file(folder / f"{stage}.safetensors")["video"]
    if video is None or video.ndim != 4 or video.shape[1] != channels:
        raise _gone(stage)
    return (video.float() / 127.5 - 1.0)[None]


def _gone(stage: str) -> InputError:
    return InputError(
        "result", f"none with a kept {stage!r}", "a result of the gallery that has it", "choose one"
    )


def _stage_result(report: StageReport) -> StageResult:
    clip = report.clip
    return StageResult(
        name=report.name,
        frames=clip.frames,
        height=clip.height,
        width=clip.width,
        fps=clip.fps,
        seconds=round(report.seconds, 3),
        steps=report.sampling.steps,
    )


def _stage_done(stage: StageResult, seconds: float) -> StageDone:
    size = f"{stage.frames}x{stage.height}x{stage.width}"
    return StageDone(name=stage.name, seconds=seconds, clip=size)


def _provenance(settings: JobSettings, plan: RunPlan, bundle: str, digest: str) -> dict[str, Any]:
    """What the files say about where they come from."""
    return {
        "description": "made by a generative model; it shows nothing that happened",
        "generator": "imagen-video",
        "version": __version__,
        "prompt": settings.prompt,
        "title": settings.prompt,
        "negative_prompt": settings.negative_prompt,
        "seed": settings.seed,
        "bundle": bundle,
        "bundle_sha256": digest,
        "stages": [stage.name for stage in plan.stages],
    }
