"""From the lines of a batch to its samples: names, settings, and the check of every one."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imagen_video.cascade.labels import check_labels
from imagen_video.cascade.options import selected
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.run_plan import RunPlan
from imagen_video.cli.batch_prompts import Line, read_lines
from imagen_video.cli.generation import provenance
from imagen_video.cli.requests import build_request
from imagen_video.cli.settings import Settings, file_names, parse_steps
from imagen_video.distributed.sample import TEXT, Sample
from imagen_video.errors import InputError

if TYPE_CHECKING:
    from imagen_video.cli.batch import BatchOptions


def samples_of(
    options: BatchOptions, pipeline: ImagenVideoPipeline, precision: str, memory: int | None
) -> tuple[list[Sample], RunPlan]:
    """Read the prompts and settle every sample.

    Returns:
        The samples, and the stages and sizes that all of them share.

    Raises:
        InputError: naming the line, for anything that cannot be used.
        ResourceError: if the memory does not suffice for a stage.
    """
    names = [stage.name for stage in pipeline.spec.stages]
    chosen = selected(pipeline.spec, None, options.until)
    shared_steps = parse_steps(options.steps, names, chosen=chosen)
    lines = read_lines(options.prompts, names, chosen)
    folder = Path(options.bundle)
    shared = Settings(
        prompt="",
        seed=options.seed,
        bundle=str(folder.resolve()) if folder.is_dir() else options.bundle,
        bundle_sha256=pipeline.digest,
        precision=precision,
        until=options.until,
        steps=shared_steps,
        guidance_weight=options.guidance_weight,
    )
    every = [_settings(line, shared) for line in lines]
    plan = _checked(pipeline, lines, every, memory)
    stems = _stems(lines, every)
    samples: dict[str, tuple[str, Sample]] = {}
    for line, settings, stem in zip(lines, every, stems, strict=True):
        if settings.seed + options.samples > 2**63:
            raise InputError(
                line.where, f"seed {settings.seed}", "seeds below 2^63", "lower it, or --samples"
            )
        for seed in range(settings.seed, settings.seed + options.samples):
            name = stem if line.id is not None and options.samples == 1 else f"{stem}-{seed}"
            if name in samples:
                raise InputError(
                    line.where,
                    f"the sample {name!r}, which {samples[name][0]} has already",
                    "samples of different names",
                    "give an id, or another seed",
                )
            one = dataclasses.replace(settings, seed=seed)
            sample = Sample(id=name, settings=one.to_json(), metadata=provenance(one, plan))
            samples[name] = (line.where, sample)
    return [sample for _, sample in samples.values()], plan


def _settings(line: Line, shared: Settings) -> Settings:
    """Let what a line says go before what the command line says."""
    weight = line.guidance_weight
    return dataclasses.replace(
        shared,
        prompt=line.prompt,
        seed=shared.seed if line.seed is None else line.seed,
        negative_prompt=line.negative_prompt,
        class_id=line.class_id,
        vector=line.vector,
        steps={**shared.steps, **line.steps},
        guidance_weight=shared.guidance_weight if weight is None else weight,
    )


def _checked(
    pipeline: ImagenVideoPipeline,
    lines: Sequence[Line],
    every: Sequence[Settings],
    memory: int | None,
) -> RunPlan:
    """Check every sample, each kind of sampling once; the stages are the same for all."""
    hears_text = any(stage.unet.text_width for stage in pipeline.spec.stages)
    plans: dict[tuple[object, ...], RunPlan] = {}
    for line, settings in zip(lines, every, strict=True):
        try:
            if settings.prompt and not hears_text:
                raise InputError("prompt", "a text", "none: this cascade hears no text", "leave it")
            request = build_request(pipeline.spec, settings)
            steps = tuple(sorted(settings.steps.items()))
            kind = (steps, settings.guidance_weight, settings.negative_prompt is None)
            kind += (bool(settings.prompt), settings.class_id is None, settings.vector is None)
            if kind not in plans:
                plans[kind] = pipeline.check(request, memory)
            check_labels(request, plans[kind].stages)
        except InputError as error:
            raise type(error)(
                f"{line.where}, {error.where}", error.got, error.expected, error.fix
            ) from error
    return next(iter(plans.values()))


def _stems(lines: Sequence[Line], every: Sequence[Settings]) -> list[str]:
    """Name each line: by its id, or by what it shows."""
    titles = [settings.title for settings in every]
    distinct = list(dict.fromkeys(titles))
    slugs = dict(zip(distinct, file_names(distinct, 0), strict=True))
    return [
        slugs[title].removesuffix("-0") if line.id is None else line.id
        for line, title in zip(lines, titles, strict=True)
    ]


def parse_pool(words: Sequence[str], steps: Sequence[str]) -> dict[str, int]:
    """Turn `base=1,ssr3=8`, or several such words, into the number of actors by step.

    Raises:
        InputError: for an unknown step, or what is not a whole number from 1 on.
    """
    sizes: dict[str, int] = {}
    for part in (part.strip() for word in words for part in word.split(",")):
        name, equals, number = (word.strip() for word in part.partition("="))
        if not equals or not re.fullmatch(r"[1-9]\d{0,5}", number):
            raise InputError("--pool", repr(part), "STAGE=NUMBER, such as ssr3=8", "correct it")
        if name not in steps:
            raise InputError(
                "--pool", f"stage {name!r}", f"one of {', '.join(steps)}", "choose one of them"
            )
        sizes[name] = int(number)
    return sizes


def parse_shares(text: str | None, steps: Sequence[str], option: str) -> dict[str, float]:
    """Turn `1`, `0.5,ssr3=1` into CPUs or GPUs of an actor by step; what is not said is left out.

    Raises:
        InputError: for an unknown step, or a number that Ray cannot give.
    """
    shares: dict[str, float] = {}
    named: dict[str, float] = {}
    for part in (text or "").split(",") if text is not None else ():
        name, equals, word = (piece.strip() for piece in part.rpartition("="))
        number = float(word) if re.fullmatch(r"\d{1,4}(\.\d{1,4})?", word) else math.nan
        if not (0 <= number <= 1 or number.is_integer()):
            raise InputError(
                option, repr(part), "a number, or STAGE=NUMBER; above 1 a whole one", "correct it"
            )
        if not equals:
            shares = dict.fromkeys(steps, number)
        elif name not in steps:
            raise InputError(
                option, f"stage {name!r}", f"one of {', '.join(steps)}", "choose one of them"
            )
        else:
            named[name] = number
    return shares | named


def row_bytes(plan: RunPlan) -> Mapping[str, int]:
    """Return how many bytes travel between stages, by the stage that they come from."""
    return {
        stage.name: 4 * stage.unet.channels * clip.frames * clip.height * clip.width
        for stage in plan.stages[:-1]
        for clip in [plan.clips[stage.name]]
    }


def steps_of(plan: RunPlan) -> tuple[str, ...]:
    """Return the names of all steps: the text, then the stages."""
    return (TEXT, *(stage.name for stage in plan.stages))
