"""The files of one video appear together and whole, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from imagen_video.cascade.request import StageReport
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import Clip
from imagen_video.cli.outputs import (
    OutputPaths,
    VideoFiles,
    keep_last_stage,
    keep_stage,
    write_report,
)
from imagen_video.media.pictures import read_image
from imagen_video.media.video_io import read_metadata, read_video

CLIP = Clip(frames=20, height=16, width=24, fps=12)


@pytest.fixture
def paths(tmp_path: Path) -> OutputPaths:
    return OutputPaths(folder=tmp_path / "out", name="a-cat-1")


def parts() -> np.ndarray:
    return np.full((1, 20, 16, 24, 3), 128, np.uint8)


def test_frames_written_in_parts_become_one_video_and_a_sheet(paths: OutputPaths) -> None:
    with VideoFiles(paths, CLIP, {"prompt": "a cat"}) as files:
        files.write(0, parts()[:, :7])
        files.write(7, parts()[:, 7:])
    video, fps = read_video(paths.video)
    assert video.shape == (20, 16, 24, 3)
    assert fps == 12
    assert read_metadata(paths.sheet) == {"prompt": "a cat"}
    sheet = read_image(paths.sheet)
    # four columns and four rows of grey cells on white
    assert sheet.shape[1] == 4 + 4 * (24 + 4)
    assert (sheet == 128).all(-1).sum() == 16 * 16 * 24


def test_one_frame_makes_a_sheet_of_one(paths: OutputPaths) -> None:
    clip = Clip(frames=1, height=16, width=24)
    with VideoFiles(paths, clip, {}) as files:
        files.write(0, parts()[:, :1])
    assert read_image(paths.sheet).shape[1] == 4 + 24 + 4


def test_a_failure_between_the_frames_leaves_no_file(paths: OutputPaths) -> None:
    def interrupted() -> None:
        with VideoFiles(paths, CLIP, {}) as files:
            files.write(0, parts()[:, :7])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(paths.folder.iterdir())


def test_a_kept_stage_has_its_own_rate_and_name(paths: OutputPaths) -> None:
    report = StageReport(name="tsr1", clip=CLIP, sampling=SamplingSpec(), seconds=1.0, tiles=1)
    keep_stage(paths, report, torch.zeros(1, 20, 3, 16, 24), {"seed": 1})
    video, fps = read_video(paths.folder / "a-cat-1-tsr1.mp4")
    assert (len(video), fps) == (20, 12)
    assert read_metadata(paths.stage("tsr1")) == {"seed": 1, "stage": "tsr1"}


def test_the_last_kept_stage_is_the_video(paths: OutputPaths) -> None:
    with VideoFiles(paths, CLIP, {}) as files:
        files.write(0, parts())
    keep_last_stage(paths, "ssr3")
    assert paths.stage("ssr3").read_bytes() == paths.video.read_bytes()


def test_the_report_is_json(paths: OutputPaths) -> None:
    write_report(paths.report, {"frames": 3})
    assert json.loads(paths.report.read_text("utf-8")) == {"frames": 3}
