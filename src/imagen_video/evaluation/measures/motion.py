"""Which named motion a clip shows, from the track of what stands before its ground.

    moving     end minus start of the straight line through the centroid's x, y and log size
    bouncing   how much of |sin(pi t / period)| is in the height
    turning    turn the subject back by the angles of spinning, swaying and staying: under the true
               motion the pictures agree best

Each is divided by what the corpus does, so 1 means "as in training"; the largest wins, and a clip
in which nothing reaches `LEAST` is still, spinning or swaying. A heuristic: the score of real
renders is reported beside every number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imagen_video.corpus.motions import (
    BOUNCE_HEIGHT,
    BOUNCE_PERIOD,
    MOTIONS,
    SPIN_PERIOD,
    SWAY_DEGREES,
    SWAY_PERIOD,
)
from imagen_video.evaluation.measures.backgrounds import foreground

LEAST = 0.4
"""Share of the corpus's travel, zoom or bounce from which on a clip moves."""
LEAST_SEEN = 0.004
"""Share of a frame's pixels that a subject covers at least."""

WAY_X = MOTIONS["left to right"].travel[0]
WAY_Y = MOTIONS["falls"].travel[1]
ZOOM = math.log(MOTIONS["zooms in"].zoom[1] / MOTIONS["zooms in"].zoom[0])

COARSE_HEIGHT = 96
"""Frames are thinned to fewer than twice this many rows: a track needs no more."""

ANGLES, RADII = 72, 8
"""Samples of the polar picture in which a turn is a shift."""


@dataclass(frozen=True, kw_only=True)
class SubjectTrack:
    """Where the subject is in every frame in which it is seen."""

    times: np.ndarray
    """Source frames (24 fps), `(n,)`."""
    x: np.ndarray
    """Centroid in heights of the frame, `(n,)`."""
    y: np.ndarray
    """Centroid, 0 at the top, `(n,)`."""
    size: np.ndarray
    """Root of the covered area in heights of the frame, `(n,)`."""
    seen: np.ndarray
    """Indices of those frames, `(n,)`."""


AXES = {
    "left to right": "across",
    "right to left": "across",
    "rises": "up and down",
    "falls": "up and down",
    "zooms in": "near and far",
    "zooms out": "near and far",
}
"""Motion with an opposite -> what it has in common with that."""


def axis_of(motion: str) -> str:
    """Return what is left of a motion without its direction; the others are themselves."""
    return AXES.get(motion, motion)


def subject_track(cover: np.ndarray, times: Sequence[float]) -> SubjectTrack:
    """Follow the covered pixels.

    Args:
        cover: `foreground` of a clip, `(f, h, w)`.
        times: source frame of each frame.
    """
    _, height, width = cover.shape
    inside = cover > 0
    area = inside.sum((1, 2))
    seen = np.flatnonzero(area >= LEAST_SEEN * height * width)
    inside, area = inside[seen], area[seen]
    rows, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / height
    return SubjectTrack(
        times=np.asarray(times, dtype=np.float64)[seen],
        x=inside.sum(1) @ columns / area,
        y=inside.sum(2) @ rows / area,
        size=np.sqrt(area) / height,
        seen=seen,
    )


def motion_scores(frames: np.ndarray, times: Sequence[float]) -> dict[str, float]:
    """Return how strongly a clip shows each motion that moves the subject's place or size.

    Args:
        frames: uint8 `(f, h, w, 3)`.
        times: source frame (24 fps) of each frame.

    Returns:
        Name -> strength, 1 = as in the corpus, negative for the opposite. Empty if the subject is
        seen in fewer than half of the frames.
    """
    return _scores(subject_track(foreground(_thinned(frames)), times), len(frames))


