"""The paper's Table 1 for a cascade and its student: quality, time and FLOPs, cell by cell.

Every cell makes the same prompts from the same seeds, to two depths: many clips of the early
stages, where quality is decided, and a few through the larger ones. Later stages are told by the
time of one call. What is made and judged is kept, so the same command goes on where it stopped.
Source: Imagen Video (2210.02303), Table 1.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imagen_video import __version__
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.spec import CascadeSpec
from imagen_video.corpus.scene import Scene
from imagen_video.corpus.scenes import held_out_prompts
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.distillation.clips import ClipMaker, MadeClip, judged_times
from imagen_video.distillation.comparison import ALL_DISTILLED, UNDISTILLED, Cell, Owner
from imagen_video.distillation.cost import saving, seconds_from_one_call
from imagen_video.distillation.judging import (
    SCORES,
    Distances,
    Features,
    Judge,
    ProbeSize,
)
from imagen_video.distillation.report_settings import ReportConfig, Settings
from imagen_video.distillation.statistics import (
    Difference,
    Mean,
    bootstrap,
    mean_over,
    mean_over_seeds,
    paired,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One clip to make: the same in every cell."""

    scene: Scene
    seed: int
    run: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellClips:
    """What a cell came to at one depth."""

    cell: Cell
    made: list[MadeClip]
    scores: list[dict[str, float]]
    frames: Tensor
    """Projected features of frames, `(n, f, k)`."""
    clips: Tensor
    """Projected features of clips, `(n, k')`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Depth:
    """All cells at one depth, and the yardstick."""

    until: str
    samples: Sequence[Sample]
    judge: Judge
    distances: Distances
    cells: Sequence[CellClips]
    real: list[dict[str, float]]
    """Scores of real renders of the same scenes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reporter:
    """Makes, judges and compares."""

    pipelines: Mapping[Owner, ImagenVideoPipeline]
    cells: Sequence[Cell]
    store: SpriteStore
    features: Features
    config: ReportConfig
    settings: Settings
    work: Path
    memory: int | None = None
    say: Callable[[str], None] = lambda text: None

    @property
    def spec(self) -> CascadeSpec:
        """The teacher's cascade, whose shapes are the student's."""
        return self.pipelines["teacher"].spec

    def run(self) -> tuple[dict[str, Any], list[Depth]]:
        """Measure everything that is not measured yet; return the numbers, and the clips.

        Raises:
            InputError: for an unknown stage, or few clips that end before the many.
        """
        config = self.config
        config.check(self.spec)
        depths = [self.depth(config.until, config.clips)]
        if config.long_clips:
            depths.append(self.depth(config.long_until, config.long_clips))
        last = max(self.spec.index(depth.until) for depth in depths)
        slow, fast = self._cell(UNDISTILLED), self.cells[-1]
        savings = [
            saving(one, other).to_json() for one, other in zip(slow.links, fast.links, strict=True)
        ]
        numbers = [self.numbers(depth) for depth in depths]
        later = [self._later(stage.name) for stage in self.spec.stages[last + 1 :]]
        result = {
            "about": self._about(),
            "config": dataclasses.asdict(config),
            "settings": dataclasses.asdict(self.settings),
            "depths": numbers,
            "savings": savings,
            "later": later,
            "whole": _whole(numbers[-1], later),
        }
        return result, depths

    def depth(self, until: str, count: int) -> Depth:
        """Make and judge the first `count` clips of every cell through a stage."""
        output, stride = self.spec.stage(until).output, self.spec.frame_stride(until)
        samples = self.samples()[:count]
        judge = Judge.of(
            self.features,
            self.store,
            [sample.scene for sample in samples],
            judged_times(output.frames, stride),
            (output.height, output.width),
            ProbeSize(names=self.config.names, renders=self.config.renders, work=self.work),
        )
        distances = Distances(self._reference(judge), count)
        return Depth(
            until=until,
            samples=samples,
            judge=judge,
            distances=distances,
            cells=[self._make(cell, until, samples, judge, distances) for cell in self.cells],
            real=self._real_scores(judge, samples),
        )

    def samples(self) -> list[Sample]:
        """List all clips: run by run, each with every prompt."""
        prompts = self.config.clips // self.config.runs
        scenes = held_out_prompts(self.store, prompts, kinds={"subject": 1.0})
        return [
            Sample(scene=scenes[i % prompts], seed=self.config.seed + i, run=i // prompts)
            for i in range(self.config.clips)
        ]

    def numbers(self, depth: Depth) -> dict[str, Any]:
        """Return the numbers of a depth as plain JSON values."""
        runs = [sample.run for sample in depth.samples]
        cells = [_cell_numbers(cell, depth, runs) for cell in depth.cells]
        by_name = {cell.cell.name: cell for cell in depth.cells}
        for cell, numbers in zip(depth.cells, cells, strict=True):
            other = by_name[f"{UNDISTILLED}, {cell.cell.guidance}"]
            if cell is not other:
                base = cells[depth.cells.index(other)]
                numbers["differences"] = _differences(cell, other, depth)
                numbers["times_faster"] = base["seconds"]["value"] / numbers["seconds"]["value"]
                numbers["times_fewer_flops"] = base["flops"] / numbers["flops"]
        frame_dimensions, clip_dimensions = depth.distances.dimensions
        return {
            "until": depth.until,
            "clips": len(depth.samples),
            "runs": len(set(runs)),
            "size": list(depth.judge.size),
            "frame_dimensions": frame_dimensions,
            "clip_dimensions": clip_dimensions,
            "cells": cells,
            "real": {name: _json(mean_over([s[name] for s in depth.real])) for name in SCORES},
        }

    def _make(
        self,
        cell: Cell,
        until: str,
        samples: Sequence[Sample],
        judge: Judge,
        distances: Distances,
    ) -> CellClips:
        maker = ClipMaker(self.pipelines, self.work, memory=self.memory)
        links = cell.until(until)
        made, seen, scores = [], [], []
        for index, sample in enumerate(samples):
            keep = index < self.config.long_clips and until == self.config.until
            clip = maker.clip(links, sample.scene.caption, sample.seed, keep_stages=keep)
            look = judge.seen(clip.frames, clip.path)
            made.append(clip)
            seen.append(look)
            scores.append(judge.scores(clip.frames, look, sample.scene))
            self.say(f"{until}, {cell.name}: {index + 1}/{len(samples)} clips")
        frames, clips = distances.project(seen)
        return CellClips(cell=cell, made=made, scores=scores, frames=frames, clips=clips)

    def _reference(self, judge: Judge) -> list[Tensor]:
        """Features of real renders: of the prompts' scenes first, then of others."""
        scenes = held_out_prompts(self.store, self.config.real_clips, kinds={"subject": 1.0})
        return [self._real(judge, scene)[1] for scene in scenes]

    def _real_scores(self, judge: Judge, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """Score real renders of the same prompts, each once."""
        scenes = {sample.scene.caption: sample.scene for sample in samples}.values()
        return [judge.scores(*self._real(judge, scene), scene) for scene in scenes]

    def _real(self, judge: Judge, scene: Scene) -> tuple[np.ndarray, Tensor]:
        """Render a scene; its features are kept."""
        frames = judge.real(scene)
        mark = hashlib.sha256(frames.tobytes()).hexdigest()[:24]
        return frames, judge.seen(frames, self.work / "real" / mark)

    def _cell(self, row: str) -> Cell:
        return next(cell for cell in self.cells if cell.row == row)

    def _later(self, stage: str) -> dict[str, Any]:
        """Estimate a stage that is not sampled, from one call of teacher and of student."""
        told: dict[str, Any] = {"stage": stage}
        for name, cell in (("teacher", self._cell(UNDISTILLED)), ("student", self.cells[-1])):
            link = cell.until(stage)[-1]
            pipeline = self.pipelines[link.owner]
            network = pipeline.network(stage)
            told[f"{name}_calls"] = link.sampling.steps
            told[f"{name}_seconds"] = seconds_from_one_call(link, network, bf16=pipeline.bf16)
            self.say(f"{stage}: one call of the {name} timed")
        told["times_faster"] = told["teacher_seconds"] / told["student_seconds"]
        return told

    def _about(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "teacher": self.pipelines["teacher"].digest,
            "student": self.pipelines["student"].digest,
            "precision": "bf16" if self.pipelines["student"].bf16 else "fp32",
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }


def _cell_numbers(cell: CellClips, depth: Depth, runs: Sequence[int]) -> dict[str, Any]:
    count, distances = len(cell.made), depth.distances
    frames, _ = bootstrap(
        count,
        lambda index: distances.frame_distance(cell.frames[index]),
        value=distances.frame_distance(cell.frames),
    )
    clips, _ = bootstrap(
        count,
        lambda index: distances.clip_distance(cell.clips[index]),
        value=distances.clip_distance(cell.clips),
    )
    links = cell.cell.until(depth.until)
    stages = {
        link.stage.name: mean_over([clip.seconds[link.stage.name] for clip in cell.made]).value
        for link in links
    }
    return {
        "row": cell.cell.row,
        "guidance": cell.cell.guidance,
        "steps": {link.stage.name: link.sampling.steps for link in links},
        "samplers": {link.stage.name: link.sampling.sampler for link in links},
        "weights": {link.stage.name: link.sampling.guidance_weight for link in links},
        "scores": {
            name: _json(mean_over_seeds([score[name] for score in cell.scores], runs))
            for name in SCORES
        },
        "frame_distance": _json(frames),
        "clip_distance": _json(clips),
        "seconds": _json(mean_over([sum(clip.seconds.values()) for clip in cell.made])),
        "stage_seconds": stages,
        "flops": sum(link.flops for link in links),
    }


def _whole(depth: dict[str, Any], later: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Seconds of a clip through every stage: measured where sampled, estimated after that."""
    slow = next(cell for cell in depth["cells"] if cell["row"] == UNDISTILLED)
    fast = next(cell for cell in depth["cells"] if cell["row"] == ALL_DISTILLED)
    seconds = {
        "teacher_seconds": slow["seconds"]["value"] + sum(s["teacher_seconds"] for s in later),
        "student_seconds": fast["seconds"]["value"] + sum(s["student_seconds"] for s in later),
    }
    ratio = seconds["teacher_seconds"] / seconds["student_seconds"]
    return {**seconds, "times_faster": ratio}


def _differences(cell: CellClips, other: CellClips, depth: Depth) -> dict[str, Any]:
    """Compare a cell with another one clip by clip."""
    found = {
        name: paired([s[name] for s in cell.scores], [s[name] for s in other.scores])
        for name in SCORES
    }
    distances, count = depth.distances, len(cell.made)

    def frames(index: np.ndarray | slice) -> float:
        ours, theirs = cell.frames[index], other.frames[index]
        return distances.frame_distance(ours) - distances.frame_distance(theirs)

    def clips(index: np.ndarray | slice) -> float:
        ours, theirs = cell.clips[index], other.clips[index]
        return distances.clip_distance(ours) - distances.clip_distance(theirs)

    for name, measure in (("frame_distance", frames), ("clip_distance", clips)):
        _, found[name] = bootstrap(count, measure, value=measure(slice(None)))
    return {name: _json(difference) for name, difference in found.items()}


def _json(value: Mean | Difference) -> dict[str, Any]:
    """Plain values; what is not a number is null, as JSON has no other word for it."""
    return {k: None if v != v else v for k, v in dataclasses.asdict(value).items()}
