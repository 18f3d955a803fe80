from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagen_video.cascade.spec import CascadeSpec
from imagen_video.data.preparing import unit as unit_module
from imagen_video.data.preparing.prepare import PrepareOptions
from imagen_video.errors import DataError, InputError, ResourceError
from unit.cascade.small_cascades import small_cascade
from unit.data.tiny_shards import clip_pixels, contents, make_clips, prepared, reader, who


def dropped_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "dropped.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("change", ["options", "clip", "caption", "cascade"])
def test_a_folder_begun_with_something_else_is_refused(
    shards: Path, tmp_path: Path, change: str
) -> None:
    clips, out = make_clips(tmp_path / "clips"), tmp_path / "shards"
    prepared(clips, out)
    before = contents(out)
    options: dict[str, Any] = {}
    if change == "options":
        options["crop"] = "random"
    elif change == "clip":
        np.save(clips / "c0.npy", clip_pixels(9))
    elif change == "caption":
        (clips / "c0.txt").write_text("another", encoding="utf-8")
    else:
        options["cascade"] = dataclasses.replace(small_cascade(), name="other")
    with pytest.raises(DataError, match="begun with other clips"):
        prepared(clips, out, **options)
    assert contents(out) == before


def test_a_folder_with_other_files_is_not_touched(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / ".draft.tmp").write_text("mine too")
    with pytest.raises(InputError, match="a folder with other files"):
        prepared(clips, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".draft.tmp", "thesis.txt"]


def test_what_is_left_out_is_listed_with_stage_and_reason_and_nothing_stops(
    tmp_path: Path,
) -> None:
    clips = make_clips(tmp_path / "clips", clips=2, images=1)
    (clips / "broken.mp4").write_bytes(b"\0\0\0\x18ftypisom" + b"x" * 100)
    (clips / "broken.txt").write_text("broken")
    (clips / "empty.gif").write_bytes(b"")
    np.save(clips / "short.npy", clip_pixels(3, frames=5))
    (clips / "short.txt").write_text("short")
    np.save(clips / "silent.npy", clip_pixels(4))
    report = prepared(clips, tmp_path / "shards", upscale=False)
    lines = {line["id"]: line for line in dropped_lines(tmp_path / "shards")}
    assert (lines["broken.mp4"]["reason"], len(lines["broken.mp4"]["stages"])) == ("unreadable", 3)
    assert lines["empty.gif"]["reason"] == "empty file"
    assert (lines["short.npy"]["reason"], lines["short.npy"]["stages"]) == (
        "too short",
        ["base", "ssr1"],  # tsr1 trains on four frames
    )
    assert lines["silent.npy"]["reason"] == "no caption"
    assert report.manifest.num_dropped == 4
    assert report.manifest.stages["tsr1"].clips == 3
    assert report.manifest.stages["base"].left_out["too short"] == 1
    assert any("left out" in line for line in report.lines())


def test_clips_smaller_or_slower_than_a_stage_are_left_out_of_that_stage(tmp_path: Path) -> None:
    clips = make_clips(tmp_path / "clips", clips=1, images=0)
    small = clip_pixels(1)[:, :7, :10]
    np.save(clips / "small.npy", small)
    (clips / "small.txt").write_text("small")
    report = prepared(clips, tmp_path / "small", upscale=False)
    assert {n: s.clips for n, s in report.manifest.stages.items()} == {
        "base": 2,
        "tsr1": 2,
        "ssr1": 1,
    }
    slow = prepared(clips, tmp_path / "slow", cascade=_faster(2))
    assert slow.manifest.stages["ssr1"].left_out == {"frame rate too low": 2}
    assert slow.manifest.stages["base"].clips == 2
    kept = prepared(clips, tmp_path / "kept", cascade=_faster(2), repeat_frames=True, short="hold")
    pixels, _ = reader(tmp_path / "kept", "tsr1").read(0)
    assert [who(frame)[1] for frame in pixels] == [0, 1, 1, 2, 2, 3, 3, 4]
    assert kept.manifest.stages["ssr1"].clips == 2


def _faster(factor: int) -> CascadeSpec:
    cascade = small_cascade()
    stages = [
        dataclasses.replace(
            stage, output=dataclasses.replace(stage.output, fps=stage.output.fps * factor)
        )
        for stage in cascade.stages
    ]
    return dataclasses.replace(cascade, stages=tuple(stages))


