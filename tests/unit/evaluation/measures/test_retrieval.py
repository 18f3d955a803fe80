from __future__ import annotations

import pytest
import torch

from imagen_video.errors import InputError
from imagen_video.evaluation.measures.retrieval import SubjectProbe, share


def clusters(each: int, seed: int, spread: float = 0.2) -> tuple[torch.Tensor, list[str]]:
    middles = torch.eye(4).repeat(1, 3)
    noise = torch.randn(4 * each, 12, generator=torch.Generator().manual_seed(seed)) * spread
    return middles.repeat_interleave(each, 0) + noise, [c for c in "abcd" for _ in range(each)]


def test_separate_clusters_are_told_apart_also_when_new() -> None:
    probe = SubjectProbe.fit(*clusters(10, 0))
    features, labels = clusters(5, 1)
    assert probe.hit_rate(features, labels, 1) == 1.0


def test_wrong_labels_score_nothing_at_the_top_and_all_of_them_at_the_end() -> None:
    probe = SubjectProbe.fit(*clusters(10, 0))
    features, labels = clusters(5, 1)
    rotated = labels[5:] + labels[:5]
    assert probe.hit_rate(features, rotated, 1) == 0.0
    assert probe.hit_rate(features, rotated, 4) == 1.0


def test_the_order_of_the_renders_does_not_matter() -> None:
    features, labels = clusters(6, 0)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    shuffled = SubjectProbe.fit(features[order], [labels[i] for i in order.tolist()])
    torch.testing.assert_close(shuffled.weights, SubjectProbe.fit(features, labels).weights)


def test_it_solves_the_ridge_equation() -> None:
    features, labels = clusters(6, 0)
    probe = SubjectProbe.fit(features, labels, penalty=0.5)
    inputs = (features.double() - probe.mean) / probe.scale
    targets = torch.tensor([[float(c == name) for name in "abcd"] for c in labels]).double()
    residual = targets - inputs @ probe.weights[:-1] - probe.weights[-1]
    # zero gradient of the penalised squared error, in the weights and in the free bias
    torch.testing.assert_close(inputs.T @ residual, 0.5 * len(labels) * probe.weights[:-1])
    torch.testing.assert_close(residual.sum(0), torch.zeros(4).double())


def test_one_name_is_not_a_choice() -> None:
    with pytest.raises(InputError, match="two names"):
        SubjectProbe.fit(torch.zeros(3, 2), ["a", "a", "a"])


def test_a_share_of_nothing_is_not_a_number() -> None:
    assert share([True, False]) == 0.5
    assert share([]) != share([])
