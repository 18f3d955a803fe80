"""The frame of every experiment: arms and seeds in turn, a time budget, resumable, one table.

An experiment is a list of arms and a function that trains or samples one arm with one seed and
returns rows of measures. The frame goes through seeds first and arms second (A B C, A B C, ...),
so that a run that is stopped early still compares all arms on equal terms. What is finished lies
under OUT/NAME/results and is not done again; training in between goes on from its checkpoint. With
another corpus, or other weights of a bundle that an experiment samples, everything is done anew.
`--publish` keeps the results beside the page too, as docs/experiments/NAME.json; with `--published`
a run begins with those, so that seeds can be added on another machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from _page import Plot, publish

from imagen_video.cascade.bundle import Bundle
from imagen_video.cascade.resolve_bundle import find_bundle
from imagen_video.corpus.digest import corpus_digest
from imagen_video.errors import InputError
from imagen_video.media.atomic import replacing

ROOT = Path(__file__).resolve().parents[1]

TEACHERS = os.environ.get("EXPERIMENT_BUNDLE", str(ROOT / "build" / "teachers"))
"""What experiments sample that need a base with guidance of its own: not a distilled one."""

DIGITS = 12
"""Of a digest, in settings and on pages."""

Value = str | float | int | None
Row = dict[str, Value]
"""Key columns, which say what was measured, and measures, which are numbers."""


class OutOfTimeError(Exception):
    """The budget is spent: what is done so far is on disk."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """One call of an experiment's script: where things lie and how much may be spent."""

    out: Path
    """build/experiments, or a folder of a test."""
    corpus: Path
    """Sprite store."""
    updates: int
    """Optimiser updates of the longest training."""
    clips: int
    """Held-out clips that are judged."""
    quick: bool = False
    """Two sampling steps: proves that it runs, the numbers mean nothing."""
    deadline: float = math.inf
    """Monotonic time at which to stop."""

    @property
    def minutes_left(self) -> float:
        """How much of the budget is left.

        Raises:
            OutOfTimeError: if nothing is.
        """
        left = (self.deadline - time.monotonic()) / 60
        if left <= 0:
            raise OutOfTimeError
        return left


RunArm = Callable[[str, int, Session], Sequence[Row]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """One question."""

    name: str
    """Of the script, of its folder of results and of its page."""
    title: str
    """Heading of the page."""
    arms: tuple[str, ...]
    """What is compared."""
    run: RunArm
    """One arm with one seed to rows."""
    keys: tuple[str, ...] = ()
    """Columns of a row that say what it is about (`updates`, `level`); the rest are measures."""
    updates: int = 0
    """Updates by default; 0 for experiments that only sample."""
    clips: int = 16
    """Held-out clips by default."""
    plots: tuple[Plot, ...] = ()
    """Measures over a key."""
    sheets: tuple[str, ...] = ()
    """Contact sheets that the page shows, without `.png`; `{updates}` is the number of updates."""
    bundle: str | None = None
    """Trained cascade that is sampled; None where every network is trained here."""


def main(experiment: Experiment, argv: Sequence[str] | None = None) -> int:
    """Run what is missing within the budget, then print the table; return the exit code."""
    parser = _parser(experiment)
    options = parser.parse_args(argv)
    if options.quick and options.publish:
        parser.error("--publish with --quick: its numbers mean nothing; leave one out")
    session = session_of(experiment, options)
    folder = session.out / experiment.name
    settings = settings_of(experiment, session)
    unfinished = False
    try:
        if options.published:
            adopt_published(options.docs, experiment, folder)
        if not options.table:
            seeds = 1 if session.quick else options.seeds
            run_missing(experiment, session, seeds, settings)
    except (OutOfTimeError, KeyboardInterrupt):
        unfinished = True
    except InputError as error:  # no corpus, an extra that is missing, a full disk, no page
        print(error, file=sys.stderr)
        return 2
    records = finished(folder, settings)
    if options.table and not records:
        records = earlier(folder, settings)
    if options.publish and not records:
        print(f"nothing to publish: no result in {folder}", file=sys.stderr)
        return 2
    lines = summary(experiment, records)
    shown = (experiment.name, experiment.title, experiment.plots, lines, about(records))
    page = publish(*shown)
    with replacing(folder / "summary.md") as path:
        path.write_text(page, encoding="utf-8")
    print(page)
    if options.publish:
        names = [name.format(updates=session.updates) for name in experiment.sheets]
        sheets = [path for n in names if (path := session.out / "sheets" / f"{n}.png").exists()]
        publish(*shown, docs=options.docs, sheets=sheets)
        _write_json(published_file(options.docs, experiment), records)
    if unfinished:
        print("not finished: the same command goes on", file=sys.stderr)
    return int(unfinished)


def session_of(experiment: Experiment, options: argparse.Namespace) -> Session:
    """Turn options into a session; `--quick` shrinks everything and writes elsewhere."""
    quick = options.quick
    return Session(
        out=options.out / "quick" if quick else options.out,
        corpus=options.corpus,
        updates=min(options.updates, 4) if quick else options.updates,
        clips=min(options.clips, 4) if quick else options.clips,
        quick=quick,
        deadline=time.monotonic() + 60 * options.minutes,
    )


def settings_of(experiment: Experiment, session: Session) -> dict[str, Any]:
    """Return everything that results depend on, besides the code.

    Digests are null where there is no corpus or bundle: what needs it says so when it runs.
    """
    settings: dict[str, Any] = {
        "updates": session.updates,
        "clips": session.clips,
        "quick": session.quick,
        "corpus": _digest(lambda: corpus_digest(session.corpus)),
    }
    if experiment.bundle is not None:
        name = experiment.bundle
        settings["bundle"] = _digest(lambda: Bundle.open(find_bundle(name)).digest)
    return settings


def _digest(find: Callable[[], str]) -> str | None:
    try:
        return find()[:DIGITS]
    except InputError:
        return None


def run_missing(
    experiment: Experiment, session: Session, seeds: int, settings: Mapping[str, Any]
) -> None:
    """Do every (seed, arm) that has no result with these settings yet.

    Raises:
        OutOfTimeError: once the budget is spent.
    """
    folder = session.out / experiment.name
    for seed in range(seeds):
        for arm in experiment.arms:
            file = file_of(folder, arm, seed)
            if _read(file, settings) is not None:
                continue
            assert session.minutes_left > 0
            print(f"{experiment.name}: {arm}, seed {seed}", file=sys.stderr, flush=True)
            began = time.process_time()
            rows = experiment.run(arm, seed, session)
            record = {
                "arm": arm,
                "seed": seed,
                "settings": dict(settings),
                "processor_seconds": time.process_time() - began,
                "rows": list(rows),
            }
            _write_json(file, record)


def file_of(folder: Path, arm: str, seed: int) -> Path:
    """Return where the result of an arm and a seed lies."""
    return folder / "results" / f"{arm.replace(' ', '-').replace('/', '-')}-seed{seed}.json"


def published_file(docs: Path, experiment: Experiment) -> Path:
    """Return where the results of a page lie."""
    return docs / "experiments" / f"{experiment.name}.json"


def adopt_published(docs: Path, experiment: Experiment, folder: Path) -> None:
    """Lay the results of the page beside those of this machine, which are kept where there are any.

    Raises:
        InputError: if there are none, or the file is damaged.
    """
    file = published_file(docs, experiment)
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
        named = [(file_of(folder, r["arm"], int(r["seed"])), r) for r in records]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            str(file), f"{error}", "results that --publish wrote", "leave --published out"
        ) from error
    for mine, record in named:
        if not mine.exists():
            _write_json(mine, record)


