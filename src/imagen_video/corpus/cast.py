"""What a store offers to scenes, and the draws that every kind shares: ground, colour, wording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np

from imagen_video.corpus.captions import Told
from imagen_video.corpus.grounds import GROUNDS, MAX_TONE_SHIFT, RGB
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.corpus.words import WORDS
from imagen_video.errors import DataError

STYLE_SHARES: dict[str, float] = {"animation": 0.7, "flat": 0.1, "cartoon": 0.1, "render": 0.1}
"""Style -> share of the scenes with one subject."""

COLOURS: dict[str, RGB] = {
    "red": (222, 40, 44),
    "orange": (250, 140, 30),
    "yellow": (252, 214, 40),
    "green": (44, 176, 76),
    "blue": (44, 92, 232),
    "purple": (140, 64, 200),
    "pink": (252, 130, 184),
    "brown": (132, 82, 46),
    "white": (250, 250, 250),
    "black": (34, 34, 38),
}
"""Colours of solids and letters."""

MIN_CONTRAST = 110.0
"""Least distance in RGB between letters or a solid and every stop of the ground."""

MIN_LETTER_CONTRAST = 52.0
"""Least difference in luma (Rec. 601) between letters and every stop of the ground, so that they
can be read."""

LUMA = (0.299, 0.587, 0.114)

PLAIN_SHARE = 0.7
"""Share of plain colours among the grounds; the rest are gradients."""

Option = TypeVar("Option")


class Cast:
    """What a store offers to scenes."""

    def __init__(self, store: SpriteStore) -> None:
        """List the store's subjects and their styles, its solids, and words it can spell.

        Args:
            store: the sprites.
        """
        self.sprites = store.sprites
        self.styles: dict[str, dict[str, float]] = {}
        for subject in store.subjects:
            shares = {
                style: share
                for style, share in STYLE_SHARES.items()
                if f"{style}/{subject.codepoint}" in store.sprites
            }
            if shares:
                self.styles[subject.codepoint] = shares
        self.subjects = tuple(s for s in store.subjects if s.codepoint in self.styles)
        self.animated = tuple(s for s in self.subjects if "animation" in self.styles[s.codepoint])
        self.solids = _names(store, "solid/")
        letters = set(_names(store, "glyph/"))
        self.words = tuple(word for word in WORDS if set(word) <= letters)

    def check(self, kinds: Mapping[str, float]) -> None:
        """Refuse kinds that the store has nothing for.

        Args:
            kinds: weights by kind.

        Raises:
            DataError: naming the kind and what it needs.
        """
        stock = {
            "subject": (len(self.subjects), 1, "subjects"),
            "pair": (len({subject.family for subject in self.animated}), 2, "animated families"),
            "solid": (len(self.solids), 1, "solids"),
            "solid pair": (len(self.solids), 2, "solids"),
            "word": (len(self.words), 1, "words"),
        }
        for kind, weight in kinds.items():
            found, wanted, what = stock[kind]
            if weight > 0 and found < wanted:
                raise DataError(
                    f"kind {kind!r}",
                    f"{found} {what} in the store",
                    f"at least {wanted}",
                    "leave this kind out or build the full corpus",
                )


def _names(store: SpriteStore, prefix: str) -> tuple[str, ...]:
    return tuple(sorted(key[len(prefix) :] for key in store.sprites if key.startswith(prefix)))


def weighted(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    """Draw a key with probability proportional to its weight."""
    names = [name for name, share in shares.items() if share > 0]
    left = rng.random() * sum(shares.values())
    for name in names:
        left -= shares[name]
        if left < 0:
            return name
    return names[-1]  # rounding left a crumb


def pick(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    """Draw one of some options, all equally likely."""
    return options[int(rng.random() * len(options))]


def draw_told(rng: np.random.Generator, complete: bool) -> Told:
    """Draw which facts a caption tells: mostly all; what is left out is free.

    Args:
        rng: source of chance; three numbers are drawn in any case.
        complete: tell everything.
    """
    verb, ground, motion = rng.random(3)
    if complete:
        return Told()
    return Told(verb=verb < 0.75, ground=ground < 0.92, motion=motion < 0.92)


def draw_variant(rng: np.random.Generator) -> int:
    """Draw the number that picks a caption's wording."""
    return int(rng.integers(2**62))


_PLAIN = tuple(name for name, ground in GROUNDS.items() if ground.direction == "plain")
_GRADIENTS = tuple(name for name, ground in GROUNDS.items() if ground.direction != "plain")


def draw_ground_name(rng: np.random.Generator) -> str:
    """Draw a key of `GROUNDS`."""
    return pick(rng, _PLAIN if rng.random() < PLAIN_SHARE else _GRADIENTS)


def draw_tone(rng: np.random.Generator) -> float:
    """Draw a factor on the ground's colours."""
    return float(1 + MAX_TONE_SHIFT * (2 * rng.random() - 1))


@lru_cache(maxsize=64)
def clear_colours(ground: str, *, for_letters: bool = False) -> tuple[str, ...]:
    """Colours that stand out from every part of a ground.

    Args:
        ground: a key of `GROUNDS`.
        for_letters: also differ in brightness, as thin strokes need; words keep to the middle of
            the frame, so of a gradient that runs down only the middle counts.
    """
    stops = np.asarray(GROUNDS[ground].stops, dtype=np.float64)
    if for_letters and GROUNDS[ground].direction == "down":
        stops = stops[len(stops) // 2 : len(stops) // 2 + 1]
    clear = []
    for name, colour in COLOURS.items():
        difference = stops - colour
        legible = np.abs(difference @ LUMA).min() >= MIN_LETTER_CONTRAST or not for_letters
        if legible and np.linalg.norm(difference, axis=1).min() >= MIN_CONTRAST:
            clear.append(name)
    return tuple(clear)


def without_motion(told: Told) -> Told:
    """The same facts for a single image, in which nothing moves."""
    return Told(verb=told.verb, ground=told.ground, motion=False)
