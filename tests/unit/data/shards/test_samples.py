from __future__ import annotations

import contextlib
import gc
import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.data.clips.labels import Label
from imagen_video.data.shards.framing import Box
from imagen_video.data.shards.manifest import LabelCounts, Manifest, StageEntry
from imagen_video.data.shards.pieces import PIECE_BYTES, PieceLayout
from imagen_video.data.shards.reader import ShardReader
from imagen_video.data.shards.samples import (
    Facts,
    ShardWriter,
    index_array,
    member_header,
    padded,
    write_index,
)
from imagen_video.data.shards.verify import file_entry
from imagen_video.errors import DataError, InputError
from unit.data.tiny_shards import make_clips, prepared

LABEL = Label(caption="a cat", class_id=2, vector=(0.5, -1.0))


def noise(frames: int, height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (frames, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def facts(number: int, frames: int, **changes: Any) -> Facts:
    values: dict[str, Any] = {
        "id": f"clip {number}",
        "window": number,
        "start": 1.5 * number,
        "frames": frames,
        "image": False,
        "label": LABEL,
    }
    return Facts(**{**values, **changes})


def stage_of(folder: Path, samples: list[np.ndarray], encoding: Any = "webp") -> StageEntry:
    """Write one tar with some samples and return what a manifest says about the stage."""
    frames, height, width, channels = samples[0].shape
    layout = PieceLayout(height=height, width=width, channels=channels, encoding=encoding)
    with ShardWriter(folder, "s/00000.tar", layout) as writer:
        for number, pixels in enumerate(samples):
            writer.add(7 * number, facts(number, len(pixels)), pixels)
    assert writer.entry is not None
    write_index(folder / "s" / "index.npy", index_array({0: writer.rows}))
    return StageEntry(
        frames=frames,
        height=height,
        width=width,
        fps=24.0,
        channels=channels,
        min_frames=1,
        encoding=encoding,
        clips=len(samples),
        images=0,
        labels=writer.labels,
        left_out={},
        index=file_entry(folder, "s/index.npy"),
        shards=(writer.entry,),
    )


@given(
    frames=st.integers(1, 40),
    height=st.integers(1, 800),
    width=st.integers(1, 1300),
    channels=st.integers(1, 5),
)
def test_pieces_hold_every_frame_and_row_once_and_are_not_large(
    frames: int, height: int, width: int, channels: int
) -> None:
    layout = PieceLayout(height=height, width=width, channels=channels, encoding="webp")
    seen = np.zeros((frames, height), int)
    for piece in layout.pieces(frames):
        seen[piece.first : piece.first + piece.frames, piece.top : piece.top + piece.rows] += 1
        pixels = piece.frames * piece.rows * width * channels
        assert pixels <= PIECE_BYTES or (piece.frames, piece.rows) == (1, 1)
    assert (seen == 1).all()


def test_a_small_clip_is_one_picture_and_a_large_frame_is_bands() -> None:
    base = PieceLayout(height=24, width=40, channels=3, encoding="webp")
    assert len(list(base.pieces(16))) == 1
    large = PieceLayout(height=768, width=1280, channels=3, encoding="webp")
    assert (large.frames_a_piece, large.rows_a_piece) == (1, 64)


SHAPES = [(5, 12, 20, 3), (3, 300, 450, 3), (4, 9, 7, 1), (2, 6, 8, 5)]


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, ...], ShardReader]:
    made = {}
    for shape in SHAPES:
        folder = tmp_path_factory.mktemp("shards")
        samples = [noise(*shape, seed=seed) for seed in range(2)]
        made[shape] = ShardReader(folder, stage_of(folder, samples))
    return made


@given(st.data())
def test_any_part_of_any_sample_is_read_exactly(
    readers: dict[tuple[int, ...], ShardReader], data: st.DataObject
) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    frames, height, width, _ = shape
    reader = readers[shape]
    samples = [noise(*shape, seed=seed) for seed in range(2)]
    number = data.draw(st.integers(0, 1))
    first = data.draw(st.integers(0, frames - 1))
    last = data.draw(st.integers(first + 1, frames))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    box = Box(
        top=top,
        left=left,
        height=data.draw(st.integers(1, height - top)),
        width=data.draw(st.integers(1, width - left)),
    )
    pixels, found = reader.read(number, range(first, last), box)
    assert np.array_equal(pixels, box.cut(samples[number][first:last]))
    assert found == facts(number, frames)


def test_only_the_pieces_that_are_needed_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ShardReader(tmp_path, stage_of(tmp_path, [noise(3, 512, 640)]))
    decode, decoded = PieceLayout.decode, []

    def counted(self: PieceLayout, piece: Any, data: bytes) -> np.ndarray:
        decoded.append(piece)
        return decode(self, piece, data)

    monkeypatch.setattr(PieceLayout, "decode", counted)
    reader.read(0, range(1, 2), Box(top=130, left=10, height=100, width=100))
    assert [(piece.first, piece.top) for piece in decoded] == [(1, 128)]


