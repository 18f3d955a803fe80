"""The captions of a data set, encoded once: `text.safetensors` beside the shards.

One packed array of bf16 token states without padding, and offsets (`text.cache_file`): a caption
costs 2 x width bytes a token and 32 more, however many clips share it. Captions are encoded in
parts, in the order in which they are first met, so that an interrupted run goes on with the part
it was at; the parts are then joined. Parts are cut the same in every run, and the captions of a
part are always encoded together, so the outcome is the same to the last bit.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imagen_video.data.shards.manifest import TextEntry
from imagen_video.data.shards.verify import check_sizes, file_entry
from imagen_video.errors import DataError, InputError
from imagen_video.media.atomic import replacing
from imagen_video.text.base import TextEmbedding, TextEncoder
from imagen_video.text.cache import TextCache
from imagen_video.text.cache_file import TextCacheWriter
from imagen_video.text.registry import UNPINNED

TEXT_FILE = "text.safetensors"
PART_CAPTIONS = 4096
"""Captions that an interruption costs at most."""


def write_text(
    folder: Path,
    captions: Sequence[str],
    encoder: TextEncoder,
    on_progress: Callable[[int], None] | None = None,
    part_captions: int = PART_CAPTIONS,
) -> TextEntry | None:
    """Encode the captions of a data set, each distinct one once, or go on with it.

    Args:
        folder: of the data set; what is not finished lies in `work` below it.
        captions: the same in every run, in the same order; they may repeat.
        encoder: what encodes them.
        on_progress: called with the number of captions that are done.
        part_captions: captions of a part.

    Returns:
        What the manifest says about the file; None if there is no caption.

    Raises:
        InputError: the folder cannot be written to.
        ResourceError: the disk is full.
    """
    distinct = list(dict.fromkeys(captions))
    finished = folder / "work" / "text.json"
    entry = _finished(folder, finished)
    if entry is not None or not distinct:
        return entry
    parts = folder / "work" / "text"
    paths = []
    for start in range(0, len(distinct), part_captions):
        part = distinct[start : start + part_captions]
        paths.append(parts / f"{start:08d}.safetensors")
        if not _is_part(paths[-1], part, encoder.identity):
            TextCache.write(paths[-1], part, encoder)
        if on_progress is not None:
            on_progress(start + len(part))
    entry = _joined(folder, distinct, paths, encoder)
    with replacing(finished) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(entry)), encoding="utf-8")
    shutil.rmtree(parts)
    return entry


def check_encoder(entry: TextEntry, wanted: Mapping[str, Any], where: str) -> None:
    """Compare the encoder of a text file with the cascade's.

    Args:
        entry: of the file.
        wanted: the cascade's identity; what a preset leaves open is not compared.
        where: the folder.

    Raises:
        DataError: naming both.
    """
    fields = set(entry.identity) | set(wanted)
    optional = UNPINNED - set(wanted)
    if any(entry.identity.get(f) != wanted.get(f) for f in fields - optional):
        raise DataError(
            f"the captions of {where}",
            f"states of the encoder {json.dumps(dict(entry.identity), sort_keys=True)}",
            f"{json.dumps(dict(wanted), sort_keys=True)}, the cascade's",
            "prepare the data again with this preset, or train the one it was prepared for",
        )


class TextStore:
    """Looks captions up; threads and processes share the file."""

    def __init__(self, folder: Path, entry: TextEntry) -> None:
        """Open the file.

        Raises:
            DataError: missing, damaged, or not what the manifest says.
        """
        self._cache = TextCache(folder / entry.file, dict(entry.identity))
        found = (len(self._cache), self._cache.num_tokens, self._cache.width)
        if found != (entry.captions, entry.tokens, entry.width):
            raise DataError(
                str(folder / entry.file),
                "{} captions, {} tokens, width {}".format(*found),
                f"{entry.captions} captions, {entry.tokens} tokens, width {entry.width}",
                "copy the folder again, or prepare the data again",
            )

    def embed(self, captions: Sequence[str | None]) -> TextEmbedding:
        """Return bf16 states `(b, l, w)`; a missing caption is a null prompt.

        Raises:
            DataError: a caption that was not encoded.
        """
        return TextEmbedding.from_rows([self._states(caption) for caption in captions])

    def embed_frames(self, captions: Sequence[Sequence[str | None]]) -> TextEmbedding:
        """Return bf16 states `(b, f, l, w)`, a caption for each frame.

        Raises:
            DataError: a caption that was not encoded.
        """
        flat = self.embed([caption for row in captions for caption in row])
        shape = (len(captions), -1)
        return TextEmbedding(
            states=flat.states.unflatten(0, shape), mask=flat.mask.unflatten(0, shape)
        )

    def _states(self, caption: str | None) -> Tensor:
        if caption is None:
            return torch.zeros(0, self._cache.width, dtype=torch.bfloat16)
        return self._cache.states(caption)


def _is_part(path: Path, captions: Sequence[str], identity: Mapping[str, Any]) -> bool:
    """Tell whether a part is there and whole."""
    try:
        cache = TextCache(path, dict(identity))
        cache.verify()
    except DataError:
        return False
    return len(cache) == len(captions) and all(caption in cache for caption in captions)


def _joined(
    folder: Path, captions: Sequence[str], paths: Sequence[Path], encoder: TextEncoder
) -> TextEntry:
    remaining = iter(captions)
    tokens = 0
    with TextCacheWriter(
        folder / TEXT_FILE, width=encoder.width, identity=dict(encoder.identity)
    ) as writer:
        for path in paths:
            part = TextCache(path)
            for _ in range(len(part)):
                caption = next(remaining)
                writer.add(caption, part.states(caption))
            tokens += part.num_tokens
    return TextEntry(
        **vars(file_entry(folder, TEXT_FILE)),
        identity=dict(encoder.identity),
        captions=len(captions),
        tokens=tokens,
        width=encoder.width,
    )


def _finished(folder: Path, path: Path) -> TextEntry | None:
    """Return what an earlier run has noted, if its file is there."""
    try:
        entry = TextEntry.from_json(json.loads(path.read_text(encoding="utf-8")), str(path))
        check_sizes(folder, [entry])
    except (OSError, ValueError, InputError):
        return None
    return entry
