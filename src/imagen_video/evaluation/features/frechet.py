"""The Frechet distance between two sets of feature vectors, each seen as a Gaussian.

    d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2)

(Dowson and Landau 1982). With Lite0 features it is called "Lite0 Frechet distance": it is neither
FID nor FVD, and only numbers with the same features, dimensions and number of samples compare.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from imagen_video.errors import InputError

DIMENSIONS = 64
"""Principal components that are compared where there are enough samples."""
LEAST_PER_DIMENSION = 2
"""Vectors for each dimension that a reported distance needs. Two samples of the same N(0, I_400)
are 203 apart with 401 vectors each, 102 with 800: below this a distance speaks of the count."""


@dataclass
class Moments:
    """Mean and covariance of vectors that come one batch after another, in fp64.

    Batches are merged by the pairwise update of Chan, Golub and LeVeque (1979), so neither their
    order nor their sizes matter beyond rounding.
    """

    count: int = 0
    """Vectors seen."""
    mean: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    """Their mean, `(d,)`."""
    scatter: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.float64))
    """Sum of outer products about the mean, `(d, d)`."""

    def add(self, vectors: Float[Tensor, "n d"]) -> Moments:
        """Take in some vectors and return self.

        Raises:
            InputError: for values that are not finite, or another width than before.
        """
        if not bool(torch.isfinite(vectors).all()):
            raise InputError("features", "NaN or infinite", "finite values", "check the clip")
        if not len(vectors):
            return self
        values = vectors.to(torch.float64)
        mean = values.mean(0)
        return self.merge(Moments(len(values), mean, (values - mean).T @ (values - mean)))

    def merge(self, other: Moments) -> Moments:
        """Take in what another has seen and return self.

        Raises:
            InputError: if the other has seen vectors of another width.
        """
        if not other.count:
            return self
        if not self.count:
            self.count, self.mean, self.scatter = other.count, other.mean, other.scatter
            return self
        if len(other.mean) != len(self.mean):
            raise InputError(
                "features",
                f"width {len(other.mean)}",
                f"{len(self.mean)}",
                "do not mix features",
            )
        total, shift = self.count + other.count, other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += torch.outer(shift, shift) * (self.count * other.count / total)
        self.scatter = scatter
        self.mean = self.mean + shift * (other.count / total)
        self.count = total
        return self

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance, `(d, d)`.

        Raises:
            InputError: with fewer than two vectors.
        """
        if self.count < 2:
            raise InputError("samples", str(self.count), "at least 2", "give more clips")
        return self.scatter / (self.count - 1)


def frechet_distance(one: Moments, other: Moments) -> float:
    """Return d^2 of two Gaussians.

    Raises:
        InputError: if a covariance would be singular: not more vectors than dimensions.
    """
    width = len(one.mean)
    if len(other.mean) != width:
        raise InputError("features", f"{width} and {len(other.mean)}", "equal widths", "match them")
    fewest = min(one.count, other.count)
    if fewest <= width:
        raise InputError(
            "samples",
            f"{fewest} for {width} dimensions",
            f"more than {width}",
            "give more clips or fewer dimensions",
        )
    shift = one.mean - other.mean
    root = _matrix_root(one.covariance)
    # Eigenvalues of a symmetric matrix instead of a general root: real and stable.
    cross = torch.linalg.eigvalsh(root @ other.covariance @ root).clamp(min=0).sqrt().sum()
    spread = one.covariance.trace() + other.covariance.trace() - 2 * cross
    return max(0.0, float(shift @ shift + spread))


def _matrix_root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


@dataclass(frozen=True)
class Projection:
    """The first principal components of some vectors."""

    mean: Tensor
    """Mean of those vectors, `(d,)`."""
    components: Tensor
    """Orthonormal columns, `(d, k)`."""

    @classmethod
    def fit(cls, vectors: Float[Tensor, "n d"], dimensions: int) -> Projection:
        """Find the components.

        Raises:
            InputError: unless there are more vectors than dimensions asked for.
        """
        if not 1 <= dimensions < len(vectors) or dimensions > vectors.shape[1]:
            raise InputError(
                "dimensions",
                f"{dimensions} of {len(vectors)} vectors of {vectors.shape[1]}",
                "1 to fewer than the vectors, and no more than their width",
                "give more clips or fewer dimensions",
            )
        values = vectors.to(torch.float64)
        mean = values.mean(0)
        _, _, directions = torch.linalg.svd(values - mean, full_matrices=False)
        return cls(mean, directions[:dimensions].T)

    def apply(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Project vectors, fp64."""
        return (vectors.to(torch.float64) - self.mean) @ self.components


def lite0_frechet_distance(
    real: Float[Tensor, "n d"], made: Float[Tensor, "m d"], dimensions: int = DIMENSIONS
) -> float:
    """Compare made clips with real ones in the principal components of the real ones.

    Args:
        real: features of real renders.
        made: features of what is judged.
        dimensions: components; both sets must have more vectors than that.

    Raises:
        InputError: for too few vectors.
    """
    projection = Projection.fit(real, dimensions)
    moments = [Moments().add(projection.apply(vectors)) for vectors in (real, made)]
    return frechet_distance(*moments)