def test_jpeg_shards_are_nearly_the_same_and_smaller(tmp_path: Path) -> None:
    y, x = np.mgrid[0:96, 0:160]
    grain = np.random.default_rng(0).normal(0, 3, (96, 160))
    smooth = (128 + 100 * np.sin(x / 9 + y / 7) + grain).astype(np.uint8)
    pixels = np.repeat(smooth[None, ..., None], 3, axis=-1)
    sizes = {}
    for encoding in ("webp", "jpeg"):
        entry = stage_of(tmp_path / encoding, [pixels], encoding)
        found, _ = ShardReader(tmp_path / encoding, entry).read(0)
        assert abs(found.astype(int) - pixels).max() <= (0 if encoding == "webp" else 12)
        sizes[encoding] = entry.shards[0].bytes
    assert sizes["jpeg"] < sizes["webp"]


def test_jpeg_for_depth_channels_is_refused() -> None:
    with pytest.raises(InputError, match="jpeg for 4 channels"):
        PieceLayout(height=8, width=8, channels=4, encoding="jpeg")


@given(size=st.integers(0, 8**11 - 1), name=st.from_regex(r"[a-z0-9.-]{1,99}", fullmatch=True))
def test_headers_are_those_of_plain_tar_files(size: int, name: str) -> None:
    info = tarfile.TarInfo.frombuf(member_header(name, size), "ascii", "strict")
    assert (info.name, info.size, info.isreg(), info.mode) == (name, size, True, 0o644)
    assert (info.mtime, info.uid, info.linkname) == (0, 0, "")


def test_the_tars_are_what_other_programs_read(tmp_path: Path) -> None:
    pixels = noise(3, 24, 40)
    stage_of(tmp_path, [pixels, pixels])
    with tarfile.open(tmp_path / "s" / "00000.tar") as tar:
        names = tar.getnames()
    assert names == [
        f"{7 * number:09d}-{number:04d}.{suffix}"
        for number in range(2)
        for suffix in ("json", "f00000.r00000.webp")
    ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_shards(tmp_path: Path) -> None:
    from webdataset.compat import WebDataset

    clips = make_clips(tmp_path / "clips", clips=2, images=0)
    prepared(clips, tmp_path / "shards")
    path = str(tmp_path / "shards" / "ssr1" / "00000.tar")
    dataset: Any = WebDataset(path, shardshuffle=False, empty_check=False).decode("rgb8")
    samples = list(dataset)
    del dataset
    gc.collect()  # it leaves its files open
    reader = ShardReader(tmp_path / "shards", Manifest.read(tmp_path / "shards").stages["ssr1"])
    assert [sample["json"]["label"]["caption"] for sample in samples] == ["clip 0", "clip 1"]
    for number, sample in enumerate(samples):
        pictures = sample["f00000.r00000.webp"].reshape(8, 8, 12, 3)
        assert np.array_equal(pictures, reader.read(number)[0])


def test_a_writer_without_samples_leaves_no_file_and_a_failed_one_nothing(tmp_path: Path) -> None:
    layout = PieceLayout(height=4, width=6, channels=3, encoding="webp")
    with ShardWriter(tmp_path, "s/00000.tar", layout) as writer:
        pass
    assert writer.entry is None
    with (
        contextlib.suppress(RuntimeError),
        ShardWriter(tmp_path, "s/00001.tar", layout) as writer,
    ):
        writer.add(0, facts(0, 2), noise(2, 4, 6))
        raise RuntimeError
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "bad",
    [
        b"[]",
        b"{}",
        b"nothing",
        b'{"pieces": "all"}',
        facts(0, 2).to_json([5]).replace(b'"clip 0"', b"7"),
        facts(0, 2).to_json([5]).replace(b'"frames": 2', b'"frames": "2"'),
        facts(0, 2).to_json([5]).replace(b'"frames": 2', b'"frames": 2, "more": 1'),
        facts(0, 2).to_json([5]).replace(b"[5]", b"[-5]"),
        facts(0, 2).to_json([5]).replace(b'"a cat"', b'["a cat"]'),
        facts(0, 2).to_json([5]).replace(b"0.5", b"NaN"),
        b"[" * 100_000,
    ],
)
def test_facts_of_a_wrong_form_are_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r"facts|JSON|Expecting"):
        Facts.from_json(bad)


