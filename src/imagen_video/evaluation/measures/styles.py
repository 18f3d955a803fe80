"""In which style a subject is shown: the nearest of real renders of it in every style.

The renders show the same subject, ground and motion, a little beside the asked-for place and at
another phase of their own animation, so that no real clip is compared with itself. They are
compared by the cosine of the clips' Lite0 features. A probe that learns styles from other subjects
was tried first: it knew real renders no better than chance.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional

from imagen_video.corpus.captions import STYLES
from imagen_video.corpus.motions import Place
from imagen_video.corpus.scene import Scene
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.evaluation.features.lite0 import clip_vector
from imagen_video.evaluation.material.clips import Clip
from imagen_video.evaluation.material.real_renders import real_clip
from imagen_video.evaluation.measures.content import Features, spread

BESIDE = (0.03, -0.02)
"""Heights of the frame by which the renders stand beside the asked-for place."""
PHASE = 10
"""Source frames by which their own animation is ahead."""


class StyleJudge:
    """Tells the styles of a subject apart."""

    def __init__(self, features: Features, store: SpriteStore) -> None:
        """Take the network and the corpus."""
        self._features = features
        self._store = store
        self._known: dict[str, dict[str, Tensor]] = {}

    def scores(self, clip: Clip, seen: Tensor, scene: Scene) -> dict[str, float]:
        """Judge a clip of a scene of kind `subject`.

        Args:
            clip: the clip.
            seen: features of its judged frames, `(f, d)`.
            scene: what was asked for.

        Returns:
            `style`, 0 or 1; nothing where the corpus has the subject in one style only.
        """
        index = spread(len(seen))
        times = [clip.times[clip.judged[i]] for i in index]
        key = f"{scene!r} {clip.shape} {times}"
        if key not in self._known:
            self._known[key] = self._references(clip, scene, times)
        known = self._known[key]
        if len(known) < 2:
            return {}
        look = functional.normalize(clip_vector(seen[index]), dim=0)
        likeness = torch.stack([look @ vector for vector in known.values()])
        return {"style": float(list(known)[int(likeness.argmax())] == scene.style)}

    def _references(self, clip: Clip, scene: Scene, times: list[float]) -> dict[str, Tensor]:
        found = {}
        for style in styles_of(self._store, scene):
            other = _in_style(scene, f"{style}/{scene.subjects[0]}")
            frames = real_clip(other, self._store, times, *clip.shape[1:])
            found[style] = functional.normalize(clip_vector(self._features(frames)), dim=0)
        return found


def styles_of(store: SpriteStore, scene: Scene) -> tuple[str, ...]:
    """Return the styles in which the corpus has the subject of a scene of kind `subject`."""
    return tuple(style for style in STYLES if f"{style}/{scene.subjects[0]}" in store.sprites)


def _in_style(scene: Scene, sprite: str) -> Scene:
    (layer,) = scene.layers
    start, end = (_beside(place) for place in (layer.track.start, layer.track.end))
    track = dataclasses.replace(layer.track, start=start, end=end)
    other = dataclasses.replace(layer, sprite=sprite, track=track, phase=layer.phase + PHASE)
    return dataclasses.replace(scene, layers=(other,))


def _beside(place: Place) -> Place:
    return dataclasses.replace(place, x=place.x + BESIDE[0], y=place.y + BESIDE[1])
