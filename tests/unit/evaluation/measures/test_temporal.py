from __future__ import annotations

import numpy as np
import pytest

from imagen_video.evaluation.material.clips import Clip
from imagen_video.evaluation.measures import temporal
from imagen_video.evaluation.scoring.judge import time_scores


def still(frames: int = 6, height: int = 24, width: int = 40) -> np.ndarray:
    one = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    return np.repeat(one, frames, 0)


def sliding(frames: int = 6, step: int = 2) -> np.ndarray:
    wide = still(1, 24, 80)[0]
    return np.stack([wide[:, i * step : i * step + 40] for i in range(frames)])


def test_a_clip_at_rest_has_no_flicker_drift_movement_or_warping_error() -> None:
    frames = still()
    for measure in ("flicker", "colour_drift", "movement", "warping_error"):
        assert getattr(temporal, measure)(frames) == 0


def test_flicker_is_the_second_difference_in_levels() -> None:
    frames = np.full((6, 24, 40, 3), 100, np.uint8)
    frames[1::2] += 10
    assert temporal.flicker(frames) == pytest.approx(20, rel=1e-5)
    steady = np.full((6, 24, 40, 3), 100, np.uint8)
    steady += np.arange(6, dtype=np.uint8)[:, None, None, None] * 10
    assert temporal.flicker(steady) == pytest.approx(0, abs=1e-4)


def test_drift_is_the_distance_between_the_ends() -> None:
    frames = np.full((8, 24, 40, 3), 100, np.uint8)
    frames[-2:, ..., 0] += 30
    frames[-2:, ..., 1] += 40
    frames[:, 8:16, 10:30] = 0  # what is in the middle does not count
    assert temporal.colour_drift(frames) == pytest.approx(50)


def test_movement_is_the_mean_step() -> None:
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    frames[1] = 10
    assert temporal.movement(frames) == pytest.approx(10)


def test_warping_forgives_what_moves_and_not_what_jumps() -> None:
    frames = sliding()
    moved, jumped = (
        temporal.warping_error(frames),
        temporal.warping_error(frames[[0, 3, 1, 5, 2, 4]]),
    )
    assert (temporal.movement(frames) or 0) > 40
    # only what comes in at the edge is not explained by a move
    assert moved is not None
    assert jumped is not None
    assert moved < 0.2 * jumped


def test_warping_does_not_depend_on_how_many_frames_are_matched_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = sliding(9)
    whole = temporal.warping_error(frames)
    monkeypatch.setattr(temporal, "FRAMES_AT_ONCE", 3)
    assert temporal.warping_error(frames) == pytest.approx(whole, rel=1e-6)


def test_detail_is_lost_by_averaging_and_one_frame_is_enough() -> None:
    frames = still(1)
    smooth = (frames.astype(int) + np.roll(frames, 1, 1) + np.roll(frames, 1, 2)) // 3
    assert temporal.detail(smooth.astype(np.uint8)) < 0.7 * temporal.detail(frames)


def test_what_a_clip_is_too_short_for_is_not_measured() -> None:
    measures = (
        temporal.flicker,
        temporal.warping_error,
        temporal.colour_drift,
        temporal.movement,
    )
    assert [measure(still(1)) for measure in measures] == [None] * 4
    assert [measure(still(2)) for measure in measures] == [None, 0, 0, 0]
    assert set(time_scores(Clip(frames=still(1), times=(0,)))) == {"detail"}
    assert set(time_scores(Clip(frames=still(3), times=(0, 8, 16)))) >= {"flicker", "drift"}
