"""Class ids and numeric vectors of a request: what a cascade may hear instead of text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imagen_video.cascade.request import Request
from imagen_video.cascade.spec import StageSpec
from imagen_video.errors import InputError


def labels_for(
    class_id: int | Sequence[int] | None, vector: Sequence[float] | Sequence[Sequence[float]] | None
) -> tuple[Tensor | None, Tensor | None]:
    """Return class ids `(b,)` and vectors `(b, d)` of a call, where they are given.

    Args:
        class_id: one video's, or one a video.
        vector: one video's numbers, or one such list a video.

    Raises:
        InputError: for anything but numbers.
    """
    ids = numbers = None
    try:
        if class_id is not None:
            ids = torch.tensor(class_id, dtype=torch.long).reshape(-1)
        if vector is not None:
            numbers = torch.tensor(vector, dtype=torch.float32)
            numbers = numbers[None] if numbers.ndim < 2 else numbers
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            "class_id, vector", f"{error}"[:120], "numbers, as many for every video", "correct them"
        ) from error
    return ids, numbers


def check_labels(request: Request, stages: Sequence[StageSpec]) -> None:
    """Check class ids and vectors of a request against the networks that are to hear them.

    Raises:
        InputError: if no stage takes them, or they do not fit.
    """
    ids, vector, videos = request.class_id, request.vector, len(request.seeds)
    if ids is not None:
        classes = _least("class_id", "num_classes", stages)
        if len(ids) != videos or not bool(((ids >= -1) & (ids < classes)).all()):
            raise InputError(
                "class_id",
                f"{ids.tolist()}"[:80],
                f"one for each of {videos} videos, 0 to {classes - 1}, or -1 for none",
                "correct it",
            )
    if vector is not None:
        width = _least("vector", "vector_width", stages)
        if tuple(vector.shape) != (videos, width) or vector.isinf().any():
            raise InputError(
                "vector",
                f"{vector.tolist()}"[:80],
                f"{width} finite numbers for each of {videos} videos",
                "correct it",
            )


def _least(name: str, field: str, stages: Sequence[StageSpec]) -> int:
    """Return what every stage that takes a label can take.

    Raises:
        InputError: if none does.
    """
    takers = [value for stage in stages if (value := getattr(stage.unet, field)) is not None]
    if not takers:
        raise InputError(
            name, "a value", f"none: no stage has {field}", "leave it out, or use another bundle"
        )
    return min(takers)
