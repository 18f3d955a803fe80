from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.data.clips.faults import Dropped
from imagen_video.data.clips.tar_files import (
    BLOCK,
    TarMember,
    name_fault,
    read_member,
    tar_members,
)
from imagen_video.errors import DataError
from unit.data.clip_files import add

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def index(path: Path) -> tuple[list[TarMember], list[Dropped]]:
    items = list(tar_members(path))
    members = [item for item in items if isinstance(item, TarMember)]
    return members, [item for item in items if isinstance(item, Dropped)]


def checksummed(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("style", FORMATS)
def test_members_are_those_that_tarfile_finds(tmp_path: Path, style: str) -> None:
    names = ["a.mp4", "folder/b.txt", "d/" * 40 + "long.txt", "empty.txt"]
    if style != "ustar":
        names += ["n" * 180 + ".txt", "caf\u00e9.txt"]
    with tarfile.open(tmp_path / "a.tar", "w", format=FORMATS[style]) as tar:
        add(tar, "folder", b"", type=tarfile.DIRTYPE)
        for number, name in enumerate(names):
            add(tar, name, b"x" * (number * 300 % 1100) if name != "empty.txt" else b"")
    members, dropped = index(tmp_path / "a.tar")
    assert not dropped
    with tarfile.open(tmp_path / "a.tar") as tar:
        for member in members:
            stream = tar.extractfile(member.name)
            assert stream is not None
            assert read_member(tmp_path / "a.tar", member.offset, member.size) == stream.read()
    assert [member.name for member in members] == names


@given(st.lists(st.binary(max_size=1300), max_size=6))
def test_what_tarfile_writes_comes_back(contents: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        with tarfile.open(path, "w") as tar:
            for number, content in enumerate(contents):
                add(tar, f"{number:04d}.bin", content)
        members, dropped = index(path)
        assert [read_member(path, m.offset, m.size) for m in members] == contents
        assert not dropped


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "symbolic"),
        (tarfile.LNKTYPE, "hard"),
        (tarfile.CHRTYPE, "character"),
        (tarfile.BLKTYPE, "block"),
        (tarfile.FIFOTYPE, "pipe"),
    ],
)
def test_links_and_devices_are_named_and_skipped(tmp_path: Path, kind: bytes, word: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "bad.mp4", b"", type=kind, linkname="/etc/passwd")
        add(tar, "good.txt", b"good")
    members, (dropped,) = index(tmp_path / "a.tar")
    assert [member.name for member in members] == ["good.txt"]
    assert dropped.id == "a.tar!bad.mp4"
    assert dropped.reason == "unsafe tar member"
    assert word in dropped.detail


@pytest.mark.parametrize(
    "name",
    ["../up.mp4", "a/../../up.mp4", "/etc/passwd", "C:\\x.mp4", "..\\x.mp4", "a\x1b[2J.mp4", "\\x"],
)
def test_names_that_leave_the_archive_are_named_and_skipped(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        add(tar, name, b"bad")
        add(tar, "good.txt", b"good")
    members, (dropped,) = index(tmp_path / "a.tar")
    assert [member.name for member in members] == ["good.txt"]
    assert dropped.reason == "unsafe tar member"
    assert dropped.id.isprintable()


@given(st.binary(max_size=40))
def test_a_name_that_passes_stays_inside(name: bytes) -> None:
    if name_fault(name) is None:
        inside = Path("/in") / name.decode()
        assert ".." not in inside.parts
        assert inside.is_relative_to("/in")


@pytest.mark.parametrize("length", [0, 100, BLOCK, BLOCK + 5, 3 * BLOCK])
def test_a_cut_archive_gives_what_came_before_the_cut(tmp_path: Path, length: int) -> None:
    with tarfile.open(tmp_path / "whole.tar", "w") as tar:
        add(tar, "a.txt", b"a")
        add(tar, "b.txt", b"b" * 600)
    whole = (tmp_path / "whole.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:length])
    members, dropped = index(tmp_path / "a.tar")
    assert [member.name for member in members] == (["a.txt"] if length >= BLOCK + 1 else [])
    assert len(dropped) == (length in (100, BLOCK, 3 * BLOCK))
    assert all(item.reason == "damaged tar" for item in dropped)


def evil(kind: bytes, size: bytes) -> bytes:
    header = bytearray(tarfile.TarInfo("x").tobuf())
    header[124:136] = size
    header[156:157] = kind
    return checksummed(header) + bytes(4 * BLOCK)


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (b"L", b"77777777777\0"),  # a name of 8 GB
        (b"x", b"77777777777\0"),
        (b"0", b"77777777777\0"),
        (b"0", b"\xff" * 12),  # -1: older tarfiles go round in circles
        (b"0", b"\xff" * 11 + b"\x00"),
        (b"0", b"\x80" + b"\xff" * 11),
        (b"0", b"nonsense!!!\0"),
    ],
    ids=repr,
)
def test_absurd_sizes_end_the_archive_without_being_allocated(
    tmp_path: Path, kind: bytes, size: bytes
) -> None:
    (tmp_path / "a.tar").write_bytes(evil(kind, size))
    members, (dropped,) = index(tmp_path / "a.tar")
    assert not members
    assert dropped.reason == "damaged tar"


@pytest.mark.parametrize(
    "record", [b"0 path=x\n", b"99 path=x\n", b"nonsense", b"11 size=-5\n", b"13 size=1e99\n"]
)
def test_extended_headers_that_lie_end_the_archive(tmp_path: Path, record: bytes) -> None:
    header = bytearray(tarfile.TarInfo("x").tobuf())
    header[156:157] = b"x"
    header[124:136] = b"%011o\0" % len(record)
    data = checksummed(header) + record.ljust(BLOCK, b"\0") + tarfile.TarInfo("y").tobuf()
    (tmp_path / "a.tar").write_bytes(data + bytes(2 * BLOCK))
    members, dropped = index(tmp_path / "a.tar")
    assert not members
    assert [item.reason for item in dropped] == ["damaged tar"]


@given(st.binary(max_size=3 * BLOCK))
def test_garbage_is_never_more_than_a_damaged_tar(garbage: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a.tar").write_bytes(garbage)
        members, dropped = index(Path(folder) / "a.tar")
        assert not members
        assert all(item.reason == "damaged tar" for item in dropped)


def test_an_archive_that_shrank_or_went_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"abc")
    with pytest.raises(DataError, match="changed"):
        read_member(tmp_path / "a.tar", 0, 4)
    with pytest.raises(DataError, match="No such file"):
        read_member(tmp_path / "b.tar", 0, 4)
    with pytest.raises(DataError, match="No such file"):
        list(tar_members(tmp_path / "b.tar"))


def test_a_header_of_before_posix_with_a_slash_is_a_folder(tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("old/").tobuf())
    header[156:157] = b"\0"
    tail = io.BytesIO()
    with tarfile.open(fileobj=tail, mode="w") as tar:
        add(tar, "old/a.txt", b"a")
    (tmp_path / "a.tar").write_bytes(checksummed(header) + tail.getvalue())
    members, dropped = index(tmp_path / "a.tar")
    assert [member.name for member in members] == ["old/a.txt"]
    assert not dropped
