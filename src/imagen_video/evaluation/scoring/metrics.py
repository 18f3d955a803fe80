"""Every metric of `imagen-video evaluate` by name: its columns, and what it needs.

The protocol's version is raised with every change of a number's meaning; numbers of two versions do
not compare.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from imagen_video.errors import InputError
from imagen_video.evaluation.features.extractors import PINNED, Extractor
from imagen_video.evaluation.features.frechet import DIMENSIONS, LEAST_PER_DIMENSION
from imagen_video.evaluation.material.clips import JUDGED_FRAMES, JUDGED_STRIDE, LARGEST

PROTOCOL_ID = "imagen-video-evaluate"
PROTOCOL_VERSION = 2

LEAST_CLIPS = 16
"""Fewest clips of a Frechet distance, however few dimensions it has."""

Better = Literal["higher", "lower", "as real"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One number of the table."""

    key: str
    """In the JSON."""
    title: str
    """In the table."""
    better: Better
    """Which way is better; `as real` is best at the score of real renders."""
    chance: float | None = None
    """What guessing scores, where that is known."""
    share: bool = False
    """A share of 0..1, shown in percent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """Numbers that are measured together."""

    columns: tuple[Column, ...]
    """What it gives."""
    kinds: tuple[str, ...] = ()
    """Kinds of scene it judges; all if empty."""
    extractor: str = ""
    """Key of `extractors.PINNED` that must be given; none if empty."""
    stand_in: str = ""
    """What is measured instead where the extractor is missing."""
    distance: bool = False
    """A Frechet distance in all dimensions of the extractor: more vectors are needed."""
    by_frame: bool = False
    """A clip gives it a vector for each judged frame, and not one."""


def _share(key: str, title: str, chance: float | None = None) -> Column:
    return Column(key=key, title=title, better="higher", chance=chance, share=True)


METRICS: dict[str, Metric] = {
    "lite0": Metric(
        columns=(
            Column(key="lite0_frames", title="Lite0 Frechet distance, frames", better="lower"),
            Column(key="lite0_clips", title="Lite0 Frechet distance, clips", better="lower"),
        )
    ),
    "concept": Metric(
        columns=(
            _share("top1", "subject retrieved, top 1"),
            _share("top5", "subject retrieved, top 5"),
            _share("style_mean", "style identified, mean over styles", 1 / 4),
            _share("style", "style identified, share of clips"),
        ),
        kinds=("subject",),
    ),
    "ground": Metric(columns=(_share("ground", "ground colour", 1 / 18),)),
    "motion": Metric(
        columns=(
            _share("motion", "motion and direction", 1 / 10),
            _share("axis", "motion, axis only"),
            _share("direction", "direction, of clips that move along the right axis", 1 / 2),
            Column(key="speed", title="speed over that of the corpus", better="as real"),
        ),
        kinds=("subject", "solid"),
    ),
    "words": Metric(
        columns=(
            _share("word", "word read exactly (Tesseract)"),
            _share("letters", "letters right (Tesseract)"),
        ),
        kinds=("word",),
    ),
    "views": Metric(
        columns=(
            _share("seen", "solid seen for a full turn"),
            Column(key="turn", title="change of view, full turn", better="lower"),
            Column(key="ninth", title="change of view, ninth of a turn", better="as real"),
        ),
        kinds=("solid",),
    ),
    "pairs": Metric(
        columns=(
            _share("relation", "both things in their places", 1 / 4),
            _share("binding", "both solids in their colours", 1 / 8),
        ),
        kinds=("pair", "solid pair"),
    ),
    "time": Metric(
        columns=(
            Column(key="flicker", title="flicker of the border", better="lower"),
            Column(key="warping", title="warping error", better="lower"),
            Column(key="drift", title="colour drift", better="lower"),
            Column(key="movement", title="movement", better="as real"),
            Column(key="detail", title="detail", better="as real"),
        )
    ),
    "fvd": Metric(
        columns=(Column(key="fvd_i3d", title="FVD (I3D)", better="lower"),),
        extractor="i3d",
        stand_in="Lite0 Frechet distance, clips",
        distance=True,
    ),
    "fvd-videomae": Metric(
        columns=(Column(key="fvd_videomae", title="FVD (VideoMAE)", better="lower"),),
        extractor="videomae",
        stand_in="Lite0 Frechet distance, clips",
        distance=True,
    ),
    "fid": Metric(
        columns=(Column(key="fid", title="FID, frames (Inception)", better="lower"),),
        extractor="inception",
        stand_in="Lite0 Frechet distance, frames",
        distance=True,
        by_frame=True,
    ),
    "clip": Metric(
        columns=(
            Column(key="clip_score", title="CLIP score", better="higher"),
            _share("r_precision", "CLIP R-precision, top 1"),
        ),
        extractor="clip",
        stand_in="subject retrieved, top 1",
    ),
}
"""Name -> metric."""


def protocol() -> dict[str, Any]:
    """Return what all numbers of this version have in common."""
    return {
        "id": PROTOCOL_ID,
        "version": PROTOCOL_VERSION,
        "judged_frames": JUDGED_FRAMES,
        "judged_stride": JUDGED_STRIDE,
        "largest": list(LARGEST),
        "least_clips": LEAST_CLIPS,
        "lite0_most_dimensions": DIMENSIONS,
        "least_vectors_per_dimension": LEAST_PER_DIMENSION,
        "statistics": "fp64, streamed; errors of distances by a jackknife over ten groups of clips",
        "extractors": PINNED,
    }


def check_names(names: tuple[str, ...]) -> None:
    """Refuse unknown metrics.

    Raises:
        InputError: naming those that there are.
    """
    for name in names:
        if name not in METRICS:
            raise InputError("--metrics", repr(name), ", ".join(METRICS), "choose among them")


def why_not(
    name: str,
    *,
    clips: int,
    reference: int,
    frames: int,
    given: Mapping[str, Extractor],
    kinds: set[str],
) -> str | None:
    """Say why a metric cannot be measured; None if it can.

    Args:
        name: a key of `METRICS`.
        clips: how many are judged.
        reference: how many real ones they are compared with.
        frames: that are judged of each.
        given: extractors that there are, by name.
        kinds: kinds of scene among the prompts.
    """
    metric = METRICS[name]
    if metric.kinds and not kinds & set(metric.kinds):
        return f"no prompt of kind {' or '.join(metric.kinds)}"
    if metric.extractor and metric.extractor not in given:
        return f"no --{metric.extractor} given; stand-in: {metric.stand_in}"
    fewest = min(clips, reference)
    if name == "lite0" and fewest < LEAST_CLIPS:
        return f"{fewest} clips, fewer than {LEAST_CLIPS}"
    return _unfit(metric, given[metric.extractor], fewest, frames) if metric.extractor else None


def _unfit(metric: Metric, extractor: Extractor, clips: int, frames: int) -> str | None:
    """Say why an extractor that is given cannot judge so many clips; None if it can."""
    if extractor.frames not in (None, JUDGED_FRAMES):
        return (
            f"--{extractor.name} is a network of {extractor.frames} frames; "
            f"clips are judged by {JUDGED_FRAMES}"
        )
    if extractor.frames is not None and frames != extractor.frames:
        return f"--{extractor.name} sees {extractor.frames} frames; {frames} of a clip are judged"
    each = frames if metric.by_frame else 1
    needed = LEAST_PER_DIMENSION * extractor.width if extractor.width is not None else 0
    if metric.distance and clips * each < needed:
        vectors = f" of {each} frames" if metric.by_frame else ""
        return (
            f"{clips} clips{vectors} for {extractor.width} dimensions; needs --count and "
            f"--reference of at least {math.ceil(needed / each)}"
        )
    return None
