"""Files appear whole or not at all.

A file is written under a temporary name in the same folder and moved into place when it is done
(`os.replace`, atomic on one file system). A failure deletes it and leaves an older file as it was.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from imagen_video.errors import InputError, ResourceError

# EFBIG is a disk quota's other face: the file system or the user's limit takes no larger file.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def writing_error(path: Path, error: OSError) -> InputError:
    """Say in four parts why `path` could not be written: a full disk, or a place that cannot be."""
    reason = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return ResourceError(
            f"writing {path}", reason, "room on the disk", "free some space or write elsewhere"
        )
    return InputError(
        f"writing {path}",
        reason,
        "a folder that can be written to",
        "check the path and its permissions, or write elsewhere",
    )


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to; `path` is put in place when the block ends well.

    Missing parent folders are made. The temporary file is deleted if the block raises anything,
    an interrupt included, and `path` is then as it was before.

    Args:
        path: where the finished file goes. Symbolic links in it are followed, not replaced.

    Yields:
        An absolute path in the same folder, not yet existing.

    Raises:
        InputError: the folder cannot be written to, or `path` is a folder.
        ResourceError: the disk is full.
    """
    target = Path(path)
    final = Path(os.path.realpath(target))
    temporary = final.with_name(f".{final.name}.{secrets.token_hex(4)}.tmp")
    if final.is_dir():
        raise InputError(f"writing {target}", "a folder", "a file name", "add a name to the path")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)  # An unwritable folder fails here, before any work.
    except OSError as error:
        raise writing_error(target, error) from error
    try:
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(final)
    except OSError as error:
        if not _is_about(error, temporary):
            raise
        raise writing_error(target, error) from error
    finally:
        # Gone already after a success. A failure to delete must not hide the first error.
        with contextlib.suppress(OSError):
            temporary.unlink()


def check_writable(folder: str | Path) -> None:
    """Find out before long work whether files can be written to a folder, and leave no trace.

    Permissions alone do not tell: the superuser has them everywhere, and yet nothing can be made in
    `/proc` or on a disk that is mounted to be read.

    Args:
        folder: it need not be there yet.

    Raises:
        InputError: it cannot be made or written to.
        ResourceError: the disk is full.
    """
    target = Path(folder)
    made = [path for path in (target, *target.parents) if not path.exists()]
    probe = target / f".probe.{secrets.token_hex(4)}.tmp"
    try:
        target.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise writing_error(target, error) from error
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # never made, or somebody else uses it by now
                path.rmdir()


def _is_about(error: OSError, temporary: Path) -> bool:
    """Tell our file's errors from those of other files that the block works with."""
    return error.filename is None or Path(os.fsdecode(error.filename)) == temporary


def flush_to_disk(path: Path) -> None:
    """Let a file, or the names in a folder, reach the disk before what builds on it happens.

    Without it a power cut can leave an empty file behind a rename.
    """
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
