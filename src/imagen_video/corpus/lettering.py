"""Scenes with a word in them: where its letters stand, and how they come on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imagen_video.corpus.captions import WORD_MOTIONS, Told, word_caption
from imagen_video.corpus.cast import (
    COLOURS,
    Cast,
    clear_colours,
    draw_ground_name,
    draw_tone,
    draw_variant,
    pick,
    without_motion,
)
from imagen_video.corpus.motions import ASPECT, CENTRE, Place, Track
from imagen_video.corpus.scene import Layer, Scene
from imagen_video.corpus.sprites import Sprite

WORD_WIDTH = 1.5
"""Largest width of a word; the frame is 5/3 wide."""


def build_word(cast: Cast, rng: np.random.Generator, told: Told) -> Scene:
    """A word in coloured capitals that comes on in one of several ways.

    Args:
        cast: what there is.
        rng: source of chance.
        told: which facts the captions tell.
    """
    word, ground, motion = (
        pick(rng, cast.words),
        draw_ground_name(rng),
        pick(rng, list(WORD_MOTIONS)),
    )
    colour = pick(rng, clear_colours(ground, for_letters=True))
    height = 0.42 + 0.18 * rng.random()
    dx, dy = 2 * rng.random(2) - 1
    centre = (CENTRE[0] + 0.02 * dx, CENTRE[1] + 0.05 * dy)
    tracks = _letter_tracks([cast.sprites[f"glyph/{letter}"] for letter in word], height, centre)
    layers = tuple(
        Layer(
            sprite=f"glyph/{letter}",
            track=_lettering(motion, place, number, centre),
            tint=COLOURS[colour],
        )
        for number, (letter, place) in enumerate(zip(word, tracks, strict=True))
    )
    variant = draw_variant(rng)
    return Scene(
        kind="word",
        caption=word_caption(word, colour, motion, ground, variant, told),
        image_caption=word_caption(word, colour, motion, ground, variant, without_motion(told)),
        subjects=(word,),
        ground=ground,
        tone=draw_tone(rng),
        motion=motion,
        style="animation",
        layers=layers,
        pairs=(("ground", word, ground), ("motion", word, motion), ("colour", word, colour)),
    )


def _letter_tracks(
    glyphs: Sequence[Sprite], height: float, centre: tuple[float, float]
) -> list[Place]:
    """Places of letters side by side; a glyph's box is its advance wide and a capital high."""
    advances = [glyph.box[2] - glyph.box[0] for glyph in glyphs]
    tall = glyphs[0].box[3] - glyphs[0].box[1]
    cell = min(height / tall, WORD_WIDTH / sum(advances))
    x = centre[0] - cell * sum(advances) / 2
    places = []
    for advance in advances:
        places.append(Place(x=x + cell * advance / 2, y=centre[1], size=cell))
        x += cell * advance
    return places


def _lettering(motion: str, place: Place, number: int, centre: tuple[float, float]) -> Track:
    """The track of one letter, slow enough to be told apart in the base model's 16 frames."""
    if motion == "slides in":
        begin = Place(x=place.x - ASPECT, y=place.y, size=place.size)
        return Track(start=begin, end=place, begin=4, finish=68, eased=True)
    if motion == "typed":
        return Track(start=place, end=place, appears=6.0 + 16.0 * number)
    if motion == "wave":
        return Track(start=place, end=place, rhythm="hop", delay=7.0 * number)
    if motion == "zooms in":
        far = 0.2
        begin = Place(
            x=centre[0] + far * (place.x - centre[0]),
            y=centre[1] + far * (place.y - centre[1]),
            size=far * place.size,
        )
        return Track(start=begin, end=place, finish=84)
    return Track(start=place, end=place)
