"""Build the sprite store: install the packages, decode, draw, and write, and report.

The slow parts (decoding animations, rasterising solids) run on all cores; the writer receives
sprites in a fixed order, so the store's bytes do not depend on how many there are.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TextIO

import numpy as np

from imagen_video.corpus.decode import (
    SIDE,
    IconSet,
    decode_picture,
    digest,
    draw_svg,
    plain_codepoint,
    read_bytes,
)
from imagen_video.corpus.meshes import SOLIDS
from imagen_video.corpus.packages import Package, Packages, fetch, locate
from imagen_video.corpus.solids import TURN_FRAMES, turntable
from imagen_video.corpus.sprites import SpriteStore, SpriteWriter, Subject
from imagen_video.corpus.subjects import SUBJECTS_FILE, read_subjects
from imagen_video.corpus.words import draw_glyphs
from imagen_video.errors import DataError
from imagen_video.media.atomic import check_writable

DEFAULT_FOLDER = Path("build/corpus")
DEFAULT_PACKAGES = Path("build/packages")
"""Where the store and the packages lie, below the current folder."""

REPORT_NAME = "report.json"
UNFIT: dict[str, str] = {
    "cartoon/1f426": "the drawing is blue, but the noun says a red bird",
}
"""Sprites that would contradict their caption, left out."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a build produced."""

    subjects: int
    """Subjects with at least one sprite."""
    sprites: dict[str, int]
    """Sprites by style."""
    frames: int
    """All frames at every size."""
    bytes: int
    """Size of the store."""
    seconds: float
    """How long the build took."""
    licences: dict[str, int]
    """Sprites by licence."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Sprite -> why it is not in the store."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One sprite to be made, in another process if need be."""

    key: str
    """Its key in the store."""
    source: str
    """Package and file, or `code`."""
    licence: str
    """SPDX expression."""
    path: Path | None = None
    """An image file to decode."""
    svg: str = ""
    """An SVG to draw."""
    solid: str = ""
    """A solid to rasterise."""
    still: bool = False
    """Keep the first frame only."""


def build_corpus(
    out_dir: str | Path = DEFAULT_FOLDER,
    packages_dir: str | Path | None = None,
    *,
    subjects_file: Path = SUBJECTS_FILE,
    workers: int | None = None,
    progress: TextIO | None = None,
) -> Report:
    """Make the whole store.

    Args:
        out_dir: folder of the store; an existing store is replaced at the end.
        packages_dir: folder with the packages already installed; installed below `build/packages`
            if None.
        subjects_file: table of subjects, columns codepoint, name, noun, verb, family.
        workers: processes; all cores if None.
        progress: stream for one progress line; standard error if None.

    Returns:
        The report, also written to `report.json` in the store.

    Raises:
        DataError: if a package is missing or of another version, or the table is malformed.
        InputError: if the folder cannot be written; nothing is fetched then.
        ResourceError: if the disk is full.
    """
    started = time.monotonic()
    check_writable(out_dir)
    packages = fetch(DEFAULT_PACKAGES) if packages_dir is None else locate(Path(packages_dir))
    subjects = read_subjects(subjects_file)
    jobs, dropped = plan_jobs(subjects, packages)
    stream = sys.stderr if progress is None else progress
    with SpriteWriter(out_dir) as writer:
        for number, (job, made) in enumerate(_made(jobs, workers or os.cpu_count() or 1), start=1):
            stream.write(f"\rcorpus: {number}/{len(jobs)} {job.key:<40.40}")
            stream.flush()
            if isinstance(made, str):
                dropped[job.key] = made
                continue
            frames, sha256 = made
            writer.add(
                frames,
                key=job.key,
                tinted=bool(job.solid),
                source=job.source,
                licence=job.licence,
                sha256=sha256,
            )
        stream.write("\n")
        _add_glyphs(writer, packages)
        have = {sprite.key.partition("/")[2] for sprite in writer.sprites}
        kept = tuple(subject for subject in subjects if subject.codepoint in have)
        folder = writer.finish(kept)
    return _report(folder, kept, dropped, time.monotonic() - started)


