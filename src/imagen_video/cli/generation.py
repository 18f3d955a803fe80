"""The run behind `generate`: settle every video first, then make one after another.

All that can be refused is refused before anything is computed or written. Finished stages lie in
DIR/.work/NAME until their video is done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from imagen_video import __version__
from imagen_video.cascade.labels import check_labels
from imagen_video.cascade.memory import peak_bytes
from imagen_video.cascade.options import selected
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.precision import fast_dtype
from imagen_video.cascade.work_folder import REQUEST, WorkFolder
from imagen_video.cli.main import PROGRAM, say
from imagen_video.cli.outputs import (
    OutputPaths,
    VideoFiles,
    keep_last_stage,
    keep_stage,
    write_report,
)
from imagen_video.cli.progress import ProgressDisplay, warnings_as_lines
from imagen_video.cli.requests import build_request, check_files, file_digest
from imagen_video.cli.settings import (
    Settings,
    file_names,
    parse_memory,
    parse_steps,
    parse_vector,
    read_prompts,
)
from imagen_video.errors import InputError, ResourceError
from imagen_video.text.base import checked_prompts

if TYPE_CHECKING:
    from torch import Tensor

    from imagen_video.cascade.request import PipelineOutput, StageReport
    from imagen_video.cascade.run_plan import RunPlan
    from imagen_video.cli.generate import GenerateOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One video to make."""

    settings: Settings
    """What determines it."""
    paths: OutputPaths
    """Where it goes."""
    pipeline: ImagenVideoPipeline
    """What makes it."""
    plan: RunPlan
    """Its stages and sizes."""


def generate(options: GenerateOptions) -> int:
    """Make the videos that the options ask for.

    Returns:
        The exit code.

    Raises:
        InputError: for anything that cannot be used, before anything is computed.
        ResourceError: if memory or disk do not suffice.
    """
    memory = parse_memory(options.memory)
    with warnings_as_lines():
        jobs = _resumed(options, memory) if options.resume is not None else _new(options, memory)
        with _work_kept(jobs):
            # every folder before the first video: those that are not begun are resumed as well
            works = [
                WorkFolder.open(job.paths.work, job.settings.to_json(), Settings.defaults())
                for job in jobs
            ]
            for job, work in zip(jobs, works, strict=True):
                report = _make(job, work, memory, keep=options.keep_stages)
                print(json.dumps(report) if options.json else f"wrote {report['video']}")
    return 0


