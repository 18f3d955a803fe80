from __future__ import annotations

import pytest
import torch

from imagen_video.evaluation.measures.baselines import (
    baselines,
    frame_repeat,
    gradient_energy,
    linear_blend,
    step_energy,
)


def ramp(frames: int) -> torch.Tensor:
    return torch.arange(frames, dtype=torch.float32).view(1, frames, 1, 1, 1).expand(1, -1, 3, 4, 4)


def test_repeat_and_blend_keep_the_given_frames_in_place() -> None:
    video = ramp(3)
    assert torch.equal(frame_repeat(video, 2)[:, ::2], video)
    assert torch.equal(linear_blend(video, 4)[:, ::4], video)


def test_a_linear_motion_is_blended_exactly_and_its_end_is_held() -> None:
    blended = linear_blend(ramp(3), 2)[0, :, 0, 0, 0]
    assert blended.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]


def test_the_baselines_have_the_stages_output_shape() -> None:
    space = baselines(ramp(4), 4, 8, 8)
    time = baselines(ramp(4), 8, 4, 4)
    assert {name: tuple(v.shape) for name, v in space.items()} == {"bilinear": (1, 4, 3, 8, 8)}
    assert list(time) == ["frame repeat", "linear blend"]
    assert {tuple(v.shape) for v in time.values()} == {(1, 8, 3, 4, 4)}


def test_blur_lowers_the_gradient_energy_and_contrast_squares_it() -> None:
    video = torch.randn(1, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    blurred = (video + video.roll(1, -1)) / 2
    assert gradient_energy(blurred) < 0.8 * gradient_energy(video)
    assert gradient_energy(2 * video) == pytest.approx(4 * gradient_energy(video), rel=1e-5)


def test_a_ramp_has_the_gradient_energy_of_its_slope() -> None:
    slope = torch.arange(8.0).expand(1, 1, 3, 8, 8) * 0.5
    assert gradient_energy(slope) == pytest.approx(0.25)


def test_the_step_energy_is_that_of_the_change_between_frames() -> None:
    assert step_energy(ramp(4)) == pytest.approx(1.0)
    assert step_energy(ramp(1)) == 0.0
