"""The file under `TextCache`: a safetensors file that is written as a stream and memory mapped.

    states   bf16 (n, w)    token states of all captions, one after the other, no padding
    offsets  i64 (c + 1)    caption k of the file has the rows offsets[k] to offsets[k + 1]
    hashes   u8 (c, 16)     first half of the SHA-256 of each caption (UTF-8), in ascending order
    order    i64 (c,)       which caption of the file each hash belongs to

A caption costs 2 w bytes a token and 32 more. (Padded to 128 tokens in float32, the same captions
take 10 to 20 times as much.) safetensors puts its header first, before the sizes are known: room
for it is left at the start and filled with spaces, which the format allows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from imagen_video.errors import DataError
from imagen_video.media.atomic import replacing

HASH_BYTES = 16
FORMAT = "imagen-video text cache 1"

_MAX_HEADER_BYTES = 1 << 20
_WIDEST = 10**17  # Stands in for sizes not yet known; no file has a longer number.


def caption_hash(caption: str) -> bytes:
    """Return the 16 bytes by which the cache finds a caption."""
    return hashlib.sha256(caption.encode("utf-8")).digest()[:HASH_BYTES]


class TextCacheWriter:
    """Streams captions into a cache file, which appears when it is complete.

    with TextCacheWriter(path, width=384, identity=encoder.identity) as writer:
        writer.add(caption, states)     # (n, w), the real tokens only
    """

    def __init__(self, path: str | Path, *, width: int, identity: dict[str, Any]) -> None:
        self._path = Path(path)
        self._width = width
        self._identity = identity
        self._offsets = [0]
        self._hashes: list[bytes] = []
        self._seen: set[bytes] = set()
        self._digest = hashlib.sha256()
        self._stack = contextlib.ExitStack()
        self._stream: BinaryIO | None = None
        self._header_bytes = len(self._header(_WIDEST, _WIDEST, "0" * 64))

    def __enter__(self) -> TextCacheWriter:
        temporary = self._stack.enter_context(replacing(self._path))
        self._stream = self._stack.enter_context(temporary.open("wb"))
        self._stream.write(b" " * (8 + self._header_bytes))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            with self._stack:
                self._finish()
        else:
            self._stack.__exit__(kind, error, trace)

    def __contains__(self, caption: str) -> bool:
        return caption_hash(caption) in self._seen

    def add(self, caption: str, states: Tensor) -> None:
        """Append one caption; one that is there already is left alone.

        Args:
            caption: the text, which is stored as a hash only.
            states: its token states `(n, w)` without padding, n at least 1.

        Raises:
            ValueError: states of another width, none, or not finite in bfloat16.
        """
        assert self._stream is not None, "add() belongs inside the with block"
        if states.ndim != 2 or states.shape[1] != self._width or not len(states):
            raise ValueError(f"states must be (n, {self._width}), got {tuple(states.shape)}")
        rounded = states.detach().to("cpu", torch.bfloat16).contiguous()
        if not torch.isfinite(rounded).all():
            raise ValueError(f"the states of {caption!r} are not finite")
        key = caption_hash(caption)
        if key in self._seen:
            return
        content = rounded.view(torch.int16).numpy().astype("<i2", copy=False).tobytes()
        self._stream.write(content)
        self._digest.update(content)
        self._seen.add(key)
        self._hashes.append(key)
        self._offsets.append(self._offsets[-1] + len(states))

    def _finish(self) -> None:
        assert self._stream is not None
        if not self._hashes:
            raise DataError(
                f"the text cache {self._path}",
                "no captions",
                "at least one caption",
                "check that the data set has captions",
            )
        order = np.array(sorted(range(len(self._hashes)), key=self._hashes.__getitem__), "<i8")
        index = (
            np.array(self._offsets, dtype="<i8").tobytes()
            + b"".join(self._hashes[k] for k in order)
            + order.tobytes()
        )
        self._stream.write(index)
        self._digest.update(index)
        header = self._header(self._offsets[-1], len(self._hashes), self._digest.hexdigest())
        self._stream.seek(0)
        self._stream.write(self._header_bytes.to_bytes(8, "little"))
        self._stream.write(header.ljust(self._header_bytes))

    def _header(self, num_tokens: int, num_captions: int, sha256: str) -> bytes:
        shapes = {
            "states": ("BF16", 2, [num_tokens, self._width]),
            "offsets": ("I64", 8, [num_captions + 1]),
            "hashes": ("U8", 1, [num_captions, HASH_BYTES]),
            "order": ("I64", 8, [num_captions]),
        }
        metadata = {
            "format": FORMAT,
            "identity": json.dumps(self._identity, sort_keys=True),
            "sha256": sha256,
        }
        header: dict[str, Any] = {"__metadata__": metadata}
        begin = 0
        for name, (dtype, item_bytes, shape) in shapes.items():
            end = begin + item_bytes * int(np.prod(shape, dtype=object))
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
            begin = end
        content = json.dumps(header).encode("ascii")
        return content.ljust(-(-len(content) // 8) * 8)  # The data starts on a multiple of 8.


@dataclass(frozen=True, kw_only=True)
class CacheContent:
    """An open cache file. The index is in memory, the states are mapped."""

    identity: dict[str, Any]
    """Which encoder made it."""

    sha256: str
    """Digest of all data, as noted by the writer."""

    states: np.ndarray
    """Bits of bfloat16, int16 (n, w), mapped read-only."""

    offsets: np.ndarray
    """int64 (c + 1,)."""

    hashes: np.ndarray
    """uint8 (c, 16), ascending."""

    order: np.ndarray
    """int64 (c,)."""


def read_cache(path: Path) -> CacheContent:
    """Open a cache file and check all but the values of the states.

    Raises:
        DataError: missing, cut off, of another format, or with an index that cannot be.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise _refused(path, f"the format {metadata.get('format')!r}", repr(FORMAT))
            identity = json.loads(metadata["identity"])
            width, num_tokens = _states_shape(path, file)
            offsets, hashes, order = (
                file.get_tensor(name) for name in ("offsets", "hashes", "order")
            )
        start = _states_start(path)
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise _refused(path, str(error) or type(error).__name__, "a complete file") from error
    if not isinstance(identity, dict):
        raise _refused(path, "no encoder in its header", "the encoder's identity")
    _check_index(path, offsets, hashes, order, num_tokens)
    states = np.memmap(path, "<i2", mode="r", offset=start, shape=(num_tokens, width))
    return CacheContent(
        identity=identity,
        sha256=metadata.get("sha256", ""),
        states=states,
        offsets=offsets,
        hashes=hashes,
        order=order,
    )


