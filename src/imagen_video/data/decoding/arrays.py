"""Clips saved as `.npy`: any number of channels, uint8 or floating point.

Layout: frames x height x width x channels, or frames x height x width for grey. Only the header is
parsed here (no pickles); the numbers are mapped, not read, so that a header which promises more
than the file holds costs nothing.
"""

from __future__ import annotations

import io
import math
from typing import BinaryIO

import numpy as np

from imagen_video.data.clips.faults import ClipError
from imagen_video.data.clips.formats import HEAD_BYTES, check_format
from imagen_video.data.clips.records import DataLimits, Record
from imagen_video.data.clips.tar_files import read_member

MOST_CHANNELS = 64
_GREY_WIDTH = 8
"""A 3-D array whose last axis is no longer than this may be one picture with channels."""


def open_array(record: Record, limits: DataLimits) -> np.ndarray:
    """Return the clip `(f, h, w, c)` as it is stored, without reading its numbers if it is a file.

    Raises:
        ClipError: damaged, of another layout or type, or over a limit.
    """
    try:
        if record.media.member is None:
            with record.media.path.open("rb") as stream:
                check_format(record.id, stream.read(HEAD_BYTES), record.media.suffix)
                stream.seek(0)
                dtype, shape, fortran = _header(stream)
                start, size = stream.tell(), record.media.path.stat().st_size
            _check(record.id, dtype, shape, fortran, limits)
            _check_bytes(record.id, dtype, shape, size - start)
            array = np.memmap(record.media.path, dtype, mode="r", offset=start, shape=shape)
        else:
            data = read_member(record.media.path, record.media.offset, record.media.size)
            check_format(record.id, data[:HEAD_BYTES], record.media.suffix)
            stream = io.BytesIO(data)
            dtype, shape, fortran = _header(stream)
            _check(record.id, dtype, shape, fortran, limits)
            _check_bytes(record.id, dtype, shape, len(data) - stream.tell())
            count = math.prod(shape)
            array = np.frombuffer(data, dtype, count, stream.tell()).reshape(shape)
    except ClipError:
        raise
    except (OSError, ValueError, OverflowError, SyntaxError, RecursionError) as error:
        # NumPy parses the header's dictionary with Python's own parser, hence SyntaxError.
        raise ClipError(
            "unreadable",
            record.id,
            f"an array that cannot be read ({error!s:.120})",
            "a .npy file of numbers",
            "save it again with numpy.save",
        ) from error
    return array if array.ndim == 4 else array[..., None]


def to_uint8(record: Record, frame: np.ndarray) -> np.ndarray:
    """Turn one frame of an array into uint8.

    Floating-point values in `record.value_range` become round(255 * (x - low) / (high - low)).

    Raises:
        ClipError: values outside the range, or NaN.
    """
    if frame.dtype == np.uint8:
        return np.ascontiguousarray(frame)
    low, high = record.value_range
    unit = (frame.astype(np.float32) - low) / (high - low)
    slack = 1e-3  # what rounding to float16 leaves
    if not (unit.size and -slack <= float(unit.min()) and float(unit.max()) <= 1 + slack):
        raise ClipError(
            "values out of range",
            record.id,
            f"values from {frame.min():g} to {frame.max():g}",
            f"{low:g} to {high:g}",
            "rescale them, or state their range with --array-range",
        )
    return (np.clip(unit, 0, 1) * 255 + 0.5).astype(np.uint8)


def _header(stream: BinaryIO) -> tuple[np.dtype, tuple[int, ...], bool]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"version {version} of the format")
    return dtype, shape, fortran


def _check(
    ident: str, dtype: np.dtype, shape: tuple[int, ...], fortran: bool, limits: DataLimits
) -> None:
    stated = f"{dtype} of shape {'x'.join(map(str, shape))[:80]}"
    if dtype != np.uint8 and dtype.kind != "f":
        raise _unlike(ident, "unsupported array", stated, "uint8 or floating point")
    if len(shape) not in (3, 4) or min(shape) < 1 or fortran:
        layout = " in Fortran order" if fortran else ""
        expected = "frames x height x width x channels, in C order"
        raise _unlike(ident, "unsupported array", stated + layout, expected)
    if len(shape) == 3 and shape[2] <= _GREY_WIDTH:
        # Would be read as frames x height x width, and may be one picture.
        expected = "four axes: frames x height x width x channels"
        raise _unlike(ident, "unsupported array", stated, expected)
    if len(shape) == 4 and shape[3] > MOST_CHANNELS:
        raise _unlike(ident, "unsupported array", stated, f"at most {MOST_CHANNELS} channels, last")
    if shape[1] * shape[2] > limits.max_pixels:
        expected = f"at most {limits.max_pixels} pixels a frame"
        raise _unlike(ident, "frames too large", stated, expected)
    if shape[0] > limits.max_frames:
        raise _unlike(ident, "too many frames", stated, f"at most {limits.max_frames}")


def _check_bytes(ident: str, dtype: np.dtype, shape: tuple[int, ...], held: int) -> None:
    needed = math.prod(shape) * dtype.itemsize
    if held != needed:
        found = f"{held} bytes of numbers for a shape that needs {needed}"
        raise _unlike(ident, "unreadable", found, "a complete .npy file")


def _unlike(ident: str, reason: str, got: str, expected: str) -> ClipError:
    return ClipError(reason, ident, got, expected, "save it again with numpy.save")
