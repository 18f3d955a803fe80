"""Which clips are the same? Equal bytes (SHA-256), or nearly equal pictures.

The picture hash is a difference hash of three frames: the first, one at the middle, the last. Each
is averaged over a grid of 17 columns by 16 rows; a bit says whether a cell is brighter than its
left neighbour by more than FLAT levels, so that noise on flat ground sets none (after N. Krawetz's
dHash, 2013: 9 by 8, FLAT = 0). With it go the mean colour and the grey means of an 8 by 8 grid.

The bits find candidates quickly. Two clips are near duplicates if their bits differ in at most a
tenth of those that either sets, and in no more than MOST_BITS, and no mean by more than LEVELS: a
small thing that has moved changes few bits, but changes two means by much. Re-encoded and resized
copies are found; cropped, mirrored or trimmed ones are not. A group is one clip and those near to
it, so that a slow change from clip to clip does not join all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

FLAT = 1.5
"""Levels of 255."""
MOST_BITS = 47
LEVELS = 10
_ROWS, _COLUMNS = 16, 17
_MEANS = 8
_SAMPLES = 256
"""Rows and columns that are looked at, at most: averages need no more."""
_KEPT = 32
_HASH_BYTES = _ROWS * (_COLUMNS - 1) // 8
_FRAMES = 3
SIGNATURE_CHARACTERS = 2 * _FRAMES * (_HASH_BYTES + 3 + _MEANS**2)
"""Length of `ContentHash.hexdigest`."""
_BANDS = 48
"""Signatures that differ in fewer bits than there are bands agree in at least one band."""
_MOST_COMPARED = 16
"""Clips compared in a band: a corpus of black clips must not cost a square."""


class ContentHash:
    """Builds the signature of a clip from its frames, one at a time."""

    def __init__(self) -> None:
        """Start before the first frame."""
        self._count = 0
        self._stride = 1
        self._kept: list[bytes] = []
        self._last: np.ndarray | None = None

    def add(self, frame: np.ndarray) -> None:
        """Take the next frame, uint8 `(h, w, c)`."""
        if self._count % self._stride == 0:
            self._kept.append(frame_hash(frame))
            if len(self._kept) > _KEPT:
                # Every second of them from now on: the middle is known only at the end.
                self._kept, self._stride = self._kept[::2], 2 * self._stride
        self._count += 1
        self._last = frame

    def hexdigest(self) -> str:
        """Return the signature of the frames so far, at least one."""
        assert self._last is not None
        middle = min(round(self._count / 2 / self._stride), len(self._kept) - 1)
        hashes = [self._kept[0], self._kept[middle], frame_hash(self._last)]
        bits = b"".join(value[:_HASH_BYTES] for value in hashes)
        return (bits + b"".join(value[_HASH_BYTES:] for value in hashes)).hex()


def frame_hash(frame: np.ndarray) -> bytes:
    """Return 32 bytes of difference bits, 3 of mean colour and 64 of mean grey."""
    height, width, channels = frame.shape
    thinned = frame[:: -(-height // _SAMPLES), :: -(-width // _SAMPLES), : min(3, channels)]
    grey = thinned.mean(axis=2)
    cells = _area_means(_area_means(grey, _ROWS).T, _COLUMNS).T
    means = _area_means(_area_means(grey, _MEANS).T, _MEANS).T.round().astype(np.uint8)
    bits = np.packbits(np.diff(cells, axis=1) > FLAT)
    colour = np.broadcast_to(thinned.mean(axis=(0, 1)).round().astype(np.uint8), (3,))
    return bits.tobytes() + colour.tobytes() + means.tobytes()


def exact_groups(digests: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the groups of two or more ids with equal digests, in order."""
    groups: dict[str, list[str]] = {}
    for ident, digest in digests.items():
        groups.setdefault(digest, []).append(ident)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def near_groups(signatures: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the groups of two or more ids with nearly equal signatures, in order.

    Args:
        signatures: `ContentHash.hexdigest` by id.
    """
    groups: list[list[str]] = []
    firsts: list[bytes] = []
    bands: dict[tuple[int, bytes], list[int]] = {}
    for ident, text in signatures.items():
        value = bytes.fromhex(text)
        own_bands = list(_bands(value))
        candidates = {group for band in own_bands for group in bands.get(band, ())}
        near = [group for group in candidates if is_near(value, firsts[group])]
        if near:
            groups[min(near)].append(ident)
            continue
        for band in own_bands:
            others = bands.setdefault(band, [])
            if len(others) < _MOST_COMPARED:
                others.append(len(groups))
        groups.append([ident])
        firsts.append(value)
    return [tuple(group) for group in groups if len(group) > 1]


def is_near(one: bytes, other: bytes) -> bool:
    """Return whether two signatures are nearly equal (see above)."""
    split = _FRAMES * _HASH_BYTES
    first, second = int.from_bytes(one[:split], "big"), int.from_bytes(other[:split], "big")
    differing, either = (first ^ second).bit_count(), (first | second).bit_count()
    if differing > min(MOST_BITS, either / 10):
        return False
    means = [np.frombuffer(value, np.uint8, offset=split).astype(int) for value in (one, other)]
    return int(np.abs(means[0] - means[1]).max()) <= LEVELS


def _bands(signature: bytes) -> Iterator[tuple[int, bytes]]:
    size = _FRAMES * _HASH_BYTES // _BANDS
    for band in range(_BANDS):
        yield band, signature[size * band : size * (band + 1)]


def _area_means(values: np.ndarray, parts: int) -> np.ndarray:
    """Average the rows of an array over equal parts, whose borders may cut through a row."""
    length = len(values)
    sums = np.concatenate([np.zeros_like(values[:1]), values.cumsum(axis=0)])
    borders = np.linspace(0, length, parts + 1)
    below = np.minimum(borders.astype(int), length - 1)
    share = (borders - below)[:, None]
    at_borders = sums[below] * (1 - share) + sums[below + 1] * share
    return np.diff(at_borders, axis=0) * (parts / length)
