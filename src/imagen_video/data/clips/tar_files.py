"""Tar files from strangers: an index of what is safe to read, and the bytes of one member.

Nothing is ever extracted. The index is read here and not by `tarfile`, which reads whatever size an
extended header claims into memory, and in older Pythons follows negative sizes in circles
(CVE-2025-8194). Understood: ustar, GNU long names, PAX paths and sizes, base-256 numbers. Links,
devices, sparse files and names that leave the archive are named and skipped.

Layout: blocks of 512 bytes; a header block, then the member's bytes, padded to a block; two blocks
of zeros at the end (POSIX.1-2017, pax, "ustar Interchange Format").
"""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from imagen_video.data.clips.faults import Dropped, printable
from imagen_video.errors import DataError

BLOCK = 512
MAX_MEMBERS = 5_000_000
MAX_NAME_BYTES = 4096
MAX_EXTENDED_BYTES = 1 << 16
"""A GNU long name or a PAX header; real ones have a few hundred bytes."""

_REGULAR = (b"0", b"\0", b"7")
_SKIPPED_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a pipe",
    b"S": "a sparse file",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TarMember:
    """A regular file in a tar."""

    name: str
    """Relative, with `/`, never leaving the archive."""
    offset: int
    """Where its bytes start."""
    size: int
    """How many there are; all of them lie within the archive."""


class _Damaged(Exception):
    """The archive cannot be read any further."""


def tar_members(path: Path) -> Iterator[TarMember | Dropped]:
    """Yield the members in order, and what is skipped.

    A damaged archive yields what comes before the damage and then one `Dropped`.

    Raises:
        DataError: it cannot be opened.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise DataError(
            str(path), error.strerror or "an error", "a readable tar", "check its permissions"
        ) from error
    with stream:
        size = os.fstat(stream.fileno()).st_size
        try:
            yield from _members(stream, size, path.name)
        except _Damaged as damage:
            yield Dropped(id=path.name, reason="damaged tar", detail=str(damage))


def read_member(path: Path, offset: int, size: int) -> bytes:
    """Return a member's bytes.

    Raises:
        DataError: the archive is gone or has become shorter.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(size)
    except OSError as error:
        raise DataError(
            str(path),
            error.strerror or "an error",
            "a readable tar",
            "check that it is still there",
        ) from error
    if len(data) != size:
        raise DataError(
            str(path),
            f"{len(data)} bytes at {offset}",
            f"{size}",
            "the archive changed: look again",
        )
    return data


def _members(stream: BinaryIO, size: int, archive: str) -> Iterator[TarMember | Dropped]:
    position = 0
    extended = _Extended()
    for _ in range(MAX_MEMBERS):
        stream.seek(position)
        block = stream.read(BLOCK)
        if not block or block == bytes(BLOCK):
            return
        header = _Header.parse(block)
        start = position + BLOCK
        if header.kind in (b"L", b"K", b"x", b"g"):
            if header.size > MAX_EXTENDED_BYTES:
                raise _Damaged(f"an extended header of {header.size} bytes")
            extended.take(header.kind, stream.read(header.size))
            position = start + _padded(header.size)
            continue
        name, length = extended.name or header.name, header.size
        if extended.size is not None:
            length = extended.size
        extended = _Extended()
        if start + length > size:
            raise _Damaged(f"{_shown(name)!r} is cut off")
        position = start + _padded(length)
        # Before POSIX a folder was a file whose name ends in a slash.
        if header.kind != b"5" and not name.endswith(b"/"):
            yield _member(archive, name, header.kind, start, length)
    raise _Damaged(f"more than {MAX_MEMBERS} members")


def _member(archive: str, name: bytes, kind: bytes, offset: int, size: int) -> TarMember | Dropped:
    ident = f"{archive}!{_shown(name)}"
    if kind not in _REGULAR:
        found = _SKIPPED_KINDS.get(kind, f"a member of unknown type {kind!r}")
        return Dropped(id=ident, reason="unsafe tar member", detail=f"{found}; it is not followed")
    fault = name_fault(name)
    if fault:
        return Dropped(id=ident, reason="unsafe tar member", detail=fault)
    return TarMember(name=str(PurePosixPath(name.decode())), offset=offset, size=size)


def name_fault(name: bytes) -> str | None:
    """Say what is wrong with a member's name, or return None."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return "a name that is not UTF-8"
    path = PurePosixPath(text)
    if text.startswith(("/", "\\")) or (len(text) > 1 and text[1] == ":"):
        return "an absolute path"
    if ".." in path.parts or ".." in text.split("\\"):
        return "a path with .."
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        return "a name with control characters"
    if not path.name or len(name) > MAX_NAME_BYTES:
        return "an empty or overlong name"
    return None


@dataclasses.dataclass(kw_only=True)
class _Extended:
    """What the extended headers before a member say about it."""

    name: bytes | None = None
    size: int | None = None

    def take(self, kind: bytes, data: bytes) -> None:
        """Read one extended header; global ones ("g") and link targets ("K") do not matter here."""
        if kind == b"L":
            self.name = data.rstrip(b"\0")
        elif kind == b"x":
            for key, value in _pax_records(data):
                if key == b"path":
                    self.name = value
                elif key == b"size":
                    self.size = _decimal(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Header:
    name: bytes
    size: int
    kind: bytes

    @classmethod
    def parse(cls, block: bytes) -> _Header:
        if len(block) < BLOCK:
            raise _Damaged("the archive is cut off")
        # The checksum counts its own eight bytes as spaces.
        total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
        if total != _number(block[148:156]):
            raise _Damaged("a header with a wrong checksum (is this a tar?)")
        name = block[:100].split(b"\0", 1)[0]
        if block[257:263] == b"ustar\0":  # POSIX: a prefix for long names; GNU puts times there
            prefix = block[345:500].split(b"\0", 1)[0]
            name = prefix + b"/" + name if prefix else name
        return cls(name=name, size=_number(block[124:136]), kind=block[156:157])


def _number(field: bytes) -> int:
    """Parse a header's number: octal text, or base 256 if the first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] & 0x40 or value >= 1 << 62:
            raise _Damaged("a negative or absurd number in a header")
        return value
    text = field.split(b"\0", 1)[0].strip(b" ")
    if not text:
        return 0
    if set(text) - set(b"01234567"):
        raise _Damaged("a header with a number that is none")
    return int(text, 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise _Damaged("an extended header with a size that is no number")
    return int(text)


def _pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a PAX header, lines of `LENGTH KEY=VALUE` with their own length."""
    while data and data[0]:
        length_text, _, rest = data[:20].partition(b" ")
        length = _decimal(length_text)
        record = data[:length]
        key, mark, value = record[len(length_text) + 1 :].partition(b"=")
        if len(record) != length or not mark or not value.endswith(b"\n") or not rest:
            raise _Damaged("an extended header that cannot be read")
        yield key, value[:-1]
        data = data[length:]


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _shown(name: bytes) -> str:
    return printable(name[:200].decode("utf-8", "backslashreplace"))
