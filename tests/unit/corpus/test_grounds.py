from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.corpus.grounds import GROUNDS, MAX_TONE_SHIFT, draw_ground

PLAIN = [name for name, ground in GROUNDS.items() if ground.direction == "plain"]


def full(name: str, height: int, width: int, tone: float = 1.0) -> np.ndarray:
    return draw_ground(name, tone, (height, width), (0, 0, height, width))


def test_there_are_enough_plain_colours_and_gradients() -> None:
    assert len(PLAIN) >= 8
    assert len(GROUNDS) - len(PLAIN) >= 4


@pytest.mark.parametrize(("one", "other"), list(combinations(PLAIN, 2)))
def test_two_plain_colours_stay_apart_under_any_change_of_tone(one: str, other: str) -> None:
    first, second = np.array(GROUNDS[one].stops[0]), np.array(GROUNDS[other].stops[0])
    # Even if each tone shifts fully towards the other colour.
    reach = MAX_TONE_SHIFT * (np.linalg.norm(first) + np.linalg.norm(second))
    assert np.linalg.norm(first - second) > reach


@given(
    st.sampled_from(list(GROUNDS)),
    st.tuples(st.integers(0, 20), st.integers(0, 30), st.integers(1, 4), st.integers(1, 10)),
)
def test_a_crop_equals_that_region_of_the_full_ground(
    name: str, crop: tuple[int, int, int, int]
) -> None:
    top, left, rows, columns = crop
    whole = full(name, 24, 40)
    part = draw_ground(name, 1.0, (24, 40), crop)
    assert np.array_equal(part, whole[top : top + rows, left : left + columns])


@pytest.mark.parametrize("name", list(GROUNDS))
def test_a_large_ground_averages_to_the_small_one(name: str) -> None:
    large = full(name, 96, 160).reshape(24, 4, 40, 4, 3).mean(axis=(1, 3))
    assert np.abs(large - full(name, 24, 40)).max() < 3  # gradients bend at their stops


def test_a_gradient_runs_in_its_direction() -> None:
    sunset, purple = full("sunset gradient", 24, 40), full("blue to purple gradient", 24, 40)
    assert np.ptp(sunset, axis=0).max() > 100
    assert np.ptp(sunset, axis=1).max() == 0
    assert np.ptp(purple, axis=1).max() > 100
    assert np.ptp(purple, axis=0).max() == 0
    assert purple[0, 0, 0] < purple[0, -1, 0]  # red grows from blue to purple


def test_tone_brightens_without_leaving_the_range() -> None:
    assert full("white", 2, 2, tone=1.06).max() == 255
    assert full("blue", 2, 2, tone=1.06).sum() > full("blue", 2, 2).sum()