def test_facts_come_back_with_their_label_counts() -> None:
    found, sizes = Facts.from_json(facts(3, 2).to_json([5, 6]))
    assert (found, sizes) == (facts(3, 2), [5, 6])
    assert found.counts + LabelCounts(most_class=9, classes=1) == LabelCounts(
        captions=1, classes=2, most_class=9, vectors=1, vector_width=2
    )


class Hostile:
    """A stage whose tar is replaced by one of the same size with other members."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entry = stage_of(folder, [noise(2, 40, 60, seed=n) for n in range(2)])
        self.tar = folder / "s" / "00000.tar"
        self.data = bytearray(self.tar.read_bytes())

    def header(self, index: int) -> int:
        """Where the header of a member starts."""
        with tarfile.open(fileobj=io.BytesIO(bytes(self.data))) as tar:
            return tar.getmembers()[index].offset

    def read(self) -> None:
        self.tar.write_bytes(bytes(self.data))
        ShardReader(self.folder, self.entry).read(0)


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    return Hostile(tmp_path)


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"5", b"6", b"x", b"L", b"S"])
@pytest.mark.parametrize("member", [0, 1])
def test_a_link_or_device_in_the_place_of_a_member_is_refused(
    hostile: Hostile, kind: bytes, member: int
) -> None:
    info = tarfile.TarInfo("000000000-0000.json")
    info.type, info.linkname = kind, "/etc/passwd"
    at = hostile.header(member)
    hostile.data[at : at + 512] = info.tobuf(tarfile.USTAR_FORMAT)
    with pytest.raises(DataError, match="another member than"):
        hostile.read()


@pytest.mark.parametrize("name", ["../../evil.json", "/etc/cron.d/evil", "other.json"])
def test_a_member_of_another_name_is_refused(hostile: Hostile, name: str) -> None:
    size = int(hostile.entry.shards[0].bytes)
    hostile.data[0:512] = member_header(name, size % 1000)
    with pytest.raises(DataError, match="another member than"):
        hostile.read()


def test_a_size_beyond_the_tar_is_refused_before_anything_is_read(hostile: Hostile) -> None:
    text = hostile.data[512 : 512 + 4096]
    at = text.index(b'"pieces": [') + 11
    digits = text[at:].index(b"]")
    hostile.data[512 + at : 512 + at + digits] = b"9" * digits
    with pytest.raises(DataError, match="outside the tar"):
        hostile.read()


def test_a_damaged_picture_is_named_with_its_tar(hostile: Hostile) -> None:
    at = hostile.header(1) + 512
    hostile.data[at + 30 : at + 200] = bytes(170)
    with pytest.raises(DataError, match=r"sample 0 in .*00000.tar"):
        hostile.read()


def test_a_link_in_the_place_of_a_tar_is_not_followed(hostile: Hostile, tmp_path: Path) -> None:
    shutil.move(hostile.tar, tmp_path / "elsewhere.tar")
    hostile.tar.symlink_to(tmp_path / "elsewhere.tar")
    with pytest.raises(DataError, match=r"symbolic link|link"):
        ShardReader(hostile.folder, hostile.entry).read(0)


def test_a_tar_that_became_shorter_is_an_error_and_no_signal(hostile: Hostile) -> None:
    reader = ShardReader(hostile.folder, hostile.entry)
    os.truncate(hostile.tar, 700)
    with pytest.raises(DataError, match="700 bytes instead of"):
        reader.read(0)


@pytest.mark.parametrize("column", ["shard", "offset", "facts", "frames", "image"])
def test_an_index_that_leads_out_of_its_tars_is_refused(hostile: Hostile, column: str) -> None:
    path = hostile.folder / "s" / "index.npy"
    index = np.load(path, allow_pickle=False)
    index[column][0] = 255 if column == "image" else 1 << 30
    np.save(path, index)
    with pytest.raises(DataError, match="do not fit the manifest"):
        ShardReader(hostile.folder, hostile.entry)


@pytest.mark.parametrize("content", [b"", b"x" * 300, b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_an_index_that_is_none_is_refused(hostile: Hostile, content: bytes) -> None:
    (hostile.folder / "s" / "index.npy").write_bytes(content)
    with pytest.raises(DataError, match="an index"):
        ShardReader(hostile.folder, hostile.entry)


def test_an_index_that_claims_terabytes_allocates_nothing(hostile: Hostile) -> None:
    path = hostile.folder / "s" / "index.npy"
    data = path.read_bytes().replace(b"(2,)", b"(9999999999,)", 1)
    path.write_bytes(data)
    with pytest.raises(DataError, match="an index"):
        ShardReader(hostile.folder, hostile.entry)


def test_padding_fills_whole_blocks() -> None:
    assert [padded(size) for size in (0, 1, 511, 512, 513)] == [0, 512, 512, 512, 1024]
