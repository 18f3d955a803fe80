"""Files made to harm: each is skipped and named, nothing is followed, nothing huge allocated."""

from __future__ import annotations

import collections
import dataclasses
import os
import signal
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagen_video.data.checking import check as check_module
from imagen_video.data.checking.check import CheckOptions, check
from imagen_video.data.checking.examine import examine
from imagen_video.data.checking.target import Target
from imagen_video.data.clips.faults import ClipError
from imagen_video.data.clips.records import DataLimits, Record
from imagen_video.data.decoding.read import iter_frames, read_at_times, read_frames
from imagen_video.data.finding.discover import discover
from imagen_video.media.pictures import write_animation, write_png
from unit.data.clip_files import add, found, mp4, numbered, only, timed_video

HERE = CheckOptions(processes=0)


def facts(path: Path, limits: DataLimits | None = None) -> dict[str, Any]:
    record = only(path)
    return examine(
        {"record": record.to_json(), "limits": dataclasses.asdict(limits or DataLimits())}
    )


def reason(path: Path, limits: DataLimits | None = None) -> str:
    return facts(path, limits)["dropped"]["reason"]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, body: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


@pytest.fixture
def memory() -> Iterator[None]:
    """Fail at once instead of filling the machine: 256 MB more than now are all there is."""
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + (256 << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@pytest.mark.usefixtures("memory")
def test_a_small_file_that_promises_huge_pictures_is_refused_before_it_is_decoded(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.png").write_bytes(png(60_000, 60_000, zlib.compress(b"")))
    assert reason(tmp_path / "a.png") == "frames too large"
    gif = bytearray(Path(_gif(tmp_path / "b.gif")).read_bytes())
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    (tmp_path / "b.gif").write_bytes(bytes(gif))
    assert reason(tmp_path / "b.gif") == "frames too large"
    webp = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0"
    webp += (16383).to_bytes(3, "little") * 2 + b"ANIM"
    (tmp_path / "c.webp").write_bytes(webp)
    assert reason(tmp_path / "c.webp") == "frames too large"


def _gif(path: Path) -> Path:
    write_animation(path, numbered(3), fps=10)
    return path


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize(
    "shape", [(1 << 40, 8, 8, 3), (10, 1 << 20, 1 << 20, 3), (1 << 62, 1 << 62, 2, 2), (9, 0, 8, 3)]
)
def test_an_array_that_promises_more_than_it_holds_costs_nothing(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    with (tmp_path / "a.npy").open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(bytes(500))
    assert reason(tmp_path / "a.npy")
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        add(tar, "a.npy", tmp_path / "a.npy")
    assert reason(tmp_path / "t.tar")


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 1, 1, 1), }",
        b"{'descr': '<f8', 'fortran_order': True, 'shape': (1, 1, 1, 1), }",
        b"{'descr': '<c16', 'fortran_order': False, 'shape': (1, 1, 1, 1), }",
        b"__import__('os').system('touch harmed')",
        b"(" * 3000,
        b"{'shape': (1,)}",
    ],
)
def test_an_array_header_is_data_and_no_code(
    tmp_path: Path, header: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = header.ljust(118 if len(header) < 118 else len(header)) + b"\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(16)
    (tmp_path / "a.npy").write_bytes(data)
    assert reason(tmp_path / "a.npy") in ("unreadable", "unsupported array")
    assert not (tmp_path / "harmed").exists()


def test_a_playlist_under_a_videos_name_is_not_followed(tmp_path: Path) -> None:
    secret = mp4(tmp_path / "secret" / "x.mp4")
    root = tmp_path / "in"
    root.mkdir()
    (root / "a.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{secret}\n")
    (root / "b.avi").write_text(f"ffconcat version 1.0\nfile {secret}\n")
    (root / "c.mkv").write_text("<MPD><BaseURL>http://192.0.2.1/</BaseURL></MPD>")
    report = check(root, targets=[Target(needs=())], options=HERE)
    assert report.reasons == {"unreadable": 3}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".gif", ".png", ".npy", ".webp"])
def test_a_wrong_extension_is_named_with_what_is_inside(tmp_path: Path, suffix: str) -> None:
    clip = mp4(tmp_path / "x.mp4") if suffix != ".mp4" else _gif(tmp_path / "x.gif")
    inside = "MP4" if suffix != ".mp4" else "GIF"
    target = tmp_path / "in" / f"a{suffix}"
    target.parent.mkdir()
    target.write_bytes(clip.read_bytes())
    dropped = facts(target)["dropped"]
    assert dropped["reason"] == "wrong extension"
    assert f"{inside} content" in dropped["detail"]


def samples(folder: Path) -> list[Path]:
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    write_png(folder / "still.png", noise)
    write_animation(folder / "moving.png", numbered(4), fps=10)
    np.save(folder / "array.npy", numbered(4))
    return [
        mp4(folder / "a.mp4"),
        timed_video(folder / "b.mkv", [0, 40, 90]),
        _gif(folder / "c.gif"),
        folder / "still.png",
        folder / "moving.png",
        folder / "array.npy",
    ]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return samples(tmp_path_factory.mktemp("good"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_a_fact_and_never_an_exception(
    good: list[Path], tmp_path: Path, data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(good))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    broken = tmp_path / f"x{path.suffix}"
    broken.write_bytes(bytes(content[: cut if data.draw(st.booleans()) else None]))
    found_out = facts(broken, DataLimits(max_frames=50, max_pixels=10_000, max_seconds=60))
    assert ("shape" in found_out) != ("dropped" in found_out)
    if "dropped" in found_out:
        assert found_out["dropped"]["reason"]
        with pytest.raises(ClipError):
            read_everything(only(broken))


def read_everything(record: Record) -> None:
    """What `examine` refuses, no reader accepts in full."""
    limits = DataLimits(max_frames=50, max_pixels=10_000, max_seconds=60)
    collections.deque(iter_frames(record, limits), maxlen=0)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9])
