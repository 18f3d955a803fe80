"""How a layer of a scene moves over the frames: pure functions of the frame number.

Lengths are in units of the frame's height (more exactly: of the largest 5:3 box inside the frame),
x from 0 at the left to 5/3 at the right, y from 0 at the top to 1 at the bottom. Time is the 24 fps
source frame, 0..127 in the shipped cascade; the base model sees every 8th of them, so no period is
shorter than 40 frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

NUM_FRAMES = 128
"""Source frames of a scene: 5.3 seconds at 24 fps."""

ASPECT = 5 / 3
"""Width over height of the box that scenes are laid out in."""

CENTRE = (ASPECT / 2, 0.5)
"""The middle of that box."""

SPIN_PERIOD = 64.0
BOUNCE_PERIOD = 42.0
SWAY_PERIOD = 64.0
HOP_PERIOD = 44.0
"""Frames of one full turn, bounce, sway and hop."""

BOUNCE_HEIGHT = 0.34
SWAY_DEGREES = 24.0
HOP_HEIGHT = 0.14
"""How far the rhythmic motions go, in heights of the frame and degrees."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the content of a sprite lies."""

    x: float
    """Centre, 0 at the left edge, 5/3 at the right."""
    y: float
    """Centre, 0 at the top, 1 at the bottom."""
    size: float
    """Side of the sprite's square cell; its content fills a part of the cell."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """The whole motion of one layer: a straight way from start to end, and a rhythm on top."""

    start: Place
    """Place up to frame `begin`."""
    end: Place
    """Place from frame `finish` on."""
    begin: float = 0.0
    """Frame at which the way starts."""
    finish: float = float(NUM_FRAMES - 1)
    """Frame at which the way ends."""
    eased: bool = False
    """Slow at both ends instead of at constant speed."""
    rhythm: str = ""
    """`bounce`, `spin`, `sway`, `hop`, or nothing."""
    delay: float = 0.0
    """Frames by which the rhythm comes later: letters of a wave differ in it."""
    appears: float = 0.0
    """Frame before which the layer is invisible: letters typed one by one."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Place and rotation of a layer in one frame."""

    x: float
    """Centre of the content."""
    y: float
    """Centre of the content."""
    size: float
    """Side of the sprite's cell."""
    degrees: float
    """Clockwise rotation as seen on the screen."""


def _bounce(frame: float) -> tuple[float, float]:
    return -BOUNCE_HEIGHT * abs(math.sin(math.pi * frame / BOUNCE_PERIOD)), 0.0


def _spin(frame: float) -> tuple[float, float]:
    return 0.0, 360.0 * frame / SPIN_PERIOD


def _sway(frame: float) -> tuple[float, float]:
    return 0.0, SWAY_DEGREES * math.sin(2 * math.pi * frame / SWAY_PERIOD)


def _hop(frame: float) -> tuple[float, float]:
    return -HOP_HEIGHT * max(0.0, math.sin(2 * math.pi * frame / HOP_PERIOD)), 0.0


RHYTHMS = {"bounce": _bounce, "spin": _spin, "sway": _sway, "hop": _hop}
"""Rhythm name -> function of the frame giving (change of y, clockwise degrees)."""


def pose_at(track: Track, frame: float) -> Pose | None:
    """Where a layer is in a frame.

    Args:
        track: the layer's motion.
        frame: source frame at 24 fps; values outside 0..127 are allowed and hold the ends of the
            way.

    Returns:
        The pose, or None while the layer is invisible.
    """
    if frame < track.appears:
        return None
    way = max(track.finish - track.begin, 1e-6)
    part = min(max((frame - track.begin) / way, 0.0), 1.0)
    if track.eased:
        part = part * part * (3 - 2 * part)
    rise, degrees = RHYTHMS[track.rhythm](frame - track.delay) if track.rhythm else (0.0, 0.0)
    start, end = track.start, track.end
    return Pose(
        x=start.x + (end.x - start.x) * part,
        y=start.y + (end.y - start.y) * part + rise,
        size=start.size + (end.size - start.size) * part,
        degrees=degrees,
    )


@dataclass(frozen=True, kw_only=True)
class Motion:
    """A named motion of a whole subject."""

    phrases: tuple[str, ...]
    """Paraphrases for captions, as participles: `moving from left to right`."""
    travel: tuple[float, float] = (0.0, 0.0)
    """Way of the centre in x and y, centred on the frame."""
    zoom: tuple[float, float] = (1.0, 1.0)
    """Factor on the size at the start and at the end."""
    rhythm: str = ""
    """A key of `RHYTHMS`, or nothing."""
    largest: float = 0.85
    """Largest height of the content that leaves room for the motion."""
    rest_y: float = 0.5
    """Height of the centre when nothing moves it."""


MOTIONS: dict[str, Motion] = {
    "still": Motion(phrases=("staying in place", "staying in the centre")),
    "left to right": Motion(
        phrases=(
            "moving from left to right",
            "moving to the right",
            "sliding from left to right",
            "crossing the screen from left to right",
        ),
        travel=(0.95, 0.0),
        largest=0.72,
    ),
    "right to left": Motion(
        phrases=(
            "moving from right to left",
            "moving to the left",
            "sliding from right to left",
            "crossing the screen from right to left",
        ),
        travel=(-0.95, 0.0),
        largest=0.72,
    ),
    "rises": Motion(
        phrases=("rising", "moving up", "rising from the bottom to the top", "moving upwards"),
        travel=(0.0, -0.56),
        largest=0.62,
    ),
    "falls": Motion(
        phrases=(
            "falling",
            "moving down",
            "sinking from the top to the bottom",
            "moving downwards",
        ),
        travel=(0.0, 0.56),
        largest=0.62,
    ),
    "zooms in": Motion(
        phrases=("zooming in", "growing larger", "coming closer", "getting bigger"),
        zoom=(0.45, 1.1),
    ),
    "zooms out": Motion(
        phrases=("zooming out", "shrinking", "moving away", "getting smaller"),
        zoom=(1.1, 0.45),
    ),
    "bounces": Motion(
        phrases=("bouncing up and down", "jumping up and down", "bouncing"),
        rhythm="bounce",
        largest=0.62,
        rest_y=0.66,
    ),
    "spins": Motion(
        phrases=("spinning around clockwise", "turning clockwise", "spinning like a wheel"),
        rhythm="spin",
        largest=0.72,
    ),
    "sways": Motion(
        phrases=(
            "swaying from side to side",
            "rocking from side to side",
            "tilting left and right",
        ),
        rhythm="sway",
        largest=0.76,
    ),
}
"""Every motion of a subject by name."""


def track_for(motion: str, *, centre: tuple[float, float], size: float) -> Track:
    """The track of a subject that moves in a named way about a centre.

    Args:
        motion: a key of `MOTIONS`.
        centre: (x, y) that the motion is centred on.
        size: side of the sprite's cell before zooming.

    Returns:
        The track over frames 0..127.
    """
    rule = MOTIONS[motion]
    (x, y), (dx, dy) = centre, rule.travel
    y += rule.rest_y - 0.5
    return Track(
        start=Place(x=x - dx / 2, y=y - dy / 2, size=size * rule.zoom[0]),
        end=Place(x=x + dx / 2, y=y + dy / 2, size=size * rule.zoom[1]),
        rhythm=rule.rhythm,
    )
