"""What a client may read about a failure: what to do about it, and nothing about the server."""

from __future__ import annotations

import re

from imagen_video.errors import InputError

# Folders of an absolute path; the file's own name stays.
_FOLDERS = re.compile(r"(?<![\w:/.])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\:'\"]+[/\\])*(?=[^\s/\\]|$)")


def public_message(error: BaseException) -> str:
    """Return the four parts of an error of ours without folders, and little of any other."""
    if isinstance(error, InputError):
        return _FOLDERS.sub("", str(error))
    # torch has a class of its own for a GPU's memory, and a bare RuntimeError for the processor's.
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    ):
        return "the server ran out of memory; ask for fewer frames, or for an earlier stage"
    return "the server failed on this job; its log says why"
