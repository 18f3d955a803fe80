from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagen_video.data.preparing import unit as unit_module
from imagen_video.data.preparing.prepare import PrepareOptions, PrepareProgress, prepare
from imagen_video.data.shards.manifest import Manifest
from imagen_video.errors import DataError
from unit.cascade.small_cascades import local_unet, small_cascade
from unit.data.tiny_shards import FPS, clip_pixels, contents, make_clips, prepared, reader, who


def test_every_stage_gets_its_own_size_rate_and_frames(shards: Path) -> None:
    manifest = Manifest.read(shards)
    for stage in small_cascade().stages:
        entry, output = manifest.stages[stage.name], stage.output
        assert (entry.frames, entry.height, entry.width, entry.fps) == (
            output.frames,
            output.height,
            output.width,
            output.fps,
        )
        assert (entry.clips, entry.images) == (5, 3)
        samples = reader(shards, stage.name)
        for number in range(len(samples)):
            pixels, facts = samples.read(number)
            assert pixels.shape[1:] == (output.height, output.width, 3)
            assert len(pixels) == (1 if facts.image else output.frames)
            if not facts.image:
                step = round(FPS / output.fps)
                which = int(facts.id[1])
                assert [who(frame) for frame in pixels] == [
                    (which, step * frame) for frame in range(output.frames)
                ]
                assert facts.label.caption == f"clip {which}"


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(
    clips: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked_on: list[str] = []
    whole = unit_module._Unit._prepare

    def interrupted(self: Any, place: int, record: Any) -> None:
        if len(worked_on) == 5:
            worked_on.append("stopped")
            raise KeyboardInterrupt
        worked_on.append(record.id)
        whole(self, place, record)

    monkeypatch.setattr(unit_module._Unit, "_prepare", interrupted)
    out = tmp_path / "shards"
    with pytest.raises(KeyboardInterrupt):
        prepared(clips, out)
    assert not list(out.rglob(".*.tmp"))
    assert not (out / "manifest.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*/0000[01].tar")}
    assert len(kept) == 6
    # What a killed process leaves besides: half a tar, a note, half a list.
    (out / "base" / ".00002.tar.0123abcd.tmp").write_bytes(b"half")
    (out / "work" / "00002.now").write_text("1")
    (out / "work" / ".00002.json.0123abcd.tmp").write_text("{")
    report = prepared(clips, out)
    # Two units of two clips were done; the third had only begun.
    assert worked_on == [
        *("c0.npy", "c1.npy", "c2.npy", "c3.npy", "c4.npy", "stopped"),
        *("c4.npy", "i0.png", "i1.png", "i2.png"),
    ]
    assert report.units_kept == 2
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert contents(out) == contents(shards)


def test_processes_write_the_same_bytes(clips: Path, shards: Path, tmp_path: Path) -> None:
    seen: list[PrepareProgress] = []
    out = tmp_path / "shards"
    report = prepare(
        clips,
        small_cascade(),
        PrepareOptions(out=out, clips_per_shard=2, workers=2, upscale=True),
        sources=_sources(),
        encoder=_encoder(),
        on_progress=seen.append,
    )
    assert report.units_kept == 0
    assert contents(out) == contents(shards)
    assert {progress.phase for progress in seen} == {"captions", "clips"}
    assert seen[-1].done == seen[-1].total == 8
    done = [progress.done for progress in seen if progress.phase == "clips"]
    assert done == sorted(done)


def test_a_finished_folder_is_left_as_it_is(clips: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "shards"
    shutil.copytree(shards, out)
    before = contents(out)
    report = prepared(clips, out)
    assert report.units_kept == report.units == 4
    assert contents(out) == before


def test_a_long_clip_gives_several_windows_if_asked(tmp_path: Path) -> None:
    clips = make_clips(tmp_path / "clips", clips=1, images=0, frames=20)
    prepared(clips, tmp_path / "shards", windows=9)
    # 8 frames at 12 fps a window: two whole ones, and a third of four frames for tsr1.
    for stage, starts in (("ssr1", [0, 8]), ("tsr1", [0, 8, 16])):
        samples = reader(tmp_path / "shards", stage)
        found = [samples.read(number) for number in range(len(samples))]
        assert [who(pixels[0])[1] for pixels, _ in found] == starts
        assert [facts.window for _, facts in found] == list(range(len(starts)))
    prepared(clips, tmp_path / "overlapping", windows=3, window_stride=0.25)
    samples = reader(tmp_path / "overlapping", "ssr1")
    assert [who(samples.read(number)[0][0])[1] for number in range(3)] == [0, 3, 6]


@pytest.mark.parametrize(
    ("short", "frames"), [("hold", [0, 1, 2, 2, 2, 2, 2, 2]), ("loop", [0, 1, 2, 0, 1, 2, 0, 1])]
)
def test_short_clips_are_held_or_looped_if_asked(
    tmp_path: Path, short: str, frames: list[int]
) -> None:
    clips = make_clips(tmp_path / "clips", clips=1, images=0, frames=3)
    prepared(clips, tmp_path / "shards", short=short)
    pixels, _ = reader(tmp_path / "shards", "ssr1").read(0)
    assert [who(frame)[1] for frame in pixels] == frames


def test_the_crop_is_one_for_all_frames_and_keeps_the_aspect(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    wide = np.repeat(
        np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None, :], 16, axis=0)[None], 9, 0
    )
    for number in range(6):
        np.save(clips / f"c{number}.npy", np.repeat(wide[..., None], 3, axis=-1))
        (clips / f"c{number}.txt").write_text("wide")
    prepared(clips, tmp_path / "shards", crop="random", stages=("ssr1",))
    samples = reader(tmp_path / "shards", "ssr1")
    lefts = set()
    for number in range(6):
        pixels, _ = samples.read(number)
        assert (pixels == pixels[:1]).all()
        row = pixels[0, 0, :, 0].astype(float)
        # 24 of 60 columns on 12 pixels: the ramp of 4 a column becomes 8 a pixel
        assert np.allclose(np.diff(row), 8, atol=1)
        lefts.add(row[0])
    assert len(lefts) > 3