def _write_json(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as path:
        path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def finished(folder: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read the results that were made with these settings, in the order of their files."""
    found = (_read(file, settings) for file in sorted((folder / "results").glob("*.json")))
    return [record for record in found if record is not None]


def earlier(folder: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Read the latest results that differ from these settings in digests alone, or have none.

    So `--table` shows what a page was made from after the corpus or the weights have changed.
    """
    files = sorted((folder / "results").glob("*.json"), key=lambda file: file.stat().st_mtime)
    asked = _without_digests(settings)
    known = [record for file in files if (record := _record(file)) is not None]
    known = [record for record in known if _without_digests(record["settings"]) == asked]
    return finished(folder, known[-1]["settings"]) if known else []


def _without_digests(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in ("corpus", "bundle")}


def summary(experiment: Experiment, records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Average the measures over the seeds: one line an arm and key, `name` and `name +-`."""
    groups: dict[tuple[Value, ...], list[Row]] = {}
    for arm in experiment.arms:
        for record in records:
            if record["arm"] == arm:
                for row in record["rows"]:
                    key = (arm, *(row.get(name) for name in experiment.keys))
                    groups.setdefault(key, []).append(row)
    lines: list[Row] = []
    for key, rows in groups.items():
        line: Row = dict(zip(("arm", *experiment.keys), key, strict=True))
        line["seeds"] = len(rows)
        for name in rows[0]:
            if name not in experiment.keys:
                line |= _mean(name, [row.get(name) for row in rows])
        lines.append(line)
    return lines


def _mean(name: str, values: Sequence[Value]) -> Row:
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if not numbers:
        return {name: None, f"{name} +-": None}
    error = statistics.stdev(numbers) / math.sqrt(len(numbers)) if len(numbers) > 1 else None
    return {name: statistics.fmean(numbers), f"{name} +-": error}


def about(records: Sequence[Mapping[str, Any]]) -> str:
    """Say in a line what the numbers rest on."""
    if not records:
        return "Not run yet."
    seeds = sorted({record["seed"] for record in records})
    settings = ", ".join(f"{k} {v}" for k, v in records[0]["settings"].items() if v)
    seconds = sum(record["processor_seconds"] for record in records)
    return (
        f"{len(records)} runs, seeds {', '.join(map(str, seeds))}; {settings}; "
        f"{seconds / 60:.1f} minutes of processor time in all. +- is the standard error over seeds."
    )


def _read(file: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    record = _record(file)
    return record if record is not None and record["settings"] == dict(settings) else None


def _record(file: Path) -> dict[str, Any] | None:
    """Return what a file of results holds; None if it is missing or damaged."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        return record if isinstance(record["settings"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _parser(experiment: Experiment) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=experiment.title)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=20.0, help="then stop; resumable")
    parser.add_argument("--updates", type=int, default=experiment.updates)
    parser.add_argument("--clips", type=int, default=experiment.clips, help="judged clips")
    parser.add_argument("--corpus", type=Path, default=ROOT / "build" / "corpus")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "experiments")
    parser.add_argument("--quick", action="store_true", help="prove that it runs, nothing more")
    parser.add_argument("--table", action="store_true", help="run nothing, show what there is")
    parser.add_argument("--publish", action="store_true", help="write the page's results and plot")
    parser.add_argument("--published", action="store_true", help="begin with the page's results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where the pages lie")
    return parser
