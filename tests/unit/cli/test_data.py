"""`imagen-video data`: options reach the check and the shard writer, and errors reach the user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imagen_video.cli import data
from imagen_video.cli.clips_display import ClipsDisplay
from imagen_video.cli.main import guarded
from imagen_video.data.checking import check as check_module
from imagen_video.data.checking.check import CheckOptions, Progress
from imagen_video.data.checking.target import Target
from imagen_video.data.clips.labels import LabelFields
from imagen_video.data.finding.discover import DiscoverOptions
from imagen_video.data.preparing import prepare as prepare_module
from imagen_video.media.video_io import write_video
from unit.data.clip_files import numbered


def run(*words: str) -> int:
    return guarded(lambda: data.run(list(words)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def clips(here: Path) -> Path:
    folder = here / "clips"
    write_video(folder / "a.mp4", numbered(12), fps=24)
    (folder / "a.txt").write_text("a clip")
    write_video(folder / "b.mp4", numbered(12), fps=24)
    return folder


def test_check_names_what_is_left_out_and_sums_up(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", str(clips), "--workers", "0") == 0
    out, err = capsys.readouterr()
    assert out.startswith("left out: b.mp4: no caption (")
    assert "1 clip, 0 pictures" in out
    assert err == ""


def test_check_prints_json_that_is_also_written(
    clips: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", str(clips), "--json", "--workers", "0", "--out", "report.json"]
    assert run(*words, "--need", "nothing") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["clips"] == 2
    assert json.loads((here / "report.json").read_text()) == printed
    assert (here / "report.json.journal.jsonl").is_file()


def test_the_journal_is_kept_by_default_and_a_second_check_decodes_nothing(
    clips: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for expected in (0, 2):
        assert run("check", str(clips), "--json", "--workers", "0") == 0
        assert json.loads(capsys.readouterr().out)["taken_from_journal"] == expected
    (journal,) = (here / "build" / "data-check").iterdir()
    assert journal.name.startswith("clips-")
    assert not [path.name for path in clips.iterdir() if path.suffix not in (".mp4", ".txt")]


def test_nothing_usable_is_the_users_problem_and_is_explained(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", str(clips), "--workers", "0", "--min-frames", "99") == 2
    out, err = capsys.readouterr()
    assert "a.mp4: too short" in out
    assert "no usable clip among 3 files (.mp4 2, .txt 1); left out: " in err


def test_an_interrupted_check_says_how_to_go_on(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: ClipsDisplay, progress: Progress) -> None:
        self.state = "1 of 2 clips done"
        raise KeyboardInterrupt

    monkeypatch.setattr(ClipsDisplay, "on_progress", interrupted)
    assert run("check", str(clips), "--workers", "0", "--journal", "j.jsonl") == 130
    assert "1 of 2 clips done; j.jsonl holds it: give the same command" in capsys.readouterr().err


class CalledError(Exception):
    """Carries what a stand-in was called with."""


def seen_by_check(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[Any, ...]:
    def check(*arguments: Any) -> None:
        raise CalledError(arguments)

    monkeypatch.setattr(check_module, "check", check)
    with pytest.raises(CalledError) as caught:
        data.run(["check", *words])
    return caught.value.args[0][:4]


def test_every_option_reaches_the_check(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "names").write_text("dog\ncat\n\n")
    words = "x --labels l.csv --file-field f --caption-field c --class-field k --vector-field v"
    words += " --vector-columns p q --class-names names --classes-from-folders --frame-folders"
    words += " --array-fps 12 --array-range -1..1 --min-frames 9 --fps 6 --min-height 4"
    words += " --min-width 5 --channels 4 --need class vector --workers 3 --clip-seconds 7"
    words += " --journal j"
    path, sources, targets, options = seen_by_check(monkeypatch, *words.split())
    assert path == Path("x")
    assert sources == DiscoverOptions(
        labels=Path("l.csv"),
        fields=LabelFields(
            file=("f",),
            caption=("c",),
            class_id=("k",),
            vector=("v",),
            vector_columns=("p", "q"),
            class_names=("dog", "cat"),
        ),
        classes_from_folders=True,
        frame_folders=True,
        fps=12.0,
        value_range=(-1.0, 1.0),
    )
    target = Target(min_frames=9, fps=6.0, height=4, width=5, channels=4, needs=("class", "vector"))
    assert targets == [target]
    assert options == CheckOptions(processes=3, clip_seconds=7.0, journal=Path("j"))


@pytest.mark.parametrize(
    ("words", "needs"),
    [
        ("", ("caption",)),
        ("--classes-from-folders", ("class",)),
        ("--vector-columns a", ("vector",)),
        ("--need nothing", ()),
    ],
)
def test_the_label_that_is_needed_follows_from_the_options(
    here: Path, monkeypatch: pytest.MonkeyPatch, words: str, needs: tuple[str, ...]
) -> None:
    _, _, (target,), _ = seen_by_check(monkeypatch, "x", *words.split())
    assert target.needs == needs


def test_a_preset_gives_a_target_a_stage_and_options_change_all(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, targets, _ = seen_by_check(monkeypatch, "x", "--preset", "tiny", "--min-height", "3")
    assert [target.name for target in targets[:3]] == ["base", "tsr1", "ssr1"]
    assert {target.height for target in targets} == {3}
    assert targets[0].needs == ("caption",)
    words = ["x", "--preset", "tiny", "--stage", "ssr1"]
    _, _, (only,), _ = seen_by_check(monkeypatch, *words)
    assert (only.name, only.height, only.width, only.channels) == ("ssr1", 12, 20, 3)
    assert only.least_fps == pytest.approx(0.9 * only.fps)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["none"], "no such file or folder"),
        ([".", "--min-frames", "0"], "--min-frames"),
        ([".", "--workers", "-1"], "--workers"),
        ([".", "--fps", "0"], "--fps"),
        ([".", "--clip-seconds", "nan"], "--clip-seconds"),
        ([".", "--array-fps", "-3"], "--array-fps"),
        ([".", "--preset", "papre"], "preset"),
        ([".", "--stage", "base"], "--preset"),
        ([".", "--preset", "tiny", "--stage", "bsae"], "base"),
        ([".", "--class-names", "none"], "--class-names"),
        ([".", "--labels", "none.csv"], "none.csv"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_a_mistake_is_explained_before_anything_is_read(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert run("check", *words) == 2
    err = capsys.readouterr().err
    assert err.startswith("imagen-video: error: ")
    assert complaint in err
    assert not list(here.iterdir())


def test_class_names_that_repeat_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "names").write_text("dog\ndog\n")
    assert run("check", ".", "--class-names", "names") == 2
    assert "2 names, 1 different" in capsys.readouterr().err


def test_prepare_passes_its_options_on_and_prints_what_was_written(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    class Report:
        def lines(self) -> list[str]:
            return ["shards: 2 clips", "  base 2 clips"]

    def prepare(path: Path, cascade: Any, options: Any, **more: Any) -> Report:
        seen.extend([path, cascade.name, options, more["sources"]])
        return Report()

    monkeypatch.setattr(prepare_module, "prepare", prepare)
    words = "prepare x --preset tiny --out shards --stages base ssr1 --windows 3 --caption-field c"
    assert run(*words.split()) == 0
    path, name, options, sources = seen
    assert (path, name, options.out) == (Path("x"), "tiny", Path("shards"))
    assert (options.stages, options.windows) == (("base", "ssr1"), 3)
    assert sources.fields.caption == ("c",)
    assert capsys.readouterr().out == "shards: 2 clips\n  base 2 clips\n"


def test_progress_is_a_line_now_and_then_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from imagen_video.cli import clips_display

    with ClipsDisplay(terminal=False) as display:
        display.on_progress(Progress(done=1, total=9, seconds_left=8.0))
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(clips_display, "SECONDS_BETWEEN_LINES", 0.0)
        display.on_progress(Progress(done=2, total=9, seconds_left=3700.0))
        display.on_progress(Progress(done=3, total=9, seconds_left=None))
    assert capsys.readouterr().err.splitlines() == [
        "imagen-video: 2 of 9 clips done, 1 h 01 min left",
        "imagen-video: 3 of 9 clips done, time left unknown",
    ]


def test_progress_is_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ClipsDisplay(terminal=True) as display:
        display.on_progress(Progress(done=4, total=9, seconds_left=65.0))
        assert display._bars is not None
        (task,) = display._bars.tasks
        assert (task.completed, task.total, task.fields["left"]) == (4, 9, "1 min 05 s left")
    assert display.state == "4 of 9 clips done"
