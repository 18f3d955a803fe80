"""Turn the packages' files (WebP, SVG in JSON) into square premultiplied RGBA frames.

Files come from a package registry, so sizes are bounded before pixels are allocated.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from imagen_video.corpus.extra import load
from imagen_video.corpus.sprites import premultiply
from imagen_video.errors import DataError

FPS = 24
SIDE = 256
"""Side of the largest stored size, and of the source animations."""

MAX_FILE_BYTES = 128 * 2**20
MAX_PICTURE_SIDE = 1024
MAX_CLIP_FRAMES = 400
"""Limits against hostile files."""

SKIN_TONES = frozenset({"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"})


def plain_codepoint(name: str) -> str:
    """A file's code points without FE0F, which packages write or leave out at will."""
    return "-".join(part for part in name.lower().split("-") if part != "fe0f")


def read_bytes(path: Path) -> bytes:
    """Read a file of bounded size.

    Args:
        path: the file.

    Raises:
        DataError: if it is missing or too large.
    """
    size = path.stat().st_size if path.is_file() else -1
    if not 0 <= size <= MAX_FILE_BYTES:
        raise DataError(
            str(path),
            "no file" if size < 0 else f"{size} bytes",
            f"a file of at most {MAX_FILE_BYTES} bytes",
            "install the packages again",
        )
    return path.read_bytes()


def digest(content: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def decode_picture(content: bytes, where: str) -> np.ndarray:
    """Decode an image or animation at 24 frames a second.

    Frame numbers follow the file's own timing: frame i of the result is what the file shows at i/24
    s.

    Args:
        content: the file.
        where: its name, for messages.

    Returns:
        uint8 (n, SIDE, SIDE, 4), premultiplied RGBA; n is 1 for a still.

    Raises:
        DataError: if it cannot be decoded or is larger than the limits.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            count = getattr(image, "n_frames", 1)
            if max(image.size) > MAX_PICTURE_SIDE or count > MAX_CLIP_FRAMES:
                raise DataError(
                    where,
                    f"{count} frames of {image.size[0]}x{image.size[1]}",
                    f"at most {MAX_CLIP_FRAMES} frames of {MAX_PICTURE_SIDE} pixels a side",
                    "leave this file out",
                )
            frames, durations = [], []
            for number in range(count):
                image.seek(number)
                frames.append(_square(image.convert("RGBA")))
                durations.append(float(image.info.get("duration") or 1000 / FPS))
    except (OSError, EOFError, ValueError, UnidentifiedImageError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            where, f"{error!s:.80}", "an image", "install the packages again"
        ) from error
    return premultiply(np.stack([frames[index] for index in frame_order(durations)]))


def frame_order(durations: list[float]) -> list[int]:
    """Which source frame is shown at each 24th of a second.

    Args:
        durations: milliseconds of every source frame.

    Returns:
        Source indices; simply 0..n-1 for files at 24 fps, whose 42 ms are a rounded 41.67.
    """
    if all(abs(duration - 1000 / FPS) < 1 for duration in durations):
        return list(range(len(durations)))
    ends = np.cumsum(durations)
    shown = max(1, round(float(ends[-1]) * FPS / 1000))
    order = np.searchsorted(ends, (np.arange(shown) + 0.5) * 1000 / FPS, side="right")
    return [int(index) for index in np.minimum(order, len(durations) - 1)]


def _square(image: Any) -> np.ndarray:
    """Scale to fit a SIDE x SIDE cell, centred, keeping the proportions."""
    from PIL import Image

    if image.size == (SIDE, SIDE):
        return np.asarray(image)
    scale = SIDE / max(image.size)
    size = tuple(max(1, round(edge * scale)) for edge in image.size)
    cell = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    # Pillow resizes RGBA through premultiplied pixels, so no dark fringe appears.
    fitted = image.resize(size, Image.Resampling.LANCZOS)
    cell.paste(fitted, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.asarray(cell)


class IconSet:
    """One iconify package: SVG bodies by icon name, icon names by code point."""

    def __init__(self, folder: Path) -> None:
        """Read the package.

        Args:
            folder: the installed package, with `icons.json` and `chars.json`.

        Raises:
            DataError: if a file is missing or not what iconify writes.
        """
        self.folder = folder
        icons, chars = (self._read(name) for name in ("icons.json", "chars.json"))
        try:
            self._bodies: dict[str, dict[str, Any]] = dict(icons["icons"])
            self._aliases: dict[str, dict[str, Any]] = dict(icons.get("aliases", {}))
            self._size = (icons.get("width", 16), icons.get("height", icons.get("width", 16)))
            self._names = {plain_codepoint(char): str(name) for char, name in chars.items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                str(folder), f"{error!r:.80}", "an iconify package", "install the packages again"
            ) from error

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            return json.loads(read_bytes(path))
        except (ValueError, RecursionError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(str(path), "no JSON", "JSON", "install the packages again") from error

    def svg(self, codepoint: str) -> str | None:
        """The SVG text of a code point, or None if the set lacks it.

        Args:
            codepoint: hex code points joined by `-`, without FE0F.
        """
        name = self._names.get(codepoint)
        for _ in range(4):
            if name not in self._aliases:
                break
            name = self._aliases[name]["parent"]
        icon = self._bodies.get(name) if name else None
        if icon is None:
            return None
        width = icon.get("width", self._size[0])
        height = icon.get("height", self._size[1])
        left, top = icon.get("left", 0), icon.get("top", 0)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{width}" height="{height}" viewBox="{left} {top} {width} {height}">'
            f"{icon['body']}</svg>"
        )


def draw_svg(svg: str, where: str) -> np.ndarray:
    """Draw an SVG text into one cell.

    Args:
        svg: the text.
        where: its name, for messages.

    Returns:
        uint8 (1, SIDE, SIDE, 4), premultiplied RGBA.

    Raises:
        DataError: if it cannot be drawn.
    """
    resvg_py = load("resvg_py")
    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE))
    except Exception as error:  # the renderer raises its own kinds of error
        raise DataError(where, f"{error!s:.80}", "an SVG", "leave this drawing out") from error
    return decode_picture(png, where)
