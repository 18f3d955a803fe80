from __future__ import annotations

import numpy as np
import pytest

from imagen_video.evaluation.material.corruptions import CORRUPTIONS, STRENGTHS
from imagen_video.evaluation.measures import temporal
from unit.evaluation.conftest import rectangle_clip


@pytest.mark.parametrize("fault", CORRUPTIONS)
def test_every_fault_grows_with_its_strength_and_leaves_the_original_alone(fault: str) -> None:
    frames = rectangle_clip("left to right")
    before = frames.copy()
    apart = []
    for strength in STRENGTHS:
        spoiled = CORRUPTIONS[fault](frames, strength)
        assert spoiled.shape == frames.shape
        assert spoiled.dtype == np.uint8
        apart.append(float(np.abs(spoiled.astype(int) - frames).mean()))
    assert apart == sorted(apart)
    assert apart[0] > 0
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize(
    ("measure", "fault", "falls"),
    [
        ("detail", "blur", True),
        ("detail", "noise", False),
        ("flicker", "noise", False),
        ("warping_error", "noise", False),
        ("warping_error", "shuffle", False),
        ("movement", "freeze", True),
        ("colour_drift", "drift", False),
    ],
)
def test_a_measure_follows_the_fault_that_it_is_for(measure: str, fault: str, falls: bool) -> None:
    frames = rectangle_clip("left to right")
    spoiled = [frames, *(CORRUPTIONS[fault](frames, strength) for strength in STRENGTHS)]
    seen = [getattr(temporal, measure)(some) for some in spoiled]
    assert seen == sorted(seen, reverse=falls)
    assert abs(seen[-1] - seen[0]) > 0.5 * max(seen[0], seen[-1])


def test_shuffling_keeps_every_frame_and_freezing_all_keeps_one() -> None:
    frames = rectangle_clip("left to right")
    shuffled = CORRUPTIONS["shuffle"](frames, 4)
    assert sorted(f.tobytes() for f in shuffled) == sorted(f.tobytes() for f in frames)
    assert len({f.tobytes() for f in CORRUPTIONS["freeze"](frames, 4)}) == 1
