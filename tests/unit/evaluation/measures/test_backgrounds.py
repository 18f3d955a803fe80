from __future__ import annotations

import numpy as np
import pytest

from imagen_video.corpus.grounds import GROUNDS, draw_ground
from imagen_video.evaluation.measures.backgrounds import (
    border,
    foreground,
    ground_distances,
    nearest_ground,
)


def clip_of(ground: str, tone: float = 1.0, height: int = 24, width: int = 40) -> np.ndarray:
    return draw_ground(ground, tone, (height, width), (0, 0, height, width))[None].repeat(4, 0)


@pytest.mark.parametrize("tone", [0.94, 1.0, 1.06])
@pytest.mark.parametrize("ground", GROUNDS)
def test_every_ground_is_recognised_in_every_tone(ground: str, tone: float) -> None:
    assert nearest_ground(clip_of(ground, tone)) == ground


@pytest.mark.parametrize("ground", ["white", "ocean gradient", "pink to orange gradient"])
def test_a_subject_over_two_sides_of_the_border_does_not_hide_the_ground(ground: str) -> None:
    clip = clip_of(ground, height=48, width=80)
    clip[:, :30, :50] = (90, 200, 10)
    assert nearest_ground(clip) == ground


def test_noise_does_not_change_the_ground() -> None:
    noise = np.random.default_rng(0).normal(0, 12, (4, 24, 40, 3))
    noisy = np.clip(clip_of("blue") + noise, 0, 255).astype(np.uint8)
    assert nearest_ground(noisy) == "blue"
    assert ground_distances(noisy)["blue"] > 0


def test_a_flat_picture_of_a_gradients_middle_colour_is_not_that_gradient() -> None:
    middle = np.array([24, 130, 190], dtype=np.uint8)
    assert nearest_ground(np.full((2, 24, 40, 3), middle)) != "ocean gradient"


def test_the_border_is_thin_and_closed() -> None:
    mask = border(48, 80)
    assert mask[:3].all()
    assert mask[:, -3:].all()
    assert not mask[3:-3, 3:-3].any()


def test_the_foreground_is_the_rectangle_also_on_a_shifted_ground() -> None:
    clip = np.clip(clip_of("ocean gradient").astype(int) + 12, 0, 255).astype(np.uint8)
    clip[:, 8:16, 10:20] = (250, 20, 20)
    cover = foreground(clip) > 0
    assert cover[:, 8:16, 10:20].all()
    assert cover.sum() == 4 * 8 * 10
