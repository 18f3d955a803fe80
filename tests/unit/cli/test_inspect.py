"""`imagen-video inspect`: the stage table of presets and bundles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imagen_video.cascade.bundle import save_bundle
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cli.inspect import describe, run
from imagen_video.cli.main import main
from imagen_video.models.unet import VideoUNet
from imagen_video.presets import PRESETS
from imagen_video.presets.tiny import tiny

KEYS = {"name", "kind", "frames", "height", "width", "fps", "parameters", "flops_per_step"}
KEYS |= {"peak_memory_bytes", "halo_pixels", "halo_frames", "tileable"}


def test_json_has_every_stage_and_the_sum(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tiny", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [stage["name"] for stage in found["stages"]] == [s.name for s in tiny().stages]
    assert all(set(stage) >= KEYS for stage in found["stages"])
    assert found["parameters"] == sum(stage["parameters"] for stage in found["stages"])


def test_parameters_are_those_of_the_network() -> None:
    stage = tiny().stages[1]
    network = VideoUNet(stage.unet)
    expected = sum(parameter.numel() for parameter in network.parameters())
    assert describe("tiny")["stages"][1]["parameters"] == expected


def test_cost_grows_with_the_clip_and_memory_holds_at_least_the_output() -> None:
    stages = {stage["name"]: stage for stage in describe("tiny")["stages"]}
    assert stages["ssr3"]["flops_per_step"] > 4 * stages["tsr3"]["flops_per_step"]
    assert stages["ssr3"]["peak_memory_bytes"] > 4 * 3 * 32 * 192 * 320
    assert stages["ssr3"]["tileable"]
    assert stages["ssr3"]["halo_pixels"] == tiny().stage("ssr3").unet.halo_pixels
    assert not stages["base"]["tileable"]
    assert stages["base"]["halo_pixels"] is None


def test_a_bundle_folder_is_described_like_its_preset(tmp_path: Path) -> None:
    save_bundle(tmp_path / "mine", tiny(), {})
    assert describe(str(tmp_path / "mine")) == describe("tiny")


def test_a_preset_with_shipped_weights_is_described_as_it_runs() -> None:
    stages = {stage["name"]: stage for stage in describe("emoji")["stages"]}
    shipped = ImagenVideoPipeline.from_pretrained("emoji").spec
    assert {name: stage["steps"] for name, stage in stages.items()} == {
        stage.name: stage.sampling.steps for stage in shipped.stages
    }
    assert stages["ssr2"]["distilled"]["steps"] == 1  # the preset, which trains it, takes more


def test_the_table_fits_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["tiny"]) == 0
    shown = capsys.readouterr().out
    assert all(stage.name in shown for stage in tiny().stages)
    assert "32x192x320" in shown
    assert "runs whole" in shown


def test_an_unknown_name_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "nothing-of-that-name"]) == 2
    assert "check the name or the path" in capsys.readouterr().err


def test_a_misspelt_preset_is_answered_with_those_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["inspect", "papr"]) == 2
    told = capsys.readouterr().err
    assert all(name in told for name in PRESETS)
