"""Results on disk: one folder each, there whole or not at all, served by name and by nothing else.

GALLERY/ID/settings.json        every setting, and what came of it
           video.mp4            the result
           sheet.png            its frames at a glance
           poster.png           its middle frame, small
           preview-STAGE.mp4    what each stage made
           STAGE.safetensors    the same as uint8, for going on from there
        .new-ID/                a job that runs, or was stopped; gone at the next start
        .lock                   one server at a time
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from imagen_video.errors import InputError, ResourceError
from imagen_video.media.atomic import replacing, writing_error
from imagen_video.web.settings import JobSettings, is_id

VIDEO, SHEET, POSTER, SETTINGS = "video.mp4", "sheet.png", "poster.png", "settings.json"
MIN_FREE_BYTES = 1 << 30
"""Room that must be left before a job begins: a result with its stages takes 50 MB."""
_SERVED = re.compile(
    r"video\.mp4|sheet\.png|poster\.png|settings\.json|preview-[a-z0-9_]{1,32}\.mp4"
)
_NEW = ".new-"

log = logging.getLogger(__name__)


class StageResult(BaseModel):
    """What a stage did."""

    name: str
    frames: int
    height: int
    width: int
    fps: float
    seconds: float
    steps: int
    """Network evaluations; 0 where the stage was taken from another result or an upload."""


class Result(BaseModel):
    """The contents of `settings.json`."""

    id: str
    created: float
    """Seconds since 1970."""
    settings: JobSettings
    stages: list[StageResult]
    """In their order; those before `settings.start_stage` were taken from elsewhere."""
    seconds: float
    bundle: str
    bundle_sha256: str
    precision: str
    version: str

    @property
    def last(self) -> StageResult:
        """The stage whose output is the result."""
        return self.stages[-1]


def preview_name(stage: str) -> str:
    """Name the preview of a stage."""
    return f"preview-{stage}.mp4"


class Gallery:
    """A folder of results."""

    def __init__(self, root: Path) -> None:
        """Open the folder, make it if it is missing, and forget what was never finished.

        Raises:
            InputError: if it cannot be written to, or another server has it.
        """
        self.root = root.resolve()
        self._lock = threading.Lock()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._taken = _take(self.root)
            for left in self.root.glob(f"{_NEW}*"):
                shutil.rmtree(left, ignore_errors=True)
            found = [self._read(path) for path in self.root.iterdir()]
        except OSError as error:
            raise writing_error(root, error) from error
        results = sorted((r for r in found if r is not None), key=lambda r: r.created)
        self._results = {result.id: result for result in results}

    def close(self) -> None:
        """Let another server have the folder."""
        os.close(self._taken)

    def __len__(self) -> int:
        return len(self._results)

    def check_room(self) -> None:
        """Refuse to begin where the disk is nearly full.

        Raises:
            ResourceError: if it is.
        """
        free = shutil.disk_usage(self.root).free
        if free < MIN_FREE_BYTES:
            raise ResourceError(
                "gallery",
                f"{free >> 20} MB of free disk",
                f"at least {MIN_FREE_BYTES >> 20} MB",
                "delete results, or give the server another --gallery",
            )

    def get(self, identity: str) -> Result | None:
        """Return a finished result."""
        with self._lock:
            return self._results.get(identity)

    def newest(self, offset: int = 0, count: int = 50) -> list[Result]:
        """Return finished results, the newest first."""
        with self._lock:
            return list(reversed(self._results.values()))[offset : offset + count]

    def draft(self, identity: str) -> Path:
        """Make the folder of a result to be.

        Raises:
            ResourceError: if the disk is full.
        """
        path = self._draft(identity)
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise writing_error(path, error) from error
        return path

    def finish(self, result: Result) -> None:
        """Turn a draft into a result.

        Raises:
            ResourceError: if the disk is full.
        """
        draft = self._draft(result.id)
        with replacing(draft / SETTINGS) as temporary:
            temporary.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
        try:
            draft.replace(self.root / result.id)
        except OSError as error:
            raise writing_error(draft, error) from error
        with self._lock:
            self._results[result.id] = result

    def keep_previews(self, identity: str) -> None:
        """Give up a draft, but let its owner see what there is until it is forgotten."""
        for path in self._draft(identity).glob("*"):
            if _SERVED.fullmatch(path.name) is None:
                path.unlink(missing_ok=True)

    def forget_draft(self, identity: str) -> None:
        """Delete a draft."""
        shutil.rmtree(self._draft(identity), ignore_errors=True)

    def delete(self, identity: str) -> bool:
        """Delete a result; tell whether there was one."""
        with self._lock:
            if self._results.pop(identity, None) is None:
                return False
        doomed = self._draft(identity)  # renamed first: never half a result under its own name
        with contextlib.suppress(OSError):
            (self.root / identity).replace(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
        return True

    def file(self, identity: str, name: str) -> Path | None:
        """Return a file that may be served: of a result, or of a job that runs.

        Names are matched, not cleaned, and links are never followed.
        """
        if not is_id(identity) or _SERVED.fullmatch(name) is None:
            return None
        return self._regular(identity, name)

    def stage(self, identity: str, stage: str) -> Path | None:
        """Return the kept output of a result's stage."""
        known = self.get(identity)
        if known is None or stage not in [done.name for done in known.stages]:
            return None
        return self._regular(identity, f"{stage}.safetensors")

    def _regular(self, identity: str, name: str) -> Path | None:
        for folder in (self.root / identity, self._draft(identity)):
            path = folder / name
            if not folder.is_symlink() and not path.is_symlink() and path.is_file():
                return path
        return None

    def _draft(self, identity: str) -> Path:
        if not is_id(identity):
            raise ValueError("not a name of ours")
        return self.root / f"{_NEW}{identity}"

    def _read(self, folder: Path) -> Result | None:
        """Read one folder; None for what is not a complete result."""
        if not is_id(folder.name) or folder.is_symlink():
            return None
        try:
            data: Any = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            result = Result.model_validate(data)
        except (OSError, ValueError, ValidationError, RecursionError):
            log.warning("gallery: %s is not a complete result and is left out", folder.name)
            return None
        complete = result.id == folder.name and result.stages and (folder / VIDEO).is_file()
        return result if complete else None


def linked(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where the file system has no hard links.

    Raises:
        ResourceError: if the disk is full.
    """
    with _writing(target):
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            return
        except OSError:
            shutil.copyfile(source, target, follow_symlinks=False)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise writing_error(path, error) from error


def _take(root: Path) -> int:
    """Hold a lock for as long as the process lives."""
    handle = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # not a POSIX system
        return handle
    except OSError as error:
        os.close(handle)
        raise InputError(
            f"--gallery {root}", "in use by another server", "a folder of its own", "choose another"
        ) from error
    return handle
