"""What a check found, as numbers for programs and as lines for people."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imagen_video.data.checking.target import DEFAULT_TARGET
from imagen_video.data.clips.faults import Dropped, printable
from imagen_video.data.clips.labels import Label
from imagen_video.data.decoding.probe import Probe
from imagen_video.errors import DataError

_MOST_LISTED = 12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Usable:
    """A clip or picture that serves a target."""

    id: str
    """As in `Record.id`."""
    label: Label
    """What is said about it."""
    shape: Probe
    """Exact."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckReport:
    """Everything that `check` found."""

    path: str
    """What was checked."""
    usable: tuple[Usable, ...]
    """Clips and pictures that serve at least one target."""
    dropped: tuple[Dropped, ...]
    """Everything else that looked like a clip, a row or a member."""
    extensions: Mapping[str, int]
    """How many files of each suffix were seen, media or not."""
    exact_duplicates: tuple[tuple[str, ...], ...]
    """Usable clips with equal bytes."""
    near_duplicates: tuple[tuple[str, ...], ...]
    """Usable clips with nearly equal pictures (see `duplicates`); one of each exact group."""
    fits: Mapping[str, Mapping[str, int]]
    """By target: how many decoded clips have which fault; "" is none."""
    class_names: tuple[str, ...]
    """Names of the classes 0, 1, ... if they have names."""
    num_known: int
    """How many clips were taken from the journal."""

    @property
    def clips(self) -> list[Usable]:
        """What moves."""
        return [clip for clip in self.usable if not clip.shape.is_image]

    @property
    def pictures(self) -> list[Usable]:
        """What does not."""
        return [clip for clip in self.usable if clip.shape.is_image]

    @property
    def reasons(self) -> dict[str, int]:
        """How often each reason occurs, the most frequent first."""
        return dict(Counter(drop.reason for drop in self.dropped).most_common())

    def require_usable(self) -> None:
        """Refuse to go on with nothing.

        Raises:
            DataError: if no clip is usable; it says what was found instead.
        """
        if self.usable:
            return
        files = _listed(self.extensions) or "no files at all"
        reasons = _listed(self.reasons)
        raise DataError(
            self.path,
            f"no usable clip among {sum(self.extensions.values())} files ({files})"
            + (f"; left out: {reasons}" if reasons else ""),
            "MP4, MOV, WebM, MKV, AVI, GIF, WebP, PNG, APNG, JPEG or .npy clips with labels",
            "see the reasons above and `imagen-video data check --help`",
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; usable clips as ids."""
        return {
            "path": self.path,
            "clips": len(self.clips),
            "pictures": len(self.pictures),
            "taken_from_journal": self.num_known,
            "files": dict(sorted(self.extensions.items())),
            "frames": _spread([clip.shape.frames or 0 for clip in self.clips]),
            "seconds": _spread([clip.shape.seconds or 0.0 for clip in self.clips]),
            "frame_rates": _rates(self.clips),
            "sizes": _sizes(self.usable),
            "channels": _counts(str(clip.shape.channels) for clip in self.usable),
            "caption_characters": _spread(
                [len(clip.label.caption) for clip in self.usable if clip.label.caption]
            ),
            "caption_words": _spread(
                [len(clip.label.caption.split()) for clip in self.usable if clip.label.caption]
            ),
            "classes": self._classes(),
            "vector_widths": _counts(
                str(len(clip.label.vector)) for clip in self.usable if clip.label.vector
            ),
            "exact_duplicates": [list(group) for group in self.exact_duplicates],
            "near_duplicates": [list(group) for group in self.near_duplicates],
            "stages": {name: _stage(faults) for name, faults in self.fits.items()},
            "reasons": self.reasons,
            "dropped": [dataclasses.asdict(drop) for drop in self.dropped],
            "usable": [clip.id for clip in self.usable],
        }

    def _classes(self) -> dict[str, int]:
        ids = Counter(c.label.class_id for c in self.usable if c.label.class_id is not None)
        names = dict(enumerate(self.class_names))
        return {names.get(number, str(number)): ids[number] for number in sorted(ids)}


def report_lines(report: CheckReport) -> Iterator[str]:
    """Yield the report as text: every clip that is left out first, the summary last."""
    names = list(_name_lines(report))
    yield from names
    if names:
        yield ""
    values = report.to_json()
    known = (
        f", {_plural(report.num_known, 'clip')} known from the journal" if report.num_known else ""
    )
    yield f"{report.path}: {_plural(sum(report.extensions.values()), 'file')}{known}"
    rows = [
        ("files", _listed(report.extensions)),
        ("usable", f"{_plural(values['clips'], 'clip')}, {_plural(values['pictures'], 'picture')}"),
        ("left out", f"{len(report.dropped)}{_in_brackets(report.reasons)}"),
        ("frames", _spread_text(values["frames"], "")),
        ("duration", _spread_text(values["seconds"], " s")),
        ("frame rates", _listed(values["frame_rates"])),
        ("sizes", _listed(values["sizes"])),
        ("channels", _listed(values["channels"])),
        ("captions", _spread_text(values["caption_characters"], " characters")),
        ("", _spread_text(values["caption_words"], " words")),
        ("classes", _listed(values["classes"])),
        ("vectors", _listed(values["vector_widths"])),
        ("duplicates", _duplicates(report)),
    ]
    if len(report.fits) > 1 or DEFAULT_TARGET not in report.fits:
        for name, stage in values["stages"].items():
            text = f"{stage['usable']} usable{_in_brackets(stage['faults'])}"
            rows.append((f"for {name}", text))
    yield from (f"  {title:<12} {text}" for title, text in rows if text)


def _name_lines(report: CheckReport) -> Iterator[str]:
    for drop in report.dropped:
        detail = f" ({printable(drop.detail)})" if drop.detail else ""
        yield f"left out: {printable(drop.id)}: {drop.reason}{detail}"
    for group in report.exact_duplicates:
        yield f"same bytes: {', '.join(map(printable, group))}"
    for group in report.near_duplicates:
        yield f"nearly the same pictures: {', '.join(map(printable, group))}"


def _duplicates(report: CheckReport) -> str:
    exact = sum(len(group) - 1 for group in report.exact_duplicates)
    near = sum(len(group) - 1 for group in report.near_duplicates)
    return f"{exact} with the same bytes, {near} with nearly the same pictures (none left out)"


def _stage(faults: Mapping[str, int]) -> dict[str, Any]:
    rest = {reason: count for reason, count in faults.items() if reason}
    return {"usable": faults.get("", 0), "faults": rest}


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    ordered = sorted(values)
    return {
        "least": round(ordered[0], 4),
        "median": round(ordered[len(ordered) // 2], 4),
        "most": round(ordered[-1], 4),
        "total": round(sum(ordered), 4),
    }


def _spread_text(spread: Mapping[str, float], unit: str) -> str:
    if not spread:
        return ""
    least, median, most = (f"{spread[name]:g}" for name in ("least", "median", "most"))
    total = f", {spread['total']:g}{unit} in all" if unit in ("", " s") else ""
    return f"{least} to {most}{unit}, median {median}{total}"


def _rates(clips: Sequence[Usable]) -> dict[str, int]:
    return _counts(f"{clip.shape.fps:.2f}".rstrip("0").rstrip(".") for clip in clips)


def _sizes(clips: Sequence[Usable]) -> dict[str, int]:
    return _counts(f"{clip.shape.width}x{clip.shape.height}" for clip in clips)


def _counts(values: Iterator[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _listed(counts: Mapping[str, int]) -> str:
    first = sorted(counts.items(), key=lambda item: -item[1])[:_MOST_LISTED]
    more = len(counts) - len(first)
    rest = f", {more} more kinds" if more > 0 else ""
    return ", ".join(f"{printable(name)} {count}" for name, count in first) + rest


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _in_brackets(counts: Mapping[str, int]) -> str:
    return f" ({_listed(counts)})" if counts else ""
