from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.corpus.captions import (
    STYLES,
    WORD_MOTIONS,
    SubjectFacts,
    Told,
    pair_caption,
    subject_caption,
    word_caption,
)
from imagen_video.corpus.grounds import GROUNDS
from imagen_video.corpus.motions import MOTIONS

variants = st.integers(0, 2**62 - 1)
facts = st.builds(
    SubjectFacts,
    noun=st.just("a horse"),
    verb=st.sampled_from(["galloping", ""]),
    style=st.sampled_from(list(STYLES)),
    ground=st.sampled_from(list(GROUNDS)),
    motion=st.sampled_from(list(MOTIONS)),
)
told = st.builds(Told, verb=st.booleans(), ground=st.booleans(), motion=st.booleans())


def assert_well_formed(sentence: str) -> None:
    assert sentence == sentence.strip()
    assert not re.search(r"  | ,|,,|,$|\{|\}", sentence), sentence
    assert sentence.isascii()


@given(facts, variants, told)
def test_a_subject_caption_is_a_clean_sentence(f: SubjectFacts, variant: int, t: Told) -> None:
    sentence = subject_caption(f, variant, t)
    assert_well_formed(sentence)
    assert "a horse" in sentence


@given(facts, variants)
def test_a_complete_caption_tells_every_fact(f: SubjectFacts, variant: int) -> None:
    sentence = subject_caption(f, variant)
    assert f"{GROUNDS[f.ground].phrase} background" in sentence
    assert f.verb in sentence
    if f.motion != "still":
        assert any(phrase in sentence for phrase in MOTIONS[f.motion].phrases)
    if f.style != "animation":
        assert f.style in sentence.replace("3d render", "render")


@given(facts, variants)
def test_what_is_not_told_is_not_said(f: SubjectFacts, variant: int) -> None:
    sentence = subject_caption(f, variant, Told(verb=False, ground=False, motion=False))
    assert "background" not in sentence
    assert "galloping" not in sentence
    for motion in MOTIONS.values():
        assert not any(phrase in sentence for phrase in motion.phrases)


@given(facts, variants)
def test_equal_arguments_give_equal_sentences(f: SubjectFacts, variant: int) -> None:
    assert subject_caption(f, variant) == subject_caption(f, variant)


def test_the_same_facts_are_said_in_many_ways() -> None:
    f = SubjectFacts(
        noun="a horse", verb="galloping", style="flat", ground="blue", motion="left to right"
    )
    assert len({subject_caption(f, variant) for variant in range(3000)}) > 30


@given(variants, st.sampled_from(list(WORD_MOTIONS)), told)
def test_a_word_caption_quotes_the_word_and_names_the_colour(
    variant: int, motion: str, t: Told
) -> None:
    sentence = word_caption("HELLO", "red", motion, "blue", variant, t)
    assert_well_formed(sentence)
    assert '"HELLO"' in sentence
    assert "in red letters" in sentence
    assert ("background" in sentence) == t.ground
    if t.motion and motion != "still":
        assert any(phrase in sentence for phrase in WORD_MOTIONS[motion])


@given(variants)
def test_left_and_right_are_never_swapped(variant: int) -> None:
    sentence = pair_caption("a dog", "a cat", "left of", "green", variant)
    assert_well_formed(sentence)
    assert re.search(
        "a dog to the left of a cat|a cat to the right of a dog|"
        "a dog on the left and a cat on the right",
        sentence,
    )


@given(variants)
def test_above_and_below_are_never_swapped(variant: int) -> None:
    sentence = pair_caption("a dog", "a cat", "above", "green", variant)
    assert_well_formed(sentence)
    assert re.search(
        "a dog above a cat|a cat below a dog|a dog at the top and a cat at the bottom", sentence
    )


@pytest.mark.parametrize("style", list(STYLES))
def test_every_style_has_its_own_words(style: str) -> None:
    others = {phrase for name, phrases in STYLES.items() if name != style for phrase in phrases}
    assert not others & set(STYLES[style])
