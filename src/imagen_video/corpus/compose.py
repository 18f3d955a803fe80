"""How each kind of scene is put together from random numbers.

One function a kind: it draws the facts (subject, ground, motion, style), lays out the sprites, and
has the captions made. All lengths are those of `motions`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from imagen_video.corpus.captions import ROTATING, SubjectFacts, Told, pair_caption, subject_caption
from imagen_video.corpus.cast import (
    COLOURS,
    Cast,
    clear_colours,
    draw_ground_name,
    draw_tone,
    draw_variant,
    pick,
    weighted,
    without_motion,
)
from imagen_video.corpus.held_out import beside
from imagen_video.corpus.lettering import build_word
from imagen_video.corpus.motions import CENTRE, MOTIONS, Place, Track, track_for
from imagen_video.corpus.scene import Layer, Scene
from imagen_video.corpus.sprites import Sprite, Subject

KINDS: dict[str, float] = {
    "subject": 0.68,
    "solid": 0.08,
    "word": 0.08,
    "pair": 0.10,
    "solid pair": 0.06,
}
"""Kind of scene -> share of all scenes."""

SOLID_MOTIONS = tuple(name for name in MOTIONS if name not in {"spins", "sways"})
"""A rotating solid that also turns in the plane would be hard to name."""

WIDEST = 1.3
"""Width of content, in heights, from which on the width limits how large a subject is drawn."""


def _cell(sprite: Sprite, height: float) -> float:
    """Side of the cell for content `height` high, or `WIDEST * height` wide if that comes first."""
    left, top, right, bottom = sprite.box
    return height / max(bottom - top, (right - left) / WIDEST)


def _moving(rng: np.random.Generator, sprite: Sprite, motion: str) -> Track:
    """A track of a single thing: large, and a little off the centre."""
    largest = MOTIONS[motion].largest
    height = largest * (0.8 + 0.2 * rng.random())
    dx, dy = 2 * rng.random(2) - 1
    off = 0.03 if MOTIONS[motion].travel[0] else 0.10
    centre = (CENTRE[0] + off * dx, CENTRE[1] + 0.03 * dy)
    return track_for(motion, centre=centre, size=_cell(sprite, height))


def _phase(rng: np.random.Generator, sprite: Sprite) -> int:
    return int(rng.integers(sprite.count))


def build_subject(cast: Cast, rng: np.random.Generator, told: Told) -> Scene:
    """One subject in one style on a ground, with one motion.

    Args:
        cast: what there is.
        rng: source of chance.
        told: which facts the captions tell.
    """
    subject = pick(rng, cast.subjects)
    style = weighted(rng, cast.styles[subject.codepoint])
    ground, motion = draw_ground_name(rng), pick(rng, tuple(MOTIONS))
    sprite = cast.sprites[f"{style}/{subject.codepoint}"]
    heading = {"left to right": "right", "right to left": "left"}.get(motion, subject.facing)
    layer = Layer(
        sprite=sprite.key,
        track=_moving(rng, sprite, motion),
        phase=_phase(rng, sprite),
        mirrored=bool(subject.facing) and heading != subject.facing,
    )
    facts = SubjectFacts(
        noun=subject.noun,
        verb=subject.verb if style == "animation" else "",
        style=style,
        ground=ground,
        motion=motion,
    )
    variant = draw_variant(rng)
    return Scene(
        kind="subject",
        caption=subject_caption(facts, variant, told),
        image_caption=subject_caption(facts, variant, without_motion(told)),
        subjects=(subject.codepoint,),
        ground=ground,
        tone=draw_tone(rng),
        motion=motion,
        style=style,
        layers=(layer,),
        pairs=(
            ("ground", subject.family, ground),
            ("motion", subject.family, motion),
            ("style", subject.family, style),
        ),
    )


def build_solid(cast: Cast, rng: np.random.Generator, told: Told) -> Scene:
    """One rotating solid in a colour.

    Args:
        cast: what there is.
        rng: source of chance.
        told: which facts the captions tell.
    """
    solid, ground, motion = pick(rng, cast.solids), draw_ground_name(rng), pick(rng, SOLID_MOTIONS)
    colour = pick(rng, clear_colours(ground))
    sprite = cast.sprites[f"solid/{solid}"]
    layer = Layer(
        sprite=sprite.key,
        track=_moving(rng, sprite, motion),
        phase=_phase(rng, sprite),
        tint=COLOURS[colour],
    )
    facts = SubjectFacts(
        noun=_coloured(solid, colour),
        verb=pick(rng, ROTATING),
        style="animation",
        ground=ground,
        motion=motion,
    )
    variant = draw_variant(rng)
    return Scene(
        kind="solid",
        caption=subject_caption(facts, variant, told),
        image_caption=subject_caption(
            facts, variant, Told(verb=False, ground=told.ground, motion=False)
        ),
        subjects=(f"{colour} {solid}",),
        ground=ground,
        tone=draw_tone(rng),
        motion=motion,
        style="animation",
        layers=(layer,),
        pairs=(
            ("ground", solid, ground),
            ("motion", solid, motion),
            ("colour", solid, colour),
        ),
    )


def _coloured(solid: str, colour: str) -> str:
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {solid}"


def _side_by_side(
    rng: np.random.Generator, relation: str, sprites: Sequence[Sprite]
) -> list[Track]:
    """Two things at rest, the first left of the second or above it, of about the same size."""
    across = relation == "left of"
    height = (0.72 if across else 0.46) * (0.85 + 0.15 * rng.random())
    tracks = []
    for number, sprite in enumerate(sprites):
        side = 2 * number - 1
        jitter = 0.04 * (2 * rng.random() - 1)
        x = CENTRE[0] + (0.39 * side if across else 2 * jitter)
        y = CENTRE[1] + (jitter if across else 0.25 * side)
        left, top, right, bottom = sprite.box
        size = height / max(bottom - top, (right - left) / (1.0 if across else WIDEST))
        place = Place(x=x, y=y, size=size)
        tracks.append(Track(start=place, end=place))
    return tracks


def build_pair(cast: Cast, rng: np.random.Generator, told: Told) -> Scene:
    """Two animated subjects, one left of or above the other.

    Args:
        cast: what there is.
        rng: source of chance.
        told: which facts the captions tell.
    """
    first: Subject = pick(rng, cast.animated)
    second: Subject = pick(rng, [s for s in cast.animated if s.family != first.family])
    ground, relation = draw_ground_name(rng), pick(rng, ("left of", "above"))
    sprites = [cast.sprites[f"animation/{one.codepoint}"] for one in (first, second)]
    layers = tuple(
        Layer(sprite=sprite.key, track=track, phase=_phase(rng, sprite))
        for sprite, track in zip(sprites, _side_by_side(rng, relation, sprites), strict=True)
    )
    caption = pair_caption(first.noun, second.noun, relation, ground, draw_variant(rng), told)
    return Scene(
        kind="pair",
        caption=caption,
        image_caption=caption,
        subjects=(first.codepoint, second.codepoint),
        ground=ground,
        tone=draw_tone(rng),
        motion=relation,
        style="animation",
        layers=layers,
        pairs=(
            ("ground", first.family, ground),
            ("ground", second.family, ground),
            beside(first.family, second.family),
        ),
    )


def build_solid_pair(cast: Cast, rng: np.random.Generator, told: Told) -> Scene:
    """Two different solids in two different colours, so that a colour has to be bound to its solid.

    Args:
        cast: what there is.
        rng: source of chance.
        told: which facts the captions tell.
    """
    ground, relation = draw_ground_name(rng), pick(rng, ("left of", "above"))
    solids = [pick(rng, cast.solids)]
    solids.append(pick(rng, [solid for solid in cast.solids if solid != solids[0]]))
    clear = clear_colours(ground)
    colours = [pick(rng, clear)]
    colours.append(pick(rng, [colour for colour in clear if colour != colours[0]]))
    sprites = [cast.sprites[f"solid/{solid}"] for solid in solids]
    layers = tuple(
        Layer(sprite=sprite.key, track=track, phase=_phase(rng, sprite), tint=COLOURS[colour])
        for sprite, track, colour in zip(
            sprites, _side_by_side(rng, relation, sprites), colours, strict=True
        )
    )
    nouns = [_coloured(solid, colour) for solid, colour in zip(solids, colours, strict=True)]
    caption = pair_caption(nouns[0], nouns[1], relation, ground, draw_variant(rng), told)
    first, second = (f"{colour} {solid}" for solid, colour in zip(solids, colours, strict=True))
    return Scene(
        kind="solid pair",
        caption=caption,
        image_caption=caption,
        subjects=(first, second),
        ground=ground,
        tone=draw_tone(rng),
        motion=relation,
        style="animation",
        layers=layers,
        pairs=(
            ("ground", solids[0], ground),
            ("ground", solids[1], ground),
            ("colour", solids[0], colours[0]),
            ("colour", solids[1], colours[1]),
            beside(first, second),
        ),
    )


BUILDERS: dict[str, Callable[[Cast, np.random.Generator, Told], Scene]] = {
    "subject": build_subject,
    "solid": build_solid,
    "word": build_word,
    "pair": build_pair,
    "solid pair": build_solid_pair,
}
"""Kind -> the function that puts such a scene together."""
