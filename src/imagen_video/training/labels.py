"""What is said about the clips of a batch, as conditions of the network, and how it is left out.

Captions, class ids and vectors are given once a clip, or once a frame where images are packed into
a clip. Leaving them out now and then teaches the unconditional model that guidance needs (paper,
classifier-free guidance; Imagen: 10 %).
"""

from __future__ import annotations

import torch
from torch import Tensor

from imagen_video.cascade.spec import StageSpec
from imagen_video.data.batches.batch import Batch
from imagen_video.errors import DataError
from imagen_video.models.conditions import Conditions
from imagen_video.text.base import TextEmbedding, TextEncoder
from imagen_video.training.draws import Draws

TEXT_PADDING = 16
"""Captions are padded to multiples of this, so that a compiled network meets few shapes."""


def label_conditions(batch: Batch, stage: StageSpec, encoder: TextEncoder | None) -> Conditions:
    """Return the labels of a batch that the network takes; those it lacks are null.

    A clip whose frame rate is not said has the stage's.

    Raises:
        DataError: if the network reads text and the batch has captions but nothing encodes them.
    """
    conditions, unet = Conditions(), stage.unet
    if unet.text_width is not None:
        text = text_of(batch, encoder)
        if text is not None:
            text = text.pad_to(-(-text.num_tokens // TEXT_PADDING) * TEXT_PADDING)
            states = text.states.to(batch.video.dtype)
            conditions = conditions.replace(text_states=states, text_mask=text.mask)
    if unet.num_classes is not None:
        conditions = conditions.replace(class_id=batch.class_id)
    if unet.vector_width is not None:
        conditions = conditions.replace(vector=batch.vector)
    if unet.frame_rate:
        rate = batch.frame_rate
        if rate is None:
            rate = torch.full((len(batch),), float(stage.output.fps))
        conditions = conditions.replace(frame_rate=rate)
    return conditions


def text_of(batch: Batch, encoder: TextEncoder | None) -> TextEmbedding | None:
    """Return the text of a batch: encoded already, or by the encoder; an empty caption is null.

    Raises:
        DataError: if there are captions but no encoder.
    """
    if batch.text is not None or not batch.captions:
        return batch.text
    if encoder is None:
        raise DataError(
            "a training batch",
            "captions and no text encoder",
            "captions that are encoded, or an encoder",
            "name text_encoder in the cascade, or encode the captions before",
        )
    frames = batch.video.shape[1]
    per_frame = any(not isinstance(caption, str) for caption in batch.captions)
    captions: list[str] = []
    for caption in batch.captions:
        if isinstance(caption, str):
            captions += [caption] * (frames if per_frame else 1)
        else:
            captions += caption
    text = _encoded(captions, encoder)
    if not per_frame:
        return text
    return TextEmbedding(
        states=text.states.unflatten(0, (len(batch), frames)),
        mask=text.mask.unflatten(0, (len(batch), frames)),
    )


def _encoded(captions: list[str], encoder: TextEncoder) -> TextEmbedding:
    known = [caption for caption in captions if caption]
    if len(known) == len(captions):
        return encoder.encode(captions)
    rows = iter(encoder.encode(known).rows() if known else ())
    null = torch.zeros(0, encoder.width)
    return TextEmbedding.from_rows([next(rows) if caption else null for caption in captions])


def drop_labels(
    conditions: Conditions, batch: Batch, packed: Tensor | None, draws: Draws, probability: float
) -> Conditions:
    """Make text, class and vector null, together, with a probability: per clip or packed image."""
    dropped = draws.of_rows("dropout", lambda n, g: torch.rand(n, generator=g) < probability)
    if packed is None:
        return conditions.drop(dropped)
    frames = batch.video.shape[1]
    each = draws.of_rows(
        "frame dropout", lambda n, g: torch.rand(n, frames, generator=g) < probability
    )
    dropped = torch.where(packed[:, None], each, dropped[:, None])
    changes: dict[str, Tensor | None] = {}
    mask, class_id, vector = conditions.text_mask, conditions.class_id, conditions.vector
    if mask is not None:
        changes["text_mask"] = mask & ~(dropped[:, :, None] if mask.ndim == 3 else dropped[:, :1])
    if class_id is not None:
        changes["class_id"] = torch.where(
            dropped if class_id.ndim == 2 else dropped[:, 0], -1, class_id
        )
    if vector is not None:
        rows = dropped[:, :, None] if vector.ndim == 3 else dropped[:, :1]
        changes["vector"] = torch.where(rows, torch.nan, vector)
    return conditions.replace(**changes)
