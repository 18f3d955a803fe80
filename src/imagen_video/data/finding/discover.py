"""Which clips are there? Walks a folder, a tar or a table, and decodes nothing.

Links are followed only to regular files below the root. Order is that of sorted names, so that two
machines find the same clips in the same order.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from imagen_video.data.clips.faults import Dropped, printable
from imagen_video.data.clips.labels import LabelFields
from imagen_video.data.clips.records import DataLimits, Record
from imagen_video.data.finding.folder import Folder, is_visible
from imagen_video.data.finding.labelling import Labeller
from imagen_video.data.finding.tables import TABLE_NAMES, TABLE_SUFFIXES, LabelTable
from imagen_video.data.finding.tar_clips import tar_clips
from imagen_video.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscoverOptions:
    """How labels are found and what counts as a clip."""

    labels: Path | None = None
    """A CSV or JSONL table; None takes one of TABLE_NAMES in the root if there is one."""
    fields: LabelFields = dataclasses.field(default_factory=LabelFields)
    """Its columns, and the keys of JSON sidecars."""
    classes_from_folders: bool = False
    """The first folder below the root is the class: ids count the folders in sorted order."""
    frame_folders: bool = False
    """A folder that holds pictures only is one clip, its pictures (in natural order) the frames."""
    fps: float = 24.0
    """Frame rate of arrays and folders of frames."""
    value_range: tuple[float, float] = (0.0, 1.0)
    """What 0 and 255 mean in arrays of floating-point numbers: (0, 1) or (-1, 1)."""


def discover(
    path: str | Path,
    options: DiscoverOptions | None = None,
    *,
    limits: DataLimits | None = None,
    extensions: Counter[str] | None = None,
) -> Iterator[Record | Dropped]:
    """Yield every clip below `path`, and everything that looks like one but cannot be one.

    Args:
        path: a folder, a tar, a table (.csv, .tsv, .jsonl) that names files, or one media file.
        options: how labels are found.
        limits: what to refuse.
        extensions: counts the suffixes of all files seen, media or not, if given.

    Yields:
        Records in a stable order (sorted names; tar order; a table's rows), and what is left out.

    Raises:
        DataError: `path` or the table does not exist or cannot be read at all. A single bad file,
            row or member never raises.
    """
    options = options or DiscoverOptions()
    seen = Counter[str]() if extensions is None else extensions
    for found in _found(Path(path), options, limits or DataLimits(), seen):
        if isinstance(found, Record) and (found.kind == "array" or found.media.frames):
            yield dataclasses.replace(found, fps=options.fps, value_range=options.value_range)
        else:
            yield found


def class_names(path: str | Path, options: DiscoverOptions) -> tuple[str, ...]:
    """Return the names of the classes 0, 1, ... as far as they have names.

    Raises:
        DataError: the folder cannot be read.
    """
    if options.fields.class_names or not options.classes_from_folders or not Path(path).is_dir():
        return options.fields.class_names
    try:
        entries = [entry for entry in Path(path).iterdir() if is_visible(entry.name)]
        return tuple(sorted(e.name for e in entries if e.is_dir() and not e.is_symlink()))
    except OSError as error:
        found = error.strerror or "an error"
        raise DataError(str(path), found, "a readable folder", "check its permissions") from error


def _found(
    path: Path, options: DiscoverOptions, limits: DataLimits, seen: Counter[str]
) -> Iterator[Record | Dropped]:
    try:
        path.stat()
    except (OSError, ValueError) as error:
        found = "no such file or folder" if isinstance(error, FileNotFoundError) else f"{error}"
        raise DataError(str(path), found, "your clips", "check the path") from error
    table = _table(path, options)
    classes = class_names(path, options) if options.classes_from_folders else ()
    labeller = Labeller(fields=options.fields, table=table, folder_classes=classes)
    if path.suffix.lower() == ".tar" and path.is_file():
        seen[".tar"] += 1
        yield from tar_clips(path.resolve(), path.name, labeller, limits, seen)
    else:
        is_clip = path.is_file() and path.suffix.lower() not in TABLE_SUFFIXES
        path = path.resolve() if is_clip else path  # the user's own link is no trap
        root = path if path.is_dir() else path.parent
        folder = Folder(root.resolve(), labeller, limits, seen, options.frame_folders)
        if path.is_dir():
            yield from folder.walk()
        elif path.suffix.lower() in TABLE_SUFFIXES:
            assert table is not None
            for row in table.rows():
                yield from folder.named(row.file)
        else:
            yield from folder.named(path.name)
    if table is not None:
        yield from table.bad
        for row in table.unused() if path.is_dir() else ():
            detail = f"named in {row.where}, but not among the clips that can be read"
            yield Dropped(id=printable(row.file), reason="no such clip", detail=detail)


def _table(path: Path, options: DiscoverOptions) -> LabelTable | None:
    """Read the table that was named, that `path` is, or that lies in the root."""
    if path.is_file() and path.suffix.lower() in TABLE_SUFFIXES:
        return LabelTable(path, options.fields, path.parent)
    if options.labels is not None:
        root = path if path.is_dir() else path.parent
        return LabelTable(options.labels, options.fields, root)
    here = [path / name for name in TABLE_NAMES if (path / name).is_file()]
    if len(here) > 1:
        raise DataError(
            str(path),
            " and ".join(table.name for table in here),
            "one table with the labels",
            "name the one that counts with --labels",
        )
    return LabelTable(here[0], options.fields, path) if here else None
