from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from imagen_video.errors import InputError, MediaError
from imagen_video.media.clips import take_clips, take_pictures
from imagen_video.media.pictures import write_png
from imagen_video.media.video_io import write_video

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
FLOATS = torch.from_numpy(FRAMES).movedim(-1, -3).float() / 127.5 - 1


@pytest.mark.parametrize(
    "source",
    [
        FRAMES,
        FRAMES[None],
        list(FRAMES),
        [FRAMES],
        [Image.fromarray(frame) for frame in FRAMES],
        [[Image.fromarray(frame) for frame in FRAMES]],
        FLOATS,
        FLOATS[None],
        [FLOATS],
        FLOATS.double(),
    ],
)
def test_every_form_of_a_clip_is_the_same_clip(source: Any) -> None:
    clips = take_clips(source)
    assert (len(clips), clips.frames, clips.size, clips.fps) == (1, 3, (4, 6), None)
    assert torch.equal(clips.to_float()[0], FLOATS)
    assert np.array_equal(clips.to_uint8()[0], FRAMES)


def test_a_file_says_its_frame_rate(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", FRAMES, 12)
    clips = take_clips(tmp_path / "a.mp4")
    assert (len(clips), clips.frames, clips.size, clips.fps) == (1, 3, (4, 6), 12)
    assert take_clips(str(tmp_path / "a.mp4")).frames == 3


def test_clips_of_one_shape_become_a_batch() -> None:
    clips = take_clips([FRAMES, FRAMES[::-1].copy()])
    assert np.array_equal(clips.to_uint8()[1], FRAMES[::-1])
    assert take_clips([FLOATS, FLOATS]).to_float().shape == (2, 3, 3, 4, 6)


def test_grey_is_the_mean_of_the_colours() -> None:
    assert torch.allclose(take_clips(FRAMES).to_float(1)[0], FLOATS.mean(1, keepdim=True))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (FRAMES / 255.0, r"float64.*convert it: \(video \* 255\)"),
        (FRAMES[0], "reorder or add axes"),
        (FRAMES[..., :1], "reorder or add axes"),
        (FRAMES[:0], "no frames"),
        (FLOATS[:, :, :0], "no frames"),
        (FLOATS * 2, r"values from -2 to 2; expected floats in \[-1, 1\]"),
        (FLOATS * torch.nan, r"values from nan"),
        (torch.from_numpy(FRAMES), r"torch.uint8.*video.float\(\) / 127.5 - 1"),
        (FLOATS[0], "reorder or add axes"),
        ([], "a list"),
        (None, "a NoneType"),
        ({"frames": 3}, "a dict"),
        ([FRAMES, FRAMES[:2]], "clips of one shape"),
        ([FRAMES, FLOATS], "clips of one shape"),
        ([FRAMES[0], FRAMES[0, :2]], "frames of one size"),
        ([FRAMES[0], 3], "a int"),
    ],
)
def test_what_could_be_meant_in_two_ways_is_refused_with_the_conversion(
    source: Any, message: str
) -> None:
    with pytest.raises(InputError, match=f"video: got .*{message}|video: got {message}"):
        take_clips(source)


def test_a_tensor_of_other_channels_is_refused() -> None:
    with pytest.raises(InputError, match="4 channels"):
        take_clips(FLOATS.transpose(1, 2)).to_float()


def test_files_of_different_frame_rates_are_no_batch(tmp_path: Path) -> None:
    for fps in (6, 12):
        write_video(tmp_path / f"{fps}.mp4", FRAMES, fps)
    with pytest.raises(InputError, match="one rate"):
        take_clips([tmp_path / "6.mp4", tmp_path / "12.mp4"])


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        take_clips(tmp_path / "no.mp4")


def test_every_form_of_a_picture_is_the_same_picture(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", FRAMES[0])
    one = FRAMES[0]
    for source in (one, Image.fromarray(one), tmp_path / "a.png", str(tmp_path / "a.png")):
        (picture,) = take_pictures(source)
        assert np.array_equal(picture.to_uint8()[0, 0], one)
    (picture,) = take_pictures(FLOATS[0])
    assert torch.equal(picture.to_float()[0, 0], FLOATS[0])
    assert [p.size for p in take_pictures([one, one[:2]])] == [(4, 6), (2, 6)]


def test_transparent_pixels_are_shown_on_white() -> None:
    (picture,) = take_pictures(Image.new("RGBA", (2, 2), (255, 0, 0, 0)))
    assert picture.to_uint8().min() == 255


@pytest.mark.parametrize("source", [[], FRAMES, 3, [None]])
def test_what_is_no_picture_is_refused(source: Any) -> None:
    with pytest.raises(InputError, match="image: got"):
        take_pictures(source)