def test_a_full_disk_leaves_nothing_torn_and_the_run_can_go_on(
    clips: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from imagen_video.data.shards.samples import ShardWriter

    write, room = ShardWriter._write, [60_000]

    def limited(self: ShardWriter, data: bytes) -> None:
        room[0] -= len(data)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, data)

    out = tmp_path / "shards"
    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "_write", limited)
        with pytest.raises(ResourceError, match="No space left on device"):
            prepared(clips, out)
    assert not list(out.rglob(".*.tmp"))
    assert not (out / "manifest.json").exists()
    report = prepared(clips, out)
    assert report.units_kept >= 1
    assert contents(out) == contents(shards)


def test_a_second_run_in_the_same_folder_is_refused(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[InputError] = []
    whole = unit_module._Unit._prepare

    def again(self: Any, place: int, record: Any) -> None:
        monkeypatch.setattr(unit_module._Unit, "_prepare", whole)
        with pytest.raises(InputError) as error:
            prepared(clips, tmp_path / "shards")
        errors.append(error.value)
        whole(self, place, record)

    monkeypatch.setattr(unit_module._Unit, "_prepare", again)
    prepared(clips, tmp_path / "shards")
    assert "another run at work" in str(errors[0])


def test_no_clip_at_all_is_an_error_that_says_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(DataError, match="no clip among 1 files"):
        prepared(tmp_path, tmp_path / "shards")


def test_an_unknown_stage_is_refused_before_any_work(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ssr9"):
        prepared(clips, tmp_path / "shards", stages=("ssr9",))
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(
    "options",
    [{"windows": 0}, {"clips_per_shard": 0}, {"workers": -1}, {"window_stride": float("nan")}],
)
def test_options_that_nothing_can_be_done_with_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        PrepareOptions(out=Path("x"), **options)


def test_a_clip_that_ends_its_process_is_named_and_the_others_of_its_unit_are_kept(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_video.data.preparing import progress
    from imagen_video.data.workers import Failed

    deaths: list[str] = []

    def dying(function: str, jobs: Any, **_: Any) -> Any:
        for number, job in enumerate(jobs):
            deadly = {"c1.npy": "SIGSEGV", "i0.png": "SIGALRM"}
            given_up = [place for place, *_ in job["given_up"]]
            victims = [
                (place, deadly[record["id"]])
                for place, record in enumerate(job["records"])
                if record["id"] in deadly and place not in given_up
            ]
            if victims:
                place, end = victims[0]
                unit_module.note_path(Path(job["out"]), job["unit"]).write_text(str(place))
                deaths.append(end)
                yield number, Failed(reason="decoder crashed", detail=f"ended with {end}")
            else:
                yield number, unit_module.prepare_unit(job)

    monkeypatch.setattr(progress, "run_jobs", dying)
    report = prepared(clips, tmp_path / "shards")
    assert deaths == ["SIGSEGV", "SIGALRM"]
    assert [(line["id"], line["reason"]) for line in dropped_lines(tmp_path / "shards")] == [
        ("c1.npy", "decoder crashed"),
        ("i0.png", "took too long"),
    ]
    assert (report.manifest.stages["base"].clips, report.manifest.stages["base"].images) == (4, 2)


def test_a_process_that_dies_of_no_clip_ends_the_run(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagen_video.data.preparing import progress
    from imagen_video.data.workers import Failed

    def dying(function: str, jobs: Any, **_: Any) -> Any:
        for number, _job in enumerate(jobs):
            yield number, Failed(reason="decoder crashed", detail="SIGKILL")

    monkeypatch.setattr(progress, "run_jobs", dying)
    with pytest.raises(ResourceError, match="not because of a clip"):
        prepared(clips, tmp_path / "shards")


def test_a_process_is_to_end_when_a_clip_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    set_timers: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda which, seconds: set_timers.append(seconds))
    clips = make_clips(tmp_path / "clips", clips=1, images=0)
    from imagen_video.data.preparing import progress

    def protected(function: str, jobs: Any, **_: Any) -> Any:
        for number, job in enumerate(jobs):
            yield number, unit_module.prepare_unit({**job, "clip_seconds": 7.0})

    monkeypatch.setattr(progress, "run_jobs", protected)
    prepared(clips, tmp_path / "shards")
    assert set_timers == [7.0, 0]
