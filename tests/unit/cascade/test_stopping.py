"""A callback ends a run, bars show it, and hostile prompts never reach a network."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imagen_video import Stopped
from imagen_video.cascade.pipeline import Request
from imagen_video.cascade.progress_bars import StageBars
from imagen_video.cascade.request import Progress
from imagen_video.cascade.work_folder import WorkFolder
from imagen_video.errors import InputError
from unit.cascade.small_cascades import small_pipeline


def stop_in(stage: str) -> Any:
    def callback(progress: Progress) -> None:
        if progress.stage == stage:
            raise Stopped

    return callback


def test_a_callback_ends_the_run_and_finished_stages_are_kept() -> None:
    pipeline = small_pipeline()
    with pytest.raises(Stopped) as stopped:
        pipeline("a cat", seed=3, keep=("base",), callback_on_step_end=stop_in("ssr1"))
    output = stopped.value.output
    assert output is not None
    assert [report.name for report in output.reports] == ["base", "tsr1"]
    half = pipeline("a cat", seed=3, until="tsr1")
    assert np.array_equal(output.frames[0], half.frames[0])
    assert output.fps == half.fps
    assert set(output.stages) == {"base"}


def test_a_run_that_ends_in_its_first_stage_has_no_frames() -> None:
    with pytest.raises(Stopped) as stopped:
        small_pipeline()("a cat", callback_on_step_end=stop_in("base"))
    assert stopped.value.output is not None
    assert stopped.value.output.frames is None
    assert stopped.value.output.images == []
    assert stopped.value.output.reports == ()


def test_a_stopped_run_goes_on_from_its_folder(tmp_path: Path) -> None:
    pipeline = small_pipeline()
    request = Request(prompts=("a cat",), seeds=(3,))
    work = WorkFolder.open(tmp_path / "w", {})
    with pytest.raises(Stopped):
        pipeline.run(request, work=work, on_progress=stop_in("ssr1"))
    result = pipeline.run(request, work=work, output_type="pt")
    assert [report.resumed for report in result.reports] == [True, True, False]
    assert torch.equal(result.frames, pipeline.run(request, output_type="pt").frames)


def test_a_run_stopped_when_a_stage_is_done_keeps_that_stage() -> None:
    def on_stage(report: Any, video: torch.Tensor) -> None:
        raise Stopped

    with pytest.raises(Stopped) as stopped:
        small_pipeline().run(Request(prompts=("a cat",), seeds=(3,)), on_stage=on_stage)
    assert stopped.value.output is not None
    assert [report.name for report in stopped.value.output.reports] == ["base"]


def test_bars_name_the_stages_and_show_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Progress] = []
    small_pipeline()("a cat", progress=True, callback_on_step_end=seen.append)
    shown = capsys.readouterr().err
    for name in ("base (1/3)", "tsr1 (2/3)", "ssr1 (3/3)"):
        assert name in shown
    assert shown.count("100%") >= 3
    assert [p.done for p in seen] == [1, 2] * 3


@pytest.mark.parametrize("wanted", [False, None])
def test_a_script_whose_output_goes_to_a_file_shows_no_bars(
    wanted: bool | None, capsys: pytest.CaptureFixture[str]
) -> None:
    small_pipeline()("a cat", progress=wanted)
    assert capsys.readouterr().err == ""


def test_a_terminal_and_a_notebook_show_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Progress(stage="base", index=0, num_stages=1, done=1, total=2, seconds=1.0)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    with StageBars(None) as bars:
        bars.on_progress(step)
    assert bars._bar is not None
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setitem(__import__("sys").modules, "ipykernel", None)
    with StageBars(None) as bars:
        bars.on_progress(step)
    assert bars._bar is not None


@pytest.mark.parametrize("prompt", ["a" * (1 << 20), "a cat \udc80", " \t\n", " \x00\x1b\u200b"])
def test_prompts_that_no_encoder_can_use_are_refused_at_once(prompt: str) -> None:
    pipeline = small_pipeline()
    with pytest.raises(InputError, match="prompt 0"):
        pipeline(prompt)
    with pytest.raises(InputError, match="negative prompt"):
        pipeline("a cat", prompt)
    with pytest.raises(InputError, match="prompt 0"):
        pipeline.image(prompt)
    with pytest.raises(InputError, match="prompt 0"):
        pipeline.upscale(np.zeros((1, 4, 6, 3), np.uint8), prompt)
