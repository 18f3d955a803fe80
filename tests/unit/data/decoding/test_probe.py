from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from imagen_video.data.clips.faults import ClipError
from imagen_video.data.clips.records import DataLimits
from imagen_video.data.decoding.probe import Probe, probe
from imagen_video.media.pictures import write_animation, write_png
from unit.data.clip_files import add, mp4, numbered, only


def test_a_video_states_its_shape(tmp_path: Path) -> None:
    path = mp4(tmp_path / "a.mp4", 12, 30.0)
    expected = Probe(frames=12, fps=30.0, height=16, width=24, channels=3, seconds=0.4)
    assert probe(only(path)) == expected
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        add(tar, "a.mp4", path)
    assert probe(only(tmp_path / "t.tar")) == expected
    assert not expected.is_image


def test_a_video_shot_on_its_side_is_upright(tmp_path: Path) -> None:
    from unit.media.test_video_io import write_with_pyav

    write_with_pyav(tmp_path / "a.mp4", numbered(3), "libx264")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.index(b"tkhd") + 44  # the display matrix: a quarter turn
    one = (1 << 16).to_bytes(4, "big")
    minus = (-(1 << 16) % (1 << 32)).to_bytes(4, "big")
    zero = bytes(4)
    data[at : at + 20] = zero + one + zero + minus + zero
    (tmp_path / "a.mp4").write_bytes(bytes(data))
    shape = probe(only(tmp_path))
    assert (shape.height, shape.width) == (24, 16)


def test_an_animation_states_exact_numbers(tmp_path: Path) -> None:
    write_animation(tmp_path / "a.gif", numbered(5), fps=4)
    shape = probe(only(tmp_path))
    assert (shape.frames, shape.fps, shape.seconds) == (5, pytest.approx(4), pytest.approx(1.25))


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_a_single_picture_is_an_image_whatever_its_format(tmp_path: Path, name: str) -> None:
    if name == "a.png":
        write_png(tmp_path / name, numbered(1)[0])
    else:
        write_animation(tmp_path / name, numbered(1), fps=10)
    shape = probe(only(tmp_path))
    assert shape == Probe(frames=1, fps=0.0, height=16, width=24, channels=3, seconds=0.0)
    assert shape.is_image


def test_arrays_and_folders_of_frames_have_the_rate_that_is_given(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((10, 4, 6, 4), np.float32))
    shape = probe(only(tmp_path, fps=5.0))
    assert shape == Probe(frames=10, fps=5.0, height=4, width=6, channels=4, seconds=2.0)
    (tmp_path / "in" / "run").mkdir(parents=True)
    for index, frame in enumerate(numbered(4)):
        write_png(tmp_path / "in" / "run" / f"{index}.png", frame)
    shape = probe(only(tmp_path / "in", frame_folders=True, fps=8.0))
    assert (shape.frames, shape.fps, shape.seconds, shape.channels) == (4, 8.0, 0.5, 3)


def test_a_bad_clip_has_a_reason_that_can_be_counted(tmp_path: Path) -> None:
    path = mp4(tmp_path / "a.mp4")
    data = path.read_bytes()
    for content, reason in (
        (b"", "empty file"),
        (b"hello, I am no video at all", "unreadable"),
        (data[: len(data) // 2], "unreadable"),
    ):
        path.write_bytes(content)
        with pytest.raises(ClipError) as caught:
            probe(only(tmp_path))
        assert (caught.value.reason, caught.value.where) == (reason, "a.mp4")
        assert all((caught.value.got, caught.value.expected, caught.value.fix))
    path.write_bytes(data)
    with pytest.raises(ClipError) as caught:
        probe(only(tmp_path), DataLimits(max_pixels=100))
    assert caught.value.reason == "frames too large"
