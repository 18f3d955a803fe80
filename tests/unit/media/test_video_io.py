from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagen_video.errors import InputError, MediaError
from imagen_video.media import limits as limits_module
from imagen_video.media.container import container_frames
from imagen_video.media.formats import opened
from imagen_video.media.pictures import write_animation, write_png
from imagen_video.media.video_io import (
    ReadLimits,
    iter_frames,
    probe_video,
    read_metadata,
    read_video,
)


def write_with_pyav(
    path: Path, frames: np.ndarray, codec: str, pix_fmt: str = "yuv420p", **options: str
) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=12, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def assert_four_parts(error: InputError) -> None:
    assert all((error.where, error.got, error.expected, error.fix))


@pytest.mark.parametrize(
    ("name", "codec"), [("c.webm", "libvpx-vp9"), ("c.avi", "mjpeg"), ("c.mkv", "libx264")]
)
def test_other_containers_are_read(tmp_path: Path, clip: np.ndarray, name: str, codec: str) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    options = {"cpu-used": "8", "crf": "10"} if codec == "libvpx-vp9" else {}
    write_with_pyav(tmp_path / name, clip, codec, pix_fmt, **options)
    back, fps = read_video(tmp_path / name)
    assert back.shape == clip.shape
    assert fps == 12.0
    assert np.abs(back.astype(int) - clip).mean() < 8


@pytest.mark.parametrize("name", ["c.gif", "c.png", "c.apng", "c.webp"])
def test_moving_pictures_are_read(tmp_path: Path, clip: np.ndarray, name: str) -> None:
    if name == "c.webp":
        from PIL import Image

        first, *rest = [Image.fromarray(frame) for frame in clip]
        first.save(tmp_path / name, save_all=True, append_images=rest, duration=40, lossless=True)
        rate = 25.0
    else:
        write_animation(tmp_path / name, clip, fps=24, metadata={"seed": 3})
        assert read_metadata(tmp_path / name) == {"seed": 3}
        rate = 24.0
    back, fps = read_video(tmp_path / name)
    assert back.shape == clip.shape
    assert fps == pytest.approx(rate, rel=0.02)
    assert np.abs(back.astype(int) - clip).max() <= 2  # GIF: more than 256 colours in a clip.


def test_bytes_are_read_like_a_file(mp4: Path) -> None:
    assert np.array_equal(read_video(mp4.read_bytes())[0], read_video(mp4)[0])


def test_the_header_tells_what_decoding_gives(mp4: Path) -> None:
    info = probe_video(mp4)
    assert (info.width, info.height, info.num_frames, info.fps) == (40, 24, 16, 24.0)
    assert info.seconds == pytest.approx(16 / 24)
    assert (info.format, info.codec) == ("MP4", "h264")


def test_a_part_equals_the_part_of_the_whole(mp4: Path) -> None:
    whole, _ = read_video(mp4)
    part, _ = read_video(mp4, start_seconds=5 / 24, count=4)
    assert np.array_equal(part, whole[5:9])
    times = [seconds for seconds, _ in iter_frames(mp4, start_seconds=5 / 24)]
    assert times == pytest.approx([index / 24 for index in range(5, 16)], abs=1e-3)


def test_a_part_behind_a_key_frame_is_found_by_seeking(tmp_path: Path, clip: np.ndarray) -> None:
    path = tmp_path / "c.mkv"
    write_with_pyav(path, clip, "libx264", g="4", bf="2")
    whole, _ = read_video(path)
    for start in range(16):
        part, _ = read_video(path, start_seconds=start / 12, count=2)
        assert np.array_equal(part, whole[start : start + 2])


def test_a_part_of_a_gif_is_found_by_time(tmp_path: Path, clip: np.ndarray) -> None:
    write_animation(tmp_path / "c.apng", clip, fps=20)
    part, _ = read_video(tmp_path / "c.apng", start_seconds=0.25, count=3)
    assert np.array_equal(part, clip[5:8])


