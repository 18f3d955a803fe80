from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imagen_video
from imagen_video.data.checking import examine as examine_module
from imagen_video.data.checking.check import CheckOptions, Progress, check
from imagen_video.data.checking.report import CheckReport, report_lines
from imagen_video.data.checking.target import Target, frames_at, targets_of, unfit
from imagen_video.data.clips.labels import Label
from imagen_video.data.clips.records import DataLimits
from imagen_video.data.decoding.probe import Probe
from imagen_video.data.finding.discover import DiscoverOptions
from imagen_video.errors import DataError, InputError
from imagen_video.media.pictures import write_animation, write_png
from imagen_video.presets import preset
from unit.data.clip_files import add, mp4, numbered

HERE = CheckOptions(processes=0)


def captioned(path: Path, caption: str = "a clip", count: int = 12, **size: Any) -> Path:
    mp4(path, count, **size)
    path.with_suffix(".txt").write_text(caption)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One of everything that happens to honest people."""
    root = tmp_path / "clips"
    captioned(root / "a.mp4", "a red ball rolls")
    (root / "copy.mp4").write_bytes((root / "a.mp4").read_bytes())
    (root / "copy.txt").write_text("the same again")
    captioned(root / "b.mp4", "grey, thirty a second", 24, fps=30.0, height=20, width=32)
    mp4(root / "silent.mp4")
    captioned(root / "short.mp4", "too short", 2)
    captioned(root / "small.mp4", "too small", height=8, width=8)
    captioned(root / "cut.mp4")
    (root / "cut.mp4").write_bytes((root / "cut.mp4").read_bytes()[:900])
    (root / "empty.mp4").touch()
    (root / "empty.txt").write_text("nothing")
    (root / "wrong.avi").write_bytes((root / "b.mp4").read_bytes())
    (root / "notes.md").write_text("not a clip")
    write_png(root / "still.png", numbered(1)[0])
    (root / "still.txt").write_text("a picture")
    write_animation(root / "moves.gif", numbered(6), fps=10)
    (root / "moves.txt").write_text("it moves")
    return root


TARGET = Target(name="toy", min_frames=5, fps=12.0, height=16, width=16)


def test_everything_is_counted_and_what_is_left_out_is_named_with_its_reason(folder: Path) -> None:
    report = check(folder, targets=[TARGET], options=HERE)
    assert [clip.id for clip in report.clips] == ["a.mp4", "b.mp4", "copy.mp4", "moves.gif"]
    assert [clip.id for clip in report.pictures] == ["still.png"]
    assert {drop.id: drop.reason for drop in report.dropped} == {
        "silent.mp4": "no caption",
        "short.mp4": "too short",
        "small.mp4": "too small",
        "cut.mp4": "unreadable",
        "empty.mp4": "empty file",
        "wrong.avi": "wrong extension",
    }
    assert report.exact_duplicates == (("a.mp4", "copy.mp4"),)
    values = report.to_json()
    assert json.loads(json.dumps(values)) == values
    assert (values["clips"], values["pictures"]) == (4, 1)
    assert values["files"][".mp4"] == 8
    assert values["frames"] == {"least": 6, "median": 12, "most": 24, "total": 54}
    assert values["seconds"]["most"] == pytest.approx(0.8)
    assert values["frame_rates"] == {"24": 2, "30": 1, "10": 1}
    assert values["sizes"] == {"24x16": 4, "32x20": 1}
    assert values["caption_words"]["most"] == 4
    assert values["stages"]["toy"] == {
        "usable": 5,
        "faults": {"no caption": 1, "too short": 1, "too small": 1},
    }


def test_the_text_names_every_clip_that_is_left_out_and_sums_up_last(folder: Path) -> None:
    lines = list(report_lines(check(folder, targets=[TARGET], options=HERE)))
    assert "left out: empty.mp4: empty file" in "\n".join(lines)
    assert sum(line.startswith("left out: ") for line in lines) == 6
    assert "same bytes: a.mp4, copy.mp4" in lines
    text = "\n".join(lines[lines.index("") :])
    assert "4 clips, 1 picture" in text
    assert "1 with the same bytes" in text
    assert all(line.isprintable() for line in lines)


def test_processes_find_what_one_process_finds(folder: Path) -> None:
    alone = check(folder, targets=[TARGET], options=HERE)
    many = check(folder, targets=[TARGET], options=CheckOptions(processes=2))
    assert many == alone


def test_a_re_encoded_copy_is_a_near_duplicate(tmp_path: Path) -> None:
    captioned(tmp_path / "a.mp4")
    write_animation(tmp_path / "again.gif", numbered(12), fps=24)
    (tmp_path / "again.txt").write_text("the same as a GIF")
    captioned(tmp_path / "other.mp4", count=30)
    report = check(tmp_path, options=HERE)
    assert report.near_duplicates == (("a.mp4", "again.gif"),)
    assert not report.exact_duplicates


def test_nothing_usable_is_an_error_that_says_what_was_found(tmp_path: Path) -> None:
    mp4(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").touch()
    (tmp_path / "c.zip").touch()
    (tmp_path / "readme").touch()
    report = check(tmp_path, options=HERE)
    with pytest.raises(DataError) as caught:
        report.require_usable()
    for words in (".mp4 2", ".zip 1", "(none) 1", "no caption 1", "empty file 1"):
        assert words in str(caught.value)
    (tmp_path / "empty").mkdir()
    report = check(tmp_path / "empty", options=HERE)
    with pytest.raises(DataError, match="no files at all"):
        report.require_usable()
    report = check(tmp_path, targets=[Target(needs=())], options=HERE)
    report.require_usable()


def test_each_stage_of_a_preset_says_what_it_can_use(tmp_path: Path) -> None:
    # tiny: the base takes 4 frames of 10x6 at 3 fps, ssr1 20x12, later stages more.
    captioned(tmp_path / "a.mp4", count=64, height=12, width=20)
    captioned(tmp_path / "b.mp4", count=10, height=12, width=20)
    cascade = preset("tiny")
    report = check(tmp_path, targets=targets_of(cascade), options=HERE)
    assert [clip.id for clip in report.usable] == ["a.mp4"]
    assert [drop.reason for drop in report.dropped] == ["too short"]
    stages = report.to_json()["stages"]
    assert list(stages) == [stage.name for stage in cascade.stages]
    assert stages["base"]["usable"] == 1
    assert stages["ssr2"]["faults"]["too small"] >= 1
    text = "\n".join(report_lines(report))
    assert "for base" in text
    assert "for ssr2" in text


SHAPE = Probe(frames=24, fps=24.0, height=16, width=24, channels=3, seconds=1.0)
LABEL = Label(caption="c", class_id=3, vector=(1.0, 2.0))


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (Target(min_frames=24), None),
        (Target(min_frames=25), "too short"),
        (Target(min_frames=12, fps=12.0), None),
        (Target(min_frames=13, fps=12.0), "too short"),
        (Target(min_frames=48, fps=48.0), None),
        (Target(min_frames=48, fps=48.0, least_fps=43.0), "frame rate too low"),
        (Target(height=16, width=24), None),
        (Target(height=17), "too small"),
        (Target(channels=1), None),
        (Target(channels=4), "wrong channels"),
        (Target(needs=("class",), num_classes=4), None),
        (Target(needs=("class",), num_classes=3), "class out of range"),
        (Target(needs=("vector",), vector_width=2), None),
        (Target(needs=("vector",), vector_width=3), "wrong vector width"),
        (Target(needs=("caption", "class", "vector")), None),
    ],
)
def test_a_clip_fits_a_target_or_has_a_reason(target: Target, reason: str | None) -> None:
    fault = unfit("a", LABEL, SHAPE, target)
    assert (fault.reason if fault is not None else None) == reason


@pytest.mark.parametrize("need", ["caption", "class", "vector"])
def test_a_missing_part_of_the_label_is_named(need: Any) -> None:
    fault = unfit("a", Label(), SHAPE, Target(needs=(need,)))
    assert fault is not None
    assert fault.reason == f"no {need}"


def test_a_still_picture_needs_no_length(tmp_path: Path) -> None:
    shape = Probe(frames=1, fps=0.0, height=16, width=24, channels=3, seconds=0.0)
    assert unfit("a", LABEL, shape, Target(min_frames=99, fps=24.0)) is None


@pytest.mark.parametrize("fps", [23.976, 24.0, 30.0, 10.0])
def test_a_clip_sampled_at_its_own_rate_gives_all_its_frames(fps: float) -> None:
    assert all(frames_at(count / fps, fps) == count for count in range(1, 400))


def test_classes_and_vectors_serve_instead_of_captions(tmp_path: Path) -> None:
    mp4(tmp_path / "cat" / "a.mp4")
    mp4(tmp_path / "dog" / "b.mp4")
    (tmp_path / "labels.csv").write_text("file,ef,age\ncat/a.mp4,0.5,70\ndog/b.mp4,0.25,\n")
    from imagen_video.data.clips.labels import LabelFields

    sources = DiscoverOptions(classes_from_folders=True)
    report = check(tmp_path, sources, [Target(needs=("class",))], HERE)
    assert report.to_json()["classes"] == {"cat": 1, "dog": 1}
    fields = LabelFields(vector_columns=("ef", "age"))
    report = check(tmp_path, DiscoverOptions(fields=fields), [Target(needs=("vector",))], HERE)
    assert [clip.label.vector for clip in report.usable] == [(0.5, 70.0)]
    assert [drop.reason for drop in report.dropped] == ["unusable label"]
    assert report.to_json()["vector_widths"] == {"2": 1}


def test_depth_beside_rgb_is_four_channels(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((6, 8, 8, 4), np.float32))
    (tmp_path / "a.txt").write_text("deep")
    mp4(tmp_path / "b.mp4")
    (tmp_path / "b.txt").write_text("flat")
    report = check(tmp_path, targets=[Target(channels=4)], options=HERE)
    assert [clip.id for clip in report.usable] == ["a.npy"]
    assert [(drop.id, drop.reason) for drop in report.dropped] == [("b.mp4", "wrong channels")]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the clips that are decoded in this process."""
    seen: list[str] = []
    examine = examine_module.examine

    def counting(job: dict[str, Any]) -> dict[str, Any]:
        seen.append(job["record"]["id"])
        return examine(job)

    monkeypatch.setattr(examine_module, "examine", counting)
    return seen


