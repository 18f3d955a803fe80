"""Rows of scores whose meaning hangs on what was asked for: motions and styles."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from imagen_video.corpus.scenes import Scene, SceneSource
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.evaluation.features.frechet import LEAST_PER_DIMENSION
from imagen_video.evaluation.scoring.evaluator import Result
from imagen_video.evaluation.scoring.report import plot, table
from imagen_video.evaluation.scoring.results import Record, Records, Row, rows_of


@pytest.fixture(scope="module")
def scene(store: SpriteStore) -> Scene:
    return SceneSource(store, seed=1, split="all", kinds={"subject": 1.0}).scene(0)


def record(**scores: float) -> Record:
    return {f"score/{key}": torch.tensor(value).double() for key, value in scores.items()}


def rows(metric: str, made: list[Record], real: list[Record], scenes: list[Scene]) -> dict:
    found, _ = rows_of(metric, Records(made=made, real=real, reference=[], scenes=scenes))
    return {row.column.key: row for row in found}


def motions(scene: Scene) -> dict[str, Row]:
    """Eight clips that fall or rise by the toss of a coin, and two that should stand still."""
    asked = [*["falls", "rises"] * 4, "still", "still"]
    made = [record(motion=i % 4 < 2, axis=1, direction=i % 4 < 2, speed=0) for i in range(8)]
    made += [record(motion=0, axis=0)] * 2
    real = [record(motion=1, axis=1, direction=1, speed=1)] * 8 + [record(motion=1, axis=1)] * 2
    real[0] = record(motion=0, axis=0, speed=0)
    return rows("motion", made, real, [dataclasses.replace(scene, motion=one) for one in asked])


def test_a_coin_flip_knows_the_axis_and_half_of_the_directions(scene: Scene) -> None:
    found = motions(scene)
    assert found["motion"].made.value == pytest.approx(0.4)
    assert found["motion"].chance == pytest.approx(0.1)
    assert found["axis"].made.value == pytest.approx(0.8)
    # two of ten motions are on the axis of eight clips, one on that of the other two
    assert found["axis"].chance == pytest.approx((8 * 0.2 + 2 * 0.1) / 10)
    assert found["direction"].made.value == pytest.approx(0.5)
    assert found["direction"].chance == pytest.approx(0.5)
    assert (found["direction"].made.count, found["direction"].real.count) == (8, 7)


def test_every_row_says_of_how_many_clips_it_is(scene: Scene, monkeypatch, tmp_path) -> None:
    matplotlib = pytest.importorskip("matplotlib.axes")
    some = list(motions(scene).values())
    lines = table(Result(rows=tuple(some), missing={}, settings={}, clips=())).splitlines()
    said = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in lines}
    assert said["speed over that of the corpus"] == "8"
    assert said["direction, of clips that move along the right axis"] == "8, real 7"
    labels: list[str] = []
    set_yticks = matplotlib.Axes.set_yticks

    def seen(self, ticks, names, **more):
        labels.extend(names)
        return set_yticks(self, ticks, names, **more)

    monkeypatch.setattr(matplotlib.Axes, "set_yticks", seen)
    some[-1] = dataclasses.replace(
        some[-1], made=dataclasses.replace(some[-1].made, value=0.5)
    )  # a ratio of 0 has no place on a logarithmic axis
    plot(some, tmp_path / "plot.png")
    text = " ".join(" ".join(label.split()) for label in labels)
    assert "motion and direction (n=10)" in text
    assert "right axis (n=8, real 7)" in text
    assert "speed over that of the corpus (as real, n=8)" in text


def test_a_generator_of_one_style_is_as_good_as_chance(scene: Scene) -> None:
    asked = ["animation"] * 6 + ["flat", "cartoon"] * 2
    scenes = [dataclasses.replace(scene, style=style) for style in asked]
    made = [record(style=style == "animation") for style in asked]
    found = rows("concept", made, [record(style=1)] * 10, scenes)
    assert found["style"].made.value == pytest.approx(0.6)
    assert found["style"].chance == pytest.approx(0.6)  # what always saying "animation" scores
    assert found["style_mean"].made.value == pytest.approx(1 / 3)
    assert found["style_mean"].chance == pytest.approx(1 / 4)
    assert found["style_mean"].real.value == 1
    groups = found["style_mean"].to_json()["groups"]
    assert {style: group["made"]["count"] for style, group in groups.items()} == {
        "animation": 6,
        "cartoon": 2,
        "flat": 2,
    }
    assert groups["animation"]["made"]["value"] == 1
    assert groups["flat"]["made"]["value"] == 0
    assert "groups" not in found["style"].to_json()


def test_clips_without_a_style_score_do_not_count_as_asked_for(scene: Scene) -> None:
    scenes = [dataclasses.replace(scene, style=style) for style in ("animation", "flat")]
    found = rows("concept", [record(style=1), {}], [record(style=1), {}], scenes)
    assert found["style"].chance == 1
    assert list(found["style_mean"].to_json()["groups"]) == ["animation"]
    assert not rows("concept", [{}, {}], [{}, {}], scenes)


@pytest.mark.parametrize(("clips", "there"), [(9, False), (10, True)])
def test_a_distance_of_too_few_vectors_a_dimension_is_no_number(clips: int, there: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = [{"feature/i3d": torch.randn(1, 5, generator=generator)} for _ in range(clips)]
    found, missing = rows_of("fvd", Records(made=vectors, real=vectors, reference=vectors))
    assert bool(found) == there
    assert LEAST_PER_DIMENSION == 2
    assert there or "got 9 for 5 dimensions; expected at least 10" in missing["fvd_i3d"]
