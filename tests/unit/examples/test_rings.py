"""The worked example of docs/own_cascade.md: its clips, its measurement, its cascade."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from imagen_video.models.cost import num_parameters
from imagen_video.presets.user import load_preset
from unit.examples.example_files import ROOT, example

RINGS = example("render_rings")
MEASURE = example("measure_rings")
CASCADE = example("number_cascade")


@pytest.mark.parametrize("ejection", [0.1, 0.5, 0.9])
def test_a_rendered_ring_shows_its_number(ejection: float) -> None:
    for seed in range(3):
        clip = RINGS.render(ejection, np.random.default_rng(seed))
        assert clip.shape == (60, 64, 64)
        assert clip.dtype == np.uint8
        assert MEASURE.ejection(clip) == pytest.approx(ejection, abs=0.04)


def test_a_still_picture_ejects_nothing() -> None:
    clip = RINGS.render(0.5, np.random.default_rng(0))
    assert MEASURE.ejection(np.repeat(clip[:1], 9, axis=0)) == 0
    assert MEASURE.ejection(np.zeros((4, 64, 64))) == 0


def test_the_script_writes_clips_and_a_table_of_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["render_rings.py", str(tmp_path), "--clips", "3"])
    RINGS.main()
    with (tmp_path / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file_name"] for row in rows] == [f"ring-0000{i}.npy" for i in range(3)]
    for row in rows:
        clip = np.load(tmp_path / row["file_name"])
        assert MEASURE.ejection(clip) == pytest.approx(float(row["ejection"]), abs=0.04)


def test_the_cascade_makes_grey_clips_of_32_frames_from_a_number() -> None:
    spec = load_preset(f"{ROOT}/{CASCADE.PRESET}")
    assert spec.text_encoder is None
    assert str(spec.stages[-1].output) == "32x64x64"
    for stage in spec.stages:
        assert (stage.unet.channels, stage.unet.vector_width) == (1, 1)
        assert stage.unet.text_width is None
    assert sum(num_parameters(stage.unet) for stage in spec.stages) < 2e6


def test_every_stage_has_a_schedule() -> None:
    assert list(CASCADE.SCHEDULE) == [stage.name for stage in CASCADE.cascade().stages]