def without_journal(report: CheckReport) -> CheckReport:
    return dataclasses.replace(report, num_known=0)


def test_an_interrupted_check_goes_on_where_it_stopped(
    folder: Path, tmp_path: Path, counted: list[str]
) -> None:
    whole = check(folder, targets=[TARGET], options=HERE)
    num_clips = len(counted)
    options = dataclasses.replace(HERE, journal=tmp_path / "new" / "journal.jsonl")
    counted.clear()

    def stop_after_three(progress: Progress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(folder, targets=[TARGET], options=options, on_progress=stop_after_three)
    assert len(counted) == 3
    seen: list[Progress] = []
    report = check(folder, targets=[TARGET], options=options, on_progress=seen.append)
    assert report.num_known == 3
    assert without_journal(report) == whole
    assert sorted(counted) == sorted(set(counted))
    assert [progress.done for progress in seen] == list(range(3, num_clips + 1))
    assert seen[0].seconds_left is None
    assert seen[-1].seconds_left == 0
    assert {progress.total for progress in seen} == {num_clips}


def test_another_target_needs_no_second_reading(
    folder: Path, tmp_path: Path, counted: list[str]
) -> None:
    options = dataclasses.replace(HERE, journal=tmp_path / "journal.jsonl")
    check(folder, targets=[TARGET], options=options)
    counted.clear()
    report = check(folder, targets=[Target(needs=())], options=options)
    assert counted == []
    assert len(report.usable) == 8


def test_a_changed_clip_and_other_limits_are_read_again(tmp_path: Path, counted: list[str]) -> None:
    root = tmp_path / "clips"
    captioned(root / "a.mp4")
    captioned(root / "b.mp4")
    options = dataclasses.replace(HERE, journal=tmp_path / "journal.jsonl")
    check(root, options=options)
    captioned(root / "a.mp4", count=13)
    counted.clear()
    report = check(root, options=options)
    assert counted == ["a.mp4"]
    assert report.usable[0].shape.frames == 13
    counted.clear()
    limits = DataLimits(max_frames=12)
    report = check(root, options=dataclasses.replace(options, limits=limits))
    assert counted == ["a.mp4", "b.mp4"]
    assert [drop.reason for drop in report.dropped] == ["too long"]


def test_a_torn_or_foreign_journal_costs_only_what_it_lost(
    tmp_path: Path, counted: list[str]
) -> None:
    root = tmp_path / "clips"
    for name in "abc":
        captioned(root / f"{name}.mp4")
    journal = tmp_path / "journal.jsonl"
    options = dataclasses.replace(HERE, journal=journal)
    whole = check(root, options=options)
    journal.write_bytes(journal.read_bytes()[:-10])  # as a crash leaves it
    counted.clear()
    assert without_journal(check(root, options=options)) == whole
    assert counted == ["c.mp4"]
    counted.clear()
    assert check(root, options=options).num_known == 3
    assert counted == []
    for content in (b"\x00\xff\n[[[\n7\n" + b"[" * 99_999, b'{"journal": 99}\n{"id": "a.mp4"}\n'):
        journal.write_bytes(content)
        assert without_journal(check(root, options=options)) == whole
    head, *entries = journal.read_text().splitlines()[-4:]
    for result in ("7", "{}", '{"dropped": 1}', '{"shape": {}, "sha256": "", "pictures": ""}'):
        changed = [f'{entry.split(chr(34) + "result")[0]}"result": {result}}}' for entry in entries]
        journal.write_text("\n".join([head, *changed]) + "\n")
        assert check(root, options=options) == whole
    journal.unlink()
    journal.mkdir()
    with pytest.raises(InputError, match="journal"):
        check(root, options=options)


def test_a_check_that_was_killed_goes_on(tmp_path: Path) -> None:
    root, journal = tmp_path / "clips", tmp_path / "journal.jsonl"
    for number in range(8):
        captioned(root / f"{number}.mp4", count=40, height=64, width=64)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from imagen_video.data.checking.check import CheckOptions, check\n"
        "if __name__ == '__main__':\n"
        "    check(sys.argv[1], options=CheckOptions(processes=1, journal=Path(sys.argv[2])))\n"
    )
    (tmp_path / "run.py").write_text(code)
    source = str(Path(imagen_video.__file__).parents[1])
    running = subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py"), str(root), str(journal)],
        env={"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and running.poll() is None:
        if journal.is_file() and journal.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    report = check(root, options=dataclasses.replace(HERE, journal=journal))
    assert report.num_known >= 2
    assert without_journal(report) == check(root, options=HERE)


def test_members_of_tars_are_checked_like_files(tmp_path: Path) -> None:
    clip = captioned(tmp_path / "a.mp4")
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "t.tar", "w") as tar:
        add(tar, "0.mp4", clip)
        add(tar, "0.json", b'{"caption": "in a tar"}')
        add(tar, "1.mp4", clip.read_bytes()[:700])
    report = check(tmp_path / "in", options=HERE)
    assert [clip.id for clip in report.usable] == ["t.tar!0.mp4"]
    assert [(drop.id, drop.reason) for drop in report.dropped] == [("t.tar!1.mp4", "unreadable")]
