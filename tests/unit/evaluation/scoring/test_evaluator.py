"""A whole evaluation on the small store, with thumbnails in place of Lite0's features."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from imagen_video.corpus.sprites import SpriteStore
from imagen_video.errors import InputError
from imagen_video.evaluation.features.extractors import Extractor
from imagen_video.evaluation.material.clips import Clip, clip_times
from imagen_video.evaluation.material.corruptions import CORRUPTIONS
from imagen_video.evaluation.material.prompt_sets import PromptSet, prompt_lines
from imagen_video.evaluation.material.real_renders import real_clip
from imagen_video.evaluation.measures.content import Features
from imagen_video.evaluation.scoring import evaluator as module
from imagen_video.evaluation.scoring.evaluator import (
    Evaluator,
    MadeClip,
    Networks,
    Result,
    Settings,
)
from imagen_video.evaluation.scoring.metrics import METRICS
from imagen_video.evaluation.scoring.report import plot, report, table
from unit.evaluation.conftest import thumbnails

TIMES = clip_times(16, 3)
SIZE = (24, 40)
COUNT = 24
SETTINGS = Settings(metrics=(), reference=32, names=6, renders=3)


def few(frames: np.ndarray) -> torch.Tensor:
    """Ten of the thumbnails' values, spread."""
    return thumbnails(frames)[:, ::43]


@pytest.fixture(scope="module")
def prompts(store: SpriteStore, tmp_path_factory: pytest.TempPathFactory) -> PromptSet:
    path = tmp_path_factory.mktemp("prompts") / "own.jsonl"
    text = prompt_lines(store, name="own", version=1, split="all", seed=5, count=COUNT)
    path.write_text(text, encoding="utf-8")
    return PromptSet.load(str(path))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


Spoil = Callable[[np.ndarray], np.ndarray]


def clips(
    store: SpriteStore, prompts: PromptSet, name: str = "real", spoil: Spoil = lambda frames: frames
) -> list[MadeClip]:
    def load(number: int) -> Clip:
        frames = real_clip(scenes[number], store, TIMES, *SIZE)
        return Clip(frames=spoil(frames), times=TIMES)

    scenes = prompts.scenes(store, prompts.prompts)
    return [
        MadeClip(name=str(i), digest=f"{name}{i}", lossy=False, load=lambda i=i: load(i))
        for i in range(COUNT)
    ]


def evaluator(
    store: SpriteStore,
    prompts: PromptSet,
    work: Path,
    settings: Settings = SETTINGS,
    features: Features = few,
    extractors: dict[str, Extractor] | None = None,
    count: int = COUNT,
) -> Evaluator:
    networks = Networks(lite0=lambda: features, extractors=extractors or {})
    return Evaluator(
        prompt_set=prompts,
        prompts=prompts.first(count),
        store=store,
        networks=networks,
        settings=settings,
        work=work,
    )


@pytest.fixture(scope="module")
def ceiling(store: SpriteStore, prompts: PromptSet, work: Path) -> Result:
    pytest.importorskip("tesserocr")
    return evaluator(store, prompts, work).run(clips(store, prompts))


def values(result: Result) -> dict[str, tuple[float, float | None]]:
    return {row.column.key: (row.made.value, row.made.error) for row in result.rows}


def test_real_renders_score_what_the_ceiling_says(ceiling: Result) -> None:
    rows = {row.column.key: row for row in ceiling.rows}
    expected = {c.key for m in METRICS.values() if not m.extractor for c in m.columns}
    assert set(rows) | set(ceiling.missing) >= expected
    for row in rows.values():
        assert row.made == row.real
        assert math.isfinite(row.made.value)
    assert rows["ground"].made.value == 1
    assert rows["ground"].made.count == COUNT
    assert rows["top1"].made.count == COUNT // 2
    assert rows["word"].made.count == COUNT // 8
    assert rows["top1"].chance == pytest.approx(1 / 6)
    assert rows["lite0_frames"].made.error is not None


def test_what_needs_a_file_says_so_and_names_what_stands_in(ceiling: Result) -> None:
    assert ceiling.missing["fvd"] == "no --i3d given; stand-in: Lite0 Frechet distance, clips"
    assert {"fvd", "fvd-videomae", "fid", "clip"} <= set(ceiling.missing)


def test_noise_is_worse_in_every_measure_it_should_be(
    store: SpriteStore, prompts: PromptSet, work: Path, ceiling: Result
) -> None:
    noisy = evaluator(store, prompts, work).run(
        clips(store, prompts, "noisy", lambda frames: CORRUPTIONS["noise"](frames, 4))
    )
    clean, spoiled = values(ceiling), values(noisy)
    for key in ("lite0_frames", "flicker", "warping", "detail", "turn"):
        assert spoiled[key][0] > clean[key][0]
    assert spoiled["word"][0] <= clean["word"][0]
    real = {row.column.key: row.real for row in noisy.rows}
    assert real["flicker"].value == clean["flicker"][0]


