"""Which of many subjects a clip shows: a linear probe on Lite0 features, fitted on real renders.

    W = (X'X + penalty n I)^-1 X'Y,  X standardised features with a 1, Y one column a name

It is fitted at the resolution that is judged, never on a model's output, and its score on real
renders is always reported beside: that score is the ceiling, not 100 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from imagen_video.errors import InputError

PENALTY = 0.3
"""Ridge penalty on standardised features, a vector."""


@dataclass(frozen=True)
class SubjectProbe:
    """A ridge regression onto one-of-n targets."""

    names: tuple[str, ...]
    """What it can answer."""
    mean: Tensor
    """Of the features it was fitted on, `(d,)`."""
    scale: Tensor
    """Their standard deviation, `(d,)`."""
    weights: Tensor
    """`(d + 1, names)`; the last row is the bias."""

    @classmethod
    def fit(
        cls, features: Float[Tensor, "n d"], labels: Sequence[str], penalty: float = PENALTY
    ) -> SubjectProbe:
        """Fit the probe in closed form.

        Args:
            features: of real renders.
            labels: the name that each shows.
            penalty: of the squared weights, a vector of features.

        Raises:
            InputError: for fewer than two names or a label count that does not fit.
        """
        names = tuple(sorted(set(labels)))
        if len(labels) != len(features) or len(names) < 2:
            raise InputError(
                "probe",
                f"{len(features)} features, {len(labels)} labels, {len(names)} names",
                "one label a vector and at least two names",
                "render more subjects",
            )
        values = features.to(torch.float64)
        mean, scale = values.mean(0), values.std(0, correction=0).clamp(min=1e-6)
        inputs = _with_bias((values - mean) / scale)
        column = {name: index for index, name in enumerate(names)}
        targets = torch.zeros(len(values), len(names), dtype=torch.float64)
        targets[torch.arange(len(values)), torch.tensor([column[name] for name in labels])] = 1
        damping = torch.full((inputs.shape[1],), penalty * len(values), dtype=torch.float64)
        damping[-1] = 0  # the bias is free
        gram = inputs.T @ inputs + torch.diag(damping)
        return cls(names, mean, scale, torch.linalg.solve(gram, inputs.T @ targets))

    def ranked(self, features: Float[Tensor, "n d"]) -> list[list[str]]:
        """Return all names for every vector, the likeliest first."""
        inputs = _with_bias((features.to(torch.float64) - self.mean) / self.scale)
        order = (inputs @ self.weights).argsort(dim=1, descending=True, stable=True)
        return [[self.names[index] for index in row] for row in order.tolist()]

    def hit_rate(self, features: Float[Tensor, "n d"], labels: Sequence[str], top: int) -> float:
        """Return the share of vectors whose name is among the `top` likeliest."""
        ranked = self.ranked(features)
        return share(label in row[:top] for row, label in zip(ranked, labels, strict=True))


def share(answers: Iterable[bool]) -> float:
    """Return the share of True; NaN of nothing."""
    values = list(answers)
    return sum(values) / len(values) if values else float("nan")


def _with_bias(values: Tensor) -> Tensor:
    return torch.cat([values, values.new_ones(len(values), 1)], dim=1)
