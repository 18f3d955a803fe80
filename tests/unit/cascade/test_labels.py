"""Class ids and numbers instead of text: from a call to the networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imagen_video.cascade.labels import labels_for
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.sampling_spec import SamplingSpec
from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.errors import InputError
from imagen_video.models.spec import LevelSpec, UNetSpec
from unit.cascade.small_cascades import small_cascade, small_networks, small_pipeline


def told(**conditions: int) -> ImagenVideoPipeline:
    """Grey 2x4x4 clips, of classes or numbers, guided."""
    unet = UNetSpec(
        levels=(LevelSpec(channels=8, num_blocks=1),),
        channels=1,
        embedding_width=16,
        **conditions,  # pyright: ignore[reportArgumentType]
    )
    stage = StageSpec(
        name="base",
        kind="base",
        output=Clip(frames=2, height=4, width=4),
        unet=unet,
        sampling=SamplingSpec(sampler="ddim", steps=2, guidance_weight=1.0, threshold="static"),
    )
    spec = CascadeSpec(name="told", stages=(stage,))
    return ImagenVideoPipeline(spec, small_networks(spec).__getitem__)


def frames(pipeline: ImagenVideoPipeline, **call: Any) -> list[np.ndarray]:
    return pipeline(seed=[1] * call.pop("videos", 1), **call).frames


def test_another_number_gives_another_video_and_the_same_gives_the_same() -> None:
    pipeline = told(vector_width=2)
    (first,), (again,), (other,) = (
        frames(pipeline, vector=vector) for vector in ([0.5, 1], [0.5, 1], [0.9, 1])
    )
    assert first.shape == (2, 4, 4, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_several_labels_make_several_videos_at_once() -> None:
    pipeline = told(vector_width=1)
    both = frames(pipeline, vector=[[0.1], [0.9]], videos=2)
    for video, vector in zip(both, ([0.1], [0.9]), strict=True):
        assert np.abs(video.astype(int) - frames(pipeline, vector=vector)[0]).max() <= 1


def test_another_class_gives_another_video() -> None:
    pipeline = told(num_classes=3)
    (first,), (other,), (none,) = (frames(pipeline, class_id=i) for i in (0, 2, -1))
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, none)


def test_without_a_label_the_video_is_any() -> None:
    assert len(frames(told(vector_width=2))) == 1


@pytest.mark.parametrize(
    ("conditions", "call", "said"),
    [
        ({"vector_width": 2}, {"vector": [0.5]}, "2 finite numbers"),
        ({"vector_width": 2}, {"vector": [0.5, float("inf")]}, "2 finite numbers"),
        ({"vector_width": 2}, {"vector": [[0.5, 1], [1]]}, "as many for every video"),
        ({"vector_width": 2}, {"vector": "high"}, "numbers"),
        ({"vector_width": 2}, {"class_id": 1}, "no stage has num_classes"),
        ({"num_classes": 3}, {"vector": [1.0]}, "no stage has vector_width"),
        ({"num_classes": 3}, {"class_id": 3}, "0 to 2"),
        ({"num_classes": 3}, {"class_id": -2}, "0 to 2"),
    ],
)
def test_labels_that_no_network_can_hear_are_refused(
    conditions: dict[str, int], call: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        frames(told(**conditions), **call)


def test_a_cascade_of_text_hears_no_labels_and_still_wants_its_prompt() -> None:
    with pytest.raises(InputError, match="no stage has vector_width"):
        small_pipeline()("a cat", vector=[1.0])
    with pytest.raises(InputError, match="expected a string"):
        small_pipeline()(None)
    assert small_cascade().stages[0].unet.vector_width is None


def test_one_value_is_one_row() -> None:
    class_id, vector = labels_for(3, [0.5, 1.0])
    assert class_id is not None
    assert vector is not None
    assert class_id.tolist() == [3]
    assert vector.tolist() == [[0.5, 1.0]]
    assert labels_for(None, None) == (None, None)
