"""Our numbers on fixed features against torchmetrics and scipy, to 1e-4 or better."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imagen_video.evaluation.features.extractors import PINNED
from imagen_video.evaluation.features.frechet import Moments, frechet_distance
from imagen_video.evaluation.scoring.metrics import METRICS
from imagen_video.evaluation.scoring.results import Records, rows_of


def features(clips: int, each: int, width: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator) / width**0.5
    return [torch.randn(each, width, generator=generator) @ mix + seed / 3 for _ in range(clips)]


def moments(parts: list[torch.Tensor]) -> Moments:
    found = Moments()
    for part in parts:
        found.add(part)
    return found


@pytest.mark.parametrize("width", [8, 64])
def test_frechet_distances_equal_those_of_torchmetrics_and_scipy(width: int) -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    linalg = pytest.importorskip("scipy.linalg")
    made, real = features(40, 4, width, 1), features(50, 4, width, 2)
    ours = frechet_distance(moments(real), moments(made))
    means, covariances = [], []
    for parts in (real, made):
        values = torch.cat(parts).double()
        means.append(values.mean(0))
        covariances.append(torch.cov(values.T))
    theirs = float(fid._compute_fid(means[0], covariances[0], means[1], covariances[1]))
    root = linalg.sqrtm((covariances[0] @ covariances[1]).numpy()).real
    shift = (means[0] - means[1]).numpy()
    by_scipy = shift @ shift + np.trace((covariances[0] + covariances[1]).numpy() - 2 * root)
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert ours == pytest.approx(by_scipy, rel=1e-4)


class Linear(torch.nn.Module):
    """Stands for Inception: a picture's first pixels are its features."""

    num_features = 6

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.flatten(1)[:, :6].double()


def test_a_whole_fid_run_of_torchmetrics_gives_the_same_number() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    theirs = fid.FrechetInceptionDistance(
        feature=Linear(), normalize=False, input_img_size=(3, 8, 8)
    )
    generator = torch.Generator().manual_seed(0)
    sets = [torch.randint(0, 256, (60, 3, 8, 8), generator=generator) for _ in range(2)]
    sets[1] = (sets[1] * 0.7).long()
    for real, pictures in zip((True, False), sets, strict=True):
        for part in pictures.to(torch.uint8).split(17):
            theirs.update(part, real=real)
    seen = [[Linear()(p.to(torch.uint8).float()) for p in pictures.split(7)] for pictures in sets]
    ours = frechet_distance(moments(seen[0]), moments(seen[1]))
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-4)


def clip_records(clips: int = 5, frames: int = 4, width: int = 12) -> Records:
    generator = torch.Generator().manual_seed(3)

    def unit(*shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)

    made = [{"feature/clip": unit(frames, width)} for _ in range(clips)]
    return Records(made=made, real=made, reference=[], prompts=unit(clips, width))


def test_clip_score_and_r_precision_equal_those_of_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional")
    retrieval = pytest.importorskip("torchmetrics.functional.retrieval")
    records = clip_records()
    assert records.prompts is not None
    rows, missing = rows_of("clip", records)
    assert not missing
    likeness = [
        functional.pairwise_cosine_similarity(record["feature/clip"], records.prompts)
        for record in records.made
    ]
    score = np.mean([100 * float(like[:, i].mean()) for i, like in enumerate(likeness)])
    precision = np.mean(
        [
            float(retrieval.retrieval_r_precision(frame, torch.arange(5) == i))
            for i, like in enumerate(likeness)
            for frame in like
        ]
    )
    assert rows[0].made.value == pytest.approx(float(score), rel=1e-4)
    assert rows[1].made.value == pytest.approx(float(precision), abs=1e-6)
    assert rows[1].chance == pytest.approx(1 / 5)


def test_fvd_and_fid_are_frechet_distances_of_raw_features() -> None:
    made = [{"feature/i3d": f} for f in features(30, 1, 5, 1)]
    real = [{"feature/i3d": f} for f in features(35, 1, 5, 2)]
    (row,), missing = rows_of("fvd", Records(made=made, real=real[:30], reference=real))
    assert not missing
    expected = frechet_distance(
        moments([r["feature/i3d"] for r in real]), moments([m["feature/i3d"] for m in made])
    )
    assert row.made.value == pytest.approx(expected, rel=1e-9)
    assert METRICS["fvd"].distance
    assert PINNED["i3d"]["width"] == 400
    assert row.dimensions == 5
