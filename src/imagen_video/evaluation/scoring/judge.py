"""From a clip to its scores and features: what is kept of every clip."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from imagen_video.corpus.scene import Scene
from imagen_video.evaluation.features.extractors import Extractor
from imagen_video.evaluation.material.clips import Clip
from imagen_video.evaluation.measures import temporal
from imagen_video.evaluation.measures.content import Features, Probes, shows_ground, shows_motion
from imagen_video.evaluation.measures.styles import StyleJudge
from imagen_video.evaluation.measures.two_subjects import PairJudge
from imagen_video.evaluation.measures.views import view_changes
from imagen_video.evaluation.measures.words import WordReader
from imagen_video.evaluation.scoring.metrics import METRICS, PROTOCOL_VERSION

SCORE, FEATURE = "score/", "feature/"
"""Prefixes in a record."""
RECORD_FORMAT = 2
"""Raised when records hold another set of scores, none of which changed its meaning."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
    """Scores clips. A clip's record depends on the clip and its scene alone."""

    metrics: tuple[str, ...]
    """Keys of `METRICS`."""
    features: Features | None
    """Lite0, where a metric needs it."""
    probes: Probes | None
    """Where subjects are judged."""
    styles: StyleJudge | None
    """Where subjects are judged."""
    pairs: PairJudge | None
    """Where two things are judged."""
    reader: WordReader | None
    """Where words are judged."""
    extractors: Mapping[str, Extractor]
    """By name."""

    def record(self, clip: Clip, scene: Scene, *, features_only: bool = False) -> dict[str, Tensor]:
        """Judge a clip.

        Args:
            clip: the clip.
            scene: what was asked for.
            features_only: leave the scores out.

        Returns:
            `score/KEY` scalars in fp64, `feature/NAME` arrays.
        """
        seen = self._seen(clip)
        record = {FEATURE + name: value for name, value in seen.items()}
        if not features_only:
            scores = self.scores(clip, scene, seen)
            record |= {
                SCORE + key: torch.tensor(value, dtype=torch.float64)
                for key, value in scores.items()
            }
        return record

    def _seen(self, clip: Clip) -> dict[str, Tensor]:
        judged = clip.frames[list(clip.judged)]
        seen = {name: one.features(judged) for name, one in self.extractors.items()}
        if self.features is not None:
            seen["lite0"] = self.features(judged)
        return seen

    def scores(self, clip: Clip, scene: Scene, seen: Mapping[str, Tensor]) -> dict[str, float]:
        """Return every score that applies to the scene's kind."""
        found: dict[str, float] = {}
        for name in self.metrics:
            kinds = METRICS[name].kinds
            if not kinds or scene.kind in kinds:
                found |= self._scores(name, clip, scene, seen)
        return found

    def _scores(
        self, name: str, clip: Clip, scene: Scene, seen: Mapping[str, Tensor]
    ) -> dict[str, float]:
        judged = clip.frames[list(clip.judged)]
        times = [clip.times[i] for i in clip.judged]
        if name == "ground":
            return {"ground": shows_ground(judged, scene)}
        if name == "motion":
            return shows_motion(judged, times, scene)
        if name == "time":
            return time_scores(clip)
        if name == "concept" and self.probes is not None:
            found = self.probes.scores(seen["lite0"], scene)
            if self.styles is not None:
                found |= self.styles.scores(clip, seen["lite0"], scene)
            return found
        if name == "pairs" and self.pairs is not None:
            return self.pairs.scores(clip, scene)
        if name == "words" and self.reader is not None:
            return _named(("word", "letters"), self.reader.score(judged, times, scene.subjects[0]))
        if name == "views":
            changes = view_changes(judged, times)
            # a clip without a solid must not drop out unseen
            return {"seen": float(changes is not None), **_named(("turn", "ninth"), changes)}
        return {}


def time_scores(clip: Clip) -> dict[str, float]:
    """Return the measures of time and pixels, over all frames; not those it is too short for."""
    found = {
        "flicker": temporal.flicker(clip.frames),
        "warping": temporal.warping_error(clip.frames),
        "drift": temporal.colour_drift(clip.frames),
        "movement": temporal.movement(clip.frames),
        "detail": temporal.detail(clip.frames),
    }
    return {key: value for key, value in found.items() if value is not None}


def _named(keys: tuple[str, ...], values: tuple[float, ...] | None) -> dict[str, float]:
    return {} if values is None else dict(zip(keys, values, strict=True))


def identity(judge: Judge) -> dict[str, Any]:
    """Return what a record depends on besides its clip."""
    return {
        "metrics": list(judge.metrics),
        "lite0": judge.features is not None,
        "probes": None if judge.probes is None else judge.probes.settings,
        "reader": None if judge.reader is None else judge.reader.name,
        "extractors": {name: dict(one.settings) for name, one in judge.extractors.items()},
    }


def record_key(
    judge: Judge, scene: Scene, about: Sequence[Any], *, features_only: bool = False
) -> str:
    """Return the name under which a record is kept.

    Args:
        judge: who judges.
        scene: what was asked for.
        about: plain values that identify the clip, and the corpus that it is judged with.
        features_only: whether the scores are left out.
    """
    what = [PROTOCOL_VERSION, *about, repr(scene), identity(judge), features_only]
    if not features_only:  # features are what they were: those of a reference are not made again
        what.append(RECORD_FORMAT)
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
