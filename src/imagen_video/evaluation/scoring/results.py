"""From the records of clips to one row a number, with its error and the real score beside it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from imagen_video.corpus.motions import MOTIONS
from imagen_video.corpus.scene import Scene
from imagen_video.errors import InputError
from imagen_video.evaluation.features.frechet import (
    DIMENSIONS,
    LEAST_PER_DIMENSION,
    Moments,
    Projection,
)
from imagen_video.evaluation.features.lite0 import clip_vector
from imagen_video.evaluation.measures.motion import axis_of
from imagen_video.evaluation.scoring.judge import FEATURE, SCORE
from imagen_video.evaluation.scoring.metrics import METRICS, Column
from imagen_video.evaluation.scoring.statistics import (
    Estimate,
    SetStatistics,
    mean_estimate,
    mean_of_means,
)

Record = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One number."""

    column: Column
    """What it is."""
    made: Estimate
    """Of what is judged."""
    real: Estimate
    """Of real renders: the ceiling."""
    chance: float | None
    """What guessing scores."""
    dimensions: int | None = None
    """In which a distance compares; numbers of different ones do not compare."""
    groups: Mapping[str, tuple[Estimate, Estimate]] | None = None
    """What a mean of means is over: made and real of each group."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        groups = {
            name: {"made": dataclasses.asdict(made), "real": dataclasses.asdict(real)}
            for name, (made, real) in (self.groups or {}).items()
        }
        return {
            "key": self.column.key,
            "title": self.column.title,
            "better": self.column.better,
            "chance": self.chance,
            "dimensions": self.dimensions,
            "made": dataclasses.asdict(self.made),
            "real": dataclasses.asdict(self.real),
            **({"groups": groups} if groups else {}),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Records:
    """Everything that rows are made from."""

    made: Sequence[Record]
    """Of the clips that are judged, in the order of the prompts."""
    real: Sequence[Record]
    """Of real renders of the same scenes."""
    reference: Sequence[Record]
    """Features of real renders of other scenes."""
    prompts: Tensor | None = None
    """CLIP's vectors of the prompts, `(n, d)`, where CLIP is given."""
    names: int | None = None
    """Subjects that are told apart."""
    scenes: Sequence[Scene] = ()
    """What was asked for, one a clip: needed by `concept` and `motion`."""

    def asked(self, key: str) -> list[Scene]:
        """Return the scenes of the clips that have a score."""
        pairs = zip(self.scenes, self.made, strict=True)
        return [scene for scene, record in pairs if SCORE + key in record]


def rows_of(metric: str, records: Records) -> tuple[list[Row], dict[str, str]]:
    """Return the rows of a metric, and reasons for those of its numbers that are not there.

    Args:
        metric: a key of `METRICS`.
        records: of all clips.
    """
    rows: list[Row] = []
    missing: dict[str, str] = {}
    for column in METRICS[metric].columns:
        try:
            made, real, dimensions = _estimates(metric, column.key, records)
        except InputError as error:
            missing[column.key] = str(error)
            continue
        if made is None or real is None:
            missing[column.key] = "no clip to which it applies"
            continue
        row = Row(
            column=column,
            made=made,
            real=real,
            chance=_chance(column, records),
            dimensions=dimensions,
            groups=_by_style(records) if column.key == "style_mean" else None,
        )
        rows.append(row)
    return rows, missing


def _chance(column: Column, records: Records) -> float | None:
    if column.key in ("top1", "top5") and records.names:
        return (1 if column.key == "top1" else 5) / records.names
    if column.key == "r_precision":
        return 1 / len(records.made)
    if column.key == "style":  # styles are asked for unequally often: always say the commonest
        styles = Counter(scene.style for scene in records.asked("style"))
        return max(styles.values()) / styles.total()
    if column.key == "axis":  # say one of the ten motions at random
        asked = [axis_of(scene.motion) for scene in records.asked("axis")]
        right = [sum(axis_of(motion) == axis for motion in MOTIONS) for axis in asked]
        return sum(right) / (len(MOTIONS) * len(asked))
    return column.chance


