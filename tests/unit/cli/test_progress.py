"""What a person sees of a generation: bars on a terminal, lines elsewhere, never on stdout."""

from __future__ import annotations

import warnings

import pytest

from imagen_video.cascade.request import Progress, StageReport
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import Clip
from imagen_video.cli import progress
from imagen_video.cli.progress import ProgressDisplay, warnings_as_lines


def state(done: int, seconds: float = 30.0) -> Progress:
    return Progress(stage="ssr1", index=2, num_stages=7, done=done, total=8, seconds=seconds)


def finished(*, resumed: bool = False) -> StageReport:
    clip = Clip(frames=8, height=12, width=20)
    return StageReport(
        name="ssr1", clip=clip, sampling=SamplingSpec(), seconds=75.0, tiles=1, resumed=resumed
    )


def test_time_left_follows_from_the_parts_that_are_done() -> None:
    assert state(2, seconds=10.0).seconds_left == 30.0
    assert state(8).seconds_left == 0.0


def test_lines_say_the_stage_and_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with ProgressDisplay(terminal=False) as display:
        display.on_progress(state(2))
        display.on_stage(finished())
        display.on_stage(finished(resumed=True))
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.splitlines() == [
        "imagen-video: ssr1 (stage 3 of 7): 2/8, 1 min 30 s left",
        "imagen-video: ssr1: 8x12x20 in 1 min 15 s",
        "imagen-video: ssr1: 8x12x20 taken from the earlier run",
    ]


def test_lines_are_few(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay(terminal=False) as display:
        for done in range(1, 9):
            display.on_progress(state(done))
    assert not capsys.readouterr().err


def test_a_terminal_gets_a_bar_that_fills(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with ProgressDisplay(terminal=True) as display:
        display.on_progress(state(2))
        display.on_stage(finished())
    shown = capsys.readouterr()
    assert not shown.out
    assert "ssr1" in shown.err
    assert "8/8" in shown.err


def test_a_warning_is_one_line_without_a_file_name(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings_as_lines():
        warnings.warn("the prompt is too long", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "imagen-video: warning: the prompt is too long\n"
    with pytest.raises(UserWarning):  # the tests' own rule is back
        warnings.warn("again", UserWarning, stacklevel=1)
