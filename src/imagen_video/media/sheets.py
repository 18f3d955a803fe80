"""Contact sheets: many frames in one picture, to judge a video at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from imagen_video.errors import InputError
from imagen_video.media.pictures import write_png

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw as Draw
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as BitmapFont

__all__ = ["contact_sheet", "spread", "write_png"]

_PAPER = 255
_INK = (40, 40, 40)
_MAX_SHEET_PIXELS = 1 << 28


def spread(num_frames: int, num_shown: int) -> list[int]:
    """Return indices of `num_shown` frames spread evenly over a clip, first and last included."""
    if num_shown >= num_frames:
        return list(range(num_frames))
    if num_shown == 1:
        return [0]
    return [round(i * (num_frames - 1) / (num_shown - 1)) for i in range(num_shown)]


def contact_sheet(
    clips: UInt8[np.ndarray, "f h w 3"] | Sequence[UInt8[np.ndarray, "_f _h _w 3"]],
    *,
    columns: int = 8,
    rows: int | None = None,
    labels: Sequence[str] | None = None,
    cell_width: int | None = None,
    gap: int = 4,
) -> UInt8[np.ndarray, "height width 3"]:
    """Lay frames out on white, in reading order.

    One clip fills `rows` x `columns` cells with frames spread evenly over it. A list of clips has
    one clip a row, with `columns` frames of each.

    Args:
        clips: one clip, or a list of clips that may differ in length and size.
        columns: cells in a row.
        rows: rows for a single clip; None for at most two.
        labels: text above each row, as many as there are clips (one for a single clip).
        cell_width: frames are scaled to this width, down smoothly and up in hard pixels; None
            keeps their size.
        gap: pixels between cells and around the sheet.

    Returns:
        One uint8 RGB picture.

    Raises:
        InputError: no frames, labels that do not match, or sizes out of range.
    """
    single = isinstance(clips, np.ndarray)
    clip_list = [clips] if isinstance(clips, np.ndarray) else list(clips)
    _check(clip_list, columns, rows, labels, cell_width)
    shown = columns * (rows or 2) if single else columns
    lines: list[tuple[str, list[Image]]] = []
    for index, clip in enumerate(clip_list):
        cells = [_cell(clip[frame], cell_width) for frame in spread(len(clip), shown)]
        label = labels[index] if labels else ""
        starts = range(0, len(cells), columns)
        lines.extend((label if s == 0 else "", cells[s : s + columns]) for s in starts)
    return _assemble(lines, min(columns, max(len(cells) for _, cells in lines)), gap)


def _check(
    clips: Sequence[np.ndarray],
    columns: int,
    rows: int | None,
    labels: Sequence[str] | None,
    cell_width: int | None,
) -> None:
    where = "contact sheet"
    if not clips or any(clip.size == 0 for clip in clips):
        raise InputError(where, "no frames", "at least one frame of each clip", "pass frames")
    if labels is not None and (isinstance(labels, str) or len(labels) != len(clips)):
        raise InputError(
            where, f"{len(labels)} labels", f"{len(clips)}", "give one label for each clip"
        )
    for name, value in (("columns", columns), ("rows", rows), ("cell_width", cell_width)):
        if value is not None and not 1 <= value <= 4096:
            raise InputError(where, f"{name}={value}", "1 to 4096", f"choose {name} in range")


def _cell(frame: np.ndarray, width: int | None) -> Image:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(frame))
    if width is None or width == image.width:
        return image
    height = max(1, round(image.height * width / image.width))
    # Upscaled without smoothing: the sheet should show the pixels that are there.
    filter_ = Image.Resampling.NEAREST if width > image.width else Image.Resampling.LANCZOS
    return image.resize((width, height), filter_)


def _assemble(
    lines: Sequence[tuple[str, Sequence[Image]]], columns: int, gap: int
) -> UInt8[np.ndarray, "height width 3"]:
    from PIL import Image, ImageDraw, ImageFont

    cell_width = max(image.width for _, cells in lines for image in cells)
    font_size = 14
    text_height = font_size + 6
    heights = [
        max(image.height for image in cells) + (text_height if label else 0)
        for label, cells in lines
    ]
    width = gap + columns * (cell_width + gap)
    height = gap + sum(line + gap for line in heights)
    if width * height > _MAX_SHEET_PIXELS:
        raise InputError(
            "contact sheet",
            f"{width}x{height} pixels",
            f"at most {_MAX_SHEET_PIXELS}",
            "set a smaller cell_width, or show fewer frames",
        )
    sheet = Image.new("RGB", (width, height), (_PAPER,) * 3)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=font_size)
    top = gap
    for (label, cells), line_height in zip(lines, heights, strict=True):
        below = top
        if label:
            draw.text((gap, top + 1), _fitted(label, draw, font, width - 2 * gap), _INK, font)
            below += text_height
        for column, image in enumerate(cells):
            sheet.paste(image, (gap + column * (cell_width + gap), below))
        top += line_height + gap
    return np.array(sheet)


def _fitted(label: str, draw: Draw, font: FreeTypeFont | BitmapFont, width: int) -> str:
    """Shorten a label until it fits on one line of the sheet."""
    text = " ".join(label.split())
    if draw.textlength(text, font) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if draw.textlength(text[:middle] + "...", font) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low] + "..."