def test_a_part_behind_the_end_is_an_error(mp4: Path) -> None:
    with pytest.raises(MediaError, match="no frame from 9 seconds on"):
        read_video(mp4, start_seconds=9)


@pytest.mark.parametrize(
    "arguments", [{"start_seconds": -1.0}, {"count": -1}, {"start_seconds": float("nan")}]
)
def test_parts_that_cannot_be_are_refused(mp4: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="the part to read"):
        read_video(mp4, **arguments)


@pytest.mark.parametrize("name", ["c.mp4", "c.gif", "c.png"])
@pytest.mark.parametrize(
    ("limit", "found"),
    [({"max_frames": 15}, "16 frames"), ({"max_pixels": 959}, "frames of 40x24")],
)
def test_limits_refuse_before_anything_is_decoded(
    tmp_path: Path,
    mp4: Path,
    clip: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    limit: dict[str, int],
    found: str,
) -> None:
    path = mp4
    if name != "c.mp4":
        path = tmp_path / name
        write_animation(path, clip, fps=24)

    def decoded(*_: object) -> None:
        raise AssertionError("a frame was decoded")

    monkeypatch.setattr("imagen_video.media.container._rgb", decoded)
    monkeypatch.setattr("imagen_video.media.pictures._rgb", decoded)
    with pytest.raises(MediaError, match=found) as caught:
        read_video(path, **limit)
    assert_four_parts(caught.value)


def test_long_videos_are_refused_but_their_parts_are_read(mp4: Path) -> None:
    with pytest.raises(MediaError, match=r"at most 0\.5"):
        read_video(mp4, max_seconds=0.5)
    assert len(read_video(mp4, max_seconds=0.5, count=3)[0]) == 3
    assert len(read_video(mp4, max_frames=3, count=3)[0]) == 3


def test_long_gifs_are_refused_while_decoding(tmp_path: Path, clip: np.ndarray) -> None:
    write_animation(tmp_path / "c.gif", clip, fps=24)
    with pytest.raises(MediaError, match=r"at most 0\.25"):
        read_video(tmp_path / "c.gif", max_seconds=0.25)


def test_memory_is_limited_whatever_the_frame_limit(
    mp4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_module, "MAX_DECODED_BYTES", 10 * 40 * 24 * 3)
    with pytest.raises(MediaError, match="at most 10"):
        read_video(mp4)


def test_a_header_that_lies_about_its_frames_is_caught_while_decoding() -> None:
    frames = ((index / 24, np.zeros((4, 4, 3), np.uint8)) for index in range(10**9))
    with pytest.raises(MediaError, match="at most 5"):
        list(ReadLimits(max_frames=5).bounded("file", frames, 0.0, None))


def test_frames_of_changing_size_are_refused() -> None:
    frames = [(0.0, np.zeros((4, 4, 3), np.uint8)), (0.1, np.zeros((4, 6, 3), np.uint8))]
    with pytest.raises(MediaError, match="a frame of 6x4 after 4x4"):
        list(ReadLimits().bounded("file", frames, 0.0, None))


# Not -1: the last bytes of GIF and PNG belong to no picture.
@pytest.mark.parametrize("keep", [0, 3, 20, 300, 1000, 0.5, -40])
@pytest.mark.parametrize("name", ["c.mp4", "c.webm", "c.gif", "c.webp", "c.apng"])
def test_cut_off_files_are_refused(
    tmp_path: Path, mp4: Path, clip: np.ndarray, name: str, keep: float
) -> None:
    path = tmp_path / name
    if name == "c.mp4":
        path.write_bytes(mp4.read_bytes())
    elif name == "c.webm":
        write_with_pyav(path, clip, "libvpx-vp9", **{"cpu-used": "8"})
    elif name == "c.webp":
        from PIL import Image

        first, *rest = [Image.fromarray(frame) for frame in clip]
        first.save(path, save_all=True, append_images=rest, duration=40, lossless=True)
    else:
        write_animation(path, clip, fps=24)
    content = path.read_bytes()
    size = round(len(content) * keep) if isinstance(keep, float) else keep
    path.write_bytes(content[:size])
    with pytest.raises(MediaError) as caught:
        read_video(path)
    assert_four_parts(caught.value)