def choose_device(name: str) -> torch.device:
    """Turn `--device` into a device that is there.

    Raises:
        InputError: for an unknown or missing one.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(
            "--device", f"{name!r} ({reason[:120]})", "cpu, cuda or cuda:N", "choose one of them"
        ) from error
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """Settle `--precision auto`: bf16 where the hardware multiplies it, else fp32."""
    if name != "auto":
        return name
    return "bf16" if fast_dtype(device) == torch.bfloat16 else "fp32"


def _open(bundle: str, device: torch.device, precision: str) -> ImagenVideoPipeline:
    pipeline = ImagenVideoPipeline.from_pretrained(bundle)
    pipeline.one_stage_resident = True
    return pipeline.to(device, torch.bfloat16 if precision == "bf16" else torch.float32)


def _new(options: GenerateOptions, memory: int | None) -> list[Job]:
    """Settle the videos of a command line."""
    assert options.out is not None
    asked = _asked(options)
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    folder = Path(options.bundle)
    bundle = str(folder.resolve()) if folder.is_dir() else options.bundle
    pipeline = _open(bundle, device, precision)
    if asked[0]["prompt"] and not any(stage.unet.text_width for stage in pipeline.spec.stages):
        raise InputError(
            "prompt", f"{asked[0]['prompt']!r}", "none: this cascade hears no text", "leave it out"
        )
    names = [stage.name for stage in pipeline.spec.stages]
    chosen = selected(pipeline.spec, options.start_stage, options.until)
    shared = Settings(
        prompt="",
        seed=options.seed,
        bundle=bundle,
        bundle_sha256=pipeline.digest,
        precision=precision,
        negative_prompt=options.negative_prompt,
        start_stage=options.start_stage,
        until=options.until,
        from_video=_absolute(options.from_video),
        from_video_sha256=file_digest("--from-video", options.from_video),
        image=_absolute(options.image),
        image_sha256=file_digest("--image", options.image),
        steps=parse_steps(options.steps, names, chosen=chosen),
        guidance_weight=options.guidance_weight,
        num_frames=options.num_frames,
        height=options.height,
        width=options.width,
    )
    every = [dataclasses.replace(shared, **one) for one in asked]
    files = file_names([settings.title for settings in every], options.seed)
    # the videos differ in prompt and labels only, which change neither sizes nor memory
    requests = [build_request(pipeline.spec, settings) for settings in every]
    plan = pipeline.check(requests[0], memory)
    for request in requests[1:]:
        check_labels(request, plan.stages)
    return [
        Job(
            settings=settings,
            paths=OutputPaths(folder=options.out, name=name),
            pipeline=pipeline,
            plan=plan,
        )
        for settings, name in zip(every, files, strict=True)
    ]


def _asked(options: GenerateOptions) -> list[dict[str, Any]]:
    """Return prompt, class and numbers of every video: one of a kind is for all of them.

    Raises:
        InputError: if there are several of two kinds, but not equally many.
    """
    prompts = list(options.prompt)
    if options.prompts_file is not None:
        prompts += read_prompts(options.prompts_file)
    given: dict[str, list[Any]] = {
        "prompt": checked_prompts(prompts) if prompts else [],
        "class_id": list(options.class_id),
        "vector": [parse_vector(text) for text in options.vector],
    }
    given = {name: values for name, values in given.items() if values}
    count = max(len(values) for values in given.values())
    for name, values in given.items():
        if len(values) not in (1, count):
            raise InputError(
                f"--{name.replace('_', '-')}",
                f"{len(values)} of them for {count} videos",
                f"one, or {count}",
                "give one a video, or one for all",
            )
    return [
        {"prompt": ""} | {name: values[i % len(values)] for name, values in given.items()}
        for i in range(count)
    ]


def _resumed(options: GenerateOptions, memory: int | None) -> list[Job]:
    """Settle the unfinished videos of a folder."""
    assert options.resume is not None
    folders = sorted(path.parent for path in (options.resume / ".work").glob(f"*/{REQUEST}"))
    folders = [path for path in folders if not WorkFolder(path).finished]
    if not folders:
        raise InputError(
            f"--resume {options.resume}",
            "no unfinished video",
            "the --out folder of an interrupted run",
            "check the path, or start anew",
        )
    device = choose_device(options.device)
    pipelines: dict[tuple[str, str], ImagenVideoPipeline] = {}
    jobs = []
    for folder in folders:
        settings = Settings.read(folder / REQUEST)
        key = (settings.bundle, settings.precision)
        if key not in pipelines:
            pipelines[key] = _open(settings.bundle, device, settings.precision)
        pipeline = pipelines[key]
        if pipeline.digest != settings.bundle_sha256:
            raise InputError(
                f"bundle {settings.bundle}", "other weights than before", "the same", "start anew"
            )
        check_files(settings)
        plan = pipeline.check(build_request(pipeline.spec, settings), memory)
        paths = OutputPaths(folder=options.resume, name=folder.name)
        jobs.append(Job(settings=settings, paths=paths, pipeline=pipeline, plan=plan))
    return jobs


def _make(job: Job, work: WorkFolder, memory: int | None, *, keep: bool) -> dict[str, Any]:
    """Make one video and its files; return what its JSON says."""
    started = time.monotonic()
    metadata = provenance(job.settings, job.plan)
    last = job.plan.stages[-1].name
    clip = job.plan.clips[last]
    with ProgressDisplay() as display:

        def on_stage(report: StageReport, video: Tensor) -> None:
            display.on_stage(report)
            if keep and report.name != last:
                keep_stage(job.paths, report, video, metadata)

        with VideoFiles(job.paths, clip, metadata) as files:
            output = job.pipeline.run(
                build_request(job.pipeline.spec, job.settings),
                memory=memory,
                work=work,
                output_type="none",
                on_progress=display.on_progress,
                on_stage=on_stage,
                on_frames=files.write,
            )
    report = _report(job, output, memory, time.monotonic() - started)
    if keep:
        keep_last_stage(job.paths, last)
    write_report(job.paths.report, report)
    if keep:
        work.finish()
    else:
        work.remove()
        with contextlib.suppress(OSError):  # others are still in there
            work.path.parent.rmdir()
    return report


def provenance(settings: Settings, plan: RunPlan) -> dict[str, Any]:
    """What the files say about where they come from."""
    return {
        "description": "made by a generative model; it shows nothing that happened",
        "generator": PROGRAM,
        "version": __version__,
        "prompt": settings.prompt,
        "title": settings.title,
        "negative_prompt": settings.negative_prompt,
        "seed": settings.seed,
        "bundle": Path(settings.bundle).name,
        "bundle_sha256": settings.bundle_sha256,
        "stages": [stage.name for stage in plan.stages],
    }


def _report(job: Job, output: PipelineOutput, memory: int | None, seconds: float) -> dict[str, Any]:
    """Every setting, and what came of it."""
    clip, settings = output.reports[-1].clip, job.settings
    return {
        "video": str(job.paths.video),
        "sheet": str(job.paths.sheet),
        "prompt": settings.prompt,
        "class_id": settings.class_id,
        "vector": settings.vector,
        "seed": settings.seed,
        "bundle": settings.bundle,
        "bundle_sha256": settings.bundle_sha256,
        "frames": clip.frames,
        "height": clip.height,
        "width": clip.width,
        "fps": clip.fps,
        "seconds": round(seconds, 3),
        "peak_rss_bytes": peak_bytes(),
        "stages": [_stage(report) for report in output.reports],
        "precision": settings.precision,
        "device": str(job.pipeline.device),
        "memory": memory,
        "version": __version__,
        "request": settings.to_json(),
    }


def _stage(report: StageReport) -> dict[str, Any]:
    clip, sampling = report.clip, dataclasses.asdict(report.sampling)
    return {
        "name": report.name,
        "frames": clip.frames,
        "height": clip.height,
        "width": clip.width,
        "fps": clip.fps,
        "seconds": round(report.seconds, 3),
        "tiles": report.tiles,
        "resumed": report.resumed,
        **sampling,
    }


@contextlib.contextmanager
def _work_kept(jobs: Sequence[Job]) -> Iterator[None]:
    """Say how to go on after an interrupt or a failure; leave no empty folders behind."""
    works, folder = [job.paths.work for job in jobs], jobs[0].paths.folder
    existed = {work for work in works if work.exists()}
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        stopped = isinstance(error, KeyboardInterrupt | ResourceError)
        if stopped and any((work / REQUEST).is_file() for work in works):
            finished = any(any(work.glob("*.safetensors")) for work in works)
            kept = "finished stages are kept" if finished else "the request is kept"
            words = f"{PROGRAM} generate --resume {shlex.quote(str(folder))}"
            say(f"{kept}; go on with: {words}")
            raise
        for work in works:
            if work not in existed and not any(work.glob("*.safetensors")):
                WorkFolder(work).remove()
        for path in (works[0].parent, *made):
            with contextlib.suppress(OSError):  # something is in there, or it was not made
                path.rmdir()
        raise


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())
