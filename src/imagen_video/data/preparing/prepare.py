"""From clips to shards: `imagen-video data prepare`.

Captions are encoded first, then clips are decoded, cut and written in units (`unit`), in
processes; the manifest comes last. Whatever is finished is kept: the same command goes on after an
interruption, and the outcome is the same to the last byte. Everything unfinished lies in `work`
and in files named `.*.tmp`, which the next run removes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imagen_video import __version__
from imagen_video.cascade.spec import CascadeSpec
from imagen_video.data.clips.faults import Dropped
from imagen_video.data.clips.records import DataLimits, Record
from imagen_video.data.finding.discover import DiscoverOptions, discover
from imagen_video.data.preparing.plan import Plan, PrepareOptions, StageTask, stage_tasks
from imagen_video.data.preparing.progress import (
    OnProgress,
    PrepareProgress,
    read_unit,
    run_units,
    sweep,
)
from imagen_video.data.preparing.unit import layout_of
from imagen_video.data.shards.manifest import (
    DROPPED_FILE,
    FileEntry,
    LabelCounts,
    Manifest,
    ShardEntry,
    StageEntry,
    TextEntry,
)
from imagen_video.data.shards.samples import INDEX_FILE, index_array, write_index
from imagen_video.data.shards.text_store import check_encoder, write_text
from imagen_video.data.shards.verify import check_sizes, file_entry, note_digests
from imagen_video.errors import DataError, InputError
from imagen_video.media.atomic import replacing, writing_error
from imagen_video.text.base import TextEncoder

__all__ = ["PrepareOptions", "PrepareProgress", "PrepareReport", "prepare"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """What became of the clips."""

    folder: Path
    """Of the shards."""
    manifest: Manifest
    """What it holds."""
    found: int
    """Clips and pictures that were found."""
    units_kept: int
    """Units that an earlier run had finished."""
    units: int
    """Units in all."""
    seconds: float
    """Of this run."""

    def lines(self) -> Iterator[str]:
        """Yield the report as text for people."""
        manifest = self.manifest
        kept = f", {self.units_kept} of {self.units} units kept" if self.units_kept else ""
        yield f"{self.folder}: {self.found} clips found, {self.seconds:.1f} s{kept}"
        for name, stage in manifest.stages.items():
            size = _size_text(sum(entry.bytes for entry in stage.files))
            without = ", ".join(f"{reason} {count}" for reason, count in stage.left_out.items())
            yield (
                f"  {name:<8} {stage.clips} clips, {stage.images} images, {size} in "
                f"{len(stage.shards)} shards" + (f"; left out: {without}" if without else "")
            )
        text = manifest.text
        if text is not None:
            yield (
                f"  captions {text.captions} distinct, {text.tokens} tokens, "
                f"{text.bytes_per_caption:.0f} bytes each (tokens x width x 2: "
                f"{2 * text.tokens * text.width / text.captions:.0f})"
            )
        if manifest.num_dropped:
            yield f"  left out: see {self.folder / DROPPED_FILE} ({manifest.num_dropped} lines)"


def prepare(
    path: str | Path,
    cascade: CascadeSpec,
    options: PrepareOptions,
    *,
    sources: DiscoverOptions | None = None,
    limits: DataLimits | None = None,
    encoder: TextEncoder | None = None,
    on_progress: OnProgress | None = None,
) -> PrepareReport:
    """Write the shards of a cascade's stages, or go on with it.

    Args:
        path: folder, tar, table or file with the clips, as for `discover`.
        cascade: whose stages the shards are for.
        options: how.
        sources: how labels are found.
        limits: what to refuse.
        encoder: of the captions; built from the cascade's identity if None and needed.
        on_progress: called now and then, perhaps from a thread.

    Returns:
        What was written.

    Raises:
        DataError: `path` has no usable clip; the folder was begun with other clips or options; or
            the encoder is not the cascade's.
        InputError: an unknown stage, or a folder that cannot be written to.
        ResourceError: the disk is full; what is finished is kept.
    """
    started = time.monotonic()
    plan = _plan(path, cascade, options, sources or DiscoverOptions(), limits or DataLimits())
    digest, out = plan.digest(), options.out
    with _locked(out):
        manifest = _finished(out, digest)
        kept = plan.num_units
        if manifest is None:
            _begin(out, digest)
            sweep(out)
            try:
                text = _encode(plan, encoder, on_progress)
                todo = [u for u in range(plan.num_units) if read_unit(plan, u) is None]
                kept -= len(todo)
                run_units(plan, todo, on_progress)
                manifest = _finish(plan, digest, text)
            finally:
                sweep(out)
        shutil.rmtree(out / "work", ignore_errors=True)
    return PrepareReport(
        folder=out,
        manifest=manifest,
        found=len(plan.records),
        units_kept=kept,
        units=plan.num_units,
        seconds=time.monotonic() - started,
    )


def _plan(
    path: str | Path,
    cascade: CascadeSpec,
    options: PrepareOptions,
    sources: DiscoverOptions,
    limits: DataLimits,
) -> Plan:
    tasks = stage_tasks(cascade, options)
    for task in tasks:
        layout_of(task, options.lasting)  # refuses sizes that the encoding cannot hold
    records: dict[str, Record] = {}
    dropped: list[Dropped] = []
    files: Counter[str] = Counter()
    for found in discover(path, sources, limits=limits, extensions=files):
        if isinstance(found, Dropped):
            dropped.append(found)
        elif found.id in records:
            dropped.append(Dropped(id=found.id, reason="name taken", detail="by another clip"))
        else:
            records[found.id] = found
    if not records:
        raise _nothing(path, f"no clip among {sum(files.values())} files", dropped)
    reads_text = any(stage.unet.text_width is not None for stage in cascade.stages)
    identity = cascade.text_encoder if reads_text else None
    return Plan(
        cascade=cascade.name,
        tasks=tasks,
        grid_fps=cascade.stages[-1].output.fps,
        options=options,
        limits=limits,
        encoder=None if identity is None else dict(identity),
        records=list(records.values()),
        dropped=dropped,
    )


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keep a second run out of the folder.

    Raises:
        InputError: one is at work there, or the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise writing_error(out, error) from error
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise InputError(
            str(out), "another run at work in it", "one at a time", "wait for it, or end it"
        ) from error
    except (ImportError, OSError):
        pass  # no file locks on this system or file system
    try:
        yield
    finally:
        os.close(descriptor)


def _finished(out: Path, digest: str) -> Manifest | None:
    """Return the manifest of a folder that is done; None if it is not.

    Raises:
        DataError: it holds something else.
    """
    try:
        manifest = Manifest.read(out)
    except DataError:
        return None
    _check_same(out, manifest.plan, digest)
    for stage in manifest.stages.values():
        check_sizes(out, stage.files)
    return manifest


def _begin(out: Path, digest: str) -> None:
    """Note what is being prepared, or check that it is still the same.

    Raises:
        DataError: the folder was begun with something else.
    """
    path = out / "work" / "plan"
    if path.is_file():
        _check_same(out, path.read_text(encoding="ascii", errors="replace"), digest)
        return
    names = [entry.name for entry in out.iterdir()]
    others = [name for name in names if name != "work" and not name.startswith(".")]
    if others:
        raise InputError(
            str(out), f"a folder with other files ({others[0]})", "an empty one", "choose another"
        )
    with replacing(path) as temporary:
        temporary.write_text(digest, encoding="ascii")


def _check_same(out: Path, found: str, digest: str) -> None:
    if found != digest:
        raise DataError(
            str(out),
            "shards that were begun with other clips, labels, options or another cascade",
            "the same as now",
            "give another --out, or delete this one to begin anew",
        )


def _encode(
    plan: Plan, encoder: TextEncoder | None, on_progress: OnProgress | None
) -> TextEntry | None:
    captions = [record.label.caption for record in plan.records if record.label.caption]
    total = len(set(captions))
    if plan.encoder is None or not captions:
        return None
    if encoder is None:
        from imagen_video.text.registry import build_text_encoder

        encoder = build_text_encoder(plan.encoder)
    begun = time.monotonic()

    def tell(done: int) -> None:
        if on_progress is not None:
            left = (time.monotonic() - begun) * (total - done) / done
            on_progress(
                PrepareProgress(phase="captions", done=done, total=total, seconds_left=left)
            )

    entry = write_text(plan.options.out, captions, encoder, tell)
    assert entry is not None
    check_encoder(entry, plan.encoder, "this run")
    return entry


def _finish(plan: Plan, digest: str, text: TextEntry | None) -> Manifest:
    """Write the indices, the list of what was left out and, last of all, the manifest."""
    out = plan.options.out
    outcomes = [read_unit(plan, unit) for unit in range(plan.num_units)]
    assert None not in outcomes
    names = [task.name for task in plan.tasks]
    dropped: list[dict[str, Any]] = [
        {**dataclasses.asdict(drop), "stages": names} for drop in plan.dropped
    ]
    for outcome in outcomes:
        dropped += outcome["dropped"] if outcome is not None else []
    with replacing(out / DROPPED_FILE) as temporary:
        lines = "".join(json.dumps(drop, sort_keys=True) + "\n" for drop in dropped)
        temporary.write_text(lines, encoding="utf-8")
    stages = {}
    for task in plan.tasks:
        parts = [outcome["stages"][task.name] for outcome in outcomes if outcome is not None]
        stages[task.name] = _stage(plan, task, parts, dropped)
    if not any(stage.shards for stage in stages.values()):
        faults = [Dropped(id=drop["id"], reason=drop["reason"]) for drop in dropped]
        raise _nothing(out / DROPPED_FILE, f"no usable clip among {len(plan.records)}", faults)
    manifest = Manifest(
        version=__version__,
        cascade=plan.cascade,
        plan=digest,
        options=plan.options.lasting,
        stages=stages,
        text=text,
        dropped=file_entry(out, DROPPED_FILE),
        num_dropped=len(dropped),
    )
    files: list[FileEntry] = [file for stage in stages.values() for file in stage.files]
    manifest.write(out)
    note_digests(out, [*files, *([text] if text else [])])
    return manifest


def _stage(
    plan: Plan, task: StageTask, parts: list[dict[str, Any]], dropped: list[dict[str, Any]]
) -> StageEntry:
    shards: list[ShardEntry] = []
    rows: dict[int, list[list[int]]] = {}
    labels = LabelCounts()
    for part in parts:
        if part["shard"] is not None:
            rows[len(shards)] = part["rows"]
            shards.append(ShardEntry(**part["shard"]))
            labels += LabelCounts(**part["labels"])
    index, out, name = index_array(rows), plan.options.out, f"{task.name}/{INDEX_FILE}"
    if shards:
        write_index(out / name, index)
    images = int(index["image"].sum())
    return StageEntry(
        frames=task.frames,
        height=task.height,
        width=task.width,
        fps=task.fps,
        channels=task.channels,
        min_frames=task.least_frames,
        encoding=plan.options.encoding,
        clips=len(index) - images,
        images=images,
        labels=labels,
        left_out=dict(Counter(d["reason"] for d in dropped if task.name in d["stages"])),
        index=file_entry(out, name) if shards else None,
        shards=tuple(shards),
    )


def _size_text(size: int) -> str:
    for unit, bytes_each in (("GB", 10**9), ("MB", 10**6)):
        if size >= bytes_each:
            return f"{size / bytes_each:.1f} {unit}"
    return f"{size / 1000:.1f} kB"


def _nothing(path: str | Path, found: str, dropped: list[Dropped]) -> DataError:
    reasons = Counter(drop.reason for drop in dropped).most_common(8)
    listed = ", ".join(f"{reason} {count}" for reason, count in reasons)
    return DataError(
        str(path),
        found + (f"; left out: {listed}" if listed else ""),
        "at least one clip that a stage can be trained on",
        "see the reasons with `imagen-video data check`",
    )
