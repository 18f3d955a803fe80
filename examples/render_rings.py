"""Render clips of beating rings with a number each: what docs/own_cascade.md trains on.

    python examples/render_rings.py build/rings/clips --clips 300

A ring with a dark cavity, as an ultrasound of a heart shows it from the side. The cavity contracts
once a second; by how much is the clip's number, the ejection fraction:

    ejection = (largest area - smallest area) / largest area,     r(t) = r0 sqrt(1 - ejection p(t))

Written are grey 64x64 clips of 60 frames at 24 frames per second, one `.npy` each, and
`labels.csv` with the columns file_name and ejection. Everything else (size, place, brightness,
phase, speckle) is random and not told.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

FPS = 24
FRAMES = 60
SIZE = 64


def render(ejection: float, rng: np.random.Generator) -> np.ndarray:
    """Return one clip, uint8 `(f, h, w)`.

    Args:
        ejection: share of the cavity's area that a beat drives out, 0 to 1.
        rng: everything else.
    """
    largest = rng.uniform(13, 18)
    wall = rng.uniform(4, 6)
    centre = SIZE / 2 + rng.uniform(-6, 6, size=2)
    bright = rng.uniform(0.65, 0.95)
    seconds = np.arange(FRAMES) / FPS + rng.uniform(0, 1)
    beat = np.sin(np.pi * seconds) ** 2
    radius = largest * np.sqrt(1 - ejection * beat)
    # the wall keeps its area, so it thickens as the cavity shrinks
    outer = np.sqrt(radius**2 + (largest + wall) ** 2 - largest**2)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    distance = np.hypot(rows - centre[0], columns - centre[1])
    inside = _edge(distance - radius[:, None, None])
    outside = _edge(distance - outer[:, None, None])
    speckle = rng.normal(1, 0.06, size=(SIZE, SIZE))
    clip = 0.06 + bright * (inside - outside) * speckle
    return np.clip(np.rint(255 * clip), 0, 255).astype(np.uint8)


def _edge(distance: np.ndarray) -> np.ndarray:
    """0 before an edge, 1 behind it, smooth over about two pixels."""
    return 1 / (1 + np.exp(-2 * distance))


def main() -> None:
    """Write the clips and the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder for the clips")
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "ejection"])
        for number in range(options.clips):
            rng = np.random.default_rng((options.seed, number))
            ejection = round(float(rng.uniform(0.1, 0.9)), 3)
            name = f"ring-{number:05d}.npy"
            np.save(options.out / name, render(ejection, rng))
            table.writerow([name, ejection])
    print(f"wrote {options.clips} clips and labels.csv to {options.out}")


if __name__ == "__main__":
    main()
