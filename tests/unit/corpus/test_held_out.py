from __future__ import annotations

from itertools import product

import pytest

from imagen_video.corpus.captions import STYLES
from imagen_video.corpus.grounds import GROUNDS
from imagen_video.corpus.held_out import (
    HELD_OUT_RATES,
    beside,
    held_out_pairs,
    is_held_out,
)
from imagen_video.corpus.motions import MOTIONS
from imagen_video.corpus.subjects import read_subjects


def test_the_choice_is_fixed_for_all_time() -> None:
    # These literals are the contract: published numbers are measured on exactly these pairs.
    held = [ground for ground in GROUNDS if is_held_out(("ground", "horse", ground))]
    assert held == ["yellow", "pink to orange gradient"]
    assert [m for m in MOTIONS if is_held_out(("motion", "dog", m))] == ["falls"]
    assert [s for s in STYLES if is_held_out(("style", "canoe", s))] == ["flat"]


@pytest.mark.parametrize(
    ("relation", "values"),
    [("ground", list(GROUNDS)), ("motion", list(MOTIONS)), ("style", list(STYLES))],
)
def test_about_the_stated_share_is_held_out(relation: str, values: list[str]) -> None:
    families = [f"family {number}" for number in range(1500)]
    usable = [value for value in values if value not in ("still", "animation")]
    held = [is_held_out((relation, *pair)) for pair in product(families, usable)]
    assert sum(held) / len(held) == pytest.approx(HELD_OUT_RATES[relation], abs=0.01)


def test_what_a_plain_prompt_implies_is_never_held_out() -> None:
    for family in (subject.family for subject in read_subjects()):
        assert not is_held_out(("style", family, "animation"))
        assert not is_held_out(("motion", family, "still"))


def test_most_real_subjects_keep_most_grounds_and_every_ground_most_subjects() -> None:
    families = sorted({subject.family for subject in read_subjects()})
    for family in families:
        assert sum(is_held_out(("ground", family, ground)) for ground in GROUNDS) <= 6
    for ground in GROUNDS:
        held = sum(is_held_out(("ground", family, ground)) for family in families)
        assert 0 < held < 0.2 * len(families), ground


def test_two_things_side_by_side_are_one_pair_whichever_way_round() -> None:
    assert beside("dog", "cat") == beside("cat", "dog") == ("beside", "cat", "dog")


def test_only_the_held_out_ones_are_listed() -> None:
    pairs = tuple(("ground", "horse", ground) for ground in GROUNDS)
    assert set(held_out_pairs(pairs)) == {pair for pair in pairs if is_held_out(pair)}