def test_a_clip_without_a_label_can_be_kept(tmp_path: Path) -> None:
    clips = make_clips(tmp_path / "clips", clips=1, images=0)
    (clips / "c0.txt").unlink()
    with pytest.raises(DataError, match="no usable clip among 1; left out: no caption 1"):
        prepared(clips, tmp_path / "strict")
    report = prepared(clips, tmp_path / "kept", keep_unlabelled=True)
    assert report.manifest.text is None
    assert report.manifest.stages["base"].labels.captions == 0


def test_classes_and_vectors_are_kept_and_those_that_do_not_fit_are_named(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    rows = [("a", 0, "1 2"), ("b", 3, "3 4"), ("c", 4, "5 6"), ("d", 1, "5 6 7")]
    table = "file,class,vector\n" + "".join(f"{n}.npy,{c},{v}\n" for n, c, v in rows)
    (clips / "labels.csv").write_text(table)
    for name, number, _ in rows:
        np.save(clips / f"{name}.npy", clip_pixels(number))
    cascade = small_cascade()
    unet = local_unet(text_width=None, num_classes=4, vector_width=2, low_res=False)
    stages = (dataclasses.replace(cascade.stages[0], unet=unet),)
    cascade = dataclasses.replace(cascade, stages=stages, text_encoder=None)
    report = prepared(clips, tmp_path / "shards", cascade=cascade)
    labels = report.manifest.stages["base"].labels
    assert (labels.classes, labels.most_class, labels.vectors, labels.vector_width) == (2, 3, 2, 2)
    assert report.manifest.stages["base"].left_out == {
        "class out of range": 1,
        "wrong vector width": 1,
    }
    _, facts = reader(tmp_path / "shards", "base").read(1)
    assert (facts.label.class_id, facts.label.vector) == (3, (3.0, 4.0))


@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_channels_is_stored_exactly(tmp_path: Path, channels: int) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 12, channels), np.uint8)
    np.save(clips / "c.npy", pixels)
    (clips / "c.txt").write_text("noise")
    cascade = small_cascade()
    stages = [
        dataclasses.replace(stage, unet=dataclasses.replace(stage.unet, channels=channels))
        for stage in cascade.stages
    ]
    cascade = dataclasses.replace(cascade, stages=tuple(stages))
    prepared(clips, tmp_path / "shards", cascade=cascade)
    found, _ = reader(tmp_path / "shards", "ssr1").read(0)
    assert np.array_equal(found, pixels)


def test_a_real_video_goes_all_the_way(tmp_path: Path) -> None:
    from imagen_video.media.video_io import write_video

    clips = tmp_path / "clips"
    clips.mkdir()
    write_video(clips / "v.mp4", np.repeat(clip_pixels(3, 30), 4, axis=1).repeat(4, axis=2), fps=30)
    (clips / "v.txt").write_text("a video")
    prepared(clips, tmp_path / "shards")
    pixels, facts = reader(tmp_path / "shards", "ssr1").read(0)
    # 30 fps to 12: frames 0, 2.5, 5, ... of the source
    green = pixels[..., 1].mean(axis=(1, 2))
    source = (green - 5) / 10
    assert np.allclose(source, 2.5 * np.arange(8), atol=0.8)
    assert facts.label.caption == "a video"


def _sources() -> Any:
    from imagen_video.data.finding.discover import DiscoverOptions

    return DiscoverOptions(fps=FPS)


def _encoder() -> Any:
    from unit.cascade.small_cascades import WordEncoder

    return WordEncoder()
