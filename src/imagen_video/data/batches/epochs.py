"""Which examples a step sees, without counting through the steps before it.

Three streams of examples run through a training: clips, images for batches of images, and images
that are packed into clips. Position p of a stream over n examples is entry p mod n of a shuffle
that is keyed by (seed, stream, p div n): every example comes once an epoch, in another order in
each. How many positions of a stream lie before a step has a closed form, because kinds of steps and
kinds of rows alternate evenly instead of being drawn:

    step s is of kind "image" where floor((s + 1) q) > floor(s q), q the share of image steps,
    so floor(s q) image steps and s - floor(s q) clip steps come before it.
"""

from __future__ import annotations

import dataclasses
import functools
from fractions import Fraction
from typing import Literal

import numpy as np

from imagen_video.errors import InputError

Stream = Literal["clips", "images", "packed"]
_STREAM_KEYS: dict[str, int] = {"clips": 0, "images": 1, "packed": 2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixture:
    """How clips and images are mixed."""

    clips: int
    """Rows of a batch of clips, over all processes."""
    images: int
    """Rows of a batch of images, over all processes."""
    image_fraction: float
    """Share of the steps that see images, one frame a row."""
    packed_images: float
    """Share of the rows of a batch of clips that are independent images, one a frame (paper)."""

    def __post_init__(self) -> None:
        """Refuse shares and sizes that are none."""
        for name in ("clips", "images"):
            if getattr(self, name) < 1:
                raise InputError(name, f"{getattr(self, name)}", "at least 1", "raise it")
        for name in ("image_fraction", "packed_images"):
            if not 0 <= getattr(self, name) <= 1:  # False for NaN too
                raise InputError(name, f"{getattr(self, name)}", "0 to 1", "correct it")

    def is_images(self, step: int) -> bool:
        """Whether a step sees a batch of images."""
        return _is_chosen(self.image_fraction, step)

    def image_positions(self, step: int) -> range:
        """Return the positions in the stream of images that an image step sees, one a row."""
        first = _before(self.image_fraction, step) * self.images
        return range(first, first + self.images)

    def packed_rows(self, step: int) -> tuple[bool, ...]:
        """Return which rows of a clip step are packed images."""
        first = self._first_row(step)
        return tuple(_is_chosen(self.packed_images, first + row) for row in range(self.clips))

    def row_position(self, step: int, row: int) -> int:
        """Return the position of a row of a clip step among the rows of its kind."""
        number = self._first_row(step) + row
        packed = _before(self.packed_images, number)
        return packed if _is_chosen(self.packed_images, number) else number - packed

    def _first_row(self, step: int) -> int:
        return (step - _before(self.image_fraction, step)) * self.clips


def example(stream: Stream, position: int, count: int, seed: int) -> int:
    """Return which of `count` examples stands at a position of a stream."""
    epoch, place = divmod(position, count)
    return int(_order(seed, _STREAM_KEYS[stream], epoch, count)[place])


def example_draws(stream: Stream, position: int, seed: int) -> np.random.Generator:
    """Return the random numbers of a position: window, crop, frame."""
    return np.random.default_rng((seed, 17, _STREAM_KEYS[stream], position))


@functools.lru_cache(maxsize=6)
def _order(seed: int, stream: int, epoch: int, count: int) -> np.ndarray:
    """Return the shuffle of an epoch; two epochs of every stream are kept."""
    return np.random.default_rng((seed, 16, stream, epoch)).permutation(count).astype(np.uint32)


def _before(share: float, number: int) -> int:
    """Return how many of the numbers below `number` are chosen."""
    exact = _exact(share)
    return number * exact.numerator // exact.denominator


def _is_chosen(share: float, number: int) -> bool:
    return _before(share, number + 1) > _before(share, number)


@functools.lru_cache(maxsize=16)
def _exact(share: float) -> Fraction:
    # As people write it: 0.1 is a tenth, and not the nearest binary number.
    return Fraction(share).limit_denominator(10_000)
