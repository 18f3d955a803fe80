"""The report on the small cascade, with six made-up subjects and plain pixels as features."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from imagen_video.cascade.bundle import Bundle
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.distillation.clips import ClipMaker, judged_frames, judged_times
from imagen_video.distillation.comparison import cells_of
from imagen_video.distillation.judging import Distances
from imagen_video.distillation.report import Depth, Reporter
from imagen_video.distillation.report_settings import ReportConfig, Settings
from imagen_video.distillation.tables import markdown, table, write_sheets
from imagen_video.errors import InputError
from imagen_video.models.cost import flops
from unit.cascade.small_cascades import WordEncoder, random_video
from unit.corpus.conftest import write_store
from unit.distillation.small_distillations import SPEC
from unit.distillation.test_comparison import PLAIN, TEACHERS, WEIGHTED, save, students

CONFIG = ReportConfig(
    until="tsr1",
    clips=4,
    long_until="tsr1",
    long_clips=2,
    runs=2,
    names=3,
    renders=2,
    real_clips=6,
    sheets=1,
)
SETTINGS = Settings(base_steps=2, sr_steps=2, sampler="ddim", own_steps=False)


def pixels(frames: np.ndarray) -> Tensor:
    """Features of frames: their mean colours in four corners."""
    _, height, width, _ = frames.shape
    half, side = height // 2, width // 2
    parts = [frames[:, :half, :side], frames[:, half:, :side], frames[:, :half, side:]]
    values = [part.reshape(len(frames), -1, 3).mean(1) for part in parts]
    return torch.from_numpy(np.concatenate(values, axis=1)).float() / 255


def pipeline(bundle: Bundle) -> ImagenVideoPipeline:
    return ImagenVideoPipeline(bundle.spec, bundle.network, WordEncoder(), digest=bundle.digest)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SpriteStore:
    pytest.importorskip("cv2")
    return SpriteStore.open(write_store(tmp_path_factory.mktemp("corpus") / "store"))


@pytest.fixture(scope="module")
def reporter(store: SpriteStore, tmp_path_factory: pytest.TempPathFactory) -> Reporter:
    folder = tmp_path_factory.mktemp("report")
    teacher = save(folder / "teacher", TEACHERS)
    two = dataclasses.replace(WEIGHTED, steps=1)
    plain = dataclasses.replace(PLAIN, steps=1)
    student = save(folder / "student", students(two, two, plain))
    return Reporter(
        pipelines={"teacher": pipeline(teacher), "student": pipeline(student)},
        cells=cells_of(teacher, student, SETTINGS),
        store=store,
        features=pixels,
        config=CONFIG,
        settings=SETTINGS,
        work=folder / "work",
    )


@pytest.fixture(scope="module")
def made(reporter: Reporter) -> tuple[dict, list[Depth]]:
    return reporter.run()


def test_every_cell_has_scores_distances_time_and_flops(
    made: tuple[dict, list[Depth]], reporter: Reporter
) -> None:
    result, _ = made
    json.dumps(result, allow_nan=False)
    first, second = result["depths"]
    assert (first["clips"], first["runs"]) == (4, 2)
    assert (second["clips"], second["runs"]) == (2, 1)
    for depth in (first, second):
        assert len(depth["cells"]) == 6
        for cell in depth["cells"]:
            assert set(cell["scores"]) == {"top-1", "top-5", "ground", "motion"}
            assert all(0 <= score["value"] <= 1 for score in cell["scores"].values())
            assert cell["frame_distance"]["value"] >= 0
            assert cell["seconds"]["value"] > 0
            assert set(cell["stage_seconds"]) == {"base", "tsr1"}
            assert ("differences" in cell) == (cell["row"] != "undistilled")
    slow, fast = first["cells"][0], first["cells"][-2]
    assert fast["times_fewer_flops"] == pytest.approx(slow["flops"] / fast["flops"])
    teacher, student = (
        sum(flops(s.unet, 1, s.output.frames, s.output.height, s.output.width) for s in stages[:2])
        for stages in (reporter.pipelines[owner].spec.stages for owner in ("teacher", "student"))
    )
    assert fast["times_fewer_flops"] == pytest.approx(4 * teacher / student, rel=1e-9)
    assert [later["stage"] for later in result["later"]] == ["ssr1"]
    assert [saving["implied"] for saving in result["savings"]] == [4, 4, 2]
    whole, through = result["whole"], second["cells"][0]["seconds"]["value"]
    later = result["later"][0]["teacher_seconds"]
    assert whole["teacher_seconds"] == pytest.approx(through + later)


def test_cells_are_paired_by_prompt_and_seed(reporter: Reporter) -> None:
    samples = reporter.samples()
    assert [sample.seed for sample in samples] == [0, 1, 2, 3]
    assert [sample.run for sample in samples] == [0, 0, 1, 1]
    assert samples[0].scene == samples[2].scene
    assert samples[0].scene != samples[1].scene


def test_a_finished_report_samples_nothing_again(
    reporter: Reporter, made: tuple[dict, list[Depth]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a clip was made again")

    monkeypatch.setattr(ClipMaker, "_sample", refuse)
    again, _ = dataclasses.replace(reporter, features=refuse_features).run()
    assert again["depths"] == made[0]["depths"]


def refuse_features(frames: np.ndarray) -> Tensor:
    raise AssertionError("features were taken again")


def test_the_base_of_two_rows_is_sampled_once_and_longer_chains_go_on(
    reporter: Reporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    sample = ClipMaker._sample

    def counted(self: ClipMaker, link, *rest):
        asked.append(f"{link.owner} {link.stage.name}")
        return sample(self, link, *rest)

    monkeypatch.setattr(ClipMaker, "_sample", counted)
    maker = ClipMaker(reporter.pipelines, tmp_path)
    undistilled, distilled_sr = reporter.cells[0], reporter.cells[2]
    first = maker.clip(undistilled.until("tsr1"), "a horse", 5, keep_stages=True)
    maker.clip(distilled_sr.until("tsr1"), "a horse", 5)
    assert asked == ["teacher base", "teacher tsr1", "student tsr1"]
    longer = maker.clip(undistilled.until("ssr1"), "a horse", 5)
    assert asked[3:] == ["teacher ssr1"]
    assert longer.seconds["base"] == first.seconds["base"]
    whole = reporter.pipelines["teacher"]
    assert longer.frames.dtype == np.uint8
    # stage by stage is what the pipeline makes in one run
    from imagen_video.cascade.options import StageOptions
    from imagen_video.cascade.request import Request

    options = {
        link.stage.name: StageOptions(**dataclasses.asdict(link.sampling))
        for link in undistilled.links
    }
    request = Request(prompts=("a horse",), seeds=(5,), options=options)
    video = whole.run(request, output_type="pt").frames
    assert np.array_equal(longer.frames, judged_frames(video, 1))


def test_the_page_holds_the_tables_the_command_and_the_sheets(
    made: tuple[dict, list[Depth]], tmp_path: Path
) -> None:
    result, depths = made
    sheets = write_sheets(depths, tmp_path, 1)
    assert all((tmp_path / name).is_file() for name in sheets)
    assert len(sheets) == 2
    page = markdown(result, "imagen-video distill report --out x", sheets)
    for part in (
        "imagen-video distill report --out x",
        "## Through tsr1, 4 clips a cell",
        "| constant 6 | undistilled | 2 | 2 |",
        "| oscillating 15 | all distilled | 1 | 1 |",
        "real renders",
        "95 % interval",
        "one measured call",
        "A clip through every stage",
        "4x",
        f"]({sheets[0]})",
    ):
        assert part in page, part
    assert "nan" not in page


def test_judged_frames_are_those_of_the_base_and_not_too_large() -> None:
    assert judged_times(16, 8) == list(range(0, 128, 8))
    assert judged_times(128, 1) == list(range(0, 128, 8))
    assert judged_times(3, 16) == [0, 16, 32]
    large = judged_frames(random_video(1, 16, 3, 400, 640), 1)
    assert large.shape == (2, 192, 320, 3)
    assert judged_frames(random_video(1, 4, 3, 8, 12), 8).shape == (4, 8, 12, 3)


def test_distances_are_zero_to_themselves_and_grow_with_a_shift() -> None:
    rng = torch.Generator().manual_seed(0)
    real = [torch.randn(4, 6, generator=rng) for _ in range(40)]
    distances = Distances(real, 20)
    frames, clips = distances.project(real)
    shifted = [clip + 3 for clip in real]
    moved_frames, moved_clips = distances.project(shifted)
    assert distances.frame_distance(frames) < 1e-6 < distances.frame_distance(moved_frames)
    assert distances.clip_distance(clips) < 1e-6 < distances.clip_distance(moved_clips)
    assert distances.dimensions == (6, 10)


def test_markdown_tables_have_a_rule() -> None:
    assert table([["a", "b"], ["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


@pytest.mark.parametrize(
    "changes", [{"clips": 1, "runs": 1}, {"clips": 6, "runs": 4}, {"long_clips": 1}, {"names": 1}]
)
def test_reports_that_measure_nothing_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="ReportConfig"):
        ReportConfig(**changes)


def test_few_clips_that_end_before_the_many_are_refused(reporter: Reporter) -> None:
    """Stages between the two would be missing from the clip through every stage."""
    config = dataclasses.replace(CONFIG, until="ssr1", long_until="tsr1")
    with pytest.raises(InputError, match=r"long_until: got 'tsr1'.*'ssr1'"):
        dataclasses.replace(reporter, config=config).run()
    dataclasses.replace(config, long_clips=0).check(SPEC)
    with pytest.raises(InputError, match="'ssr9'"):
        dataclasses.replace(CONFIG, until="ssr9").check(SPEC)