def test_an_mp4_without_its_last_frame_is_refused_before_decoding(
    tmp_path: Path, mp4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import av

    with av.open(str(mp4)) as container:
        last = max(entry.pos for entry in container.streams.video[0].index_entries)
    (tmp_path / "c.mp4").write_bytes(mp4.read_bytes()[:last])

    def decoded(*_: object) -> None:
        raise AssertionError("a frame was decoded")

    monkeypatch.setattr("imagen_video.media.container._rgb", decoded)
    with pytest.raises(MediaError, match="a file that was cut off"):
        read_video(tmp_path / "c.mp4")


def test_an_avi_that_ends_early_is_refused(tmp_path: Path, clip: np.ndarray) -> None:
    write_with_pyav(tmp_path / "c.avi", clip, "mjpeg", "yuvj420p")
    content = (tmp_path / "c.avi").read_bytes()
    # Behind a whole frame: nothing that is left is damaged.
    (tmp_path / "c.avi").write_bytes(content[: content.rindex(b"00dc", 0, len(content) // 2)])
    with pytest.raises(MediaError, match="seconds of video"):
        read_video(tmp_path / "c.avi")


def test_every_decoded_frame_is_held_against_the_limit(mp4: Path) -> None:
    with opened(mp4) as file:
        frames = container_frames(file, ReadLimits(max_pixels=959))
        with pytest.raises(MediaError, match="frames of 40x24"):
            next(frames)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", ["c.mp4", "c.gif", "c.apng"])
def test_scrambled_files_are_read_or_refused_and_nothing_else(
    tmp_path: Path, mp4: Path, clip: np.ndarray, name: str, seed: int
) -> None:
    path = tmp_path / name
    if name == "c.mp4":
        path.write_bytes(mp4.read_bytes())
    else:
        write_animation(path, clip[:4], fps=24)
    generator = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    for position in generator.integers(12, len(content), 20):
        content[position] = generator.integers(256)
    path.write_bytes(content)
    try:
        frames, fps = read_video(path, max_frames=100, max_pixels=1 << 20)
    except MediaError as error:
        assert_four_parts(error)
    else:
        assert frames.dtype == np.uint8
        assert fps > 0


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("c.mp4", b"", "an empty file"),
        ("c.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "content of an unknown kind"),
        ("c.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", "content of an unknown kind"),
        ("c.mp4", b"\x89PNG\r\n\x1a\n" + bytes(40), "PNG content under the name .mp4"),
        ("c.gif", b"\x00\x00\x00\x20ftypisom" + bytes(40), "MP4 content under the name .gif"),
        ("c", b"GIF89a" + bytes(40), "without a suffix"),
        ("c.mp4", b"\x00\x00\x00\x20ftypisom" + bytes(400), ""),
        ("c.webm", b"\x1a\x45\xdf\xa3" + bytes(400), ""),
        ("c.gif", b"GIF89a" + b"\xff" * 400, ""),
        ("c.webp", b"RIFF\xff\xff\xff\x7fWEBPVP8X" + b"\xff" * 400, ""),
        ("c.avi", b"RIFF\xff\xff\xff\x7fAVI LIST" + b"\xff" * 400, ""),
    ],
)
def test_files_that_are_not_what_they_seem_are_refused(
    tmp_path: Path, name: str, content: bytes, found: str
) -> None:
    (tmp_path / name).write_bytes(content)
    for read in (read_video, probe_video, read_metadata):
        with pytest.raises(MediaError) as caught:
            read(tmp_path / name)
        assert found in caught.value.got
        assert_four_parts(caught.value)


def test_missing_files_folders_and_addresses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        read_video(tmp_path / "none.mp4")
    with pytest.raises(MediaError, match="not a regular file"):
        read_video(tmp_path)
    with pytest.raises(MediaError, match="no such file"):
        read_video("http://localhost/c.mp4")


def test_a_png_that_claims_a_huge_size_is_refused_undecoded(tmp_path: Path) -> None:
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body)
    (tmp_path / "bomb.png").write_bytes(content + chunk(b"IEND", b""))
    with pytest.raises(MediaError, match=r"frames of 60000x60000|decompression bomb"):
        read_video(tmp_path / "bomb.png")


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "c.mp4"), "w") as container:
        stream: Any = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.sample_rate = 8000
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="no video stream"):
        read_video(tmp_path / "c.mp4")