def plan_jobs(subjects: Sequence[Subject], packages: Packages) -> tuple[list[Job], dict[str, str]]:
    """List every sprite to make.

    Args:
        subjects: the things that scenes are about.
        packages: where the pictures are.

    Returns:
        The jobs in the order of the store, and what no package has, with the reason.
    """
    jobs: list[Job] = []
    dropped: dict[str, str] = {}
    animated = _files(packages.animations)
    renders = _files([packages.renders])
    icons = {"flat": packages.flat, "cartoon": packages.cartoon}
    sets = {style: IconSet(folder) for style, (_, folder) in icons.items()}
    for subject in subjects:
        code = subject.codepoint
        for style, files in (("animation", animated), ("render", renders)):
            key = f"{style}/{code}"
            if code in files:
                package, path = files[code]
                jobs.append(
                    Job(
                        key=key,
                        source=f"{package.name}@{package.version}/{path.name}",
                        licence=package.art_licence,
                        path=path,
                        still=style == "render",
                    )
                )
            else:
                dropped[key] = "no such file in the package"
        for style, (package, _) in icons.items():
            key, svg = f"{style}/{code}", sets[style].svg(code)
            if svg is None:
                dropped[key] = "no such icon in the package"
            else:
                source = f"{package.name}@{package.version}"
                jobs.append(Job(key=key, source=source, licence=package.art_licence, svg=svg))
    dropped |= {job.key: UNFIT[job.key] for job in jobs if job.key in UNFIT}
    jobs = [job for job in jobs if job.key not in UNFIT]
    jobs += [
        Job(key=f"solid/{name}", source="code", licence="Apache-2.0", solid=name) for name in SOLIDS
    ]
    return jobs, dropped


def _files(folders: Sequence[tuple[Package, Path]]) -> dict[str, tuple[Package, Path]]:
    """Code point -> file, over packages that keep one picture a code point in `assets`."""
    return {
        plain_codepoint(path.stem): (package, path)
        for package, folder in folders
        for path in sorted((folder / "assets").glob("*.webp"))
    }


def make_sprite(job: Job) -> tuple[np.ndarray, str] | str:
    """Make one sprite; runs in a worker process.

    Args:
        job: what to make.

    Returns:
        The frames, uint8 (n, SIDE, SIDE, 4), and the source's SHA-256; or why there are none.
    """
    try:
        if job.solid:
            return turntable(SOLIDS[job.solid](), SIDE, TURN_FRAMES), ""
        if job.svg:
            frames, sha256 = draw_svg(job.svg, job.key), digest(job.svg.encode())
        else:
            assert job.path is not None
            content = read_bytes(job.path)
            frames, sha256 = decode_picture(content, str(job.path)), digest(content)
    except DataError as error:
        return str(error)
    if job.still:
        frames = frames[:1]
    elif job.key.startswith("animation/") and len(frames) == 1:
        return "a single picture, not an animation"
    if not frames[..., 3].any():
        return "nothing but transparent pixels"
    return frames, sha256


Made = tuple[np.ndarray, str] | str


def _made(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Made]]:
    """Make sprites in order, a few ahead of the writer so that memory stays small."""
    if workers == 1:
        yield from ((job, make_sprite(job)) for job in jobs)
        return
    waiting: deque[tuple[Job, Future[Made]]] = deque()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for job in jobs:
            waiting.append((job, pool.submit(make_sprite, job)))
            if len(waiting) > 3 * workers:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


def _add_glyphs(writer: SpriteWriter, packages: Packages) -> None:
    package, font_file = packages.font
    sha256 = digest(read_bytes(font_file))
    for letter, (cell, box) in draw_glyphs(font_file, SIDE).items():
        writer.add(
            cell,
            key=f"glyph/{letter}",
            box=box,
            tinted=True,
            source=f"{package.name}@{package.version}",
            licence=package.art_licence,
            sha256=sha256,
        )


def _report(
    folder: Path, subjects: Sequence[Subject], dropped: dict[str, str], seconds: float
) -> Report:
    """Open the finished store, which checks it, and describe it."""
    store = SpriteStore.open(folder)
    sprites = store.sprites.values()
    report = Report(
        subjects=len(subjects),
        sprites=dict(Counter(sprite.key.partition("/")[0] for sprite in sprites)),
        frames=sum(sprite.count for sprite in sprites),
        bytes=sum(path.stat().st_size for path in folder.iterdir()),
        seconds=round(seconds, 1),
        licences=dict(Counter(sprite.licence for sprite in sprites)),
        dropped=dropped,
    )
    part = folder / f"{REPORT_NAME}.part"
    part.write_text(json.dumps(asdict(report), indent=1), encoding="utf-8")
    part.replace(folder / REPORT_NAME)
    return report
