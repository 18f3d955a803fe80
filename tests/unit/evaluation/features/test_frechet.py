from __future__ import annotations

import numpy as np
import pytest
import torch

from imagen_video.errors import InputError
from imagen_video.evaluation.features.frechet import (
    Moments,
    Projection,
    frechet_distance,
    lite0_frechet_distance,
)


def vectors(count: int, width: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return torch.randn(count, width, generator=generator, dtype=torch.float64) @ mix + shift


def test_it_equals_the_formula_with_scipys_matrix_root() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    one, other = vectors(200, 8, 0), vectors(150, 8, 1, shift=0.5)
    covariances = [np.cov(v.numpy(), rowvar=False) for v in (one, other)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    shift = (one.mean(0) - other.mean(0)).numpy()
    expected = shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(Moments().add(one), Moments().add(other)) == pytest.approx(
        expected, rel=1e-9
    )


def test_diagonal_gaussians_have_a_closed_form() -> None:
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(300, 5, generator=generator, dtype=torch.float64)
    # whitened exactly, so that the covariance is the identity and not only nearly so
    sample = sample - sample.mean(0)
    covariance = sample.T @ sample / (len(sample) - 1)
    sample = torch.linalg.solve_triangular(
        torch.linalg.cholesky(covariance), sample.T, upper=False
    ).T
    scales = torch.tensor([0.5, 1.0, 2.0, 3.0, 0.1], dtype=torch.float64)
    moved = sample * scales + 2.0
    expected = 5 * 4.0 + float((scales - 1).square().sum())
    assert frechet_distance(Moments().add(sample), Moments().add(moved)) == pytest.approx(expected)


def test_a_set_has_no_distance_to_itself_and_order_does_not_matter() -> None:
    one, other = vectors(100, 6, 0), vectors(100, 6, 1)
    moments = [Moments().add(v) for v in (one, other)]
    assert frechet_distance(moments[0], moments[0]) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(*moments) == pytest.approx(frechet_distance(*moments[::-1]))


@pytest.mark.parametrize("sizes", [(1, 1, 98), (50, 50), (7, 93), (0, 100)])
def test_streamed_moments_equal_those_in_memory(sizes: tuple[int, ...]) -> None:
    values = vectors(100, 6, 2, shift=1e3)
    streamed = Moments()
    for part in values[torch.randperm(100, generator=torch.Generator().manual_seed(1))].split(
        list(sizes)
    ):
        streamed.add(part)
    whole = Moments().add(values)
    assert streamed.count == 100
    torch.testing.assert_close(streamed.mean, whole.mean)
    torch.testing.assert_close(streamed.covariance, torch.cov(values.T))
    torch.testing.assert_close(streamed.covariance, whole.covariance)


def test_the_projection_keeps_distances_inside_its_own_plane() -> None:
    plane, _ = torch.linalg.qr(vectors(20, 3, 4))
    inside = vectors(40, 3, 5) @ plane.T
    projected = Projection.fit(inside, 3).apply(inside)
    # the distance of a point to itself is the root of a rounding error
    torch.testing.assert_close(
        torch.cdist(projected, projected), torch.cdist(inside, inside), atol=1e-6, rtol=1e-6
    )


def test_a_blurred_set_is_nearer_than_a_foreign_one() -> None:
    real = vectors(80, 10, 0)
    near, far = real + 0.1 * vectors(80, 10, 3), vectors(80, 10, 3, shift=4)
    assert lite0_frechet_distance(real, near, 8) < lite0_frechet_distance(real, far, 8)


@pytest.mark.parametrize(("real", "made"), [(20, 80), (80, 20), (1, 80)])
def test_too_few_samples_are_refused(real: int, made: int) -> None:
    with pytest.raises(InputError, match="more"):
        lite0_frechet_distance(vectors(real, 40, 0), vectors(made, 40, 1), 30)


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        Moments().add(torch.full((2, 3), torch.nan))
