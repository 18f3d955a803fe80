from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.errors import MediaError
from imagen_video.media.picture_bytes import PictureEncoding, decode_picture, encode_picture


def smooth(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    waves = [
        127 + 100 * np.sin(0.1 * x + 0.07 * y + phase) for phase in rng.uniform(0, 6, channels)
    ]
    return np.stack(waves, axis=-1).round().astype(np.uint8)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 1 << 16),
)
def test_webp_gives_every_byte_back(height: int, width: int, channels: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    data = encode_picture(pixels, "webp")
    assert np.array_equal(decode_picture(data, "webp", pixels.shape), pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_smaller_and_nearly_the_same(channels: int) -> None:
    pixels = smooth(96, 160, channels)
    data = encode_picture(pixels, "jpeg")
    found = decode_picture(data, "jpeg", (96, 160, channels))
    error = found.astype(float) - pixels
    assert 20 * np.log10(255 / np.sqrt((error**2).mean())) > 40
    assert len(data) < pixels.nbytes / 4


@pytest.mark.parametrize("encoding", ["webp", "jpeg"])
def test_a_picture_of_another_size_is_refused_before_it_is_decoded(
    encoding: PictureEncoding,
) -> None:
    data = encode_picture(smooth(24, 40), encoding)
    with pytest.raises(MediaError, match="24x40"):
        decode_picture(data, encoding, (12, 20, 3))


def test_a_huge_canvas_is_refused_by_its_header() -> None:
    data = bytearray(encode_picture(smooth(24, 40), "webp"))
    data[21:25] = (16382 | 16382 << 14).to_bytes(4, "little")
    with pytest.raises(MediaError, match="16383x16383"):
        decode_picture(bytes(data), "webp", (24, 40, 3))


@pytest.mark.parametrize("encoding", ["webp", "jpeg"])
@pytest.mark.parametrize("damage", ["empty", "half", "text", "other"])
def test_damage_is_an_error_of_ours(encoding: PictureEncoding, damage: str) -> None:
    data = encode_picture(smooth(24, 40), encoding)
    other = encode_picture(smooth(24, 40), "jpeg" if encoding == "webp" else "webp")
    bad = {"empty": b"", "half": data[: len(data) // 2], "text": b"x" * 99, "other": other}[damage]
    with pytest.raises(MediaError):
        decode_picture(bad, encoding, (24, 40, 3))


@pytest.mark.parametrize("shape", [(4, 4, 2), (4, 16_384, 3), (0, 4, 3)])
def test_only_grey_and_rgb_of_usual_sizes_are_written(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="channels"):
        encode_picture(np.zeros(shape, np.uint8), "webp")
