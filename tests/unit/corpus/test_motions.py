from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.corpus.motions import (
    ASPECT,
    CENTRE,
    MOTIONS,
    NUM_FRAMES,
    RHYTHMS,
    Place,
    Pose,
    Track,
    pose_at,
    track_for,
)

LAST = NUM_FRAMES - 1
BASE_FRAMES = range(0, NUM_FRAMES, 8)


def pose(motion: str, frame: float, size: float = 0.6) -> Pose:
    found = pose_at(track_for(motion, centre=CENTRE, size=size), frame)
    assert found is not None
    return found


def test_there_are_at_least_eight_motions_each_with_paraphrases() -> None:
    assert len(MOTIONS) >= 8
    for name, motion in MOTIONS.items():
        assert len(set(motion.phrases)) >= 2, name


def test_no_phrase_belongs_to_two_motions() -> None:
    phrases = [phrase for motion in MOTIONS.values() for phrase in motion.phrases]
    assert len(phrases) == len(set(phrases))


def test_staying_in_place_changes_nothing() -> None:
    assert pose("still", 0) == pose("still", 50) == pose("still", LAST)


@pytest.mark.parametrize(
    ("motion", "axis", "sign"),
    [
        ("left to right", "x", 1),
        ("right to left", "x", -1),
        ("rises", "y", -1),
        ("falls", "y", 1),
        ("zooms in", "size", 1),
        ("zooms out", "size", -1),
    ],
)
def test_a_way_runs_steadily_in_its_direction(motion: str, axis: str, sign: int) -> None:
    values = [getattr(pose(motion, frame), axis) for frame in BASE_FRAMES]
    steps = [sign * (after - before) for before, after in itertools.pairwise(values)]
    assert min(steps) > 0
    assert max(steps) - min(steps) < 1e-9
    for other in {"x", "y", "size"} - {axis}:
        assert getattr(pose(motion, 0), other) == pytest.approx(getattr(pose(motion, LAST), other))


@pytest.mark.parametrize("motion", ["left to right", "right to left", "rises", "falls"])
def test_a_way_is_long_enough_to_be_seen(motion: str) -> None:
    start, end = pose(motion, 0), pose(motion, LAST)
    assert math.hypot(end.x - start.x, end.y - start.y) > 0.5


@pytest.mark.parametrize("motion", list(MOTIONS))
def test_the_largest_content_stays_almost_within_the_frame(motion: str) -> None:
    half = MOTIONS[motion].largest / 2
    for frame in range(NUM_FRAMES):
        at = pose(motion, frame, size=2 * half)
        factor = at.size / (2 * half)
        assert half * factor - at.x < 0.12
        assert at.x + half * factor - ASPECT < 0.12
        assert half * factor - at.y < 0.12
        assert at.y + half * factor - 1 < 0.12


def test_spinning_turns_fully_and_the_other_way_is_not_mistaken() -> None:
    degrees = [pose("spins", frame).degrees for frame in BASE_FRAMES]
    assert degrees[-1] - degrees[0] > 360
    assert all(0 < b - a < 90 for a, b in itertools.pairwise(degrees))


def test_bouncing_leaves_the_floor_and_returns_to_it() -> None:
    heights = [pose("bounces", frame).y for frame in range(NUM_FRAMES)]
    assert heights[0] == max(heights)
    assert max(heights) - min(heights) > 0.3
    assert heights[42] == pytest.approx(heights[0])


@pytest.mark.parametrize("rhythm", list(RHYTHMS))
def test_the_base_frames_are_fine_enough_for_every_rhythm(rhythm: str) -> None:
    track = Track(start=Place(x=0, y=0, size=1), end=Place(x=0, y=0, size=1), rhythm=rhythm)
    poses = [pose_at(track, frame) for frame in BASE_FRAMES]
    assert len({(round(at.y, 3), round(at.degrees % 360, 2)) for at in poses if at}) >= 4


@given(st.floats(-500, 500))
def test_the_ends_hold_outside_the_frames(frame: float) -> None:
    track = track_for("left to right", centre=CENTRE, size=0.5)
    at = pose_at(track, frame)
    if frame < 0:
        assert at is None
    else:
        assert at is not None
        assert track.start.x <= at.x <= track.end.x + 1e-12


def test_a_layer_is_invisible_until_it_appears() -> None:
    place = Place(x=0.5, y=0.5, size=0.2)
    track = Track(start=place, end=place, appears=6)
    assert pose_at(track, 5.9) is None
    assert pose_at(track, 6) is not None


def test_easing_is_slow_at_both_ends_and_exact_at_them() -> None:
    start, end = Place(x=0, y=0, size=1), Place(x=1, y=0, size=1)
    track = Track(start=start, end=end, begin=0, finish=100, eased=True)
    at = [pose_at(track, frame) for frame in (0, 1, 50, 99, 100)]
    x = [pose.x for pose in at if pose]
    assert x[0] == 0
    assert x[1] < 0.001
    assert x[2] == 0.5
    assert x[3] > 0.999
    assert x[4] == 1
