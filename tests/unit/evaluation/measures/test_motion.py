from __future__ import annotations

import numpy as np
import pytest

from imagen_video.corpus.motions import MOTIONS
from imagen_video.evaluation.measures.motion import classify_motion, motion_scores
from unit.evaluation.conftest import TIMES, rectangle_clip


@pytest.mark.parametrize("motion", MOTIONS)
def test_every_motion_is_recognised(motion: str, some_ground: str) -> None:
    assert classify_motion(rectangle_clip(motion, some_ground), TIMES) == motion


@pytest.mark.parametrize(
    ("motion", "reversed_motion"),
    [
        ("left to right", "right to left"),
        ("rises", "falls"),
        ("zooms in", "zooms out"),
    ],
)
def test_a_clip_played_backwards_moves_the_other_way(motion: str, reversed_motion: str) -> None:
    clip = rectangle_clip(motion)
    assert classify_motion(clip[::-1], TIMES) == reversed_motion
    assert motion_scores(clip, TIMES)[motion] == pytest.approx(1, abs=0.15)


def test_turning_anticlockwise_is_not_spinning() -> None:
    # mirrored, a clockwise turn runs the other way; 45 degrees a frame leave no ambiguity
    assert classify_motion(rectangle_clip("spins")[:, :, ::-1], TIMES) != "spins"


def test_shuffled_frames_do_not_move_in_any_direction() -> None:
    order = np.random.default_rng(3).permutation(len(TIMES))
    clip = rectangle_clip("left to right")[order]
    assert classify_motion(clip, TIMES) not in ("left to right", "right to left")


def test_nothing_on_the_ground_has_no_motion() -> None:
    empty = np.full((16, 24, 40, 3), (36, 72, 208), dtype=np.uint8)
    assert classify_motion(empty, TIMES) == ""
    assert motion_scores(empty, TIMES) == {}


def test_a_large_frame_is_judged_as_the_small_one() -> None:
    large = rectangle_clip("sways", height=192)
    assert classify_motion(large, TIMES) == "sways"