def test_an_evaluation_goes_on_where_it_was(
    store: SpriteStore, prompts: PromptSet, work: Path, ceiling: Result
) -> None:
    def never(frames: np.ndarray) -> torch.Tensor:
        raise AssertionError("computed again")

    again = evaluator(store, prompts, work, features=never).run(clips(store, prompts))
    assert values(again) == values(ceiling)


def test_scores_do_not_depend_on_the_order_of_computing(
    store: SpriteStore, prompts: PromptSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(SETTINGS, metrics=("time", "ground"))
    made = clips(store, prompts)[:8]
    forth = evaluator(store, prompts, tmp_path / "a", settings, count=8).run(made)
    order = module.Evaluator._told

    def backwards(self: Evaluator, what: str, things: list[object]) -> list[object]:
        done = list(order(self, what, things))
        if what == "clips":  # judge the last one first, hand them over in their order
            for clip, scene in reversed(done):
                judge = self._judge(clip.load())
                self._record(judge, ["made", clip.digest], scene, clip.load)
        return done

    monkeypatch.setattr(module.Evaluator, "_told", backwards)
    back = evaluator(store, prompts, tmp_path / "b", settings, count=8).run(made)
    assert values(back) == values(forth)


def test_clips_of_different_shapes_are_refused(
    store: SpriteStore, prompts: PromptSet, tmp_path: Path
) -> None:
    made = clips(store, prompts)
    short = Clip(frames=np.zeros((8, *SIZE, 3), np.uint8), times=TIMES[:8])
    made[3] = dataclasses.replace(made[3], name="short.png", digest="x", load=lambda: short)
    settings = dataclasses.replace(SETTINGS, metrics=("time",))
    with pytest.raises(InputError, match=r"short.png: got 8x24x40; expected 16x24x40"):
        evaluator(store, prompts, tmp_path, settings).run(made)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("fvd", "no --i3d given"),
        ("fid", "no --inception given"),
        ("clip", "no --clip given"),
    ],
)
def test_a_metric_that_was_asked_for_and_cannot_be_had_is_an_error(
    store: SpriteStore, prompts: PromptSet, tmp_path: Path, metric: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        evaluator(store, prompts, tmp_path, dataclasses.replace(SETTINGS, metrics=(metric,)))


def flat(name: str, width: int) -> Extractor:
    def features(frames: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(frames[:, 0, :, 0].astype(np.float32)).mean(0, keepdim=True)[
            :, :width
        ]

    return Extractor(name=name, settings={"source": "test"}, features=features)


def test_too_few_samples_for_a_covariance_give_no_number(
    store: SpriteStore, prompts: PromptSet, tmp_path: Path
) -> None:
    given = {"i3d": flat("i3d", 400), "videomae": flat("videomae", 40)}
    asked = dataclasses.replace(SETTINGS, metrics=("fvd",))
    with pytest.raises(InputError, match="8 clips for 400 dimensions"):
        evaluator(store, prompts, tmp_path, asked, extractors=given, count=8)
    # the width of a VideoMAE is known only when it has run: the number is left out then
    asked = dataclasses.replace(SETTINGS, metrics=("fvd-videomae", "ground"), reference=8)
    judged = evaluator(store, prompts, tmp_path, asked, extractors=given, count=8)
    result = judged.run(clips(store, prompts)[:8])
    assert [row.column.key for row in result.rows] == ["ground"]
    assert "more than 40" in result.missing["fvd_videomae"]


def test_the_report_is_json_without_nan_and_the_table_shows_errors_and_reasons(
    ceiling: Result, tmp_path: Path
) -> None:
    text = json.dumps(report(ceiling, {"bundle": "x"}), allow_nan=False)
    said = json.loads(text)
    assert said["protocol"]["id"] == "imagen-video-evaluate"
    assert said["prompts"]["sha256"]
    assert len(said["clips"]) == COUNT
    (ground,) = [row for row in said["results"] if row["key"] == "ground"]
    assert ground["made"] == {"value": 1.0, "error": 0.0, "count": COUNT}
    lines = table(ceiling).splitlines()
    assert any(line.startswith("ground colour") and "100.0 +- 0.0 %" in line for line in lines)
    assert any(line.startswith("not measured: fvd: no --i3d") for line in lines)
    plot(ceiling.rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    plot((), tmp_path / "empty.png")
