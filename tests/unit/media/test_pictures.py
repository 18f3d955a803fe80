from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagen_video.errors import InputError, MediaError, ResourceError
from imagen_video.media.pictures import read_image, write_animation, write_png
from imagen_video.media.video_io import read_metadata, read_video


def test_a_png_comes_back_exactly_with_its_metadata(tmp_path: Path, clip: np.ndarray) -> None:
    write_png(tmp_path / "c.png", clip[3], {"prompt": "\u00e9l\u00e9phant"})
    assert np.array_equal(read_image(tmp_path / "c.png"), clip[3])
    assert read_metadata(tmp_path / "c.png") == {"prompt": "\u00e9l\u00e9phant"}


def test_jpeg_and_webp_pictures_are_read(tmp_path: Path, clip: np.ndarray) -> None:
    for name in ("c.jpg", "c.webp"):
        Image.fromarray(clip[0]).save(tmp_path / name, quality=95)
        assert np.abs(read_image(tmp_path / name).astype(int) - clip[0]).mean() < 6


def test_transparency_is_shown_on_white(tmp_path: Path) -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (200, 0, 0, 255)
    pixels[1, 1] = (0, 0, 0, 128)
    Image.fromarray(pixels).save(tmp_path / "c.png")
    shown = read_image(tmp_path / "c.png")
    assert shown[0, 0].tolist() == [200, 0, 0]
    assert shown[0, 1].tolist() == [255, 255, 255]
    assert shown[1, 1].tolist() == [127, 127, 127]


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "c.png")
    assert np.array_equal(read_image(tmp_path / "c.png")[..., 0], (values >> 8).astype(np.uint8))


def test_a_camera_picture_is_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255  # left half white as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(pixels).save(tmp_path / "c.jpg", exif=exif, quality=95)
    shown = read_image(tmp_path / "c.jpg")
    assert shown.shape == (16, 8, 3)
    assert shown[:7].min() > 200


def test_large_pictures_and_videos_are_refused(tmp_path: Path, clip: np.ndarray, mp4: Path) -> None:
    write_png(tmp_path / "c.png", clip[0])
    with pytest.raises(MediaError, match="frames of 40x24"):
        read_image(tmp_path / "c.png", max_pixels=100)
    with pytest.raises(MediaError, match="use read_video"):
        read_image(mp4)


def test_a_gif_lasts_as_long_as_it_should(tmp_path: Path, clip: np.ndarray) -> None:
    write_animation(tmp_path / "c.gif", clip, fps=24)
    with Image.open(tmp_path / "c.gif") as image:
        total = 0
        for index in range(16):
            image.seek(index)
            total += image.info["duration"]
        assert image.info["loop"] == 0
    assert total == pytest.approx(16 / 24 * 1000, abs=10)


def test_equal_frames_last_longer_instead(tmp_path: Path, clip: np.ndarray) -> None:
    frames = clip[[0, 0, 0, 1]]
    write_animation(tmp_path / "c.apng", frames, fps=10)
    back, _ = read_video(tmp_path / "c.apng")
    assert np.array_equal(back, clip[:2])


@pytest.mark.parametrize(("name", "fps"), [("c.gif", 60.0), ("c.gif", 0.0), ("c.webm", 24.0)])
def test_animations_that_cannot_be_written_are_refused(
    tmp_path: Path, clip: np.ndarray, name: str, fps: float
) -> None:
    with pytest.raises(InputError):
        write_animation(tmp_path / name, clip, fps)
    assert list(tmp_path.iterdir()) == []


def test_no_frames_are_refused(tmp_path: Path, clip: np.ndarray) -> None:
    with pytest.raises(InputError, match="0 frames"):
        write_animation(tmp_path / "c.gif", clip[:0], 24)


def test_another_suffix_is_refused(tmp_path: Path, clip: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"\.png"):
        write_png(tmp_path / "c.jpg", clip[0])


def test_a_full_disk_is_a_resource_error_and_leaves_no_file(
    tmp_path: Path, clip: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(ResourceError):
        write_png(tmp_path / "c.png", clip[0])
    with pytest.raises(ResourceError):
        write_animation(tmp_path / "c.gif", clip, 24)
    assert list(tmp_path.iterdir()) == []
