"""Measure the ejection fraction that beating rings show: was the asked number followed?

    python examples/measure_rings.py build/rings/videos

Reads every `.mp4` with the JSON that `imagen-video generate` wrote beside it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from imagen_video.media.video_io import read_video


def ejection(clip: np.ndarray) -> float:
    """Return (largest - smallest) / largest area of the cavity.

    Args:
        clip: grey frames `(f, h, w)`, any scale.
    """
    areas = np.array([_cavity(frame.astype(float)) for frame in clip])
    largest, smallest = np.percentile(areas, (95, 5))
    return float((largest - smallest) / max(largest, 1.0))


def _cavity(frame: np.ndarray) -> float:
    """Count the dark positions within the middle line of the bright ring."""
    low, high = np.percentile(frame, (5, 99))
    bright = frame > (low + high) / 2
    if not bright.any():
        return 0.0
    rows, columns = np.nonzero(bright)
    centre = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    distance = np.hypot(
        *(np.mgrid[: frame.shape[0], : frame.shape[1]] - np.reshape(centre, (2, 1, 1)))
    )
    return float((~bright & (distance < distance[bright].mean())).sum())


def main() -> None:
    """Print asked and shown numbers of a folder of videos."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", type=Path, help="folder that `generate` wrote to")
    for path in sorted(parser.parse_args().videos.glob("*.mp4")):
        asked = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["vector"]
        frames, _ = read_video(path)
        print(f"{path.name}: asked {asked[0]:g}, shows {ejection(frames.mean(-1)):.2f}")


if __name__ == "__main__":
    main()
