"""Scenes: an endless list of things to draw, each found from its number alone.

`SceneSource(store, seed=s).scene(i)` draws its random numbers from a counter-based generator keyed
by the seed and started at i, so any scene is reached at once, in any order, on any number of
workers. Scenes hold everything that is drawn as plain data; `render` turns them into pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from imagen_video.corpus.cast import Cast, draw_told, weighted
from imagen_video.corpus.compose import BUILDERS, KINDS
from imagen_video.corpus.motions import NUM_FRAMES
from imagen_video.corpus.scene import Layer, Scene
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.errors import DataError

__all__ = ["Layer", "Scene", "SceneSource", "Split", "held_out_prompts"]

Split = Literal["train", "held_out", "all"]

MAX_TRIES = 4000
"""Draws before a split counts as empty; about one draw in eight is held out."""

EVALUATION_SEED = 20221005
"""Seed of the fixed evaluation scenes."""


class SceneSource:
    """An endless, seekable list of scenes."""

    def __init__(
        self,
        store: SpriteStore,
        *,
        seed: int,
        split: Split = "train",
        kinds: Mapping[str, float] | Sequence[str] | None = None,
        complete_captions: bool = False,
    ) -> None:
        """Choose what the list holds.

        Args:
            store: the sprites.
            seed: any integer in 0..2**64-1; another seed is another list.
            split: `train` never shows a held-out pair, `held_out` always does, `all` does not look.
            kinds: weights by kind, or the kinds alone with their usual weights; all kinds if None.
            complete_captions: tell every fact in every caption, for evaluation.

        Raises:
            DataError: if a kind or split is unknown, or the store holds nothing of a kind.
        """
        if split not in ("train", "held_out", "all"):
            raise DataError("split", repr(split), "train, held_out or all", "choose one of these")
        if isinstance(kinds, Sequence):
            kinds = {kind: KINDS.get(kind, 0.0) for kind in kinds}
        kinds = dict(KINDS if kinds is None else kinds)
        usable = set(kinds) <= set(KINDS) and min(kinds.values(), default=0) >= 0
        if not usable or sum(kinds.values()) <= 0:
            raise DataError("kinds", str(kinds), f"some of {', '.join(KINDS)}", "name known kinds")
        if not 0 <= seed < 2**64:
            raise DataError("seed", str(seed), "0..2**64-1", "choose another seed")
        self.store = store
        self.seed = seed
        self.split = split
        self._kinds = kinds
        self._complete = complete_captions
        self._cast = Cast(store)
        self._cast.check(kinds)

    def scene(self, index: int) -> Scene:
        """The scene with a number.

        Args:
            index: 0..2**64-1.

        Raises:
            DataError: if the split holds nothing, which only happens with a store of very few
                subjects.
        """
        return self._draw(index)[0]

    def image(self, index: int) -> tuple[Scene, float]:
        """A scene and one of its frames, for training on single images with `image_caption`.

        Args:
            index: 0..2**64-1; the scene is the same as `scene(index)`.

        Returns:
            The scene and a source frame. A word is shown after it has come on completely.
        """
        scene, rng = self._draw(index)
        first = NUM_FRAMES * 3 // 4 if scene.kind == "word" else 0
        return scene, float(rng.integers(first, NUM_FRAMES))

    def _draw(self, index: int) -> tuple[Scene, np.random.Generator]:
        # Philox numbers its blocks with 256 bits; the index sits in the high word, so that the
        # streams of two indices never meet.
        bits = np.random.Philox(
            key=np.array([self.seed, 0], dtype=np.uint64),
            counter=np.array([0, 0, 0, index], dtype=np.uint64),
        )
        rng = np.random.Generator(bits)
        for _ in range(MAX_TRIES):
            kind = weighted(rng, self._kinds)
            scene = BUILDERS[kind](self._cast, rng, draw_told(rng, self._complete))
            if self.split == "all" or scene.held_out == (self.split == "held_out"):
                return scene, rng
        raise DataError(
            f"split {self.split}",
            f"no scene in {MAX_TRIES} draws",
            "a store with more subjects",
            "build the full corpus or allow more kinds",
        )


def held_out_prompts(
    store: SpriteStore, count: int, kinds: Mapping[str, float] | Sequence[str] | None = None
) -> list[Scene]:
    """Fixed evaluation scenes, each holding a pair that training never shows.

    Their captions tell every fact.

    Args:
        store: the sprites.
        count: how many; the first n are the same for every count. No two show the same facts.
        kinds: as for `SceneSource`.

    Raises:
        DataError: if the store is too small for so many different scenes.
    """
    source = SceneSource(
        store, seed=EVALUATION_SEED, split="held_out", kinds=kinds, complete_captions=True
    )
    scenes: dict[tuple[object, ...], Scene] = {}
    for index in range(20 * count + 100):
        if len(scenes) == count:
            break
        scene = source.scene(index)
        facts = (scene.subjects, scene.ground, scene.motion, scene.style)
        scenes.setdefault(facts, scene)
    if len(scenes) < count:
        raise DataError(
            "evaluation scenes", str(len(scenes)), str(count), "ask for fewer or build the corpus"
        )
    return list(scenes.values())
