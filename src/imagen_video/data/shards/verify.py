"""Are the files of a prepared folder those that its manifest names? Sizes always, digests once.

A digest holds for a state of a file: size, time of its last change and inode. It is noted in
`.verified.json`, so that only the first run after a copy reads everything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from imagen_video.data.shards.manifest import FileEntry
from imagen_video.errors import DataError, InputError
from imagen_video.media.atomic import replacing

STAMPS = ".verified.json"
_THREADS = 8
_FIX = "copy the folder again, or prepare the data again"


def file_entry(folder: Path, name: str) -> FileEntry:
    """Return the entry of a file that is there."""
    path = folder / name
    return FileEntry(file=name, bytes=path.stat().st_size, sha256=_digest(path))


def check_sizes(folder: Path, files: Iterable[FileEntry]) -> None:
    """Compare the sizes of files with the manifest's. Links are not followed.

    Raises:
        DataError: a file that is missing, no regular file, or of another size.
    """
    for entry in files:
        _state(folder, entry)


def check_digests(folder: Path, files: Sequence[FileEntry]) -> None:
    """Read the files that have changed since they were last read, and compare the SHA-256.

    Raises:
        DataError: a file of other content, size or kind.
    """
    stamps = _stamps(folder)
    states = {entry.file: [*_state(folder, entry), entry.sha256] for entry in files}
    unknown = [entry for entry in files if stamps.get(entry.file) != states[entry.file]]
    if not unknown:
        return
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="digests") as pool:
        for _ in pool.map(lambda entry: _check_digest(folder, entry), unknown):
            pass
    note_digests(folder, unknown)


def note_digests(folder: Path, files: Iterable[FileEntry]) -> None:
    """Note that the files have their digests; a folder that cannot be written to stays as it is."""
    stamps = _stamps(folder)
    stamps |= {entry.file: [*_state(folder, entry), entry.sha256] for entry in files}
    with contextlib.suppress(InputError), replacing(folder / STAMPS) as temporary:
        temporary.write_text(json.dumps(stamps, sort_keys=True), encoding="utf-8")


def _check_digest(folder: Path, entry: FileEntry) -> None:
    found = _digest(folder / entry.file)
    if found != entry.sha256:
        raise DataError(
            str(folder / entry.file),
            f"SHA-256 {found}",
            f"SHA-256 {entry.sha256}, as its manifest says",
            _FIX,
        )


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _state(folder: Path, entry: FileEntry) -> list[int]:
    path = folder / entry.file
    try:
        # The stage's folder and the file itself: neither may be a link to somewhere else.
        if path.parent.is_symlink():
            raise DataError(str(path.parent), "a link", "a folder", _FIX)
        found = path.lstat()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise DataError(str(path), reason, f"a file of {entry.bytes} bytes", _FIX) from error
    if not stat.S_ISREG(found.st_mode):
        raise DataError(str(path), "no regular file", f"a file of {entry.bytes} bytes", _FIX)
    if found.st_size != entry.bytes:
        raise DataError(
            str(path),
            f"{found.st_size} bytes",
            f"{entry.bytes} bytes, as its manifest says",
            _FIX,
        )
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _stamps(folder: Path) -> dict[str, Any]:
    try:
        descriptor = os.open(folder / STAMPS, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, encoding="utf-8") as stream:
            stamps = json.load(stream)
    except (OSError, ValueError, RecursionError):
        return {}
    return stamps if isinstance(stamps, dict) else {}
