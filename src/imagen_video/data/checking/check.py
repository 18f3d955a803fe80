"""Read every clip once, and say what is there and what will be left out, and why.

Facts about a clip (its frames, its hashes, or that it cannot be decoded) are found in worker
processes and kept in a journal; whether it serves a cascade is decided afterwards from the facts,
so that another preset needs no second reading.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from imagen_video.data.checking.duplicates import SIGNATURE_CHARACTERS, exact_groups, near_groups
from imagen_video.data.checking.journal import Journal
from imagen_video.data.checking.report import CheckReport, Usable
from imagen_video.data.checking.target import Target, unfit
from imagen_video.data.clips.faults import Dropped
from imagen_video.data.clips.records import DataLimits, Record
from imagen_video.data.decoding.probe import Probe
from imagen_video.data.finding.discover import DiscoverOptions, class_names, discover
from imagen_video.data.workers import Failed, num_cores, run_jobs

CLIP_SECONDS = 1800.0
"""A clip that takes longer to decode is given up."""
_FAULT_KEYS = {"reason", "detail"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a check has come."""

    done: int
    """Clips read, those known from an earlier run included."""
    total: int
    """Clips in all."""
    seconds_left: float | None
    """By bytes read so far; None before the first clip of this run."""
    phase: str = "clips"
    """What is counted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """How to read."""

    limits: DataLimits = dataclasses.field(default_factory=DataLimits)
    """What to refuse."""
    processes: int | None = None
    """Worker processes; None takes one a core, 0 reads in this process, unprotected."""
    clip_seconds: float = CLIP_SECONDS
    """A clip that takes longer is given up."""
    journal: Path | None = None
    """What is found out is noted here, and taken from here."""


def check(
    path: str | Path,
    sources: DiscoverOptions | None = None,
    targets: Sequence[Target] = (),
    options: CheckOptions | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> CheckReport:
    """Read everything below `path` once and report.

    Args:
        path: as for `discover`.
        sources: how labels are found and what counts as a clip.
        targets: what the clips are for; a clip is usable if it serves one of them. None given:
            any clip with a caption.
        options: how to read.
        on_progress: called after every clip.

    Returns:
        The report. It may say that no clip is usable: see `CheckReport.require_usable`.

    Raises:
        DataError: `path` or its table cannot be read at all, or a bad option.
        InputError: the journal cannot be written.
        ResourceError: the disk is full, or worker processes cannot be started.
    """
    sources, options = sources or DiscoverOptions(), options or CheckOptions()
    targets = tuple(targets) or (Target(),)
    extensions: Counter[str] = Counter()
    records, dropped = _discovered(path, sources, options.limits, extensions)
    facts, num_known = _facts(records, options, on_progress or (lambda _: None))
    usable: list[Usable] = []
    fits: dict[str, Counter[str]] = {target.name: Counter() for target in targets}
    for record in records.values():
        known = facts[record.id]
        if "dropped" in known:
            dropped.append(Dropped(id=record.id, **known["dropped"]))
            continue
        clip = Usable(id=record.id, label=record.label, shape=Probe(**known["shape"]))
        faults = [unfit(clip.id, clip.label, clip.shape, target) for target in targets]
        for target, fault in zip(targets, faults, strict=True):
            fits[target.name][fault.reason if fault is not None else ""] += 1
        if None in faults:
            usable.append(clip)
        elif faults[0] is not None:  # of the first stage, which asks for the least
            dropped.append(faults[0])
    exact = exact_groups({clip.id: facts[clip.id]["sha256"] for clip in usable})
    copies = {ident for group in exact for ident in group[1:]}
    pictures = {c.id: facts[c.id]["pictures"] for c in usable if c.id not in copies}
    return CheckReport(
        path=str(path),
        usable=tuple(usable),
        dropped=tuple(dropped),
        extensions=extensions,
        exact_duplicates=tuple(exact),
        near_duplicates=tuple(near_groups(pictures)),
        fits=fits,
        class_names=class_names(path, sources),
        num_known=num_known,
    )


def _discovered(
    path: str | Path, sources: DiscoverOptions, limits: DataLimits, extensions: Counter[str]
) -> tuple[dict[str, Record], list[Dropped]]:
    records: dict[str, Record] = {}
    dropped: list[Dropped] = []
    for found in discover(path, sources, limits=limits, extensions=extensions):
        if isinstance(found, Dropped):
            dropped.append(found)
        elif found.id in records:
            dropped.append(Dropped(id=found.id, reason="name taken", detail="by another clip"))
        else:
            records[found.id] = found
    return records, dropped


def _facts(
    records: dict[str, Record], options: CheckOptions, on_progress: Callable[[Progress], None]
) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the facts of every record, and of how many they were in the journal."""
    journal = Journal(options.journal, options.limits, options.clip_seconds)
    facts: dict[str, dict[str, Any]] = {}
    for record in records.values():
        known = journal.find(record)
        if _is_fact(known):
            facts[record.id] = known
    num_known = len(facts)
    waiting = [record for record in records.values() if record.id not in facts]
    clock = _Clock(len(records), num_known, [record.media.size for record in waiting])
    on_progress(clock.progress())
    if not waiting:
        return facts, num_known
    with journal:
        for number, result in _examined(waiting, options):
            if isinstance(result, Failed):
                result = {"dropped": dataclasses.asdict(result)}
            facts[waiting[number].id] = result
            journal.add(waiting[number], result)
            on_progress(clock.advance(waiting[number].media.size))
    return facts, num_known


def _is_fact(known: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether a journal's entry is what `examine` returns; else the clip is read again."""
    if not isinstance(known, dict):
        return False
    if "dropped" in known:
        return isinstance(known["dropped"], dict) and known["dropped"].keys() == _FAULT_KEYS
    shape = known.get("shape")
    pictures = known.get("pictures")
    return (
        isinstance(shape, dict)
        and shape.keys() == {field.name for field in dataclasses.fields(Probe)}
        and isinstance(known.get("sha256"), str)
        and isinstance(pictures, str)
        and len(pictures) == SIGNATURE_CHARACTERS
    )


def _examined(
    waiting: Sequence[Record], options: CheckOptions
) -> Iterator[tuple[int, dict[str, Any] | Failed]]:
    limits = dataclasses.asdict(options.limits)
    processes = num_cores() if options.processes is None else options.processes
    yield from run_jobs(
        "imagen_video.data.checking.examine:examine",
        ({"record": record.to_json(), "limits": limits} for record in waiting),
        processes=min(processes, len(waiting)),
        seconds=options.clip_seconds,
    )


class _Clock:
    """Estimates the time left from the bytes that are read."""

    def __init__(self, total: int, known: int, sizes: Sequence[int]) -> None:
        self._total, self._done = total, known
        self._bytes_left = sum(sizes) + len(sizes)
        self._bytes_done = 0
        self._start = time.monotonic()

    def advance(self, size: int) -> Progress:
        self._done += 1
        self._bytes_done += size + 1  # one for the opening, which small files are mostly
        self._bytes_left -= size + 1
        return self.progress()

    def progress(self) -> Progress:
        elapsed = time.monotonic() - self._start
        left = elapsed * self._bytes_left / self._bytes_done if self._bytes_done else None
        return Progress(done=self._done, total=self._total, seconds_left=left)
