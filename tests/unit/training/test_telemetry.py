"""The numbers of a run reach every log, from one process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imagen_video.errors import MissingExtraError
from imagen_video.training.telemetry import Telemetry
from unit.training.small_runs import config_of


def updates(telemetry: Telemetry, losses: list[float]) -> None:
    for loss in losses:
        telemetry.update(examples=8, learning_rate=0.1, waited=0.0, loss_clips=loss)


def test_a_line_holds_means_speed_waiting_and_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Telemetry(tmp_path, config_of(steps=100)) as telemetry:
        updates(telemetry, [1.0, 3.0])
        telemetry.line(2, {"extra": 0.5})
        updates(telemetry, [5.0])
        telemetry.line(3, {})
    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert first["step"] == 2
    assert first["loss_clips"] == 2.0
    assert second["loss_clips"] == 5.0
    assert first["extra"] == 0.5
    assert first["rss_bytes"] > 10**7
    assert first["peak_rss_bytes"] >= first["rss_bytes"] * 0.5
    assert first["examples_per_second"] == pytest.approx(8 / first["seconds_per_step"], rel=1e-6)
    assert first["waiting_for_data"] == 0
    assert "step 2/100" in capsys.readouterr().out


def test_tensorboard_gets_numbers_and_pictures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Telemetry(tmp_path, config_of()) as telemetry:
        telemetry.numbers(4, {"validation": 0.25})
        telemetry.picture(4, "samples", np.zeros((8, 8, 3), np.uint8))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("validation")] == [(4, 0.25)]
    assert [e.step for e in events.Images("samples")] == [4]


def test_processes_that_are_not_the_main_one_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Telemetry(tmp_path / "run", config_of(wandb="p"), active=False) as telemetry:
        updates(telemetry, [1.0])
        telemetry.line(1, {})
        telemetry.picture(1, "samples", np.zeros((8, 8, 3), np.uint8))
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out == ""


def test_weights_and_biases_gets_the_same_numbers_on_one_page_for_all_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[dict[str, Any]] = []
    logged: list[tuple[Any, int]] = []

    def init(**settings: Any) -> Any:
        opened.append(settings)
        return SimpleNamespace(
            log=lambda values, step: logged.append((values, step)), finish=lambda exit_code: None
        )

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for _ in range(2):
        with Telemetry(tmp_path, config_of(wandb="project")) as telemetry:
            telemetry.numbers(4, {"validation": 0.25})
    assert logged == [({"validation": 0.25}, 4)] * 2
    assert opened[0] == opened[1]
    assert opened[0]["project"] == "project"
    assert opened[0]["resume"] == "allow"


def test_weights_and_biases_that_is_not_installed_is_said_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"imagen-video\[wandb\]"):
        Telemetry(tmp_path, config_of(wandb="project"))