def data_sha256(path: Path) -> str:
    """Return the digest of all data behind the header."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        stream.seek(8 + int.from_bytes(stream.read(8), "little"))
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _states_shape(path: Path, file: Any) -> tuple[int, int]:
    """Return (width, number of tokens)."""
    view = file.get_slice("states")
    shape = view.get_shape()
    if view.get_dtype() != "BF16" or len(shape) != 2 or 0 in shape:
        raise _refused(path, f"states of type {view.get_dtype()} and shape {shape}", "bf16 (n, w)")
    return shape[1], shape[0]


def _states_start(path: Path) -> int:
    """Return where the states begin; the header is known to be sound."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(min(length, _MAX_HEADER_BYTES)))
    return 8 + length + header["states"]["data_offsets"][0]


def _check_index(
    path: Path, offsets: np.ndarray, hashes: np.ndarray, order: np.ndarray, num_tokens: int
) -> None:
    count = len(hashes)
    sound = (
        offsets.shape == (count + 1,)
        and hashes.shape == (count, HASH_BYTES)
        and order.shape == (count,)
        and (offsets.dtype, hashes.dtype, order.dtype) == (np.int64, np.uint8, np.int64)
        and count > 0
        and offsets[0] == 0
        and offsets[-1] == num_tokens
        and bool((np.diff(offsets) > 0).all())
        and np.array_equal(np.sort(order), np.arange(count))
    )
    if not sound:
        raise _refused(path, "an index that does not fit its states", "a sound index")


def _refused(path: Path, got: str, expected: str) -> DataError:
    return DataError(f"the text cache {path}", got, expected, "encode the captions again")
