"""A sample sheet shows what was asked for, what was made and what is real, for any channels."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imagen_video.cascade.spec import StageSpec
from imagen_video.data.batches.batch import Batch
from imagen_video.models.unet import VideoUNet
from imagen_video.training import sheets
from imagen_video.training.sheets import SampleSheet
from unit.cascade.small_cascades import WordEncoder, awake, random_video
from unit.training.small_runs import SPEC

FORMAT = b"\x89PNG"


@dataclasses.dataclass(frozen=True)
class One:
    only: Batch

    def batch(self, step: int) -> Batch:
        assert step == 0
        return self.only


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What was laid out."""
    calls: list[dict[str, Any]] = []
    real = sheets.contact_sheet

    def spy(clips: Any, **options: Any) -> np.ndarray:
        calls.append({"clips": clips, **options})
        return real(clips, **options)

    monkeypatch.setattr(sheets, "contact_sheet", spy)
    return calls


def sheet_of(stage: StageSpec, folder: Path, batch: Batch, **changes: Any) -> SampleSheet:
    source = None if stage.kind == "base" else SPEC.input_of(stage.name)
    values: dict[str, Any] = {"encoder": WordEncoder(), **changes}
    return SampleSheet(stage=stage, source=source, batches=One(batch), run_dir=folder, **values)


def clips(stage: str, channels: int = 3, **labels: Any) -> Batch:
    out = SPEC.stage(stage).output
    video = random_video(2, out.frames, channels, out.height, out.width)
    return Batch(video=video, **labels)


@pytest.mark.parametrize("stage", ["base", "tsr1", "ssr1"])
def test_every_clip_stands_above_the_real_one_with_its_caption(
    stage: str, tmp_path: Path, drawn: list[dict[str, Any]]
) -> None:
    batch = clips(stage, captions=("a red square", "a blue square"))
    network = awake(SPEC.stage(stage).unet).train()
    picture = sheet_of(SPEC.stage(stage), tmp_path, batch)(network, 7)
    file = tmp_path / "samples" / "step-00000007.png"
    assert file.read_bytes().startswith(FORMAT)
    assert picture.dtype == np.uint8
    assert drawn[0]["labels"] == ["a red square", "real", "a blue square", "real"]
    made, real, *_ = drawn[0]["clips"]
    assert real.shape == made.shape
    assert not np.array_equal(real, made)
    assert network.training  # as it was


def test_the_same_network_draws_the_same_sheet(tmp_path: Path) -> None:
    batch = clips("base", captions=("a", "b"))
    network = awake(SPEC.stage("base").unet)
    draw = sheet_of(SPEC.stage("base"), tmp_path, batch)
    assert np.array_equal(draw(network, 1), draw(network, 2))
    assert not np.array_equal(draw(network, 1), draw(awake(SPEC.stage("base").unet, seed=3), 2))


def test_only_the_process_that_writes_writes(tmp_path: Path) -> None:
    batch = clips("base", captions=("a", "b"))
    sheet_of(SPEC.stage("base"), tmp_path, batch, write=False)(awake(SPEC.stages[0].unet), 1)
    assert not list(tmp_path.iterdir())


def silent(channels: int, **unet: Any) -> StageSpec:
    """A base without text."""
    base = SPEC.stage("base")
    level = dataclasses.replace(base.unet.levels[0], text_attention=False)
    spec = dataclasses.replace(
        base.unet, levels=(level,), text_width=None, channels=channels, **unet
    )
    return dataclasses.replace(base, unet=spec)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_grey_videos_and_videos_with_depth_are_shown(
    channels: int, tmp_path: Path, drawn: list[dict[str, Any]]
) -> None:
    stage = silent(channels)
    sheet_of(stage, tmp_path, clips("base", channels), encoder=None)(VideoUNet(stage.unet), 1)
    assert {clip.shape[-1] for clip in drawn[0]["clips"]} == {3}
    assert drawn[0]["labels"][::2] == ["unconditional"] * 2


def test_a_class_and_a_number_reach_the_network_and_the_label(
    tmp_path: Path, drawn: list[dict[str, Any]]
) -> None:
    stage = silent(3, num_classes=4, vector_width=2)
    network = awake(stage.unet)
    sheets_ = []
    for last in (0, 3):
        batch = clips(
            "base",
            class_id=torch.tensor([1, last]),
            vector=torch.tensor([[0.5, 1.0], [2.0, float(last)]]),
        )
        sheets_.append(sheet_of(stage, tmp_path, batch, encoder=None)(network, 1))
    assert drawn[1]["labels"][::2] == ["class 1 [0.5, 1.0]", "class 3 [2.0, 3.0]"]
    first, second = (call["clips"] for call in drawn)
    assert np.array_equal(first[0], second[0])
    assert not np.array_equal(first[2], second[2])


def test_no_more_steps_are_taken_than_show_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []

    def sample(stage: Any, network: Any, request: Any, sampling: Any, **_: Any) -> Any:
        taken.append(sampling.steps)
        return torch.zeros(2, 4, 3, 4, 6)

    monkeypatch.setattr(sheets, "sample_stage", sample)
    base = SPEC.stage("base")
    for steps in (2, 256):
        stage = dataclasses.replace(base, sampling=dataclasses.replace(base.sampling, steps=steps))
        batch = clips("base", captions=("a", "b"))
        sheet_of(stage, tmp_path, batch)(awake(stage.unet), 1)
    assert taken == [2, sheets.MAX_STEPS]
