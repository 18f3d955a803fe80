"""Time sampling and weighted errors on known values."""

from __future__ import annotations

import math

import pytest
import torch

from imagen_video.diffusion.loss import (
    LOSS_WEIGHTS,
    LossKind,
    gather_times,
    mean_loss,
    stratified_times,
    weighted_error,
)
from imagen_video.diffusion.schedule import LOGSNR_MAX, LOGSNR_MIN
from imagen_video.errors import InputError

SHAPE = (2, 3, 4, 5, 6)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def errors_of_one_two_three() -> tuple[torch.Tensor, torch.Tensor]:
    """Return a target and a prediction that is off by 1, 2, 3 in the three frames."""
    v = torch.randn(SHAPE, generator=generator(1), dtype=torch.float64)
    offsets = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).reshape(1, 3, 1, 1, 1)
    return v, v + offsets


def test_the_v_error_is_a_plain_mean_square_per_example() -> None:
    v, v_hat = errors_of_one_two_three()
    loss = weighted_error("v", v_hat, v, torch.tensor([-3.0, 9.0]))
    torch.testing.assert_close(loss, torch.full((2,), 14 / 3, dtype=torch.float64))


def test_levels_per_frame_give_errors_per_frame() -> None:
    v, v_hat = errors_of_one_two_three()
    logsnr = torch.log(torch.tensor([[1.0, 3.0, 1 / 3]])).expand(2, 3)  # alpha^2 1/2, 3/4, 1/4
    expected = torch.tensor([[0.5, 3.0, 2.25]]).double().expand(2, 3)
    torch.testing.assert_close(weighted_error("eps", v_hat, v, logsnr), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", sorted(LOSS_WEIGHTS))
def test_ignored_frames_do_not_count(kind: LossKind) -> None:
    v, v_hat = errors_of_one_two_three()
    logsnr = torch.tensor([1.0, -1.0])
    mask = torch.tensor([[True, False, True], [False, False, False]])
    loss = weighted_error(kind, v_hat, v, logsnr, mask)
    weight = LOSS_WEIGHTS[kind](logsnr[0].double()).item()
    assert loss[0].item() == pytest.approx(5 * weight, rel=1e-6)
    assert loss[1].item() == 0.0
    per_frame = weighted_error(kind, v_hat, v, logsnr.unsqueeze(1).expand(2, 3), mask)
    assert per_frame[0, 1].item() == 0.0
    assert per_frame[0, 2].item() == pytest.approx(9 * weight, rel=1e-6)


def test_the_mean_runs_over_what_counts() -> None:
    v, v_hat = errors_of_one_two_three()
    mask = torch.tensor([[True, False, True], [False, False, False]])
    per_example = weighted_error("v", v_hat, v, torch.zeros(2), mask)
    per_frame = weighted_error("v", v_hat, v, torch.zeros(2, 3), mask)
    assert mean_loss(per_example, mask).item() == pytest.approx(5.0)
    assert mean_loss(per_frame, mask).item() == pytest.approx(5.0)
    assert mean_loss(per_frame).item() == pytest.approx(10 / 6)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    assert mean_loss(weighted_error("v", v_hat, v, torch.zeros(2), nothing), nothing).item() == 0.0


@pytest.mark.parametrize("kind", sorted(LOSS_WEIGHTS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_losses_and_gradients_are_finite_at_both_ends_of_time(
    kind: LossKind, dtype: torch.dtype
) -> None:
    v_hat = torch.randn(SHAPE, generator=generator(2)).to(dtype).requires_grad_()
    logsnr = torch.tensor([LOGSNR_MIN, LOGSNR_MAX])
    loss = weighted_error(kind, v_hat, torch.zeros(SHAPE), logsnr)
    assert loss.isfinite().all()
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    loss.sum().backward()
    assert v_hat.grad is not None
    assert v_hat.grad.isfinite().all()


def test_only_the_papers_loss_forgets_the_noisiest_time() -> None:
    noisiest = torch.tensor(LOGSNR_MIN, dtype=torch.float64)
    weights = {kind: weight(noisiest).item() for kind, weight in LOSS_WEIGHTS.items()}
    assert weights["eps"] < 1e-8
    assert weights["v"] == 1.0
    assert weights["snr_trunc"] == pytest.approx(1.0)


def test_an_unknown_loss_is_refused(unchecked: None) -> None:
    v = torch.zeros(SHAPE)
    with pytest.raises(InputError, match="huber"):
        weighted_error("huber", v, v, torch.zeros(2))  # pyright: ignore[reportArgumentType]


def test_times_repeat_with_the_generator_and_come_in_random_order() -> None:
    times = stratified_times(64, generator(3))
    assert torch.equal(times, stratified_times(64, generator(3)))
    assert not torch.equal(times, stratified_times(64, generator(4)))
    assert times.dtype == torch.float32
    steps = times.diff()
    # A batch of images then clips must not split the time axis between the two kinds.
    assert (times[:32] < 0.5).sum() in range(8, 25)
    assert (steps > 0).any()
    assert (steps < 0).any()


def test_each_time_alone_is_uniform() -> None:
    g = generator(5)
    first = torch.stack([stratified_times(4, g)[0] for _ in range(4000)])
    counts = torch.histc(first, bins=10, min=0, max=1)
    # Binomial(4000, 0.1): standard deviation 19; five of them.
    assert (counts - 400).abs().max() < 95


def test_frames_get_times_of_their_own() -> None:
    times = stratified_times(3, generator(6), frames=5)
    assert times.shape == (3, 5)
    gaps = times.flatten().sort().values.diff()
    torch.testing.assert_close(gaps, torch.full((14,), 1 / 15), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(-0.1, 1.0), (0.5, 0.4), (0.0, 1.1)])
def test_an_impossible_time_range_is_refused(low: float, high: float) -> None:
    with pytest.raises(InputError, match="time range"):
        stratified_times(4, generator(), low=low, high=high)


def test_no_share_leaves_times_as_they_are() -> None:
    times = stratified_times(8, generator(7))
    assert gather_times(times, 0.0, 0.56) is times


@pytest.mark.parametrize("around", [0.56, 0.92])
@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_gathered_times_have_the_density_that_is_promised(share: float, around: float) -> None:
    # Midpoints of n strata stand for the whole uniform law: what comes out is its quantiles.
    n = 20_000
    times = gather_times((torch.arange(n, dtype=torch.float64) + 0.5) / n, share, around)
    assert times.min() > 0.0
    assert times.max() < 1.0
    middle = math.log(around / (1 - around))
    logit_normal = torch.distributions.Normal(middle, 1.0).cdf
    for t in (0.02, 0.2, 0.5, 0.562, 0.65, 0.9, 0.98):
        expected = share * logit_normal(torch.logit(torch.tensor(t).double())) + (1 - share) * t
        assert abs((times < t).double().mean() - expected) < 2 / n


def test_gathered_times_keep_their_strata_and_type() -> None:
    times = stratified_times(16, generator(8), frames=3)
    gathered = gather_times(times, 0.5, 0.56)
    assert gathered.shape == times.shape
    assert gathered.dtype == times.dtype
    # 24 of the 48 strata lie below the share: exactly as many become logit-normal, in order.
    flat, moved = times.flatten().sort().values, gathered.flatten()[times.flatten().argsort()]
    assert (moved[:24].diff() > 0).all()
    torch.testing.assert_close(moved[24:], (flat[24:] - 0.5) * 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize("end", [0.0, 1.0])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_ends_of_time_stay_inside_it(end: float, share: float) -> None:
    gathered = gather_times(torch.tensor([end]), share, 0.56)
    assert torch.isfinite(gathered).all()
    assert 0.0 <= gathered.item() <= 1.0
