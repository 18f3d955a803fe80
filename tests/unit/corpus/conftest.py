"""A store of a few made-up subjects, real solids and block letters: built in a moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imagen_video.corpus.meshes import SOLIDS
from imagen_video.corpus.solids import turntable
from imagen_video.corpus.sprites import SpriteStore, SpriteWriter, Subject
from imagen_video.corpus.words import LETTERS

SIDE = 64
SUBJECTS = tuple(
    Subject(
        codepoint=f"1f40{number}",
        name=name,
        noun=f"a {name}",
        verb=verb,
        family=name,
        facing="left" if name == "horse" else "",
    )
    for number, (name, verb) in enumerate(
        (
            ("horse", "galloping"),
            ("whale", "spouting water"),
            ("robot", "blinking"),
            ("ghost", "floating"),
            ("crab", "wiggling its legs"),
            ("lion", "roaring"),
        )
    )
)


def blob(colour: tuple[int, int, int], frames: int) -> np.ndarray:
    """A soft disc with a dark left half that breathes; premultiplied RGBA."""
    y, x = (np.mgrid[0:SIDE, 0:SIDE] + 0.5) / SIDE - 0.5
    drawn = np.empty((frames, SIDE, SIDE, 4), dtype=np.uint8)
    for frame in range(frames):
        radius = 0.36 + 0.06 * np.sin(2 * np.pi * frame / frames)
        alpha = np.clip((radius - np.hypot(x, y)) * SIDE / 2 + 0.5, 0, 1)
        shade = np.where(x < 0, 0.5, 1.0)
        drawn[frame, ..., :3] = np.rint(alpha[..., None] * shade[..., None] * colour)
        drawn[frame, ..., 3] = np.rint(255 * alpha)
    return drawn


def write_store(folder: Path) -> Path:
    """Write the small store."""
    about = {"source": "code", "licence": "Apache-2.0", "sha256": ""}
    colours = np.random.default_rng(0).integers(60, 256, (len(SUBJECTS), 3))
    with SpriteWriter(folder, levels=(64, 32, 16)) as writer:
        for subject, colour in zip(SUBJECTS, colours, strict=True):
            tone = (int(colour[0]), int(colour[1]), int(colour[2]))
            for style in ("animation", "flat", "cartoon", "render"):
                frames = blob(tone, 12 if style == "animation" else 1)
                writer.add(frames, key=f"{style}/{subject.codepoint}", tinted=False, **about)
        for name in ("cube", "ball", "ring"):
            frames = turntable(SOLIDS[name](), SIDE, frames=6, oversample=1)
            writer.add(frames, key=f"solid/{name}", tinted=True, **about)
        for number, letter in enumerate(LETTERS):
            cell = np.zeros((1, SIDE, SIDE, 4), dtype=np.uint8)
            cell[0, 16:48, 20:44, 0] = cell[0, 16:48, 20:44, 3] = 255
            cell[0, 20 + number : 22 + number, 24:40] = 0
            box = (0.3, 0.25, 0.7, 0.75)
            writer.add(cell, key=f"glyph/{letter}", box=box, tinted=True, **about)
        return writer.finish(SUBJECTS)


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small store; tests must not change it."""
    return write_store(tmp_path_factory.mktemp("corpus") / "store")


@pytest.fixture(scope="session")
def store(store_folder: Path) -> SpriteStore:
    """The small store, open."""
    pytest.importorskip("cv2")
    return SpriteStore.open(store_folder)
