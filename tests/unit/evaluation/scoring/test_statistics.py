from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from imagen_video.errors import InputError
from imagen_video.evaluation.features.frechet import Moments, frechet_distance
from imagen_video.evaluation.scoring.statistics import (
    GROUPS,
    SetStatistics,
    mean_estimate,
    mean_of_means,
)


def clips(count: int, each: int = 3, width: int = 4, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(each, width, generator=generator) + seed for _ in range(count)]


def statistics(some: list[torch.Tensor], order: list[int] | None = None) -> SetStatistics:
    found = SetStatistics()
    for number in order or range(len(some)):
        found.add(number, some[number])
    return found


def test_a_mean_has_the_standard_error_of_independent_values() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    found = mean_estimate(values)
    assert found.value == pytest.approx(0.6)
    assert found.error == pytest.approx(np.std(values, ddof=1) / math.sqrt(5))
    assert found.count == 5
    assert mean_estimate([2.0]).error is None


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_no_mean_is_made_of_nothing_or_of_nan(values: list[float]) -> None:
    with pytest.raises(InputError, match="finite"):
        mean_estimate(values)


def test_a_mean_of_means_weighs_groups_alike_whatever_their_sizes() -> None:
    large, small = mean_estimate([1.0] * 30 + [0.0] * 10), mean_estimate([0.0, 1.0, 0.0, 0.0])
    found = mean_of_means([large, small])
    assert found.value == pytest.approx(0.5)
    assert large.error is not None
    assert small.error is not None
    assert found.error == pytest.approx(math.hypot(large.error, small.error) / 2)
    assert found.count == 44
    # of one clip nobody knows how it varies, so nor of the whole
    assert mean_of_means([large, mean_estimate([1.0])]).error is None
    with pytest.raises(InputError, match="at least one"):
        mean_of_means([])


def test_streamed_statistics_of_a_set_equal_those_in_memory() -> None:
    some = clips(23)
    whole = torch.cat(some)
    moments = statistics(some).moments()
    torch.testing.assert_close(moments.mean, whole.double().mean(0))
    torch.testing.assert_close(moments.covariance, torch.cov(whole.double().T))


def test_neither_order_nor_parts_change_a_distance_or_its_error() -> None:
    some, real = clips(40), Moments().add(torch.cat(clips(50, seed=1)))
    mixed = torch.randperm(40, generator=torch.Generator().manual_seed(2)).tolist()
    one, other = statistics(some).distance_to(real), statistics(some, mixed).distance_to(real)
    assert one.value == pytest.approx(other.value, rel=1e-10)
    assert one.error == pytest.approx(other.error, rel=1e-8)
    assert one.count == 40


def test_the_jackknife_agrees_with_the_spread_over_fresh_sets() -> None:
    real = Moments().add(torch.cat(clips(4000, each=1, seed=1)))
    values, errors = [], []
    for seed in range(30):
        generator = torch.Generator().manual_seed(100 + seed)
        some = [torch.randn(1, 4, generator=generator) for _ in range(60)]
        found = statistics(some).distance_to(real)
        assert found.error is not None
        values.append(found.value)
        errors.append(found.error)
    # 30 sets tell a spread to about 13 %, a jackknife of ten groups to about 25 %
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.4)


def test_too_few_clips_give_a_distance_without_error_or_none_at_all() -> None:
    real = Moments().add(torch.cat(clips(50, seed=1)))
    assert statistics(clips(2 * GROUPS - 1)).distance_to(real).error is None
    with pytest.raises(InputError, match="more than 4"):
        statistics(clips(1)).distance_to(real)


def test_a_clip_counts_once_and_features_do_not_mix() -> None:
    found = statistics(clips(3))
    with pytest.raises(InputError, match="twice"):
        found.add(1, clips(1)[0])
    found.add(13, torch.zeros(2, 4))
    with pytest.raises(InputError, match="width"):
        found.add(10, torch.zeros(2, 7))  # same group as clip 0


def test_merged_moments_leave_their_parts_alone() -> None:
    one, other = (Moments().add(c) for c in clips(2, each=9))
    before = frechet_distance(one, other)
    Moments().merge(one).merge(other)
    assert frechet_distance(one, other) == before
