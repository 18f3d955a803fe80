"""Captions are encoded once: on disk for a data set, in memory for an endless source.

Both are text encoders themselves, so that training does not know the difference. States are kept
in bfloat16 (relative error at most 2^-9): a caption gives the same states whether it was cached
before or not.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imagen_video.errors import DataError, InputError
from imagen_video.text.base import TextEmbedding, TextEncoder, checked_prompts
from imagen_video.text.cache_file import (
    TextCacheWriter,
    caption_hash,
    data_sha256,
    read_cache,
)


class TextCache:
    """Encoded captions in one file (`cache_file.py`), memory mapped; worker processes share it."""

    def __init__(self, path: str | Path, identity: dict[str, Any] | None = None) -> None:
        """Open a cache.

        Args:
            path: the file.
            identity: the encoder that it must have been made with; None accepts any.

        Raises:
            DataError: missing, damaged, or made with another encoder.
        """
        self.path = Path(path)
        self._content = read_cache(self.path)
        self._keys = np.ascontiguousarray(self._content.hashes).view("S16").ravel()
        if identity is not None and identity != self.identity:
            raise DataError(
                f"the text cache {path}",
                f"states of the encoder {self.identity}",
                str(identity),
                "encode the captions again with this encoder",
            )

    @staticmethod
    def write(
        path: str | Path,
        captions: Iterable[str],
        encoder: TextEncoder,
        *,
        batch_size: int = 256,
        on_progress: Callable[[int], None] | None = None,
    ) -> TextCache:
        """Encode captions, each distinct one once, into a new file.

        Args:
            path: the file; an older one is replaced when the new one is complete.
            captions: any number; they are read once and never held all at the same time.
            encoder: what encodes them.
            batch_size: captions handed to the encoder at a time.
            on_progress: called with the number of captions written so far.

        Returns:
            The opened cache.

        Raises:
            DataError: if there is no caption.
            InputError: a caption that is empty or not text, or an unwritable folder.
            ResourceError: the disk is full.
        """
        with TextCacheWriter(path, width=encoder.width, identity=encoder.identity) as writer:
            done = 0
            for batch in _distinct_batches(captions, writer, batch_size):
                for caption, states in zip(batch, encoder.encode(batch).rows(), strict=True):
                    writer.add(caption, states)
                done += len(batch)
                if on_progress is not None:
                    on_progress(done)
        return TextCache(path)

    def __reduce__(self) -> tuple[type[TextCache], tuple[Path]]:
        # A worker process maps the file itself instead of receiving a copy of it.
        return TextCache, (self.path,)

    def __len__(self) -> int:
        """Return the number of captions."""
        return len(self._content.order)

    def __contains__(self, caption: str) -> bool:
        return self._find(caption) is not None

    @property
    def identity(self) -> dict[str, Any]:
        """The identity of the encoder that made the states."""
        return self._content.identity

    @property
    def width(self) -> int:
        """Width of a token state."""
        return self._content.states.shape[1]

    @property
    def max_tokens(self) -> int:
        """The limit of the encoder that made the states."""
        return int(self.identity.get("max_tokens", int(np.diff(self._content.offsets).max())))

    @property
    def num_tokens(self) -> int:
        """Number of token states over all captions."""
        return self._content.states.shape[0]

    def states(self, caption: str) -> Tensor:
        """Return a caption's token states, bf16 `(n, w)`, copied out of the file.

        Raises:
            DataError: if the caption is not in the cache.
        """
        row = self._find(caption)
        if row is None:
            raise DataError(
                f"the text cache {self.path}",
                f"no caption {caption[:80]!r}",
                "a caption that was encoded",
                "encode the captions again after changing the data",
            )
        begin, end = self._content.offsets[row : row + 2]
        bits = np.array(self._content.states[begin:end], dtype=np.int16)
        return torch.from_numpy(bits).view(torch.bfloat16)

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Look captions up, as float32, padded to the longest of them.

        Raises:
            DataError: if a caption is not in the cache.
            InputError: for a prompt that is not text, or is empty.
        """
        rows = [self.states(prompt) for prompt in checked_prompts(prompts)]
        return TextEmbedding.from_rows(rows).to(dtype=torch.float32)

    def verify(self) -> None:
        """Read the whole file and compare its digest with the one that was noted.

        Raises:
            DataError: if a bit has changed.
        """
        digest = data_sha256(self.path)
        if digest != self._content.sha256:
            raise DataError(
                f"the text cache {self.path}",
                f"SHA-256 {digest}",
                f"SHA-256 {self._content.sha256}",
                "encode the captions again",
            )

    def _find(self, caption: str) -> int | None:
        # NumPy drops trailing zero bytes of S16 on both sides alike, which keeps the order.
        key = np.array([caption_hash(caption)], dtype="S16")
        position = int(np.searchsorted(self._keys, key)[0])
        if position == len(self._keys) or self._keys[position] != key[0]:
            return None
        return int(self._content.order[position])


