from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagen_video.errors import InputError, MediaError, ResourceError
from imagen_video.media.video_io import (
    VideoWriter,
    probe_video,
    read_metadata,
    read_video,
    write_video,
)

PLAIN = [
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 255),
    (0, 0, 0),
    (12, 200, 130),
    (240, 128, 16),
    (128, 128, 128),
]


def test_plain_colours_come_back_within_four_levels(tmp_path: Path) -> None:
    frames = np.empty((len(PLAIN), 48, 64, 3), np.uint8)
    frames[:] = np.array(PLAIN, np.uint8)[:, None, None]
    write_video(tmp_path / "c.mp4", frames, fps=24)
    back, _ = read_video(tmp_path / "c.mp4")
    assert np.abs(back.astype(int) - frames).max() <= 4


def test_colours_are_labelled_bt709_limited_range(mp4: Path) -> None:
    import av

    with av.open(str(mp4)) as container:
        context = container.streams.video[0].codec_context
        labels = (context.colorspace, context.color_primaries, context.color_trc)
        assert labels == (1, 1, 1)
        assert context.color_range == 1
        assert context.pix_fmt == "yuv420p"
        assert context.name == "h264"


def test_frames_come_back_in_order_and_alike(mp4: Path, clip: np.ndarray) -> None:
    back, fps = read_video(mp4)
    assert back.shape == clip.shape
    assert fps == 24.0
    # 4:2:0 blurs colour at the square's edge; the frame's own picture is still the nearest.
    distance = np.abs(back[:, None].astype(int) - clip[None]).mean((2, 3, 4))
    assert distance.argmin(1).tolist() == list(range(len(clip)))
    assert distance.diagonal().max() < 4


def test_the_index_lies_in_front_of_the_pictures(mp4: Path) -> None:
    content = mp4.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_metadata_comes_back(mp4: Path) -> None:
    assert read_metadata(mp4) == {"prompt": "a square", "seed": 3}


def test_metadata_may_be_of_any_language_and_depth(tmp_path: Path) -> None:
    metadata = {"prompt": 'a "\u00e9\u00df" \U0001f418;=#\n', "stages": {"base": [1, 2.5, None]}}
    write_video(tmp_path / "c.mp4", np.zeros((1, 16, 16, 3), np.uint8), 24, metadata)
    assert read_metadata(tmp_path / "c.mp4") == metadata


@pytest.mark.parametrize("metadata", [{"x": float("nan")}, {"x": object()}, {"x": "a" * (1 << 20)}])
def test_metadata_that_is_not_json_is_refused_before_the_work(
    metadata: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="metadata"):
        VideoWriter(tmp_path / "c.mp4", 24, metadata)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (25, 41), (24, 41), (25, 40)])
def test_odd_sizes_come_back_at_their_size(tmp_path: Path, height: int, width: int) -> None:
    path = tmp_path / "c.mp4"
    rows = np.linspace(30, 200, height * width).reshape(height, width)
    frames = np.repeat(rows.astype(np.uint8)[None, :, :, None], 3, axis=-1)
    write_video(path, frames, 24, {"seed": 1})
    back, _ = read_video(path)
    assert back.shape == frames.shape
    # Grey has no chroma to lose, so only the quantiser's error is left.
    assert np.abs(back.astype(int) - frames).max() <= 12
    assert read_metadata(path) == {"seed": 1}
    info = probe_video(path)
    assert (info.width, info.height) == (width, height)


@pytest.mark.parametrize("fps", [3, 24, 23.976, 29.97, 60, Fraction(24000, 1001), 12.5])
def test_the_frame_rate_is_kept(tmp_path: Path, fps: float | Fraction) -> None:
    path = tmp_path / "c.mp4"
    write_video(path, np.zeros((4, 16, 16, 3), np.uint8), fps)
    assert read_video(path)[1] == pytest.approx(float(fps), rel=1e-4)
    seconds = probe_video(path).seconds
    assert seconds == pytest.approx(4 / float(fps), rel=1e-2)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e9])
def test_unusable_frame_rates_are_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(InputError, match="fps"):
        VideoWriter(tmp_path / "c.mp4", fps)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.mp4"):
        VideoWriter(tmp_path / "c.webm", 24)