def test_telephone_videos_are_turned_upright(tmp_path: Path) -> None:
    frames = np.full((2, 32, 64, 3), 20, np.uint8)
    frames[:, :8, :8] = 230  # top left as stored
    write_with_pyav(tmp_path / "c.mp4", frames, "libx264")
    content = bytearray((tmp_path / "c.mp4").read_bytes())
    # The matrix of the track header: x goes down, y goes left, a quarter turn clockwise.
    at = content.index(b"tkhd") + 4 + 40
    one = 1 << 16
    content[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 32 * one, 0, 1 << 30)
    (tmp_path / "c.mp4").write_bytes(content)
    back, _ = read_video(tmp_path / "c.mp4")
    assert back.shape == (2, 64, 32, 3)
    assert back[0, :6, -6:].min() > 200
    assert back[0, :6, :6].max() < 60


def test_untagged_hd_is_taken_for_bt709_and_small_video_for_bt601(tmp_path: Path) -> None:
    import av

    def stored(height: int, matrix: str) -> np.ndarray:
        """Write plain green by one matrix and name none."""
        frame = np.zeros((height, 64, 3), np.uint8)
        frame[:] = (0, 200, 0)
        with av.open(str(tmp_path / "c.mp4"), "w") as container:
            stream: Any = container.add_stream("libx264", rate=12, options={"crf": "1"})
            stream.height, stream.width, stream.pix_fmt = height, 64, "yuv420p"
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=matrix)
            picture.colorspace = 2
            container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        return read_video(tmp_path / "c.mp4")[0][0, 8, 8].astype(int)

    assert np.abs(stored(720, "ITU709") - (0, 200, 0)).max() <= 4
    assert np.abs(stored(64, "ITU601") - (0, 200, 0)).max() <= 4


def test_foreign_comments_read_as_empty(tmp_path: Path, clip: np.ndarray) -> None:
    import av

    with av.open(str(tmp_path / "c.mp4"), "w") as container:
        container.metadata["comment"] = "made with love"
        stream: Any = container.add_stream("libx264", rate=12)
        stream.height, stream.width, stream.pix_fmt = 24, 40, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(clip[0], format="rgb24")))
        container.mux(stream.encode(None))
    assert read_metadata(tmp_path / "c.mp4") == {}


@pytest.mark.parametrize("noted", [[0, 25], ["41", 25], [41], [4100, 25], [True, 1], "41x25"])
def test_a_forged_true_size_is_ignored(tmp_path: Path, clip: np.ndarray, noted: object) -> None:
    from imagen_video.media.metadata import TRUE_SIZE
    from imagen_video.media.video_io import write_video

    write_video(tmp_path / "c.mp4", clip, 24, {TRUE_SIZE: noted})
    assert read_video(tmp_path / "c.mp4")[0].shape == clip.shape


def test_a_still_picture_is_a_video_of_one_frame(tmp_path: Path, clip: np.ndarray) -> None:
    write_png(tmp_path / "c.png", clip[0])
    back, _ = read_video(tmp_path / "c.png")
    assert np.array_equal(back, clip[:1])
