"""Pictures as bytes in memory: how the frames of prepared clips are stored.

Measured on one core (a photograph; MB/s of pixels, PSNR):

                      192x320                          16 frames of 24x40 on top of each other
    WebP, lossless    0.45 of raw, writes  54, reads 115   0.69, writes  60, reads  79
    PNG, level 1      0.61 of raw, writes  38, reads  88   0.80, writes  34, reads  79
    JPEG 95, 4:4:4    0.20 of raw, writes 449, reads 314   0.44, writes 244, reads 166
                      41.7 dB                              37.2 dB

So WebP without loss is the rule: nothing is added to what the networks learn, and it is smaller and
faster than PNG. JPEG is there for large frames: sources were compressed harder than that already.
"""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from imagen_video.errors import MediaError

PictureEncoding = Literal["webp", "jpeg"]
MAX_SIDE = 16_383
"""Pixels: the limit of WebP."""

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "webp": {"format": "WEBP", "lossless": True, "method": 0, "quality": 0},
    "jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
}


def encode_picture(pixels: UInt8[np.ndarray, "h w c"], encoding: PictureEncoding) -> bytes:
    """Compress a grey or RGB picture.

    Args:
        pixels: uint8, 1 or 3 channels, at most MAX_SIDE on a side.
        encoding: exact (webp), or small (jpeg).

    Raises:
        ValueError: other channels or sizes.
    """
    from PIL import Image

    height, width, channels = pixels.shape
    if channels not in (1, 3) or not 1 <= min(height, width) <= max(height, width) <= MAX_SIDE:
        raise ValueError(f"1 or 3 channels and 1 to {MAX_SIDE} pixels, got {pixels.shape}")
    image = Image.fromarray(np.ascontiguousarray(pixels if channels == 3 else pixels[..., 0]))
    if encoding == "webp":
        image = image.convert("RGB")  # WebP has no grey; three equal channels cost nothing.
    stream = io.BytesIO()
    image.save(stream, **_SAVE_OPTIONS[encoding])
    return stream.getvalue()


def decode_picture(
    data: bytes, encoding: PictureEncoding, shape: tuple[int, int, int]
) -> UInt8[np.ndarray, "h w c"]:
    """Undo `encode_picture`; thread safe, and free of Python's lock while it decodes.

    Args:
        data: the picture's bytes.
        encoding: what they must be.
        shape: height, width and channels that it must have: nothing larger is ever decoded.

    Returns:
        uint8 pixels, perhaps read-only.

    Raises:
        MediaError: damaged, of another format or of another size.
    """
    from PIL import Image

    height, width, channels = shape
    mode = "L" if channels == 1 and encoding == "jpeg" else "RGB"
    if encoding == "webp":
        _check_webp(data, height, width)
    try:
        with Image.open(io.BytesIO(data), formats=[encoding.upper()]) as image:
            found = (image.height, image.width, image.mode)
            if found == (height, width, mode):
                return np.asarray(image).reshape(height, width, -1)[..., :channels]
    except MemoryError:
        raise
    except Exception as error:
        # As in media.pictures: Pillow raises what it likes for damaged data.
        raise _other_picture(f"{error!s:.160}", f"a complete {encoding}") from error
    raise _other_picture(f"{found[0]}x{found[1]} {found[2]}", f"{height}x{width} {mode}")


def _check_webp(data: bytes, height: int, width: int) -> None:
    """Refuse another canvas: Pillow allocates it as it opens the file.

    Raises:
        MediaError: not one lossless picture of this size (WebP Lossless Bitstream, section 3).
    """
    if data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8L" or len(data) < 25:
        raise _other_picture("other content", "a lossless WebP")
    bits = int.from_bytes(data[21:25], "little")
    found = (1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF))
    if found != (height, width):
        raise _other_picture(f"{found[0]}x{found[1]}", f"{height}x{width}")


def _other_picture(got: str, expected: str) -> MediaError:
    return MediaError("a stored picture", got, expected, "copy the file again")
