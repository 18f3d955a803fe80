"""A whole evaluation on the small store, with thumbnails in place of Lite0's features."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from imagen_video.corpus.sprites import SpriteStore
from imagen_video.errors import InputError
from imagen_video.evaluation.features.extractors import Extractor
from imagen_video.evaluation.material import clips as material
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
from unit.corpus.conftest import write_store
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
    assert rows["axis"].made.count == rows["motion"].made.count
    assert rows["direction"].made.value == 1
    assert rows["style_mean"].made.count == rows["style"].made.count


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
    order, judged = module.Evaluator._told, []

    def backwards(self: Evaluator, what: str, things: list[object]) -> list[object]:
        done = list(order(self, what, things))
        if what == "clips":  # judge the last one first, hand them over in their order
            for clip, scene in reversed(done):
                judged.append(clip.name)
                self._made(self._judge(clip.load()), clip, scene, made[0].load(), made[0].name)
        return done

    monkeypatch.setattr(module.Evaluator, "_told", backwards)
    back = evaluator(store, prompts, tmp_path / "b", settings, count=8).run(made)
    assert values(back) == values(forth)
    assert judged == [str(i) for i in reversed(range(8))]
    assert len(list((tmp_path / "b" / "records").iterdir())) == 16  # none of them was made twice


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
    ("frames", "fps", "said"),
    [
        (8, 3, r"short.png: got 8x24x40; expected 16x24x40"),
        (16, 6, r"short.png: got 6 frames per second; expected 3 as 0"),
    ],
)
def test_clips_that_were_judged_apart_are_not_mixed(
    store: SpriteStore, prompts: PromptSet, tmp_path: Path, frames: int, fps: float, said: str
) -> None:
    settings = dataclasses.replace(SETTINGS, metrics=("time", "ground"))
    real = clips(store, prompts)[:8]
    times = clip_times(frames, fps)
    other = Clip(frames=np.zeros((frames, *SIZE, 3), np.uint8), times=times)
    others = [
        dataclasses.replace(clip, name="short.png", digest=f"x{clip.name}", load=lambda: other)
        for clip in real
    ]
    shorter = dataclasses.replace(settings, judged_frames=len(other.judged))
    for alike, how in ((real, settings), (others, shorter)):  # each set by itself is kept
        evaluator(store, prompts, tmp_path, how, count=8).run(alike)
    mixed = [*real[:4], *others[4:]]
    with pytest.raises(InputError, match=said):
        evaluator(store, prompts, tmp_path, settings, count=8).run(mixed)


def test_real_renders_of_large_clips_are_coded_at_their_size_and_then_shrunk(
    store: SpriteStore, prompts: PromptSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(SETTINGS, metrics=("time",), judged_frames=4)
    times = clip_times(4, 3)
    source, judged = (384, 640), (192, 320)
    large = Clip(frames=np.zeros((4, *judged, 3), np.uint8), times=times, source=source)
    made = [
        MadeClip(name=str(i), digest=f"large{i}", lossy=True, load=lambda: large) for i in range(2)
    ]
    coded: list[tuple[int, ...]] = []
    write = material.write_video

    def watched(path: Path, parts: Iterable[np.ndarray], fps: float) -> None:
        whole = list(parts)
        coded.extend(part.shape for part in whole)
        write(path, whole, fps)

    monkeypatch.setattr(material, "write_video", watched)
    result = evaluator(store, prompts, tmp_path, settings, count=2).run(made)
    assert coded == [(4, *source, 3)] * 2
    assert result.settings["made_at"] == {"height": 384, "width": 640}
    assert result.settings["clip"] == {"frames": 4, "height": 192, "width": 320}


def test_another_corpus_is_not_judged_by_what_was_kept_of_the_one_before(
    store: SpriteStore, prompts: PromptSet, tmp_path: Path
) -> None:
    settings = dataclasses.replace(SETTINGS, metrics=("concept",))
    rebuilt = SpriteStore.open(write_store(tmp_path / "rebuilt"))
    looked: list[int] = []

    def features(frames: np.ndarray) -> torch.Tensor:
        looked.append(len(frames))
        return few(frames)

    counts = []
    for corpus in (store, store, rebuilt):
        made = clips(store, prompts)[:2]
        judged = evaluator(corpus, prompts, tmp_path / "work", settings, features, count=2)
        before = len(looked)
        judged.run(made)
        counts.append(len(looked) - before)
    assert counts[1] == 0
    assert counts[2] == counts[0] > 0
    assert len(list((tmp_path / "work" / "probe").iterdir())) == 2


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

    settings = {"source": "test"}
    return Extractor(name=name, settings=settings, features=features, width=width, frames=16)


def test_too_few_samples_for_a_covariance_give_no_number(
    store: SpriteStore, prompts: PromptSet, tmp_path: Path
) -> None:
    given = {"i3d": flat("i3d", 400), "videomae": flat("videomae", 40)}
    asked = dataclasses.replace(SETTINGS, metrics=("fvd",))
    with pytest.raises(InputError, match=r"8 clips for 400 dimensions.* at least 800"):
        evaluator(store, prompts, tmp_path, asked, extractors=given, count=8)
    asked = dataclasses.replace(SETTINGS, metrics=("fvd-videomae", "ground"), reference=8)
    with pytest.raises(InputError, match="8 clips for 40 dimensions"):
        evaluator(store, prompts, tmp_path, asked, extractors=given, count=8)
    # a network whose width is not known before it has run: the number is left out then
    given["videomae"] = dataclasses.replace(given["videomae"], width=None)
    judged = evaluator(store, prompts, tmp_path, asked, extractors=given, count=8)
    result = judged.run(clips(store, prompts)[:8])
    assert [row.column.key for row in result.rows] == ["ground"]
    assert "got 8 for 40 dimensions; expected at least 80" in result.missing["fvd_videomae"]


@pytest.mark.parametrize(
    ("width", "frames", "enough"), [(4, 1, 8), (5, 1, None), (64, 16, 8), (64, 4, None), (16, 4, 8)]
)
def test_a_distance_needs_two_vectors_a_dimension_of_the_frames_that_there_are(
    store: SpriteStore, prompts: PromptSet, tmp_path: Path, width: int, frames: int, enough: int
) -> None:
    given = {"inception": dataclasses.replace(flat("inception", width), frames=None)}
    asked = dataclasses.replace(SETTINGS, metrics=("fid",), judged_frames=frames, reference=8)

    def made() -> Evaluator:
        return evaluator(store, prompts, tmp_path, asked, extractors=given, count=8)

    if enough:
        made()
        return
    with pytest.raises(InputError, match=f"8 clips of {frames} frames for {width} dimensions"):
        made()


def test_clips_too_short_for_a_network_are_refused_before_anything_is_made(
    store: SpriteStore, prompts: PromptSet, tmp_path: Path
) -> None:
    given = {"i3d": flat("i3d", 4)}
    asked = dataclasses.replace(SETTINGS, metrics=("fvd",), judged_frames=8)
    with pytest.raises(InputError, match="--i3d sees 16 frames; 8 of a clip are judged"):
        evaluator(store, prompts, tmp_path, asked, extractors=given)


def test_clips_of_another_length_than_was_said_before_are_refused(
    store: SpriteStore, prompts: PromptSet, tmp_path: Path
) -> None:
    asked = dataclasses.replace(SETTINGS, metrics=("time",), judged_frames=8)
    with pytest.raises(InputError, match="clip 0: got 16 judged frames; expected 8"):
        evaluator(store, prompts, tmp_path, asked).run(clips(store, prompts))


def test_a_network_of_another_number_of_frames_is_refused_before_anything_is_made(
    store: SpriteStore, prompts: PromptSet, tmp_path: Path
) -> None:
    given = {"videomae": dataclasses.replace(flat("videomae", 4), frames=8)}
    asked = dataclasses.replace(SETTINGS, metrics=("fvd-videomae",))
    with pytest.raises(InputError, match="a network of 8 frames; clips are judged by 16"):
        evaluator(store, prompts, tmp_path, asked, extractors=given)


def test_a_distance_says_in_how_many_dimensions_it_compares(ceiling: Result) -> None:
    rows = {row.column.key: row for row in ceiling.rows}
    # half of 24 clips; the frames are many more than the ten features
    assert rows["lite0_frames"].dimensions == few(np.zeros((1, 8, 8, 3), np.uint8)).shape[1]
    assert rows["lite0_clips"].dimensions == COUNT // 2
    assert rows["lite0_clips"].to_json()["dimensions"] == COUNT // 2
    assert rows["ground"].to_json()["dimensions"] is None
    assert f"Lite0 Frechet distance, clips, {COUNT // 2} dimensions" in table(ceiling)


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
    (styles,) = [row for row in said["results"] if row["key"] == "style_mean"]
    assert sum(group["made"]["count"] for group in styles["groups"].values()) == COUNT // 2
    plot(ceiling.rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    plot((), tmp_path / "empty.png")