def classify_motion(frames: np.ndarray, times: Sequence[float]) -> str:
    """Return the key of `MOTIONS` that a clip shows; empty if no subject is seen.

    Args:
        frames: uint8 `(f, h, w, 3)`, at least 4.
        times: source frame (24 fps) of each frame; the rhythms are told apart by them.
    """
    frames = _thinned(frames)
    track = subject_track(foreground(frames), times)
    scores = _scores(track, len(frames))
    if not scores:
        return ""
    best = max(scores, key=scores.__getitem__)
    return best if scores[best] >= LEAST else _turning(frames, track)


def _thinned(frames: np.ndarray) -> np.ndarray:
    step = max(1, frames.shape[1] // COARSE_HEIGHT)
    return frames[:, ::step, ::step]


def _scores(track: SubjectTrack, num_frames: int) -> dict[str, float]:
    if len(track.seen) < max(4, num_frames / 2):
        return {}
    span = np.ptp(track.times)
    dx = _slope(track.times, track.x) * span
    dy = _slope(track.times, track.y) * span
    zoom = _slope(track.times, np.log(track.size)) * span
    return {
        "left to right": dx / WAY_X,
        "right to left": -dx / WAY_X,
        "falls": dy / WAY_Y,
        "rises": -dy / WAY_Y,
        "zooms in": zoom / ZOOM,
        "zooms out": -zoom / ZOOM,
        "bounces": _bounce(track),
    }


def _slope(times: np.ndarray, values: np.ndarray) -> float:
    return float(np.polyfit(times - times.mean(), values, 1)[0])


def _bounce(track: SubjectTrack) -> float:
    """Least-squares share of a bounce in the height, beside a straight line."""
    bounce = -BOUNCE_HEIGHT * np.abs(np.sin(np.pi * track.times / BOUNCE_PERIOD))
    line = track.times - track.times.mean()
    basis = np.stack([bounce, line, np.ones_like(line)], axis=1)
    return float(np.linalg.lstsq(basis, track.y, rcond=None)[0][0])


def _turning(frames: np.ndarray, track: SubjectTrack) -> str:
    """Return spins, sways or still: under which of them do the pictures agree best."""
    polar = np.stack([_polar(frames[i], track, n) for n, i in enumerate(track.seen)])
    degrees = {
        "still": np.zeros_like(track.times),
        "spins": 360 * track.times / SPIN_PERIOD,
        "sways": SWAY_DEGREES * np.sin(2 * np.pi * track.times / SWAY_PERIOD),
    }
    agreement = {name: _agreement(polar, angle) for name, angle in degrees.items()}
    return max(agreement, key=agreement.__getitem__)


def _polar(frame: np.ndarray, track: SubjectTrack, number: int) -> np.ndarray:
    """Sample a frame around the subject's middle, `(angles, radii, 3)`, clockwise."""
    height, width, _ = frame.shape
    angle = 2 * np.pi * np.arange(ANGLES)[:, None] / ANGLES
    # A square's root of area is its side: this reaches a little past its corners.
    radius = np.linspace(0.12, 0.75, RADII)[None] * float(np.median(track.size))
    rows = (track.y[number] + radius * np.sin(angle)) * height - 0.5
    columns = (track.x[number] + radius * np.cos(angle)) * height - 0.5
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    low, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, across = (rows - top)[..., None], (columns - left)[..., None]
    upper = frame[top, left] * (1 - across) + frame[top, right] * across
    lower = frame[low, left] * (1 - across) + frame[low, right] * across
    return upper * (1 - down) + lower * down


def _agreement(polar: np.ndarray, degrees: np.ndarray) -> float:
    """Return the share of the structure that all frames have in common after turning back."""
    shifts = np.rint(degrees * ANGLES / 360).astype(int)
    turned = np.stack([np.roll(p, -s, axis=0) for p, s in zip(polar, shifts, strict=True)])
    turned = turned - turned.mean(axis=1, keepdims=True)  # rings alone tell nothing about a turn
    energy = np.square(turned).sum()
    return float(np.square(turned.mean(axis=0)).sum() * len(turned) / energy) if energy else 0.0