def _distinct_batches(
    captions: Iterable[str], writer: TextCacheWriter, batch_size: int
) -> Iterator[list[str]]:
    """Yield captions that the writer does not have yet, `batch_size` at a time."""
    batch: dict[str, None] = {}
    for caption in captions:
        if caption not in writer:
            batch[caption] = None
        if len(batch) == batch_size:
            yield list(batch)
            batch = {}
    if batch:
        yield list(batch)


class CachedEncoder:
    """Keeps the captions that were asked for last, for training from an endless source.

    Thread safe as far as the encoder is: the lock is not held while it runs, so that threads with
    known captions do not wait. Two threads that miss the same caption both encode it.
    """

    def __init__(self, encoder: TextEncoder, capacity: int = 16_384) -> None:
        """Wrap an encoder.

        Args:
            encoder: what encodes captions that are not known yet.
            capacity: captions to keep. MiniLM needs about 10 kB for one, T5-XXL about 150 kB.

        Raises:
            InputError: if the capacity is below 1.
        """
        if capacity < 1:
            raise InputError("capacity", str(capacity), "1 or more", "keep at least one caption")
        self._encoder = encoder
        self._capacity = capacity
        self._rows: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    @property
    def width(self) -> int:
        """Width of a token state."""
        return self._encoder.width

    @property
    def max_tokens(self) -> int:
        """The wrapped encoder's limit."""
        return self._encoder.max_tokens

    @property
    def identity(self) -> dict[str, Any]:
        """The wrapped encoder's identity: caching changes nothing that a bundle would note."""
        return self._encoder.identity

    def __len__(self) -> int:
        """Return the number of captions that are kept."""
        return len(self._rows)

    def encode(self, prompts: Sequence[str]) -> TextEmbedding:
        """Return float32 states on the CPU, encoding what is not kept in one batch.

        Args:
            prompts: one or more captions; repeated ones are encoded once.

        Returns:
            States rounded to bfloat16, whether they were kept or not.

        Raises:
            InputError: for a prompt that is not text, or is empty.
        """
        wanted = checked_prompts(prompts)
        found: dict[str, Tensor] = {}
        with self._lock:
            for caption in wanted:
                if caption in self._rows:
                    self._rows.move_to_end(caption)
                    found[caption] = self._rows[caption]
            missing = [caption for caption in dict.fromkeys(wanted) if caption not in found]
            self.misses += len(missing)
            self.hits += len(wanted) - len(missing)
        if missing:
            fresh = self._encoder.encode(missing).to("cpu", torch.bfloat16).rows()
            found |= zip(missing, fresh, strict=True)
            with self._lock:
                self._keep(missing, fresh)
        rows = [found[caption] for caption in wanted]
        return TextEmbedding.from_rows(rows).to(dtype=torch.float32)

    def _keep(self, captions: Sequence[str], rows: Sequence[Tensor]) -> None:
        for caption, row in zip(captions, rows, strict=True):
            self._rows[caption] = row
            self._rows.move_to_end(caption)
        while len(self._rows) > self._capacity:
            self._rows.popitem(last=False)
