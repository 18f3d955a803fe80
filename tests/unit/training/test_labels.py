"""Labels reach the network as they were given, and leave without a trace when dropped."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from imagen_video.cascade.spec import StageSpec
from imagen_video.data.batches.batch import Batch
from imagen_video.errors import DataError
from imagen_video.training.draws import Draws, keyed_generator
from imagen_video.training.labels import drop_labels, label_conditions, text_of
from unit.cascade.small_cascades import TEXT_WIDTH, WordEncoder, small_cascade

ROWS, FRAMES = 40, 4


def stage(**changes: Any) -> StageSpec:
    base = small_cascade().stage("base")
    return dataclasses.replace(base, unet=dataclasses.replace(base.unet, **changes))


def batch(rows: int = ROWS, **labels: Any) -> Batch:
    return Batch(video=torch.zeros(rows, FRAMES, 3, 4, 6), **labels)


def packed_batch(**labels: Any) -> Batch:
    captions = tuple(tuple(f"frame {f} of {row}" for f in range(FRAMES)) for row in range(ROWS))
    values = {
        "captions": captions,
        "class_id": torch.zeros(ROWS, FRAMES, dtype=torch.long),
        "vector": torch.ones(ROWS, FRAMES, 2),
        "is_image": torch.arange(ROWS) < ROWS // 2,
    }
    return batch(**{**values, **labels})


def test_captions_one_a_frame_are_encoded_each_for_its_own_frame() -> None:
    captions = (("red", "a blue", "red", "green"), ("x", "y", "z", "x"))
    text = text_of(batch(2, captions=captions), WordEncoder())
    assert text is not None
    assert text.states.shape == (2, FRAMES, 2, TEXT_WIDTH)
    assert text.mask.sum(-1).tolist() == [[1, 2, 1, 1], [1, 1, 1, 1]]
    assert torch.equal(text.states[0, 0], text.states[0, 2])
    assert torch.equal(text.states[0, 1, 1], WordEncoder().encode(["blue"]).states[0, 0])


def test_a_clips_caption_beside_captions_of_images_counts_for_all_its_frames() -> None:
    text = text_of(batch(2, captions=("red", ("a", "b", "c", "d"))), WordEncoder())
    assert text is not None
    assert all(torch.equal(text.states[0, 0], text.states[0, f]) for f in range(FRAMES))


def test_an_empty_caption_is_the_null_text_and_not_an_error() -> None:
    text = text_of(batch(3, captions=("red", "", "blue")), WordEncoder())
    assert text is not None
    assert text.mask.sum(-1).tolist() == [1, 0, 1]


def test_text_that_is_encoded_already_needs_no_encoder() -> None:
    text = WordEncoder().encode(["red", "blue"])
    given = batch(2, text=text, captions=("labels", "only"))
    conditions = label_conditions(given, stage(), None)
    assert conditions.text_states is not None
    assert torch.equal(conditions.text_states[:, :1], text.states)
    with pytest.raises(DataError, match="no text encoder"):
        label_conditions(batch(2, captions=("a", "b")), stage(), None)


def test_a_network_without_text_is_given_none_and_needs_no_encoder() -> None:
    level = small_cascade().stage("base").unet.levels[0]
    silent = stage(text_width=None, levels=(dataclasses.replace(level, text_attention=False),))
    conditions = label_conditions(batch(2, captions=("a", "b")), silent, None)
    assert conditions.text_states is None


def test_only_the_conditions_that_the_network_takes_are_passed_on() -> None:
    given = batch(2, class_id=torch.tensor([1, 2]), vector=torch.ones(2, 3))
    nothing = label_conditions(given, stage(), None)
    assert nothing.class_id is None
    assert nothing.vector is None
    assert nothing.frame_rate is None
    all_ = label_conditions(given, stage(num_classes=5, vector_width=3, frame_rate=True), None)
    assert all_.class_id is not None
    assert all_.vector is not None
    assert all_.frame_rate is not None
    assert all_.frame_rate.tolist() == [6.0, 6.0]  # the stage's own


def test_with_full_dropout_nothing_of_a_label_is_left_and_with_none_all_is() -> None:
    """Text, class and vector go together: a class left behind would be no null condition."""
    for given in (packed_batch(), packed_batch(is_image=None)):
        conditions = label_conditions(given, stage(num_classes=5, vector_width=2), WordEncoder())
        draws = Draws(given, keyed_generator(0))
        gone = drop_labels(conditions, given, given.is_image, draws, 1.0)
        kept = drop_labels(conditions, given, given.is_image, draws, 0.0)
        assert gone.text_mask is not None
        assert gone.class_id is not None
        assert gone.vector is not None
        assert not gone.text_mask.any()
        assert (gone.class_id == -1).all()
        assert gone.vector.isnan().all()
        for name in ("text_mask", "class_id", "vector"):
            assert torch.equal(getattr(kept, name), getattr(conditions, name))


def test_packed_images_lose_their_labels_one_by_one_and_clips_as_a_whole() -> None:
    given = packed_batch()
    conditions = label_conditions(given, stage(num_classes=5, vector_width=2), WordEncoder())
    dropped = drop_labels(conditions, given, given.is_image, Draws(given, keyed_generator(1)), 0.5)
    assert dropped.class_id is not None
    assert dropped.text_mask is not None
    assert dropped.vector is not None
    gone = dropped.class_id == -1
    assert torch.equal(gone, ~dropped.text_mask.any(-1))
    assert torch.equal(gone, dropped.vector.isnan().all(-1))
    shares = gone.float().mean(1)
    assert set(shares[ROWS // 2 :].tolist()) == {0.0, 1.0}
    assert len(set(shares[: ROWS // 2].tolist())) > 2
