"""What the report compares: the paper's Table 1, as chains of stages with their settings.

    undistilled      every stage of the teacher bundle, in the paper's number of steps
    own steps        the same weights as they ship, in their own number of steps
    SR distilled     the teacher's base in the paper's steps, super-resolution of the student bundle
    all distilled    every stage of the student bundle

each with constant and with oscillating guidance of the base. A base that was distilled for one
weight cannot oscillate: its cell is left out.
Source: Imagen Video (2210.02303), Table 1.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, Literal

from imagen_video.cascade.bundle import Bundle
from imagen_video.cascade.distilled import check_request
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import StageSpec
from imagen_video.cascade.stage import guidance_weights
from imagen_video.distillation.report_settings import Settings
from imagen_video.distillation.run import check_bundle, stage_sha256
from imagen_video.errors import InputError
from imagen_video.models.cost import flops

Owner = Literal["teacher", "student"]
Guidance = Literal["constant", "oscillating"]

UNDISTILLED = "undistilled"
"""The row that every other one is compared with."""
ALL_DISTILLED = "all distilled"
"""The last row."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Link:
    """One stage of a chain."""

    owner: Owner
    """Whose weights."""
    stage: StageSpec
    """Its spec."""
    sampling: SamplingSpec
    """How it is sampled."""
    sha256: str
    """Of its weights file."""

    @property
    def passes(self) -> int:
        """Passes of the network for one clip: a step with guidance takes two, unless w is told."""
        weights = guidance_weights(self.sampling)
        return len(weights) + (0 if self.stage.takes_weight else sum(w != 0 for w in weights))

    @property
    def flops(self) -> int:
        """FLOPs of one clip, untiled."""
        clip = self.stage.output
        return self.passes * flops(self.stage.unet, 1, clip.frames, clip.height, clip.width)

    def to_json(self) -> dict[str, Any]:
        """Return what determines the stage's output, given its input, prompt and seed."""
        return {
            "stage": self.stage.name,
            "sha256": self.sha256,
            "sampling": dataclasses.asdict(self.sampling),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of the table with one kind of guidance."""

    row: str
    """undistilled, SR distilled, ..."""
    guidance: Guidance
    """Of the base."""
    links: tuple[Link, ...]
    """All stages of the cascade, in order."""

    @property
    def name(self) -> str:
        """For people and files."""
        return f"{self.row}, {self.guidance}"

    def until(self, stage: str) -> tuple[Link, ...]:
        """Return the chain up to a stage, which is included."""
        names = [link.stage.name for link in self.links]
        return self.links[: names.index(stage) + 1]


def chain_key(links: tuple[Link, ...], **asked: Any) -> str:
    """Name the result of a chain for a prompt and seed: the same chain is never run twice."""
    told = {"links": [link.to_json() for link in links], **asked}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:24]


def cells_of(teacher: Bundle, student: Bundle, settings: Settings) -> tuple[Cell, ...]:
    """List the cells of the table, row by row.

    Raises:
        InputError: if the bundles are not the same cascade, nothing was distilled, or a student was
            not made for the guidance that is asked for.
        BundleError: if weights are missing.
    """
    _check_pair(teacher, student)
    rows: list[tuple[str, tuple[Link, ...]]] = []
    slow = tuple(_slow(teacher, stage, settings) for stage in teacher.spec.stages)
    fast = tuple(_own("student", student, stage) for stage in student.spec.stages)
    rows.append((UNDISTILLED, slow))
    if settings.own_steps:
        own = tuple(_own("teacher", teacher, stage) for stage in teacher.spec.stages)
        rows.append(("own steps", own))
    if any(stage.distilled for stage in student.spec.stages[1:]):
        rows.append(("SR distilled", slow[:1] + fast[1:]))
    rows.append((ALL_DISTILLED, fast))
    kinds: tuple[Guidance, ...] = ("constant", "oscillating")
    guidances = kinds[:1] if settings.oscillating_weights is None else kinds
    cells = []
    for row, links in rows:
        for guidance in guidances:
            base = dataclasses.replace(
                links[0], sampling=_guided(links[0].sampling, guidance, settings)
            )
            if guidance == "oscillating" and _knows_one_weight(base.stage):
                continue
            check_request(base.stage, base.sampling)
            cells.append(Cell(row=row, guidance=guidance, links=(base, *links[1:])))
    return tuple(cells)


def _check_pair(teacher: Bundle, student: Bundle) -> None:
    shapes = [
        [(stage.name, stage.kind, stage.output) for stage in bundle.spec.stages]
        for bundle in (teacher, student)
    ]
    if shapes[0] != shapes[1]:
        raise InputError(
            "distill report",
            f"{student.path} with stages {[name for name, *_ in shapes[1]]}",
            f"the stages and clips of {teacher.path}: {[name for name, *_ in shapes[0]]}",
            "give a student of that teacher",
        )
    if not any(stage.distilled for stage in student.spec.stages):
        raise InputError(
            str(student.path), "no distilled stage", "a bundle made by `distill`", "distil first"
        )
    for bundle in (teacher, student):
        for stage in bundle.spec.stages:
            check_bundle(bundle, stage.name)


def _own(owner: Owner, bundle: Bundle, stage: StageSpec) -> Link:
    return Link(
        owner=owner,
        stage=stage,
        sampling=stage.sampling,
        sha256=stage_sha256(bundle, stage.name),
    )


def _slow(teacher: Bundle, stage: StageSpec, settings: Settings) -> Link:
    """A stage of the teacher in the paper's steps; one that is distilled already stays as it is."""
    link = _own("teacher", teacher, stage)
    if stage.distilled is not None:
        return link
    steps = settings.base_steps if stage.kind == "base" else settings.sr_steps
    sampling = dataclasses.replace(stage.sampling, sampler=settings.sampler, steps=steps)
    if stage.kind != "base" and settings.sr_weight is not None:
        sampling = dataclasses.replace(
            sampling, guidance="constant", guidance_weight=settings.sr_weight
        )
    return dataclasses.replace(link, sampling=sampling)


def _knows_one_weight(stage: StageSpec) -> bool:
    return stage.distilled is not None and (
        stage.distilled.min_weight == stage.distilled.max_weight
    )


def _guided(sampling: SamplingSpec, guidance: Guidance, settings: Settings) -> SamplingSpec:
    if guidance == "constant":
        return dataclasses.replace(
            sampling, guidance="constant", guidance_weight=settings.constant_weight
        )
    assert settings.oscillating_weights is not None
    high, low = settings.oscillating_weights
    return dataclasses.replace(
        sampling, guidance="oscillating", guidance_weight=high, guidance_low=low
    )
