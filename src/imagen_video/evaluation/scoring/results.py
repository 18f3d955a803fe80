"""From the records of clips to one row a number, with its error and the real score beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from imagen_video.errors import InputError
from imagen_video.evaluation.features.frechet import DIMENSIONS, Moments, Projection
from imagen_video.evaluation.features.lite0 import clip_vector
from imagen_video.evaluation.scoring.judge import FEATURE, SCORE
from imagen_video.evaluation.scoring.metrics import METRICS, Column
from imagen_video.evaluation.scoring.statistics import Estimate, SetStatistics, mean_estimate

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

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "key": self.column.key,
            "title": self.column.title,
            "better": self.column.better,
            "chance": self.chance,
            "dimensions": self.dimensions,
            "made": dataclasses.asdict(self.made),
            "real": dataclasses.asdict(self.real),
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
        chance = _chance(column, records)
        rows.append(Row(column=column, made=made, real=real, chance=chance, dimensions=dimensions))
    return rows, missing


def _chance(column: Column, records: Records) -> float | None:
    if column.key in ("top1", "top5") and records.names:
        return (1 if column.key == "top1" else 5) / records.names
    if column.key == "r_precision":
        return 1 / len(records.made)
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
    return _mean(key, records.made), _mean(key, records.real), None


def _mean(key: str, records: Sequence[Record]) -> Estimate | None:
    values = [float(record[SCORE + key]) for record in records if SCORE + key in record]
    return mean_estimate(values) if values else None


def _distances(name: str, records: Records) -> tuple[Estimate, Estimate, int]:
    """Frechet distances on features as they are."""
    reference = Moments()
    for record in records.reference:
        reference.add(record[name])
    made, real = (_statistics([r[name] for r in some]) for some in (records.made, records.real))
    return made.distance_to(reference), real.distance_to(reference), len(reference.mean)


def _lite0(key: str, records: Records) -> tuple[Estimate, Estimate, int]:
    """Frechet distances in the principal components of the reference."""
    name = FEATURE + "lite0"
    vectors = (lambda f: f) if key == "lite0_frames" else (lambda f: clip_vector(f)[None])
    reference = torch.cat([vectors(record[name]) for record in records.reference])
    each = len(vectors(records.made[0][name]))
    fewest = min(len(records.made) * each, len(reference))
    # half as many dimensions as vectors: fewer would leave the covariance to chance
    dimensions = max(1, min(DIMENSIONS, fewest // 2, reference.shape[1]))
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