def test_a_cut_file_is_never_taken_for_a_whole_one(good: list[Path], share: float) -> None:
    for path in good:
        content = path.read_bytes()
        broken = path.parent / f"cut{path.suffix}"
        broken.write_bytes(content[: int(share * len(content))])
        assert reason(broken) in ("unreadable", "empty file"), path.name
        broken.unlink()


def test_a_file_that_changed_since_it_was_found_is_an_error_of_that_clip(tmp_path: Path) -> None:
    record = only(mp4(tmp_path / "a.mp4"))
    (tmp_path / "a.mp4").unlink()
    for read in (read_frames, read_at_times):
        with pytest.raises(ClipError) as caught:
            read(record, [0], channels=3)
        assert caught.value.reason == "unreadable"
    (tmp_path / "run").mkdir()
    for index in range(3):
        write_png(tmp_path / "run" / f"{index}.png", numbered(3)[index])
    frames = only(tmp_path / "run", frame_folders=True)
    write_png(tmp_path / "secret.png", numbered(1)[0])
    (tmp_path / "run" / "1.png").unlink()
    (tmp_path / "run" / "1.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ClipError) as caught:
        read_frames(frames, [1], channels=3)
    assert caught.value.reason == "unsafe link"


def test_frames_of_different_sizes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write_png(tmp_path / "run" / "0.png", numbered(1)[0])
    write_png(tmp_path / "run" / "1.png", numbered(1, 8, 8)[0])
    record = only(tmp_path / "run", frame_folders=True)
    job = {"record": record.to_json(), "limits": dataclasses.asdict(DataLimits())}
    assert examine(job)["dropped"]["reason"] == "frames of different sizes"
    with pytest.raises(ClipError):
        read_frames(record, [0, 1], channels=3)


def test_sidecars_of_megabytes_and_with_control_characters_cost_their_clip_only(
    tmp_path: Path,
) -> None:
    for name in "abcd":
        mp4(tmp_path / f"{name}.mp4")
    (tmp_path / "a.txt").write_bytes(b"x" * (5 << 20))
    (tmp_path / "b.txt").write_bytes(b"clear \x1b[2J the screen")
    (tmp_path / "c.json").write_bytes(b"[" * (1 << 20))
    (tmp_path / "d.txt").write_text("good")
    records, dropped = found(tmp_path)
    assert set(records) == {"d.mp4"}
    assert {ident: drop.reason for ident, drop in dropped.items()} == {
        "a.mp4": "sidecar too large",
        "b.mp4": "caption with control characters",
        "c.mp4": "unusable label",
    }
    assert all(drop.detail.isprintable() for drop in dropped.values())


def test_a_decoder_that_crashes_ends_one_clip_and_not_the_check(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        mp4(tmp_path / f"{name}.mp4")
        (tmp_path / f"{name}.txt").write_text(name)
    original = check_module.run_jobs
    jobs_of: list[Any] = []

    def with_crash(_function: str, jobs: Any, **options: Any) -> Any:
        jobs_of.extend(jobs)
        return original(f"{__name__}:crash_on_b", jobs_of, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check_module, "run_jobs", with_crash)
        report = check(tmp_path, options=CheckOptions(processes=1, clip_seconds=60))
    assert [clip.id for clip in report.usable] == ["a.mp4", "c.mp4"]
    assert [(drop.id, drop.reason) for drop in report.dropped] == [("b.mp4", "decoder crashed")]


def crash_on_b(job: dict[str, Any]) -> dict[str, Any]:
    """What a decoder with a bug does. Runs in a worker."""
    if job["record"]["id"] == "b.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    return examine(job)


def test_a_clip_without_end_is_given_up(tmp_path: Path) -> None:
    mp4(tmp_path / "a.mp4")
    (tmp_path / "a.txt").write_text("a")
    report = check(tmp_path, options=CheckOptions(processes=1, clip_seconds=1e-6))
    assert [drop.reason for drop in report.dropped] == ["took too long"]


def test_a_tar_of_everything_bad_gives_its_one_good_clip(tmp_path: Path) -> None:
    clip = mp4(tmp_path / "clip.mp4")
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "t.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        add(tar, "../../up.mp4", clip)
        add(tar, "/abs.mp4", clip)
        add(tar, "link.mp4", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "hard.mp4", b"", type=tarfile.LNKTYPE, linkname="../x")
        add(tar, "device.mp4", b"", type=tarfile.CHRTYPE)
        add(tar, "good.mp4", clip)
        add(tar, "good.txt", b"good")
        add(tar, "big.txt", b"x" * (1 << 21))
        add(tar, "big.mp4", clip)
    report = check(tmp_path / "in", options=HERE)
    assert [clip.id for clip in report.usable] == ["t.tar!good.mp4"]
    assert report.reasons == {"unsafe tar member": 5, "sidecar too large": 1}


def test_a_member_too_large_for_memory_is_refused_by_its_header(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        add(tar, "a.mp4", bytes(4000))
    (dropped,) = discover(tmp_path / "t.tar", limits=DataLimits(max_member_bytes=3999))
    assert not isinstance(dropped, Record)
    assert dropped.reason == "file too large"