def test_an_unusable_quality_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="crf"):
        VideoWriter(tmp_path / "c.mp4", 24, crf=99)


def test_streaming_gives_the_encoder_the_same_pictures_as_one_array(
    tmp_path: Path, clip: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is compared goes into the encoder: the bytes that x264 makes of it are its own affair,
    # and differed once in some hundred runs.
    encoded: list[tuple[int, bytes]] = []
    mux = VideoWriter._mux

    def noting(self: VideoWriter, picture: Any) -> None:
        if picture is not None:
            encoded.append((picture.pts, picture.to_ndarray().tobytes()))
        mux(self, picture)

    monkeypatch.setattr(VideoWriter, "_mux", noting)
    write_video(tmp_path / "a.mp4", clip, 24)
    whole = encoded.copy()
    encoded.clear()
    with VideoWriter(tmp_path / "b.mp4", 24) as writer:
        writer.write(clip[:5])
        writer.write(clip[5])
        writer.write(clip[6:])
        assert writer.num_frames == len(clip)
        assert not (tmp_path / "b.mp4").exists()
    assert len(whole) == len(clip)
    assert encoded == whole


def test_frames_may_come_from_a_generator(tmp_path: Path, clip: np.ndarray) -> None:
    write_video(tmp_path / "c.mp4", (frame for frame in clip), 24)
    assert len(read_video(tmp_path / "c.mp4")[0]) == len(clip)


def test_views_that_are_not_contiguous_are_written_right(tmp_path: Path, clip: np.ndarray) -> None:
    write_video(tmp_path / "c.mp4", clip[::-1, :, ::-1], 24)
    back, _ = read_video(tmp_path / "c.mp4")
    assert np.abs(back.astype(int) - clip[::-1, :, ::-1]).mean() < 4


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_older_file_and_no_other(
    tmp_path: Path, clip: np.ndarray, error: type[BaseException]
) -> None:
    path = tmp_path / "c.mp4"
    path.write_bytes(b"old")

    def fail_half_way() -> None:
        with VideoWriter(path, 24) as writer:
            writer.write(clip)
            raise error

    with pytest.raises(error):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_frames_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no frames"):
        write_video(tmp_path / "c.mp4", [], 24)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 16, 16, 3), np.float32),
        np.zeros((2, 16, 16, 4), np.uint8),
        np.zeros((16, 16), np.uint8),
        np.zeros((2, 0, 16, 3), np.uint8),
    ],
)
def test_arrays_that_are_not_frames_are_refused(tmp_path: Path, frames: np.ndarray) -> None:
    with pytest.raises(MediaError):
        write_video(tmp_path / "c.mp4", frames, 24)
    assert list(tmp_path.iterdir()) == []


def test_frames_of_changing_size_are_refused(tmp_path: Path, clip: np.ndarray) -> None:
    with pytest.raises(MediaError, match=r"frame 16 of .* got 20x24"):
        write_video(tmp_path / "c.mp4", [clip, clip[:, :, :20]], 24)


@contextlib.contextmanager
def small_disk() -> Iterator[None]:
    """Let this process write no file beyond 20 kB, as a full disk would.

    Not a fixture: that would last while pytest writes its own dot, and kill a run with a long log.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_is_a_resource_error_and_leaves_no_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    with small_disk(), pytest.raises(ResourceError, match="room on the disk"):
        write_video(tmp_path / "c.mp4", noise, 24)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path, clip: np.ndarray) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="write elsewhere"):
        write_video(tmp_path / "file" / "c.mp4", clip, 24)


def test_without_x264_mpeg4_is_written_with_a_warning(
    tmp_path: Path, clip: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    import av
    from av.codec.codec import UnknownCodecError

    def no_x264(name: str, mode: str) -> None:
        raise UnknownCodecError(name)

    monkeypatch.setattr(av, "Codec", no_x264)
    with pytest.warns(UserWarning, match="no libx264"):
        write_video(tmp_path / "c.mp4", clip, 24, {"seed": 3})
    monkeypatch.undo()
    info = probe_video(tmp_path / "c.mp4")
    assert (info.codec, info.metadata) == ("mpeg4", {"seed": 3})
    back, fps = read_video(tmp_path / "c.mp4")
    assert fps == 24.0
    assert np.abs(back.astype(int) - clip).mean() < 5
