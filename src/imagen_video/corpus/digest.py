"""Which build of a corpus this is: scenes of one are not those of another."""

from __future__ import annotations

from pathlib import Path

from imagen_video.corpus.sprites import INDEX_NAME
from imagen_video.errors import DataError
from imagen_video.media.digest import file_sha256


def corpus_digest(folder: Path) -> str:
    """Return the SHA-256 of a store's index; every build of a corpus has its own.

    Whatever is kept of real renders is kept under it, or a rebuilt corpus would be judged by the
    pictures of the one before.

    Args:
        folder: the store's.

    Raises:
        DataError: if there is no store.
    """
    path = folder / INDEX_NAME
    try:
        return file_sha256(path)
    except OSError as error:
        raise DataError(
            str(path),
            error.strerror or "an error",
            "a sprite store",
            "build the corpus first, or name its folder",
        ) from error
