"""Guidance: combination, number of calls, weight schedules."""

from __future__ import annotations

import math

import pytest
import torch

from imagen_video.diffusion.guidance import (
    GUIDANCE_SCHEDULES,
    ConstantGuidance,
    OscillatingGuidance,
    combine,
    guided_prediction,
)
from imagen_video.errors import InputError

SHAPE = (3, 2, 3, 4, 5)


class Recorder:
    """A predictor whose output depends on z, level and condition, and that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[torch.Tensor] = []

    def __call__(
        self, z: torch.Tensor, logsnr: torch.Tensor, conditional: torch.Tensor
    ) -> torch.Tensor:
        self.calls.append(conditional)
        rows = torch.sin(3 * z) + 0.1 * logsnr.reshape(-1, 1, 1, 1, 1)
        return torch.where(conditional.reshape(-1, 1, 1, 1, 1), rows.cos(), rows.exp())


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    return z, torch.tensor([-1.0, 0.0, 2.0])


def test_guidance_weight_zero_is_the_conditional_output_bit_for_bit() -> None:
    z, logsnr = inputs()
    predict = Recorder()
    alone = predict(z, logsnr, torch.ones(3, dtype=torch.bool))
    assert torch.equal(guided_prediction(predict, 0.0)(z, logsnr), alone)
    assert [call.tolist() for call in predict.calls[1:]] == [[True] * 3]


def test_guidance_takes_one_batched_call_conditional_rows_first() -> None:
    z, logsnr = inputs()
    predict = Recorder()
    guided = guided_prediction(predict, 2.5)(z, logsnr)
    assert [call.tolist() for call in predict.calls] == [[True] * 3 + [False] * 3]
    cond = predict(z, logsnr, torch.ones(3, dtype=torch.bool))
    uncond = predict(z, logsnr, torch.zeros(3, dtype=torch.bool))
    torch.testing.assert_close(guided, 3.5 * cond - 2.5 * uncond)


def test_guidance_is_not_silently_off() -> None:
    z, logsnr = inputs()
    outputs = [guided_prediction(Recorder(), w)(z, logsnr) for w in (0.0, 1.0, 2.0)]
    assert (outputs[0] - outputs[1]).abs().max() > 0.1
    torch.testing.assert_close(outputs[2] - outputs[1], outputs[1] - outputs[0])


def test_levels_per_frame_are_doubled_with_the_batch() -> None:
    z, _ = inputs()
    logsnr = torch.arange(6.0).reshape(3, 2)
    seen = []

    def predict(z: torch.Tensor, logsnr: torch.Tensor, conditional: torch.Tensor) -> torch.Tensor:
        seen.append(logsnr)
        return z

    guided_prediction(predict, 1.0)(z, logsnr)
    assert torch.equal(seen[0], torch.cat([logsnr, logsnr]))


def test_a_weight_per_example_equals_a_number_for_each() -> None:
    z, logsnr = inputs()
    weights = torch.tensor([0.0, 1.5, 15.0])
    guided = guided_prediction(Recorder(), weights)(z, logsnr)
    for i, weight in enumerate(weights.tolist()):
        alone = guided_prediction(Recorder(), weight)(z[i : i + 1], logsnr[i : i + 1])
        torch.testing.assert_close(guided[i], alone[0])


def test_equal_predictions_are_not_moved_by_any_weight() -> None:
    z, _ = inputs()
    assert torch.equal(combine(z, z.clone(), 15.0), z)


def test_oscillation_is_high_first_then_low_and_high_in_turn() -> None:
    schedule = OscillatingGuidance()
    weights = [schedule.weight(i, 20) for i in range(20)]
    assert weights == [15.0, 15.0] + [1.0, 15.0] * 9


def test_the_initial_phase_is_a_tenth_of_the_steps_rounded_up() -> None:
    schedule = OscillatingGuidance(high=2.0, low=1.0)
    for num_steps in range(1, 300):
        weights = [schedule.weight(i, num_steps) for i in range(num_steps)]
        initial = -(-num_steps // 10)
        assert weights[:initial] == [2.0] * initial
        assert weights[initial:] == ([1.0, 2.0] * num_steps)[: num_steps - initial]


def test_rounding_of_the_fraction_adds_no_initial_step() -> None:
    schedule = OscillatingGuidance(initial_fraction=0.07)
    assert 0.07 * 100 > 7  # in binary
    assert [schedule.weight(i, 100) for i in (6, 7)] == [15.0, 1.0]


def test_a_fraction_of_one_never_oscillates_and_zero_starts_low() -> None:
    assert {OscillatingGuidance(initial_fraction=1.0).weight(i, 9) for i in range(9)} == {15.0}
    assert OscillatingGuidance(initial_fraction=0.0).weight(0, 9) == 1.0


def test_constant_guidance_is_constant() -> None:
    assert {ConstantGuidance(6.0).weight(i, 5) for i in range(5)} == {6.0}
    assert ConstantGuidance().weight(0, 1) == 0.0
    assert set(GUIDANCE_SCHEDULES) == {"constant", "oscillating"}


@pytest.mark.parametrize("schedule", [ConstantGuidance(1.0), OscillatingGuidance()])
@pytest.mark.parametrize(("step", "num_steps"), [(-1, 5), (5, 5), (0, 0)])
def test_steps_out_of_range_are_refused(
    schedule: ConstantGuidance | OscillatingGuidance, step: int, num_steps: int
) -> None:
    with pytest.raises(InputError, match="guidance step"):
        schedule.weight(step, num_steps)


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(weight: float) -> None:
    with pytest.raises(InputError, match="finite"):
        ConstantGuidance(weight)
    with pytest.raises(InputError, match="finite"):
        OscillatingGuidance(low=weight)
    with pytest.raises(InputError, match="finite"):
        guided_prediction(Recorder(), weight)


def test_a_fraction_given_in_percent_is_refused() -> None:
    with pytest.raises(InputError, match="initial_fraction"):
        OscillatingGuidance(initial_fraction=10.0)
