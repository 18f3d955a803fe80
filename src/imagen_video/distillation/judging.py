"""How well a clip shows what was asked for, and how far a set of clips is from real renders.

alignment   is the subject the likeliest (among the five likeliest) of a hundred names, by a
            linear probe on frozen features fitted on real renders; is the ground right; is the
            motion
distances   Lite0 Frechet distance to real renders, over frames and over clips
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from imagen_video.cascade.weights_file import write_tensors
from imagen_video.corpus.digest import corpus_digest
from imagen_video.corpus.scene import Scene
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.distillation.clips import LARGEST
from imagen_video.evaluation.features.frechet import (
    DIMENSIONS,
    Moments,
    Projection,
    frechet_distance,
)
from imagen_video.evaluation.features.lite0 import clip_vector
from imagen_video.evaluation.material.real_renders import (
    candidates,
    probe_scenes,
    real_clip,
)
from imagen_video.evaluation.measures.backgrounds import nearest_ground
from imagen_video.evaluation.measures.motion import classify_motion
from imagen_video.evaluation.measures.retrieval import SubjectProbe
from imagen_video.media.atomic import replacing

Features = Callable[[np.ndarray], Tensor]
"""uint8 frames `(f, h, w, 3)` to features `(f, d)`: `evaluation.features.lite0.Lite0.frames`."""

SHOWN = 4
"""Frames whose features are averaged to recognise a subject."""
LEAST_MOTION_FRAMES = 4
SCORES = ("top-1", "top-5", "ground", "motion")
"""What is scored clip by clip, each 0 or 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeSize:
    """What the probe is fitted on."""

    names: int
    """Subjects to tell apart."""
    renders: int
    """Real renders of each, of training scenes."""
    work: Path
    """Folder for their features."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
    """Scores clips of one size and one set of times."""

    features: Features
    store: SpriteStore
    times: tuple[int, ...]
    """Source frames of the judged frames."""
    size: tuple[int, int]
    """Height and width."""
    probe: SubjectProbe

    @staticmethod
    def of(
        features: Features,
        store: SpriteStore,
        scenes: Sequence[Scene],
        times: Sequence[int],
        size: tuple[int, int],
        probe: ProbeSize,
    ) -> Judge:
        """Fit the probe on real renders of this size, or load their features.

        Args:
            features: the frozen network.
            store: the corpus.
            scenes: what is judged.
            times: source frames of the judged frames.
            size: height and width.
            probe: how much it is fitted on.
        """
        height, width = min(size[0], LARGEST[0]), min(size[1], LARGEST[1])
        known = candidates(store, scenes, probe.names)
        chosen = probe_scenes(store, known, probe.renders)
        few = [times[i] for i in _spread(len(times))]
        corpus = corpus_digest(store.folder)
        key = repr((corpus, known, few, (height, width), probe.renders)).encode()
        path = probe.work / "probe" / f"{hashlib.sha256(key).hexdigest()[:24]}.safetensors"
        seen = kept(
            path,
            lambda: torch.stack(
                [
                    features(real_clip(scene, store, few, height, width)).mean(0)
                    for name in known
                    for scene in chosen[name]
                ]
            ),
        )
        labels = [name for name in known for _ in chosen[name]]
        return Judge(
            features=features,
            store=store,
            times=tuple(times),
            size=(height, width),
            probe=SubjectProbe.fit(seen, labels),
        )

    def real(self, scene: Scene) -> np.ndarray:
        """Render a scene as the cascade should make it."""
        return real_clip(scene, self.store, self.times, *self.size)

    def seen(self, frames: np.ndarray, path: Path) -> Tensor:
        """Return the features of all frames `(f, d)`, kept beside the clip."""
        return kept(path.with_suffix(".features"), lambda: self.features(frames))

    def scores(self, frames: np.ndarray, seen: Tensor, scene: Scene) -> dict[str, float]:
        """Score one clip: `SCORES`, each 0 or 1.

        Args:
            frames: uint8 `(f, h, w, 3)`.
            seen: their features.
            scene: what was asked for.
        """
        look = seen[_spread(len(seen))].mean(0, keepdim=True)
        ranked = self.probe.ranked(look)[0]
        subject = scene.subjects[0]
        enough = len(frames) >= LEAST_MOTION_FRAMES
        motion = classify_motion(frames, self.times) if enough else ""
        return {
            "top-1": float(subject == ranked[0]),
            "top-5": float(subject in ranked[:5]),
            "ground": float(nearest_ground(frames) == scene.ground),
            "motion": float(motion == scene.motion),
        }


class Distances:
    """Frechet distances of sets of clips to real renders, over frames and over clips."""

    def __init__(self, real: Sequence[Tensor], clips: int) -> None:
        """Take the reference.

        Args:
            real: features `(f, d)` of every real clip.
            clips: how many clips a set has; it bounds the dimensions, the same for all sets.
        """
        frames = min(len(clip) for clip in real)
        self._frames = _Reference(torch.cat(list(real)), clips * frames)
        self._clips = _Reference(torch.stack([clip_vector(clip) for clip in real]), clips)

    @property
    def dimensions(self) -> tuple[int, int]:
        """Principal components that are compared, of frames and of clips."""
        return self._frames.dimensions, self._clips.dimensions

    def project(self, clips: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Project a set once: frames `(n, f, k)` and clips `(n, k')`."""
        frames = torch.stack([self._frames.projection.apply(clip) for clip in clips])
        vectors = torch.stack([clip_vector(clip) for clip in clips])
        return frames, self._clips.projection.apply(vectors)

    def frame_distance(self, frames: Tensor) -> float:
        """Distance of projected frames `(n, f, k)`."""
        return self._frames.distance(frames.flatten(0, 1))

    def clip_distance(self, clips: Tensor) -> float:
        """Distance of projected clips `(n, k')`."""
        return self._clips.distance(clips)


class _Reference:
    """Real vectors in their own principal components."""

    def __init__(self, real: Tensor, made: int) -> None:
        # half as many dimensions as vectors: fewer would leave the covariance to chance
        self.dimensions = max(1, min(DIMENSIONS, made // 2, len(real) // 2, real.shape[1]))
        self.projection = Projection.fit(real, self.dimensions)
        self._moments = Moments().add(self.projection.apply(real))

    def distance(self, projected: Tensor) -> float:
        return frechet_distance(self._moments, Moments().add(projected))


def kept(path: Path, make: Callable[[], Tensor]) -> Tensor:
    """Load a tensor, or make and keep it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)["features"]
    except (OSError, KeyError, SafetensorError):
        pass
    tensor = make()
    with replacing(path) as temporary:
        write_tensors({"features": tensor.contiguous()}, temporary)
    return tensor


def _spread(count: int) -> list[int]:
    """Indices of `SHOWN` frames, first and last among them."""
    return [round(i * (count - 1) / max(1, SHOWN - 1)) for i in range(min(SHOWN, count))]
