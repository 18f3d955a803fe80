"""Whether a benchmark may say that one output is nearer to real renders than another."""

from __future__ import annotations

import importlib
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"
if str(FOLDER) not in sys.path:
    sys.path.insert(0, str(FOLDER))
_distances = importlib.import_module("_distances")

SCENES, WIDTH = 40, 24


def outputs(seed: int, shift: float = 0.0) -> dict[str, Tensor]:
    """Features of scenes, and of two outputs that share what they get wrong about each scene."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.randn(SCENES, WIDTH, generator=generator, dtype=torch.float64)

    spread = torch.arange(1, WIDTH + 1, dtype=torch.float64) ** -0.7
    real = draw() * spread
    wrong = real + 0.5 * spread * draw()
    return {
        "real": real,
        "ours": wrong + (0.6 - shift) * spread,
        "baseline": wrong + 0.2 * spread * draw() + 0.6 * spread,
    }


def test_errors_agree_with_the_spread_over_fresh_scenes() -> None:
    found = [_distances.Distances(outputs(seed)) for seed in range(24)]
    values = [each.values["ours"] for each in found]
    differences, errors = zip(*(each.difference("ours", "baseline") for each in found), strict=True)
    # 24 sets tell a spread to about 15 %, their mean of jackknives to about 5 %
    spread = statistics.stdev(values)
    assert statistics.fmean(each.error("ours") for each in found) == pytest.approx(spread, rel=0.4)
    assert statistics.fmean(errors) == pytest.approx(statistics.stdev(differences), rel=0.4)


def test_what_two_outputs_of_a_scene_share_does_not_blur_their_difference() -> None:
    found = _distances.Distances(outputs(0))
    alone = [found.error(name) for name in ("ours", "baseline")]
    _, paired = found.difference("ours", "baseline")
    assert paired < 0.5 * sum(error**2 for error in alone) ** 0.5


def test_a_clear_difference_is_told_apart_and_equal_outputs_are_not() -> None:
    better = _distances.Distances(outputs(0, shift=0.6))
    assert better.row("baseline", ours="ours")["ours is"] == "better"
    assert better.row("ours", ours="baseline")["ours is"] == "worse"
    assert better.row("ours", ours="ours")["ours is"] is None
    noisy = outputs(1)
    noisy["ours"] = outputs(2)["ours"] - outputs(2)["real"] + noisy["real"]
    noisy["baseline"] = outputs(3)["ours"] - outputs(3)["real"] + noisy["real"]
    assert _distances.Distances(noisy).row("baseline", "ours")["ours is"] == "not told apart"


@pytest.mark.parametrize(
    ("difference", "error", "said"),
    [
        (-2.1, 1.0, "better"),
        (2.1, 1.0, "worse"),
        (-1.9, 1.0, "not told apart"),
        (0.0, 0.0, "not told apart"),
        (-9.0, None, None),
    ],
)
def test_a_verdict_needs_two_standard_errors(
    difference: float, error: float | None, said: str | None
) -> None:
    assert _distances.verdict(difference, error) == said


def test_few_clips_have_a_distance_and_no_verdict() -> None:
    few = {name: vectors[:6] for name, vectors in outputs(0).items()}
    found = _distances.Distances(few)
    row: dict[str, Any] = found.row("baseline", ours="ours")
    assert row["Lite0 Frechet"] > 0
    assert (row["+-"], row["+- of it"], row["ours is"]) == (None, None, None)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = [1.0, 4.0, 2.0, 7.0]
    without = [(sum(values) - value) / 3 for value in values]
    expected = statistics.stdev(values) / 2
    assert _distances.jackknife_error(without) == pytest.approx(expected)