def _estimates(
    metric: str, key: str, records: Records
) -> tuple[Estimate | None, Estimate | None, int | None]:
    """Return a number of what is judged and of real renders, and the dimensions of a distance."""
    if metric == "lite0":
        return _lite0(key, records)
    if metric in ("fvd", "fvd-videomae", "fid"):
        return _distances(FEATURE + METRICS[metric].extractor, records)
    if metric == "clip":
        return _clip(key, records.made, records), _clip(key, records.real, records), None
    if key == "style_mean":
        groups = _by_style(records).values()
        if not groups:
            return None, None, None
        made, real = zip(*groups, strict=True)
        return mean_of_means(made), mean_of_means(real), None
    return _mean(key, records.made), _mean(key, records.real), None


def _mean(key: str, records: Sequence[Record]) -> Estimate | None:
    values = [float(record[SCORE + key]) for record in records if SCORE + key in record]
    return mean_estimate(values) if values else None


def _by_style(records: Records) -> dict[str, tuple[Estimate, Estimate]]:
    """Return the share of clips in their style, made and real, of each style that was asked for."""
    styles = sorted({scene.style for scene in records.asked("style")})
    found = {}
    for style in styles:
        of = [i for i, scene in enumerate(records.scenes) if scene.style == style]
        made, real = (_mean("style", [s[i] for i in of]) for s in (records.made, records.real))
        if made is not None and real is not None:
            found[style] = made, real
    return found


def _distances(name: str, records: Records) -> tuple[Estimate, Estimate, int]:
    """Frechet distances on features as they are.

    Raises:
        InputError: for too few vectors: of a network whose width is known only after it has run.
    """
    reference = Moments()
    for record in records.reference:
        reference.add(record[name])
    made, real = (_statistics([r[name] for r in some]) for some in (records.made, records.real))
    fewest = min(reference.count, made.moments().count, real.moments().count)
    needed = LEAST_PER_DIMENSION * len(reference.mean)
    if fewest < needed:
        raise InputError(
            "samples",
            f"{fewest} for {len(reference.mean)} dimensions",
            f"at least {needed}",
            "give more clips: --count and --reference",
        )
    return made.distance_to(reference), real.distance_to(reference), len(reference.mean)


def _lite0(key: str, records: Records) -> tuple[Estimate, Estimate, int]:
    """Frechet distances in the principal components of the reference."""
    name = FEATURE + "lite0"
    vectors = (lambda f: f) if key == "lite0_frames" else (lambda f: clip_vector(f)[None])
    reference = torch.cat([vectors(record[name]) for record in records.reference])
    each = len(vectors(records.made[0][name]))
    fewest = min(len(records.made) * each, len(reference))
    dimensions = max(1, min(DIMENSIONS, fewest // LEAST_PER_DIMENSION, reference.shape[1]))
    projection = Projection.fit(reference, dimensions)
    moments = Moments().add(projection.apply(reference))
    made, real = (
        _statistics([projection.apply(vectors(record[name])) for record in some])
        for some in (records.made, records.real)
    )
    return made.distance_to(moments), real.distance_to(moments), dimensions


def _statistics(clips: Sequence[Tensor]) -> SetStatistics:
    statistics = SetStatistics()
    for number, vectors in enumerate(clips):
        statistics.add(number, vectors)
    return statistics


def _clip(key: str, clips: Sequence[Record], records: Records) -> Estimate:
    """CLIP score (cosine times 100) or top-1 R-precision, averaged over a clip's frames first."""
    assert records.prompts is not None
    prompts = records.prompts.to(torch.float64)
    values = []
    for number, record in enumerate(clips):
        likeness = record[FEATURE + "clip"].to(torch.float64) @ prompts.T
        if key == "clip_score":
            values.append(float(100 * likeness[:, number].mean()))
        else:
            values.append(float((likeness.argmax(1) == number).to(torch.float64).mean()))
    return mean_estimate(values)
