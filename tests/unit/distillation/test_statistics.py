from __future__ import annotations

import math

import numpy as np
import pytest

from imagen_video.distillation.statistics import (
    bootstrap,
    mean_over,
    mean_over_seeds,
    paired,
    t_quantile,
)


def test_the_mean_over_seeds_has_the_error_of_the_runs() -> None:
    found = mean_over_seeds([1.0, 3.0, 2.0, 4.0], [0, 0, 1, 1])
    assert found.value == 2.5
    assert found.error == pytest.approx(0.5)  # of 2 and 3
    one = mean_over_seeds([1.0, 3.0], [0, 0])
    assert one == mean_over([1.0, 3.0])
    assert one.error == pytest.approx(1.0)


def test_a_single_value_has_no_error_and_nothing_has_no_mean() -> None:
    assert math.isnan(mean_over([2.0]).error)
    assert mean_over([2.0]).value == 2.0
    assert math.isnan(mean_over([]).value)


@pytest.mark.parametrize(
    ("degrees", "exact"), [(3, 3.1824), (7, 2.3646), (15, 2.1314), (63, 1.9983), (1000, 1.9623)]
)
def test_students_quantile_is_that_of_the_tables(degrees: int, exact: float) -> None:
    assert t_quantile(degrees) == pytest.approx(exact, rel=0.01)


def test_a_paired_interval_forgets_what_all_cells_share() -> None:
    rng = np.random.default_rng(0)
    prompts = rng.normal(0, 10, 64)
    theirs = prompts + rng.normal(0, 0.1, 64)
    ours = prompts + 0.5 + rng.normal(0, 0.1, 64)
    found = paired(ours.tolist(), theirs.tolist())
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.15
    assert not found.contains_zero
    assert paired(theirs.tolist(), theirs.tolist()).contains_zero


def test_the_interval_covers_a_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        ours, theirs = rng.normal(0.3, 1, 8), rng.normal(0, 1, 8)
        found = paired(ours.tolist(), theirs.tolist())
        hits += found.low <= 0.3 <= found.high
    assert 0.91 <= hits / 300 <= 0.99


def test_the_bootstrap_agrees_with_the_formula_where_there_is_one() -> None:
    values = np.random.default_rng(2).normal(5, 2, 64)
    mean, interval = bootstrap(
        64, lambda index: float(values[index].mean()), value=float(values.mean()), resamples=2000
    )
    assert mean.error == pytest.approx(2 / 8, rel=0.2)
    assert interval.low < values.mean() < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * mean.error, rel=0.1)


def test_the_bootstrap_is_repeatable_and_centred_on_the_measure() -> None:
    values = np.arange(10.0)

    def biased(index: np.ndarray) -> float:
        return float(values[index].mean()) + 100 * (len(set(index.tolist())) < 10)

    first = bootstrap(10, biased, value=float(values.mean()))
    assert first == bootstrap(10, biased, value=float(values.mean()))
    assert first[0].value == 4.5
    assert first[1].low < 4.5 < first[1].high
