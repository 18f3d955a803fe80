"""Sentences for scenes: pure functions from facts and a number that picks the wording.

The same facts are said in many ways, so that a prompt need not be worded like the corpus. `variant`
is any non-negative integer; equal arguments give equal sentences.
"""

from __future__ import annotations

from dataclasses import dataclass

from imagen_video.corpus.grounds import GROUNDS
from imagen_video.corpus.motions import MOTIONS

STYLES: dict[str, tuple[str, ...]] = {
    "animation": ("{}", "{}", "{}", "{}", "a 3d animation of {}", "an animation of {}"),
    "flat": ("a flat drawing of {}", "a flat illustration of {}", "{}, flat drawing,"),
    "cartoon": ("a cartoon of {}", "a cartoon drawing of {}", "{}, cartoon style,"),
    "render": ("a 3d render of {}", "a still 3d render of {}", "{}, 3d render,"),
}
"""Style -> ways to say it around the noun phrase; the animation needs no word."""

WORD_MOTIONS: dict[str, tuple[str, ...]] = {
    "still": ("", "staying in place"),
    "slides in": ("sliding in from the left", "coming in from the left"),
    "typed": ("appearing letter by letter", "typed one letter at a time"),
    "wave": ("with its letters hopping in a wave", "bouncing letter by letter"),
    "zooms in": ("zooming in", "growing larger"),
}
"""Animation of a word -> ways to say it."""

ROTATING = ("rotating", "turning", "turning around", "rotating in place")
SAYING = ('the word "{}"', 'the text "{}"', '"{}" written', 'the word "{}" written')
BEFORE_GROUND = (" on ", " on ", " against ", " in front of ", ", on ")


class _Wording:
    """Takes choices one after another out of one integer."""

    def __init__(self, variant: int) -> None:
        self.left = variant

    def pick(self, options: tuple[str, ...]) -> str:
        self.left, index = divmod(self.left, len(options))
        return options[index]


@dataclass(frozen=True, kw_only=True)
class Told:
    """Which facts a caption tells; facts left out are free for the model to choose."""

    verb: bool = True
    """What the subject's own animation does."""
    ground: bool = True
    """The ground."""
    motion: bool = True
    """How the subject moves over the frame."""


def _on_ground(sentence: str, ground: str, wording: _Wording) -> str:
    phrase = GROUNDS[ground].phrase
    if wording.pick(("after", "after", "after", "before")) == "before":
        return f"on {phrase} background, {sentence.rstrip(',')}"
    if sentence.endswith(","):
        return f"{sentence} on {phrase} background"
    return f"{sentence}{wording.pick(BEFORE_GROUND)}{phrase} background"


def _finish(
    sentence: str, motion: str, ground: str, wording: _Wording, *, joined: bool = True
) -> str:
    """Add the motion and the ground, in one order or the other."""
    late = wording.pick(("motion first", "ground first")) == "ground first"
    link = wording.pick((" and ", ", ", " while ")) if joined else " "
    if sentence.endswith(","):
        link = " "
    if motion and not late:
        sentence = f"{sentence}{link}{motion}"
    if ground:
        sentence = _on_ground(sentence, ground, wording)
    if motion and late:
        sentence = f"{sentence.rstrip(',')}, {motion}"
    return sentence.rstrip(",")


@dataclass(frozen=True, kw_only=True)
class SubjectFacts:
    """One subject in a style, on a ground, moving."""

    noun: str
    """`a horse` or `a red cube`."""
    verb: str
    """`galloping`; empty for stills."""
    style: str
    """A key of `STYLES`."""
    ground: str
    """A key of `GROUNDS`."""
    motion: str
    """A key of `MOTIONS`."""


def subject_caption(facts: SubjectFacts, variant: int, told: Told | None = None) -> str:
    """Say what one subject does.

    Args:
        facts: what is shown.
        variant: picks the wording.
        told: which facts to tell; all of them if None.
    """
    told = told or Told()
    wording = _Wording(variant)
    sentence = wording.pick(STYLES[facts.style]).format(facts.noun)
    verb = facts.verb if told.verb else ""
    if verb:
        sentence = f"{sentence} {verb}"
    motion = ""
    if told.motion:
        spoken = facts.motion != "still" or wording.pick(("", "", "spoken")) == "spoken"
        motion = wording.pick(MOTIONS[facts.motion].phrases) if spoken else ""
    ground = facts.ground if told.ground else ""
    return _finish(sentence, motion, ground, wording, joined=bool(verb))


def word_caption(
    text: str, colour: str, motion: str, ground: str, variant: int, told: Told | None = None
) -> str:
    """Say which word is written, in which colour, and how it comes on.

    Args:
        text: the word in capitals.
        colour: name of the letters' colour.
        motion: a key of `WORD_MOTIONS`.
        ground: a key of `GROUNDS`.
        variant: picks the wording.
        told: which facts to tell; all of them if None.
    """
    told = told or Told()
    wording = _Wording(variant)
    sentence = f"{wording.pick(SAYING).format(text)} in {colour} letters"
    spoken = wording.pick(WORD_MOTIONS[motion]) if told.motion else ""
    return _finish(sentence, spoken, ground if told.ground else "", wording, joined=False)


def pair_caption(
    first: str, second: str, relation: str, ground: str, variant: int, told: Told | None = None
) -> str:
    """Say where two things are.

    Args:
        first: noun phrase of the left or upper thing.
        second: noun phrase of the right or lower thing.
        relation: `left of` or `above`.
        ground: a key of `GROUNDS`.
        variant: picks the wording.
        told: which facts to tell; all of them if None.
    """
    told = told or Told()
    wording = _Wording(variant)
    across = relation == "left of"
    sentence = wording.pick(
        (
            f"{first} to the left of {second}" if across else f"{first} above {second}",
            f"{second} to the right of {first}" if across else f"{second} below {first}",
            f"{first} on the left and {second} on the right"
            if across
            else f"{first} at the top and {second} at the bottom",
        )
    )
    return _finish(sentence, "", ground if told.ground else "", wording)
