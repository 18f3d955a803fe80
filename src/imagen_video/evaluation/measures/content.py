"""What a clip shows, held against what was asked for: ground, motion, speed, subject.

Subjects are told apart by a ridge probe on frozen features of four frames, fitted on real renders
of training scenes at the size that is judged. (`styles.py` judges the style.)
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from imagen_video.corpus.digest import corpus_digest
from imagen_video.corpus.scene import Scene
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.evaluation.features.files import kept
from imagen_video.evaluation.material.clips import Clip
from imagen_video.evaluation.material.real_renders import (
    candidates,
    probe_scenes,
    real_clip,
)
from imagen_video.evaluation.measures.backgrounds import nearest_ground
from imagen_video.evaluation.measures.motion import AXES, axis_of, classify_motion, motion_scores
from imagen_video.evaluation.measures.retrieval import SubjectProbe

Features = Callable[[np.ndarray], Tensor]
"""uint8 frames `(f, h, w, 3)` to features `(f, d)`: `evaluation.features.lite0.Lite0.frames`."""

SHOWN = 4
"""Frames whose features are averaged to recognise a subject."""
LEAST_MOTION_FRAMES = 4
"""Frames from which on a motion can be told."""


def spread(count: int) -> list[int]:
    """Return the indices of `SHOWN` frames, first and last among them."""
    return [round(i * (count - 1) / max(1, SHOWN - 1)) for i in range(min(SHOWN, count))]


def shows_ground(frames: np.ndarray, scene: Scene) -> float:
    """Return 1 if the border is nearest to the ground asked for, among the 18 named ones."""
    return float(nearest_ground(frames) == scene.ground)


def shows_motion(frames: np.ndarray, times: Sequence[float], scene: Scene) -> dict[str, float]:
    """Judge the motion of a scene with one subject.

    Args:
        frames: uint8 `(f, h, w, 3)`.
        times: source frame (24 fps) of each.
        scene: what was asked for, of kind `subject` or `solid`.

    Returns:
        `motion`: 1 if right; `axis`: 1 if right or the opposite of it; `direction`: `motion` of a
        clip that moves along the right axis, if the motion asked for has an opposite; and, where it
        is one that travels, grows or bounces, `speed`: how far it went, 1 = as far as in the
        corpus, negative = the other way. Nothing for fewer than four frames.
    """
    if len(frames) < LEAST_MOTION_FRAMES:
        return {}
    seen = classify_motion(frames, times)
    found = {
        "motion": float(seen == scene.motion),
        "axis": float(axis_of(seen) == axis_of(scene.motion)),
    }
    if scene.motion in AXES and found["axis"]:
        found["direction"] = found["motion"]
    speeds = motion_scores(frames, times)
    if scene.motion in SPEEDS:
        found["speed"] = speeds.get(scene.motion, 0.0)  # nothing seen has not moved
    return found


SPEEDS = (
    "left to right",
    "right to left",
    "rises",
    "falls",
    "zooms in",
    "zooms out",
    "bounces",
)
"""Motions with a distance."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probes:
    """Tells subjects apart."""

    subject: SubjectProbe
    """Among the names."""
    settings: dict[str, object]
    """What it was fitted on."""

    @classmethod
    def fit(
        cls,
        features: Features,
        store: SpriteStore,
        scenes: Sequence[Scene],
        clip: Clip,
        *,
        names: int,
        renders: int,
        cache: Path,
    ) -> Probes:
        """Fit on real renders of the size and times of a clip.

        Args:
            features: the frozen network.
            store: the corpus.
            scenes: what is judged, of kind `subject`.
            clip: one of what is judged.
            names: subjects to tell apart.
            renders: renders of each.
            cache: folder for their features.
        """
        _, height, width = clip.shape
        times = [clip.times[clip.judged[i]] for i in spread(len(clip.judged))]
        known = candidates(store, scenes, names)
        chosen = [scene for some in probe_scenes(store, known, renders).values() for scene in some]
        about = {
            "corpus": corpus_digest(store.folder),
            "names": list(known),
            "times": times,
            "size": [height, width],
            "renders": renders,
        }
        key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:24]

        def looks() -> Tensor:
            clips = (real_clip(scene, store, times, height, width) for scene in chosen)
            return torch.stack([features(frames).mean(0) for frames in clips])

        seen = kept(cache / "probe" / f"{key}.safetensors", lambda: {"subject": looks()})
        return cls(
            subject=SubjectProbe.fit(seen["subject"], [scene.subjects[0] for scene in chosen]),
            settings={**about, "names": len(known), "key": key},
        )

    def scores(self, features: Tensor, scene: Scene) -> dict[str, float]:
        """Judge a clip.

        Args:
            features: of its judged frames, `(f, d)`.
            scene: what was asked for, of kind `subject`.

        Returns:
            `top1` and `top5`, each 0 or 1.
        """
        look = features[spread(len(features))]
        ranked = self.subject.ranked(look.mean(0, keepdim=True))[0]
        return {
            "top1": float(ranked[0] == scene.subjects[0]),
            "top5": float(scene.subjects[0] in ranked[:5]),
        }
