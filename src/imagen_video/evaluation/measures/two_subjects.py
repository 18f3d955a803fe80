"""Scenes of two things: is each where it was asked for, and has each solid its own colour?

The frame is cut in half along the relation (left and right, or top and bottom). Each half is
compared, by cosine of frozen features, with real renders of the candidates alone in that half:

    two subjects   the two names             is the right one nearer in both halves?
    two solids     two solids x two colours  which of the four is nearest in each half?

`relation` asks for the right thing (solid) in both halves: by chance 1/4. `binding` asks for solids
in both halves that are the two asked for, each in its own colour, on whichever side: by chance 1/8.
The candidates stand in the middle of the half, at another phase of their own animation: none has
the advantage of the right place, and no real clip is compared with itself.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from imagen_video.corpus.motions import CENTRE
from imagen_video.corpus.scene import Scene
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.evaluation.material.clips import Clip
from imagen_video.evaluation.material.real_renders import real_clip
from imagen_video.evaluation.measures.content import Features

FRAMES = 3
"""Frames of a clip that are compared, evenly spread."""
PHASE = 10
"""Source frames by which the references' own animation is ahead."""

Name = tuple[int, int]
"""Which thing, and whose colour: (0, 1) is the first solid in the second's colour."""

Halves = tuple[dict[Name, Tensor], dict[Name, Tensor]]
"""Features of every candidate in the first and in the second half."""


class PairJudge:
    """Judges scenes of kind `pair` and `solid pair`."""

    def __init__(self, features: Features, store: SpriteStore) -> None:
        """Take the network and the corpus."""
        self._features = features
        self._store = store
        self._references: dict[str, Halves] = {}

    def scores(self, clip: Clip, scene: Scene) -> dict[str, float]:
        """Judge a clip.

        Returns:
            `relation`, and for solids `binding`: each 0 or 1.
        """
        seen = self._halves(clip.frames[self._indices(clip)], scene.motion)
        known = self._known(clip, scene)
        first, second = (_nearest(half, names) for half, names in zip(seen, known, strict=True))
        found = {"relation": float((first[0], second[0]) == (0, 1))}
        if scene.kind == "solid pair":
            found["binding"] = float({first, second} == {(0, 0), (1, 1)})
        return found

    def _indices(self, clip: Clip) -> list[int]:
        places = np.linspace(0, len(clip.judged) - 1, FRAMES).round().astype(int)
        return [clip.judged[i] for i in dict.fromkeys(places.tolist())]

    def _known(self, clip: Clip, scene: Scene) -> Halves:
        """Return the features of every candidate in each half, made once a scene and size."""
        key = f"{scene!r} {clip.shape} {self._indices(clip)}"
        if key not in self._references:
            self._references[key] = self._candidates(clip, scene)
        return self._references[key]

    def _candidates(self, clip: Clip, scene: Scene) -> Halves:
        times = [clip.times[i] for i in self._indices(clip)]
        known: Halves = ({}, {})
        for order, tints in itertools.product(
            (0, 1), (0, 1) if scene.kind == "solid pair" else (0,)
        ):
            frames = real_clip(_arranged(scene, order, tints), self._store, times, *clip.shape[1:])
            for place, half in enumerate(self._halves(frames, scene.motion)):
                thing = place ^ order
                known[place][thing, thing ^ tints] = half
        return known

    def _halves(self, frames: np.ndarray, relation: str) -> tuple[Tensor, Tensor]:
        """Return the features of both halves, of unit length, `(d,)` each."""
        axis = 2 if relation == "left of" else 1
        middle = frames.shape[axis] // 2
        parts = np.split(frames[:, :, : 2 * middle] if axis == 2 else frames, [middle], axis=axis)
        first, second = (
            functional.normalize(self._features(np.ascontiguousarray(part)).mean(0), dim=0)
            for part in parts
        )
        return first, second


def _nearest(half: Tensor, known: dict[Name, Tensor]) -> Name:
    names = sorted(known)
    likeness = torch.stack([half @ known[name] for name in names])
    return names[int(likeness.argmax())]


def _arranged(scene: Scene, order: int, tints: int) -> Scene:
    """Put both things in the middle of their halves.

    Args:
        scene: of two things.
        order: 1 puts the second thing first.
        tints: 1 exchanges their colours.
    """
    across = scene.motion == "left of"
    layers = []
    for thing, layer in enumerate(scene.layers):
        side = 2 * (thing ^ order) - 1
        place = dataclasses.replace(
            layer.track.start,
            x=CENTRE[0] + (0.39 * side if across else 0.0),
            y=CENTRE[1] + (0.0 if across else 0.25 * side),
        )
        layers.append(
            dataclasses.replace(
                layer,
                track=dataclasses.replace(layer.track, start=place, end=place),
                tint=scene.layers[thing ^ tints].tint,
                phase=layer.phase + PHASE,
            )
        )
    return dataclasses.replace(scene, layers=tuple(layers))
