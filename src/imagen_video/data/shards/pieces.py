"""How the frames of a sample are cut into pictures, so that training decodes little that it drops.

A piece has at most PIECE_BYTES of pixels: several small frames on top of each other (the 16 frames
of a 24x40 base are one picture), one frame, or a band of rows of a large frame (a 128x128 crop out
of 768x1280 decodes 3 or 4 of 12 bands). Frames with other than 1 or 3 channels are cut into grey
planes on top of each other, so that any number of channels is stored exactly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from imagen_video.data.shards.framing import Box
from imagen_video.errors import InputError
from imagen_video.media.picture_bytes import (
    MAX_SIDE,
    PictureEncoding,
    decode_picture,
    encode_picture,
)

PIECE_BYTES = 1 << 18


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
    """Some frames, and the rows of them that a picture holds."""

    first: int
    """First frame."""
    frames: int
    """Number of frames; 1 if the frames are cut into bands."""
    top: int
    """First row."""
    rows: int
    """Number of rows."""

    @property
    def suffix(self) -> str:
        """What follows the sample's key in the name of the member, before the format."""
        return f"f{self.first:05d}.r{self.top:05d}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PieceLayout:
    """The cut for one stage."""

    height: int
    """Pixels of a frame."""
    width: int
    """Pixels of a frame."""
    channels: int
    """Of a pixel."""
    encoding: PictureEncoding
    """Of the pictures."""

    def __post_init__(self) -> None:
        """Refuse what the encoding cannot hold.

        Raises:
            InputError: frames that are too wide, or JPEG with other than 1 or 3 channels.
        """
        if self.encoding == "jpeg" and self.channels not in (1, 3):
            raise InputError(
                "encoding", f"jpeg for {self.channels} channels", "1 or 3", "use --encoding webp"
            )
        if self.width > MAX_SIDE:
            raise InputError(
                "stage", f"{self.width} pixels wide", f"at most {MAX_SIDE}", "make it smaller"
            )

    @property
    def frames_a_piece(self) -> int:
        """Frames on top of each other."""
        whole = PIECE_BYTES // (self.height * self.width * self.channels)
        return max(1, min(whole, MAX_SIDE // (self.height * self._planes)))

    @property
    def rows_a_piece(self) -> int:
        """Rows of a band: a divisor of the height."""
        row = self.width * self.channels
        fits = (
            rows
            for rows in range(self.height, 0, -1)
            if self.height % rows == 0
            and rows * row <= PIECE_BYTES
            and rows * self._planes <= MAX_SIDE
        )
        return next(fits, 1)

    @property
    def _planes(self) -> int:
        return 1 if self.channels == 3 else self.channels

    def pieces(self, frames: int) -> Iterator[Piece]:
        """Yield the pieces of a sample in the order in which they are stored."""
        step, rows = self.frames_a_piece, self.rows_a_piece
        for first in range(0, frames, step):
            for top in range(0, self.height, rows):
                yield Piece(first=first, frames=min(step, frames - first), top=top, rows=rows)

    def encode(self, piece: Piece, pixels: UInt8[np.ndarray, "f h w c"]) -> bytes:
        """Compress a piece of a sample's frames."""
        part = pixels[piece.first : piece.first + piece.frames, piece.top : piece.top + piece.rows]
        if self.channels != 3:
            part = part.transpose(3, 0, 1, 2)[..., None]
        return encode_picture(part.reshape(-1, self.width, part.shape[-1]), self.encoding)

    def decode(self, piece: Piece, data: bytes) -> UInt8[np.ndarray, "f h w c"]:
        """Return the frames and rows of a piece.

        Raises:
            MediaError: damaged, or of another size.
        """
        height = piece.frames * piece.rows * self._planes
        shape = (height, self.width, 3 if self.channels == 3 else 1)
        pixels = decode_picture(data, self.encoding, shape)
        if self.channels == 3:
            return pixels.reshape(piece.frames, piece.rows, self.width, 3)
        planes = pixels.reshape(self.channels, piece.frames, piece.rows, self.width)
        return planes.transpose(1, 2, 3, 0)


def overlap(piece: Piece, frames: range, box: Box) -> bool:
    """Return whether a piece holds something of some frames and a rectangle of them."""
    return (
        piece.first < frames.stop
        and frames.start < piece.first + piece.frames
        and piece.top < box.top + box.height
        and box.top < piece.top + piece.rows
    )


def place(
    piece: Piece, pixels: np.ndarray, into: UInt8[np.ndarray, "f h w c"], frames: range, box: Box
) -> None:
    """Copy what a piece holds of some frames and a rectangle of them to where it belongs."""
    first, last = max(piece.first, frames.start), min(piece.first + piece.frames, frames.stop)
    top, bottom = max(piece.top, box.top), min(piece.top + piece.rows, box.top + box.height)
    into[first - frames.start : last - frames.start, top - box.top : bottom - box.top] = pixels[
        first - piece.first : last - piece.first,
        top - piece.top : bottom - piece.top,
        box.left : box.left + box.width,
    ]
